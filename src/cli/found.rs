//! `plainsong found`: founds the cluster with those who are there. A first start waits for every replica of the config,
//! because a blank one cannot know whether a missing one holds a living cluster; here an operator says that none does.
//!
//! Which founding is safe is decided in `consensus::founding`. Whoever is left out joins later.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Args;

use super::members::{MembersError, first_answer, is_meant};
use super::output;
use crate::actors::admin;
use crate::config::{Config, ReplicaConfig};
use crate::consensus::{Refusal, ReplicaId, Verdict};
use crate::wire::admin::Question;

/// After it was asked for, a founding takes some fsyncs and messages.
const FOUNDED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked whether it is done.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// `plainsong found`
#[derive(Args, Debug)]
pub struct FoundArgs {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Founds, if a majority of the config is there.
pub fn run(args: &FoundArgs, config: &Config) -> Result<(), MembersError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(found(args, config))
}

async fn found(args: &FoundArgs, config: &Config) -> Result<(), MembersError> {
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for replica in &config.replicas {
        let asked = admin::ask(&replica.internal_address(), &config.cluster, &config.secret, &Question::Book).await;
        if asked.is_ok() { here.push(replica) } else { missing.push(replica) }
    }
    let contacts: Vec<String> = here.iter().map(|replica| replica.internal_address()).collect();
    output::tell_lines(&warning(&here, &missing));
    // A script must say that it is meant.
    let meant = args.yes || io::stdin().is_terminal() && is_meant()?;
    if !meant {
        return Err(MembersError::NotMeant);
    }
    let (mut contact, mut answer) = first_answer(&contacts, config, &Question::Found).await?;
    if let Verdict::Refused(Refusal::AskLower(ReplicaId(id))) = answer.verdict
        && let Some(lower) = config.replica(id)
    {
        (contact, answer) = first_answer(&[lower.internal_address()], config, &Question::Found).await?;
    }
    match answer.verdict {
        Verdict::Noted => {}
        Verdict::Refused(why) => return Err(MembersError::Refused(why)),
        Verdict::Done(_) | Verdict::Later => return Err(MembersError::Later),
    }
    let until = Instant::now() + FOUNDED_WITHIN;
    while Instant::now() < until {
        let asked = admin::ask(&contact, &config.cluster, &config.secret, &Question::Found).await;
        if asked.is_ok_and(|answer| answer.verdict == Verdict::Refused(Refusal::Founded)) {
            return Ok(output::print(&done(&contact, &missing))?);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Err(MembersError::Later)
}

fn warning(here: &[&ReplicaConfig], missing: &[&ReplicaConfig]) -> String {
    format!(
        "here: {}; missing: {}\n\
         Those who are here found the cluster. Should one that is missing hold the data of a cluster, it is refused by them,\n\
         and what it holds is in nobody's mailbox: go on only if none of them has ever served.\n",
        ids(here),
        ids(missing)
    )
}

fn done(contact: &str, missing: &[&ReplicaConfig]) -> String {
    let mut text = "the cluster is founded\n".to_owned();
    for replica in missing {
        text += &format!("later, on an empty folder: plainsong server -i {} --join {contact}\n", replica.id);
    }
    text
}

fn ids(replicas: &[&ReplicaConfig]) -> String {
    match replicas {
        [] => "none".to_owned(),
        some => some.iter().map(|replica| replica.id.to_string()).collect::<Vec<_>>().join(", "),
    }
}
