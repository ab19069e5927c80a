//! A second judge of linearizability, which knows no index: a few requests on one mailbox at a time, when each began and
//! ended, and a search through all orders for one that explains what was seen (Wing and Gong, 1993).
//!
//! The object is the simplest there is: a list that grows at its end and is read whole.

use std::collections::HashSet;

use super::ensure;
use crate::sim::world::Time;

/// A history is judged when it has so many operations; the search is exponential in what overlaps.
const OPS_MAX: usize = 14;

/// What was done to the list.
#[derive(Clone, Debug)]
enum What {
    Append(usize),
    Read(Vec<usize>),
}

/// One operation: `end` is `None` while nobody knows what became of it.
#[derive(Clone, Debug)]
struct Step {
    begin: Time,
    end: Option<Time>,
    what: Option<What>,
}

/// The mailbox under observation.
#[derive(Clone, Debug)]
struct Witness {
    name: String,
    account: u64,
    steps: Vec<Step>,
}

/// See the module's header.
#[derive(Default)]
pub struct History {
    open: Option<Witness>,
    /// Full, but some operations have not ended.
    closing: Vec<(u64, Witness)>,
    generation: u64,
    pub judged: u64,
}

/// Which operation of which witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    generation: u64,
    step: usize,
}

impl History {
    /// A fresh, empty mailbox.
    pub fn observe(&mut self, name: &str, account: u64) {
        if self.open.is_none() {
            self.generation += 1;
            self.open = Some(Witness { name: name.to_owned(), account, steps: Vec::new() });
        }
    }

    /// The mailbox to send to and to read.
    pub fn witness(&self) -> Option<(&str, u64)> {
        self.open.as_ref().map(|w| (w.name.as_str(), w.account))
    }

    /// An append of request `op` begins.
    pub fn appends(&mut self, op: usize, now: Time) -> Option<Token> {
        self.begins(now, Some(What::Append(op)))
    }

    /// A read begins.
    pub fn reads(&mut self, now: Time) -> Option<Token> {
        self.begins(now, None)
    }

    fn begins(&mut self, begin: Time, what: Option<What>) -> Option<Token> {
        let witness = self.open.as_mut()?;
        witness.steps.push(Step { begin, end: None, what });
        let token = Token { generation: self.generation, step: witness.steps.len() - 1 };
        if witness.steps.len() >= OPS_MAX {
            self.closing.extend(self.open.take().map(|w| (self.generation, w)));
        }
        Some(token)
    }

    fn step(&mut self, token: Token) -> Option<&mut Step> {
        if token.generation == self.generation
            && let Some(open) = &mut self.open
        {
            return open.steps.get_mut(token.step);
        }
        let closing = self.closing.iter_mut().find(|(generation, _)| *generation == token.generation);
        closing.and_then(|(_, witness)| witness.steps.get_mut(token.step))
    }

    /// An append was acknowledged.
    pub fn appended(&mut self, token: Token, now: Time) {
        if let Some(step) = self.step(token) {
            step.end = Some(now);
        }
    }

    /// A read gave these requests' texts.
    pub fn read(&mut self, token: Token, now: Time, seen: Vec<usize>) {
        if let Some(step) = self.step(token) {
            (step.end, step.what) = (Some(now), Some(What::Read(seen)));
        }
    }

    /// It certainly did not happen.
    pub fn never(&mut self, token: Token, now: Time) {
        if let Some(step) = self.step(token) {
            (step.end, step.what) = (Some(now), None);
        }
    }

    /// The world is at rest: nothing will end that has not.
    pub fn close(&mut self) {
        self.closing.extend(self.open.take().map(|w| (self.generation, w)));
        for (_, witness) in std::mem::take(&mut self.closing) {
            self.judge(&witness);
        }
    }

    fn judge(&mut self, witness: &Witness) {
        // A read without an answer says nothing; what never happened has no place in any order.
        let steps: Vec<&Step> = witness.steps.iter().filter(|s| s.what.is_some()).collect();
        let explained = Search { steps: &steps, seen: HashSet::new() }.explains(0, &mut Vec::new());
        ensure!(Linearizable, explained, "no order explains what was seen of {}: {:#?}", witness.name, witness.steps);
        self.judged += 1;
    }
}

struct Search<'a> {
    steps: &'a [&'a Step],
    seen: HashSet<(u32, Vec<usize>)>,
}

impl Search<'_> {
    /// Whether what is not in `done` can follow a list.
    fn explains(&mut self, done: u32, list: &mut Vec<usize>) -> bool {
        let left = || (0..self.steps.len()).filter(|at| done & (1 << at) == 0);
        // Whoever has not ended need not have happened.
        if left().all(|at| self.steps[at].end.is_none()) {
            return true;
        }
        // A list only grows: what some read saw begins with it. Without a read nothing contradicts the appends.
        let mut reads = left().filter_map(|at| match &self.steps[at].what {
            Some(What::Read(seen)) => Some(seen),
            Some(What::Append(_)) | None => None,
        });
        let Some(first) = reads.next() else { return true };
        if !first.starts_with(list) || reads.any(|seen| !seen.starts_with(list)) {
            return false;
        }
        if !self.seen.insert((done, list.clone())) {
            return false;
        }
        let first_end = left().filter_map(|at| self.steps[at].end).min().unwrap_or(Time::MAX);
        for at in left().filter(|at| self.steps[*at].begin <= first_end).collect::<Vec<_>>() {
            match &self.steps[at].what {
                Some(What::Append(op)) => {
                    list.push(*op);
                    if self.explains(done | 1 << at, list) {
                        return true;
                    }
                    list.pop();
                }
                Some(What::Read(seen)) if seen == list => {
                    if self.explains(done | 1 << at, list) {
                        return true;
                    }
                }
                Some(What::Read(_)) | None => {}
            }
        }
        false
    }
}
