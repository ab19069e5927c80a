//! Handing what is committed to the state: in order, never beyond what the own log holds durably, and never so much at
//! once that memory depends on how far the state is behind.

use std::collections::VecDeque;

use crate::consensus::{Duty, Entry, Index, Reader, limits};

use super::Node;

/// What the state was handed, and what it has applied.
#[derive(Clone, Debug)]
pub(super) struct Applying {
    handed: Index,
    applied: Index,
    /// (last index, bytes) of each hand-over that is not applied, and the sum.
    out: VecDeque<(Index, usize)>,
    out_bytes: usize,
    loading: bool,
}

impl Applying {
    pub(super) fn new(applied: Index) -> Self {
        Self { handed: applied, applied, out: VecDeque::new(), out_bytes: 0, loading: false }
    }

    pub(super) fn handed(&self) -> Index {
        self.handed
    }

    pub(super) fn applied(&self) -> Index {
        self.applied
    }

    fn hand(&mut self, entries: &[Entry]) {
        self.handed = entries.last().expect("a hand-over has at least one entry").index;
        let bytes = entries.iter().map(Entry::size).sum();
        self.out.push_back((self.handed, bytes));
        self.out_bytes += bytes;
    }

    pub(super) fn applied_to(&mut self, index: Index) {
        assert!(index <= self.handed, "the state has applied {index}, but was handed {}", self.handed);
        self.applied = self.applied.max(index);
        while let Some((_, bytes)) = self.out.pop_front_if(|(last, _)| *last <= index) {
            self.out_bytes -= bytes;
        }
    }
}

impl Node {
    pub(super) fn apply_committed(&mut self) {
        let until = self.commit.min(self.tickets.durable().index());
        while self.applying.handed < until
            && !self.applying.loading
            && self.applying.out_bytes < limits::APPLYING_BYTES_MAX
        {
            let from = self.applying.handed.next();
            match self.log.entries(from, until, limits::APPLY_BATCH_BYTES) {
                Some(entries) => self.apply(entries),
                None => {
                    self.applying.loading = true;
                    self.duties.push(Duty::Load(Reader::State, from, until));
                }
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        self.applying.hand(&entries);
        self.duties.push(Duty::Apply(entries));
    }

    pub(super) fn loaded_for_state(&mut self, mut entries: Vec<Entry>) {
        self.applying.loading = false;
        let until = self.commit.min(self.tickets.durable().index());
        entries.retain(|e| e.index <= until);
        if entries.first().is_some_and(|e| e.index == self.applying.handed.next()) {
            self.apply(entries);
        }
    }
}
