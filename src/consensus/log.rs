//! The log as the core sees it: a summary of all of it, and the entries of its end.
//!
//! Memory does not grow with history. What is kept of the whole log is where each term starts, which answers "which term
//! has entry i" for any i, and the changes of membership; of the entries themselves only a window at the end is kept.
//! Older ones are read back from the store when a follower needs them.
//!
//! Invariants, asserted where they could break:
//! - entries are contiguous, terms and times never fall along the log;
//! - the window is a contiguous tail of the log (or empty);
//! - `term_starts` describes exactly the entries from the base to `last`, `memberships` the voters at each of them;
//! - nothing up to the base is ever asked for, truncated or compared: it is committed, and its entries are gone.

use std::collections::VecDeque;

use super::{Body, Entry, Index, Member, Membership, Recovered, Term};

/// The log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The last entry that is not kept, and its term: see [`super::Base`].
    base: (Index, Term),
    last: Index,
    last_time: u64,
    term_starts: Vec<(Term, Index)>,
    memberships: Vec<(Index, Membership)>,
    window: VecDeque<Entry>,
    window_bytes: usize,
}

impl Log {
    /// The log as found on disk, with an empty window.
    pub fn recovered(recovered: &Recovered) -> Self {
        let base = (recovered.base.index, recovered.base.term);
        Self {
            base,
            last: recovered.last,
            last_time: recovered.last_time,
            term_starts: terms_behind(base, &recovered.term_starts),
            memberships: recovered.memberships.clone(),
            window: VecDeque::new(),
            window_bytes: 0,
        }
    }

    /// The last entry that is not kept; 0 while the log is whole.
    pub fn base(&self) -> Index {
        self.base.0
    }

    /// That entry's term.
    pub fn base_term(&self) -> Term {
        self.base.1
    }

    /// Keeps nothing up to `index`, which must be in the log.
    pub fn cut(&mut self, index: Index) {
        let term =
            self.term_at(index).unwrap_or_else(|| panic!("the log {self:?} is cut at {index}, which is not in it"));
        self.base = (index, term);
        self.term_starts = terms_behind(self.base, &self.term_starts);
        while self.window.front().is_some_and(|e| e.index <= index) {
            let dropped = self.window.pop_front().expect("there is a front");
            self.window_bytes -= dropped.size();
        }
    }

    /// The last entry's index.
    pub fn last(&self) -> Index {
        self.last
    }

    /// The last entry's term.
    pub fn last_term(&self) -> Term {
        self.term_starts.last().map_or(Term(0), |&(term, _)| term)
    }

    /// The last entry's time.
    pub fn last_time(&self) -> u64 {
        self.last_time
    }

    /// The term of the entry at `index`; 0 before the first of all, `None` behind the log's end, and before its base.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last || index < self.base.0 {
            return None;
        }
        let behind = self.term_starts.partition_point(|&(_, first)| first <= index);
        Some(behind.checked_sub(1).map_or(Term(0), |at| self.term_starts[at].0))
    }

    /// The highest index up to `from` whose term is at most `term`: where two logs may still agree, if one has `term`
    /// at `from`. One refusal skips a whole term (Raft dissertation, section 3.5; as etcd does it). 0 if that is before
    /// the base.
    pub fn highest_with_term_at_most(&self, term: Term, from: Index) -> (Index, Term) {
        let mut index = from.min(self.last);
        for &(start_term, first) in self.term_starts.iter().rev() {
            if first > index {
                continue;
            }
            if start_term <= term {
                return (index, start_term);
            }
            index = first.prev();
        }
        (Index(0), Term(0))
    }

    /// Whether a log that ends with (`last_term`, `last`) holds everything that this one may have committed.
    pub fn is_at_most(&self, last_term: Term, last: Index) -> bool {
        (self.last_term(), self.last) <= (last_term, last)
    }

    /// The membership in force: the newest in the log, committed or not.
    pub fn membership(&self) -> Option<(Index, &Membership)> {
        self.memberships.last().map(|(index, membership)| (*index, membership))
    }

    /// The voters in force.
    pub fn voters(&self) -> &[Member] {
        self.memberships.last().map_or(&[], |(_, membership)| &membership.voters)
    }

    /// The newest membership that is committed, if everything up to `commit` is.
    pub fn committed_membership(&self, commit: Index) -> Option<&Membership> {
        self.memberships.iter().rev().find(|(index, _)| *index <= commit).map(|(_, membership)| membership)
    }

    /// Appends one entry.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last.next(), "the log ends at {}: entry {} leaves a gap", self.last, entry.index);
        assert!(entry.term >= self.last_term(), "entry {}: term {} falls", entry.index, entry.term);
        assert!(entry.time >= self.last_time, "entry {}: time {} falls", entry.index, entry.time);
        if self.term_starts.last().is_none_or(|&(term, _)| term < entry.term) {
            self.term_starts.push((entry.term, entry.index));
        }
        if let Some(membership) = membership_of(&entry, self.memberships.last().map(|(_, m)| m)) {
            self.memberships.push((entry.index, membership));
        }
        self.last = entry.index;
        self.last_time = entry.time;
        self.window_bytes += entry.size();
        self.window.push_back(entry);
    }

    /// Drops the entry at `from` and all behind it. `time_before` is not known here when the window does not reach
    /// back that far; then the time before is left as it was, which only makes later times no earlier.
    pub fn truncate_from(&mut self, from: Index) {
        assert!(from > Index(1), "the founding record is never truncated");
        assert!(from > self.base.0, "the log begins behind {}: it cannot be truncated from {from}", self.base.0);
        while self.window.back().is_some_and(|e| e.index >= from) {
            let dropped = self.window.pop_back().expect("there is a back");
            self.window_bytes -= dropped.size();
        }
        self.term_starts.retain(|&(_, first)| first < from);
        self.memberships.retain(|&(index, _)| index < from);
        self.last = self.last.min(from.prev());
        if let Some(entry) = self.window.back() {
            self.last_time = entry.time;
        }
    }

    /// Lowers the time of the last entry after a truncation that went behind the window: the sender of the entries
    /// that follow has them in order, so its own first time is a lower bound for what may follow.
    pub fn allow_time(&mut self, time: u64) {
        if self.window.is_empty() {
            self.last_time = self.last_time.min(time);
        }
    }

    /// Entries from `from` to `to`, both included, at least one and then no more than `bytes_max`. `None` if the
    /// window does not reach back to `from`.
    pub fn entries(&self, from: Index, to: Index, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.window.front()?.index;
        if from < first || from > self.last {
            return None;
        }
        let mut bytes = 0;
        let skip = usize::try_from(from.0 - first.0).expect("the window fits memory");
        let taken = self
            .window
            .iter()
            .skip(skip)
            .take_while(|e| {
                let fits = bytes == 0 || bytes + e.size() <= bytes_max;
                bytes += e.size();
                e.index <= to && fits
            })
            .cloned()
            .collect();
        Some(taken)
    }

    /// Forgets entries of the window's front that are not behind `needed_after`, until it fits `bytes_max`.
    pub fn trim(&mut self, needed_after: Index, bytes_max: usize) {
        while self.window_bytes > bytes_max && self.window.front().is_some_and(|e| e.index <= needed_after) {
            let dropped = self.window.pop_front().expect("there is a front");
            self.window_bytes -= dropped.size();
        }
    }

    /// How many bytes of entries the window holds.
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }
}

/// The terms of a log that begins behind `base`.
fn terms_behind(base: (Index, Term), starts: &[(Term, Index)]) -> Vec<(Term, Index)> {
    let own = (base.0 > Index(0)).then_some((base.1, base.0));
    own.into_iter().chain(starts.iter().copied().filter(|&(_, first)| first > base.0)).collect()
}

/// The membership an entry puts in force, given the one before it.
pub fn membership_of(entry: &Entry, before: Option<&Membership>) -> Option<Membership> {
    match &entry.body {
        Body::Founding(founding) => {
            assert!(before.is_none() && entry.index == Index(1), "a second founding at {}", entry.index);
            Some(Membership { voters: founding.members.clone(), ..Membership::default() })
        }
        Body::Membership(membership) => Some(membership.clone()),
        Body::Noop | Body::Command(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::default();
        for (at, &term) in terms.iter().enumerate() {
            let index = Index(at as u64 + 1);
            log.append(Entry { index, term: Term(term), time: 10 * index.0, body: Body::Noop });
        }
        log
    }

    #[test]
    fn the_term_of_any_entry_is_known_without_its_entry() {
        let mut log = log(&[0, 1, 1, 4, 4, 5]);
        log.trim(Index(6), 0);
        let terms: Vec<_> = (0..8).map(|i| log.term_at(Index(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [Some(0), Some(0), Some(1), Some(1), Some(4), Some(4), Some(5), None]);
    }

    #[test]
    fn of_what_was_cut_only_the_base_is_known() {
        let mut log = log(&[0, 1, 1, 4, 4, 5]);
        log.cut(Index(4));
        let terms: Vec<_> = (0..8).map(|i| log.term_at(Index(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [None, None, None, None, Some(4), Some(4), Some(5), None]);
        assert_eq!(log.entries(Index(4), Index(6), usize::MAX), None);
        assert_eq!(log.entries(Index(5), Index(6), usize::MAX).map(|e| e.len()), Some(2));
        assert_eq!(log.highest_with_term_at_most(Term(3), Index(6)), (Index(0), Term(0)), "before the base");
        assert_eq!(log.highest_with_term_at_most(Term(4), Index(9)), (Index(5), Term(4)));
        log.cut(Index(6));
        assert_eq!((log.last(), log.last_term()), (Index(6), Term(5)));
        log.append(Entry { index: Index(7), term: Term(5), time: 70, body: Body::Noop });
        assert_eq!(log.term_at(Index(7)), Some(Term(5)));
    }

    #[test]
    fn a_hint_skips_whole_terms() {
        let log = log(&[0, 1, 1, 4, 4, 5]);
        assert_eq!(log.highest_with_term_at_most(Term(3), Index(6)), (Index(3), Term(1)));
        assert_eq!(log.highest_with_term_at_most(Term(4), Index(9)), (Index(5), Term(4)));
        assert_eq!(log.highest_with_term_at_most(Term(9), Index(2)), (Index(2), Term(1)));
        assert_eq!(log.highest_with_term_at_most(Term(0), Index(6)), (Index(1), Term(0)));
    }

    #[test]
    fn truncation_takes_terms_and_times_back() {
        let mut log = log(&[0, 1, 1, 4, 4, 5]);
        log.truncate_from(Index(4));
        assert_eq!((log.last(), log.last_term(), log.last_time()), (Index(3), Term(1), 30));
        log.append(Entry { index: Index(4), term: Term(6), time: 30, body: Body::Noop });
        assert_eq!(log.term_at(Index(4)), Some(Term(6)));
    }

    #[test]
    fn the_window_gives_at_least_one_entry_and_respects_its_bounds() {
        let mut log = log(&[0, 1, 1, 4]);
        let one = log.entries(Index(2), Index(4), 1).expect("in the window");
        assert_eq!(one.len(), 1);
        let three = log.entries(Index(2), Index(3), usize::MAX).expect("in the window");
        assert_eq!(three.iter().map(|e| e.index.0).collect::<Vec<_>>(), [2, 3]);
        log.trim(Index(2), 0);
        assert_eq!(log.entries(Index(2), Index(4), 1), None, "trimmed");
        assert!(log.entries(Index(3), Index(4), 1).is_some(), "needed");
    }
}
