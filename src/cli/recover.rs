//! `plainsong recover --force`: a cluster of one out of the one disk that is left of a majority.
//!
//! What it does to the log is decided in `consensus::refounding`, which has the reasons. One transaction does it all: after
//! a crash in between, the replica is what it was, or what it was to be.

use std::path::Path;

use chat::Millis;
use clap::Args;

use super::output;
use super::tool::{Consent, Source, ToolError};
use crate::consensus::{ClusterId, Index, Member, Recovered, refound};
use crate::storage::{self, LogReader};

/// `plainsong recover`
#[derive(Args, Debug)]
pub struct RecoverArgs {
    /// Whose files.
    #[command(flatten)]
    pub source: Source,
    /// The majority is lost for good: nothing less is a reason
    #[arg(long, required = true)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Says what is lost, asks, and founds the cluster anew.
pub fn run(args: &RecoverArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    let owner = LogReader::open(&dir)?.owner()?;
    let mut opened = storage::open(&dir, owner.member.id, &owner.cluster)?;
    let random = getrandom::u64().map_err(|_| ToolError::Impossible("no random numbers to be had".to_owned()))?;
    let now = Millis::from_system_time(std::time::SystemTime::now());
    let batch = refound(&opened.recovered, now.0, ClusterId(random))
        .map_err(|error| ToolError::Impossible(error.to_string()))?;
    output::tell_lines(&warning(&opened.recovered, &owner.cluster));
    Consent { word: &owner.cluster, given: args.yes }.ask()?;
    opened.log.write(&[batch])?;
    let me = opened.recovered.me.id;
    Ok(output::print(&format!(
        "replica {me} is a cluster of its own: {}\n\
         start it, then start each other replica on an empty folder: it is filled, and votes again\n",
        ClusterId(random)
    ))?)
}

fn warning(disk: &Recovered, name: &str) -> String {
    let Recovered { me, last, applied, .. } = *disk;
    let term = disk.term_starts.last().map_or(0, |(term, _)| term.0);
    let empty = Vec::new();
    let voters = disk.memberships.last().map_or(&empty, |(_, membership)| &membership.voters);
    let others: Vec<String> = voters.iter().filter(|voter| **voter != me).map(Member::to_string).collect();
    let mut text = format!(
        "replica {me} of cluster {name} is to go on alone, as a cluster with a new id.\n\
         It holds entries up to {last}, of term {term}. What was acknowledged behind that is lost.\n"
    );
    if !voters.contains(&me) {
        text += "It did not vote: it may lack much of what was acknowledged. Is there no other disk?\n";
    }
    if applied < last {
        let from = Index(applied.0 + 1);
        text += &format!(
            "It applied them up to {applied}. Entries {from} to {last} may never have been acknowledged; they stay.\n"
        );
    }
    text += &match others.is_empty() {
        true => "No other replica votes.\n".to_owned(),
        false => format!(
            "Left behind: {}. Should they come back with their disks, they are refused; with empty ones they join.\n\
             If a majority of them is only out of reach, do not go on: there would be two clusters.\n",
            others.join(", ")
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Batch, Body, Entry, Founding, FoundingState, Incarnation, Mode, ReplicaId, Term};
    use crate::machine::apply;

    fn args(dir: &Path) -> RecoverArgs {
        let source = Source { folder: Some(dir.to_owned()), ..Source::default() };
        RecoverArgs { source, force: true, yes: true }
    }

    /// A replica 1 of three, with four entries, of which three are applied.
    fn founded(dir: &Path) -> Member {
        let mut opened = storage::open(dir, ReplicaId(1), "choir").expect("a new folder");
        let me = opened.recovered.me;
        let other = |id| Member { id: ReplicaId(id), incarnation: Incarnation(id.into()) };
        let members = vec![me, other(2), other(3)];
        let record = Founding { cluster: ClusterId(0xc0ffee), mode: Mode::Quorum, members };
        let bodies = [(0, Body::Founding(record)), (1, Body::Noop), (1, Body::Noop), (2, Body::Noop)];
        let entry = |((term, body), index)| Entry { index: Index(index), term: Term(term), time: 7, body };
        let append: Vec<Entry> = bodies.into_iter().zip(1..).map(entry).collect();
        opened.state.begin().expect("a transaction");
        for entry in &append[..3] {
            apply(&mut opened.state, entry, &mut Vec::new()).expect("it applies");
        }
        let founding = Some(FoundingState::Sealed);
        opened.log.write(&[Batch { founding, append, ..Batch::default() }]).expect("written");
        opened.state.commit().expect("written");
        me
    }

    #[test]
    fn the_disk_of_a_recovered_replica_says_so_ever_after() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let me = founded(folder.path());
        run(&args(folder.path()), Path::new("none")).expect("recovered");
        let found = storage::open(folder.path(), ReplicaId(1), "choir").expect("it opens").recovered;
        assert_eq!((found.me, found.last, found.applied), (me, Index(5), Index(3)));
        assert_eq!(found.hard_state.term, Term(3));
        let (index, membership) = found.memberships.last().expect("two");
        assert_eq!((*index, &membership.voters[..]), (Index(5), &[me][..]));
        assert_eq!(membership.removed.iter().map(|member| member.id.0).collect::<Vec<_>>(), [2, 3]);
        let first = found.cluster.expect("a new id");
        assert_ne!(Some(first), found.record.map(|record| record.cluster));
        // And again, should it come to that.
        run(&args(folder.path()), Path::new("none")).expect("recovered");
        let found = storage::open(folder.path(), ReplicaId(1), "choir").expect("it opens").recovered;
        assert_eq!(found.hard_state.term, Term(4));
        assert_ne!(found.cluster, Some(first));
    }

    #[test]
    fn what_may_be_lost_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        founded(folder.path());
        let found = storage::open(folder.path(), ReplicaId(1), "choir").expect("it opens").recovered;
        let said = warning(&found, "choir");
        for part in ["up to 4, of term 2", "Entries 4 to 4 may never", "Left behind: 2.2, 3.3."] {
            assert!(said.contains(part), "{said}");
        }
        let learner = Recovered { me: Member { id: ReplicaId(1), incarnation: Incarnation(9) }, ..found };
        assert!(warning(&learner, "choir").contains("It did not vote"));
    }

    #[test]
    fn a_blank_replica_has_nothing_to_recover_and_one_that_runs_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let opened = storage::open(folder.path(), ReplicaId(1), "choir").expect("a new folder");
        let error = run(&args(folder.path()), Path::new("none")).expect_err("in use");
        assert_eq!(error.exit(), crate::cli::Exit::Temporary, "{error}");
        drop(opened);
        let error = run(&args(folder.path()), Path::new("none")).expect_err("blank");
        assert!(error.to_string().contains("nothing to recover"), "{error}");
    }
}
