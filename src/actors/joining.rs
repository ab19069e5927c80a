//! A replica that was started with `--join`: it asks a member to be let in, and where everybody is; and asks again as long
//! as it does not vote at its address, because a new leader does not know of it.

use std::time::Duration;

use super::admin::{self, Answer};
use super::link::{Identity, LinkError};
use crate::consensus::{Address, Change, Member, Membership, Refusal, Verdict};
use crate::wire::admin::{Places, Question};

/// The pause between two questions.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a replica is not let in, or what a member told it.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// The leader's word.
    #[error("{0}")]
    Refused(Refusal),
    /// The member's word, or that of this side: config files that differ.
    #[error("{0}")]
    Differs(String),
    /// Its data directory is another cluster's.
    #[error(
        "its data directory belongs to another cluster than the member at {0}: correct `data_dir` or --join, or set the \
         directory aside"
    )]
    OtherCluster(String),
}

/// Whether the log of this replica says that it votes, at this address. A log without addresses does not: its own config
/// has the new one, and tells nobody.
pub fn votes_at(membership: Option<&Membership>, me: Member, at: &Address) -> bool {
    membership.is_some_and(|m| m.votes(me) && m.addresses.contains(at))
}

/// Asks the contact, until it answers, to be let in. Returns where everybody is, this replica among them.
pub async fn ask_to_join(
    contact: &str,
    (cluster_name, secret): (&str, &str),
    (me, at): (Member, &Address),
    cluster: Option<crate::consensus::ClusterId>,
) -> Result<Places, NotLetIn> {
    let question = Question::Change(Change::Join(me, at.clone()));
    let mut told = String::new();
    loop {
        let waits = match admin::ask(contact, cluster_name, secret, &question).await {
            Ok(Answer { places, .. }) if cluster.is_some() && places.cluster.is_some() && places.cluster != cluster => {
                return Err(NotLetIn::OtherCluster(contact.to_owned()));
            }
            Ok(Answer { verdict: Verdict::Done(_) | Verdict::Noted, mut places }) => {
                places.addresses.retain(|known| known.id != at.id);
                places.addresses.push(at.clone());
                return Ok(places);
            }
            Ok(Answer { verdict: Verdict::Refused(Refusal::UnderWay) | Verdict::Later, .. }) => {
                format!("{contact} has no leader to ask, or members are changing")
            }
            Ok(Answer { verdict: Verdict::Refused(why), .. }) => return Err(NotLetIn::Refused(why)),
            Err(error @ (LinkError::Refused(_) | LinkError::RefusedByPeer(_))) => {
                return Err(NotLetIn::Differs(format!("{contact}: {error}")));
            }
            Err(error) => format!("{contact}: {error}"),
        };
        if waits != told {
            log::warn!("cannot join yet: {waits}; asking again every {} ms", ASK_AGAIN.as_millis());
            told = waits;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Asks, whenever this replica does not vote at its address: the contact first, then whoever is known. Not at once: a
/// change that was asked for may be on its way.
pub async fn keep_asking(mut identity: Identity, me: Member, at: Address, contact: String) {
    let question = Question::Change(Change::Join(me, at.clone()));
    let mut told = String::new();
    for turn in 0_usize.. {
        if identity.book.wait_for(|book| book.dials_all).await.is_err() {
            // The Replicator is gone.
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
        let others: Vec<String> = {
            let book = identity.book.borrow();
            if !book.dials_all {
                continue;
            }
            book.places.values().filter(|place| place.id != me.id).map(|place| place.replicas.clone()).collect()
        };
        let known = std::iter::once(&contact).chain(&others);
        let to = known.cycle().nth(turn % (others.len() + 1)).unwrap_or(&contact);
        let said = match admin::ask(to, &identity.cluster_name, &identity.secret, &question).await {
            Ok(Answer { verdict: Verdict::Refused(why), .. }) if why != Refusal::UnderWay => why.to_string(),
            Ok(_) => continue,
            Err(error) => format!("{to}: {error}"),
        };
        if said != told {
            log::warn!("the log does not have this replica as a voter at {}: {said}", at.replicas);
            told = said;
        }
    }
}
