//! `plainsong leave` and `plainsong remove`: ask any member to have a replica taken out of the cluster.
//!
//! `leave` is for one that runs, and is refused if it does not answer; `remove` is for any, also one that is lost. Both
//! say beforehand how many failures the rest survives. A terminal is asked whether that is meant; `--yes` skips it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::{Exit, MemberArgs, output};
use crate::actors::admin::{self, Answer};
use crate::config::Config;
use crate::consensus::quorum::{majority, spare};
use crate::consensus::{Change, Refusal, ReplicaId, Verdict};
use crate::wire::admin::{Places, Question};

/// Why nobody was taken out.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// No member answered.
    #[error("no member answers:\n{0}\nname the internal port of one with --member HOST:PORT")]
    NobodyAnswers(String),
    /// The leader's word.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// There was no leader to decide, or it did not come about in time.
    #[error(
        "not done: there is no leader, or a majority does not answer; it may still come about: look at `plainsong status`"
    )]
    Later,
    /// `leave`, but it is gone already.
    #[error("replica {0} does not answer at {1}: for one that is lost there is `plainsong remove -i {0}`")]
    DoesNotAnswer(u16, String),
    /// The person at the terminal.
    #[error("nothing was done: answer y, or say --yes, if it is meant")]
    NotMeant,
    /// Standard input or output, or the runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl MembersError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NobodyAnswers(_) | Self::DoesNotAnswer(..) => Exit::Unavailable,
            Self::Later | Self::Refused(Refusal::UnderWay | Refusal::FoundingUnderWay) => Exit::Temporary,
            Self::Refused(_) | Self::NotMeant => Exit::Failed,
            Self::Io(_) => Exit::Io,
        }
    }
}

/// Takes a replica out. `runs`: only if it answers.
pub fn remove(args: &MemberArgs, config: &Config, runs: bool) -> Result<(), MembersError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let contacts = match &args.members[..] {
            [] => config.replicas.iter().map(crate::config::ReplicaConfig::internal_address).collect(),
            named => named.to_vec(),
        };
        let (_, book) = first_answer(&contacts, config, &Question::Book).await?;
        let id = ReplicaId(args.id);
        let place = book.places.addresses.iter().find(|place| place.id == id);
        if let (true, Some(place)) = (runs, place) {
            let asked = admin::ask(&place.replicas, &config.cluster, &config.secret, &Question::Book).await;
            asked.map_err(|_| MembersError::DoesNotAnswer(args.id, place.replicas.clone()))?;
        }
        if place.is_some() {
            output::print(&warning(args.id, &book.places))?;
            if !args.yes && !is_meant()? {
                return Err(MembersError::NotMeant);
            }
        }
        // Whoever goes is asked last: it may end before it has answered.
        let mut rest: Vec<String> =
            book.places.addresses.iter().filter(|p| p.id != id).map(|p| p.replicas.clone()).collect();
        rest.extend(contacts);
        let (contact, answer) = first_answer(&rest, config, &Question::Change(Change::Remove(id))).await?;
        match answer.verdict {
            Verdict::Done(_) => Ok(output::print(&done(args.id, &answer.places, &contact))?),
            Verdict::Refused(why) => Err(MembersError::Refused(why)),
            Verdict::Noted | Verdict::Later => Err(MembersError::Later),
        }
    })
}

/// Asks one after the other until somebody answers. What was asked may have been heard by one that then failed: asking for
/// a removal again changes nothing.
pub(super) async fn first_answer(
    contacts: &[String],
    config: &Config,
    question: &Question,
) -> Result<(String, Answer), MembersError> {
    let mut failures = Vec::new();
    for contact in contacts {
        match admin::ask(contact, &config.cluster, &config.secret, question).await {
            Ok(answer) => return Ok((contact.clone(), answer)),
            Err(error) => failures.push(format!("  {contact}: {error}")),
        }
    }
    Err(MembersError::NobodyAnswers(failures.join("\n")))
}

fn warning(id: u16, places: &Places) -> String {
    let before = places.addresses.len();
    let after = before.saturating_sub(1);
    format!(
        "replica {id} is one of {before}, which survive {}; the {after} that are left need {} to agree and survive {}\n",
        failures(spare(before)),
        majority(after),
        failures(spare(after)),
    )
}

fn done(id: u16, places: &Places, contact: &str) -> String {
    let left: Vec<String> = places.addresses.iter().map(|place| place.id.to_string()).collect();
    format!("replica {id} is no member any more; members: {} (as {contact} knows it)\n", left.join(", "))
}

fn failures(count: usize) -> String {
    format!("{count} failure{}", if count == 1 { "" } else { "s" })
}

/// Only a terminal is asked: a script has said what it means.
pub(super) fn is_meant() -> io::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(true);
    }
    write!(io::stderr(), "go on? [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Address;

    #[test]
    fn the_warning_counts() {
        let address = |id| Address { id: ReplicaId(id), clients: "h:1".into(), replicas: "h:2".into() };
        let places = Places { addresses: (1..=5).map(address).collect(), ..Places::default() };
        assert_eq!(
            warning(3, &places),
            "replica 3 is one of 5, which survive 2 failures; the 4 that are left need 3 to agree and survive 1 failure\n"
        );
        assert_eq!(
            done(6, &places, "h:2"),
            "replica 6 is no member any more; members: 1, 2, 3, 4, 5 (as h:2 knows it)\n"
        );
    }
}
