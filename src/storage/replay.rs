//! The log into a state, offline: one thread reads and checks entries, another applies them.
//!
//! For the operator's tools. The log is only read, also beside the replica that writes it; the state is one that nobody
//! serves.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::error::StorageError;
use super::log::{Checker, LogReader};
use super::state::StateStore;
use crate::consensus::{Entry, Index};
use crate::machine::{self, MachineStorage as _};

/// What is read at a time.
const PAGE_BYTES: usize = 1 << 20;
/// Pages that wait to be applied: the reader is ahead by no more.
const PAGES_AHEAD: usize = 8;
/// A transaction of the state takes so many entries: a scratch state has no fsync to spread, but rows to write together.
const ENTRIES_PER_COMMIT: u64 = 1 << 15;

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// No entry behind this one is read.
    pub read_to: Index,
    /// No entry behind this one is applied.
    pub apply_to: Index,
    /// No entry of a later time is applied, in Unix milliseconds.
    pub until: u64,
}

impl Goal {
    /// Everything up to an entry.
    pub fn index(index: Index) -> Self {
        Self { read_to: index, apply_to: index, until: u64::MAX }
    }

    fn includes(&self, entry: &Entry) -> bool {
        entry.index <= self.apply_to && entry.time <= self.until
    }
}

/// What is read on the way: each page is told of once it was applied.
pub type Progress<'a> = &'a mut dyn FnMut(Index);

/// Checks the entries behind the state's last up to the goal, and applies those that the goal includes. `tell` hears how
/// far it is.
///
/// The state is committed at the end; after an error it is worth nothing.
pub fn replay(log: &Path, state: &mut StateStore, goal: Goal, tell: Progress<'_>) -> Result<(), StorageError> {
    let from = state.applied().next();
    let (pages, queue) = sync_channel(PAGES_AHEAD);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(log, from, goal, &pages));
        let applied = apply(state, goal, queue, tell);
        // The queue is dropped by now: a reader that is still at work ends.
        let read = reader.join().expect("the reader does not panic");
        // Damage of the log is what made the state end early.
        applied.and(read)
    })
}

fn read(log: &Path, from: Index, goal: Goal, pages: &SyncSender<Vec<Entry>>) -> Result<(), StorageError> {
    let log = LogReader::open(log)?;
    let mut checker = Checker::default();
    let mut next = from;
    while next <= goal.read_to {
        let entries = log.read(next, goal.read_to, PAGE_BYTES)?;
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return Err(StorageError::Damaged { index: next, what: "it is missing" });
        };
        if entries[0].index != next {
            return Err(StorageError::CutMeanwhile(next));
        }
        entries.iter().try_for_each(|entry| checker.see(entry))?;
        next = last.next();
        let done = !entries.iter().any(|entry| goal.includes(entry)) && goal.read_to == goal.apply_to;
        if pages.send(entries).is_err() || done {
            // The other side failed, and says why; or there is no more that it wants.
            return Ok(());
        }
    }
    // A part of the log begins in the middle of a term.
    if from == log.first()? { log.compare_lists(&checker, goal.read_to) } else { Ok(()) }
}

fn apply(
    state: &mut StateStore,
    goal: Goal,
    pages: Receiver<Vec<Entry>>,
    tell: Progress<'_>,
) -> Result<(), StorageError> {
    let mut effects = Vec::new();
    let mut open = 0;
    for page in pages {
        for entry in page.iter().filter(|entry| goal.includes(entry)) {
            if open == 0 {
                state.begin()?;
            }
            machine::apply(state, entry, &mut effects)?;
            open += 1;
        }
        effects.clear();
        if open >= ENTRIES_PER_COMMIT {
            state.commit()?;
            open = 0;
        }
        tell(page.last().map_or(Index(0), |entry| entry.index));
    }
    if open > 0 { state.commit() } else { Ok(()) }
}
