//! A simulated disk: what was made durable, and nothing else.

use std::collections::BTreeMap;

use plainsong::consensus::{
    Batch, Body, Boot, Entry, FoundingState, HardState, Index, Member, Membership, Recovered, Run, Term, Views,
};

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct Disk {
    pub me: Member,
    pub boot: Boot,
    pub hard: HardState,
    pub founding: FoundingState,
    entries: Vec<Entry>,
    pub runs: BTreeMap<Member, Run>,
    pub views: Option<Views>,
}

impl Disk {
    /// The disk of a new data directory.
    pub fn blank(me: Member) -> Self {
        Self {
            me,
            boot: Boot(0),
            hard: HardState::default(),
            founding: FoundingState::Blank,
            entries: Vec::new(),
            runs: BTreeMap::new(),
            views: None,
        }
    }

    /// One transaction: the fields of a batch, in their order.
    pub fn write(&mut self, batch: &Batch) {
        if let Some(hard) = batch.hard_state {
            assert!(hard.term >= self.hard.term, "the term on the disk of {} falls", self.me);
            self.hard = hard;
        }
        if let Some(founding) = batch.founding {
            self.founding = founding;
        }
        if let Some(views) = &batch.views {
            self.views = Some(views.as_ref().clone());
        }
        if let Some(from) = batch.truncate_from {
            self.entries.truncate(position(from));
        }
        for entry in &batch.append {
            assert_eq!(entry.index, self.last().next(), "a gap on the disk of {}", self.me);
            self.entries.push(entry.clone());
        }
        self.runs.extend(batch.peer_runs.iter().copied());
    }

    /// Adds an entry, wherever it belongs: for a disk that only serves to read entries.
    pub fn write_unchecked(&mut self, entry: &Entry) {
        self.entries.push(entry.clone());
    }

    /// A start: counts it, and reports what is there.
    pub fn recover(&mut self, applied: Index) -> Recovered {
        self.boot = self.boot.next();
        assert!(applied <= self.last(), "the state of {} is ahead of its log", self.me);
        Recovered {
            me: self.me,
            boot: self.boot,
            hard_state: self.hard,
            founding: self.founding,
            term_starts: self.term_starts(),
            last: self.last(),
            last_time: self.entries.last().map_or(0, |e| e.time),
            memberships: self.memberships(),
            record: self.entries.first().and_then(|e| match &e.body {
                Body::Founding(record) => Some(record.clone()),
                _ => None,
            }),
            applied,
            peer_runs: self.runs.iter().map(|(m, r)| (*m, *r)).collect(),
            views: self.views.clone(),
        }
    }

    fn term_starts(&self) -> Vec<(Term, Index)> {
        let mut starts: Vec<(Term, Index)> = Vec::new();
        for entry in &self.entries {
            if starts.last().is_none_or(|&(term, _)| term < entry.term) {
                starts.push((entry.term, entry.index));
            }
        }
        starts
    }

    /// Every entry that changed the voters.
    pub fn memberships(&self) -> Vec<(Index, Membership)> {
        let change = |e: &Entry| match &e.body {
            Body::Founding(record) => Some(Membership { voters: record.members.clone(), removed: Vec::new() }),
            Body::Membership(membership) => Some(membership.clone()),
            Body::Noop | Body::Command(_) => None,
        };
        self.entries.iter().filter_map(|e| Some((e.index, change(e)?))).collect()
    }

    /// The last entry's index.
    pub fn last(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The entry at an index.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(position(index)).filter(|e| e.index == index)
    }

    /// The term of the entry at an index; 0 before the log.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == Index(0) { Some(Term(0)) } else { self.entry(index).map(|e| e.term) }
    }

    /// What a load gives: at most `count` entries.
    pub fn load(&self, from: Index, to: Index, count: usize) -> Vec<Entry> {
        self.entries.iter().skip(position(from)).take_while(|e| e.index <= to).take(count).cloned().collect()
    }
}

/// Entry 1 stands first.
fn position(index: Index) -> usize {
    usize::try_from(index.0.saturating_sub(1)).expect("a simulated log fits memory")
}
