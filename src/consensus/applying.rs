//! Handing what is committed to the state: in order, never beyond what the own log holds durably, and never so much at
//! once that memory depends on how far the state is behind.

use super::{Duty, Entry, Index, Node, Reader, limits};

impl Node {
    /// Hands committed entries to the state: never beyond what the own log holds durably, and never so many that
    /// memory depends on how far the state is behind.
    pub(super) fn apply_committed(&mut self) {
        let until = self.commit.min(self.tickets.durable().index());
        while self.applying < until && !self.loading_for_state {
            if self.applying_bytes_sum >= limits::APPLYING_BYTES_MAX {
                return;
            }
            match self.log.entries(self.applying.next(), until, limits::APPLY_BATCH_BYTES) {
                Some(entries) => self.apply(entries),
                None => {
                    self.loading_for_state = true;
                    self.duties.push(Duty::Load(Reader::State, self.applying.next(), until));
                }
            }
        }
    }

    pub(super) fn apply(&mut self, entries: Vec<Entry>) {
        let last = entries.last().expect("the log gives at least one entry").index;
        self.applying = last;
        let bytes = entries.iter().map(Entry::size).sum();
        self.applying_bytes.push_back((last, bytes));
        self.applying_bytes_sum += bytes;
        self.duties.push(Duty::Apply(entries));
    }

    pub(super) fn loaded_for_state(&mut self, mut entries: Vec<Entry>) {
        self.loading_for_state = false;
        let until = self.commit.min(self.tickets.durable().index());
        entries.retain(|e| e.index <= until);
        if entries.first().is_some_and(|e| e.index == self.applying.next()) {
            self.apply(entries);
        }
    }

    pub(super) fn applied_to(&mut self, index: Index) {
        assert!(index <= self.applying, "the state has applied {index}, but was handed {}", self.applying);
        self.applied = self.applied.max(index);
        while let Some((_, bytes)) = self.applying_bytes.pop_front_if(|(last, _)| *last <= index) {
            self.applying_bytes_sum -= bytes;
        }
    }

    pub(super) fn trim(&mut self) {
        self.log.trim(self.applying.min(self.tickets.durable().index()), limits::WINDOW_BYTES);
    }
}
