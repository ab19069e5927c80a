//! `plainsong rebuild`: what is damaged on one replica is made again, from its own log or from the others.
//!
//! Promises: the replica must be stopped; nothing is deleted, what is replaced is set aside; and the whole replica is given
//! up only when the others have just shown that they serve without it.

use std::io;
use std::path::Path;

use clap::{ArgGroup, Args};
use futures_util::future::join_all;

use super::progress::Progress;
use super::replay::cut;
use super::status::{self, Report};
use super::tool::{ArchiveArg, Consent, Source, ToolError};
use super::wire::Conversation;
use super::{load, output};
use crate::config::Config;
use crate::consensus::Index;
use crate::machine::MachineStorage as _;
use crate::storage::{DataDir, Goal, History, LogReader, Sources, StateStore, StateView, replay};

/// A read that nothing matches: whoever answers it has just asked a majority.
pub(super) const READ: &str = "0|^$";

/// `plainsong rebuild`
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct RebuildArgs {
    /// Whose files.
    #[command(flatten)]
    pub source: Source,
    /// And what was cut away from its log.
    #[command(flatten)]
    pub archive: ArchiveArg,
    /// The state alone, from the replica's own log
    #[arg(long, group = "what")]
    pub state: bool,
    /// All of it, from the other replicas: this one starts blank, and is filled by them
    #[arg(long, group = "what")]
    pub from_others: bool,
    /// Also when the others do not answer: what only this replica holds may be lost for good
    #[arg(long, requires = "from_others", conflicts_with = "state")]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Makes it again.
pub fn run(args: &RebuildArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    let archive = args.archive.locate(&args.source, config)?;
    let from = Sources { log: &dir, archive: archive.as_deref() };
    if args.from_others { from_others(args, &dir, config) } else { state(args, from) }
}

// --- the state -----------------------------------------------------------------------------------------------

fn state(args: &RebuildArgs, from: Sources<'_>) -> Result<(), ToolError> {
    let dir = from.log;
    let history = History::open(dir, from.archive)?;
    let log = history.log();
    let owner = log.owner()?;
    let mut files = DataDir::open(dir, owner.member.id)?;
    // What a state has applied is committed, also if it applied it wrongly. One that cannot be read tells nothing, and
    // what is not known to be committed must not be applied.
    let known = StateView::open(dir).ok().flatten().filter(|view| view.belongs_to(&owner));
    let known = known.map(|view| (view.store().applied(), view.store().digest()));
    let known = known.filter(|(applied, _)| *applied > Index(0) && *applied <= log.last().unwrap_or_default());
    let first = history.first()?;
    // What a start derives, it derives from the log alone.
    let is_cut = log.first()? > Index(1);
    if first > Index(1) || is_cut && known.is_none() {
        let why = format!("{}; `plainsong rebuild --from-others -i ID` has the others send a copy of it", cut(first));
        return Err(ToolError::Impossible(why));
    }
    output::tell(&format!("the state of replica {} is set aside, and derived again from its log", owner.member.id));
    Consent { word: "yes", given: args.yes }.ask()?;
    let derived = match known {
        None => None,
        Some((applied, digest)) => {
            let folder = tempfile::Builder::new().prefix("rebuilding-").tempdir_in(dir)?;
            let mut state = StateStore::create_scratch(folder.path(), &owner)?;
            let mut progress = Progress::new("rebuilding", applied.0);
            replay(from, &mut state, Goal::index(applied), &mut |index| progress.at(index.0))?;
            let found = state.digest();
            state.finish(folder.path())?;
            Some((folder, applied, digest, found))
        }
    };
    let aside = files.set_aside_state("rebuild")?;
    let mut report = format!("the old state is in {}\n", aside.display());
    match derived {
        None => report += "the new one is derived from the log when the replica starts\n",
        Some((folder, applied, old, new)) => {
            files.install_state(folder.path())?;
            report += &format!("the new one is as of entry {applied}, digest {new:016x}\n");
            if old != new {
                report += &format!("the old one had digest {old:016x}: it was not what the log gives\n");
            }
        }
    }
    Ok(output::print(&report)?)
}

// --- all of it -----------------------------------------------------------------------------------------------

fn from_others(args: &RebuildArgs, dir: &Path, config: &Path) -> Result<(), ToolError> {
    let Some(id) = args.source.id else {
        let what = "the others are found by the config: name the replica with -i, not its folder";
        return Err(ToolError::Impossible(what.to_owned()));
    };
    if !dir.exists() {
        return Err(crate::storage::StorageError::NoLog(dir.to_owned()).into());
    }
    let config = load(config, &args.source.data)?;
    let mut files = DataDir::open(dir, crate::consensus::ReplicaId(id))?;
    // A damaged log may tell neither.
    let log = LogReader::open(dir);
    let held = Held {
        cluster: log.as_ref().ok().and_then(|log| log.cluster().ok().flatten()).map(|cluster| cluster.to_string()),
        applied: StateView::open(dir).ok().flatten().map_or(Index(0), |view| view.store().applied()),
    };
    drop(log);
    let serves = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ask(&config, id, &held));
    match &serves {
        Ok(told) => output::tell(told),
        Err(why) if args.force => output::tell(&format!("{why}. Going on all the same, as --force says")),
        Err(why) => return Err(ToolError::Unavailable(format!("nothing was changed: {why}"))),
    }
    output::tell(&format!(
        "all files of replica {id} are set aside in {}; when it starts, it is blank, and filled from the others",
        dir.display()
    ));
    Consent { word: "yes", given: args.yes }.ask()?;
    let aside = files.set_aside("rebuild")?;
    Ok(output::print(&format!("the old files are in {}\nnow: plainsong server -i {id}\n", aside.display()))?)
}

/// What this replica's own files say.
#[derive(Debug)]
struct Held {
    cluster: Option<String>,
    applied: Index,
}

/// What another replica said, after it has answered a read.
#[derive(Debug)]
struct Said {
    cluster: String,
    report: Report,
}

/// Whether the others serve without this one: the sentence that says so, or why not.
async fn ask(config: &Config, id: u16, held: &Held) -> Result<String, String> {
    let others: Vec<_> = config.replicas.iter().filter(|replica| replica.id != id).collect();
    let answers = join_all(others.iter().map(|replica| said(replica.client_address()))).await;
    judge(id, held, answers.into_iter().flatten().max_by_key(|said| said.report.term))
}

async fn said(address: String) -> io::Result<Said> {
    let mut conversation = Conversation::open(&address).await?;
    let answer = conversation.ask(READ).await?;
    if !answer.last().is_some_and(|line| line.starts_with("ok|")) {
        return Err(io::Error::other("it serves no reads"));
    }
    let report = status::ask(&mut conversation).await?;
    Ok(Said { cluster: conversation.cluster_id.clone(), report })
}

/// The pure half of [`ask`]. `best`: of those that have answered a read, the one of the newest term.
fn judge(id: u16, held: &Held, best: Option<Said>) -> Result<String, String> {
    let Some(Said { cluster, report }) = best else {
        return Err("none of the other replicas serves: without a majority of them this one's files may be the last \
                    copy of something"
            .to_owned());
    };
    if held.cluster.as_ref().is_some_and(|own| *own != cluster) {
        let own = held.cluster.as_deref().unwrap_or_default();
        return Err(format!("the others are cluster {cluster}, this replica's files are of cluster {own}"));
    }
    let Some(leader) = report.leader.filter(|leader| *leader != id) else {
        return Err("the others know no leader but this replica: ask again in a second".to_owned());
    };
    let applied = report.applied(leader).unwrap_or(0);
    if Index(applied) < held.applied {
        let own = held.applied;
        return Err(format!("the leader, replica {leader}, has applied {applied} entries, this replica {own}"));
    }
    let warning = match report.survives {
        0 => ". Until this replica has caught up, one more failure stops them",
        _ => "",
    };
    Ok(format!("the others serve without it: replica {leader} leads, and has applied {applied} entries{warning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        Held { cluster: Some("00ff".to_owned()), applied: Index(40) }
    }

    fn said(leader: u16, applied: u64, survives: u64, cluster: &str) -> Option<Said> {
        let answer = [
            format!("replica|1|leader|127.0.0.1:5001|up|{applied}|0"),
            "replica|2|follower|127.0.0.1:5002|down|3|37".to_owned(),
            format!("ok|status|3|{leader}|7|{survives}"),
        ];
        Some(Said { cluster: cluster.to_owned(), report: Report::parse(&answer).expect("a status") })
    }

    #[test]
    fn a_replica_is_given_up_only_beside_others_that_serve_the_same_without_it() {
        assert!(judge(2, &held(), said(1, 40, 1, "00ff")).expect("they serve").contains("replica 1 leads"));
        assert!(judge(2, &held(), said(1, 40, 0, "00ff")).expect("they serve").contains("one more failure"));
        for (said, why) in [
            (None, "none of the other replicas serves"),
            (said(1, 40, 1, "0bad"), "cluster 0bad"),
            (said(2, 40, 1, "00ff"), "no leader"),
            (said(0, 40, 1, "00ff"), "no leader"),
            (said(1, 39, 1, "00ff"), "has applied 39 entries, this replica 40"),
        ] {
            let refused = judge(2, &held(), said).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
        let unreadable = Held { cluster: None, applied: Index(0) };
        assert!(judge(2, &unreadable, said(1, 40, 1, "00ff")).is_ok());
    }
}
