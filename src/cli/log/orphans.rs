//! `plainsong log --orphans`: what a replica gave up, each entry as the log would print it. For which view, and when, goes to
//! standard error, before the entries that it is true of.

use std::io::Write;

use chat::Millis;

use super::filter::Filter;
use super::{output, print_entry};
use crate::cli::tool::ToolError;
use crate::storage::LogReader;

/// Read at a time.
const PAGE_ROWS: u64 = 1024;

/// Prints those that are wanted, in the order in which they were given up.
pub(super) fn print(log: &LogReader, filter: &Filter, out: &mut impl Write) -> Result<(), ToolError> {
    let (mut behind, mut told) = (0, None);
    loop {
        let page = log.orphans(behind, PAGE_ROWS)?;
        let Some(last) = page.last() else { break };
        behind = last.row;
        for orphan in page.iter().filter(|orphan| filter.wants(&orphan.entry)) {
            let why = (orphan.given_up_to, orphan.given_up_at);
            if told.replace(why) != Some(why) {
                out.flush()?;
                let at = Millis(orphan.given_up_at);
                output::tell(&format!("given up at {at}, because view {} goes on without it:", orphan.given_up_to));
            }
            print_entry(&orphan.entry, out)?;
        }
    }
    if told.is_none() {
        output::tell("nothing of that was given up by this replica");
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Batch, Body, Entry, GivenUp, Index, ReplicaId, Term, ViewId};
    use crate::storage;

    #[test]
    fn what_was_given_up_is_printed_as_the_log_would() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut opened = storage::open(folder.path(), ReplicaId(3), "plainsong").expect("a new folder");
        let entry = |(index, body)| Entry { index: Index(index), term: Term(4), time: 1_763_717_400_125, body };
        let append =
            vec![entry((1, Body::Noop)), entry((2, Body::Noop)), entry((3, Body::Command("+1.a0.7.41|a".into())))];
        opened.log.write(&[Batch { append, ..Batch::default() }]).expect("written");
        let given_up = Some(GivenUp { to: ViewId::NONE, at: 9, applied: false });
        let batch = Batch { truncate_from: Some(Index(2)), given_up, ..Batch::default() };
        opened.log.write(&[batch]).expect("written");

        let mut text = Vec::new();
        let log = LogReader::open(folder.path()).expect("opens");
        print(&log, &Filter { from: Some(3), ..Filter::default() }, &mut text).expect("it reads");
        assert_eq!(String::from_utf8_lossy(&text), "3|4|2025-11-21T09:30:00.125Z|+1.a0.7.41|a\n");
        print(&log, &Filter::default(), &mut text).expect("it reads");
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 3);
    }
}
