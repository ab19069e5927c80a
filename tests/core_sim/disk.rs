//! A simulated disk: what was made durable, and nothing else.

use std::collections::BTreeMap;

use plainsong::consensus::{
    Base, Batch, Body, Boot, ClusterId, Entry, FoundingState, HardState, Index, Mark, Member, Membership, Recovered,
    Run, Snapshot, Term, ViewId, Views,
};

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct Disk {
    pub me: Member,
    pub boot: Boot,
    pub hard: HardState,
    pub founding: FoundingState,
    /// Where it is not the founding record's.
    pub cluster: Option<ClusterId>,
    /// Where the log begins: behind this.
    pub base: Base,
    /// What names voters up to the base.
    named: Vec<Entry>,
    entries: Vec<Entry>,
    pub runs: BTreeMap<Member, Run>,
    pub views: Option<Views>,
    /// What was given up, and for which view.
    pub orphans: Vec<(ViewId, Entry)>,
    /// A state that has applied this entry is void.
    pub void: Option<Index>,
}

impl Disk {
    /// The disk of a new data directory.
    pub fn blank(me: Member) -> Self {
        Self {
            me,
            boot: Boot(0),
            hard: HardState::default(),
            founding: FoundingState::Blank,
            cluster: None,
            base: Base::default(),
            named: Vec::new(),
            entries: Vec::new(),
            runs: BTreeMap::new(),
            views: None,
            orphans: Vec::new(),
            void: None,
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
        self.cluster = batch.cluster.or(self.cluster);
        if let Some(from) = batch.truncate_from {
            assert!(from > self.base.index, "{} truncates from {from}, behind its base", self.me);
            let dropped = self.entries.split_off(self.position(from).min(self.entries.len()));
            if let Some(given_up) = batch.given_up {
                self.orphans.extend(dropped.into_iter().map(|entry| (given_up.to, entry)));
                self.void = self.void.or(Some(from).filter(|_| given_up.applied));
            }
        }
        for entry in &batch.append {
            assert_eq!(entry.index, self.last().next(), "a gap on the disk of {}", self.me);
            self.entries.push(entry.clone());
        }
        if let Some(mark) = batch.cut {
            self.cut(mark);
        }
        self.runs.extend(batch.peer_runs.iter().copied());
    }

    fn cut(&mut self, mark: Mark) {
        let entry = self.entry(mark.index).expect("a log is cut at an entry that it holds");
        let base = Base { index: mark.index, term: entry.term, time: entry.time, digest: mark.digest };
        let gone: Vec<Entry> = self.entries.drain(..=self.position(mark.index)).collect();
        self.named.extend(gone.into_iter().filter(|e| matches!(e.body, Body::Founding(_) | Body::Membership(_))));
        self.base = base;
    }

    /// What a copy of the state after `at`, which is not before the base, needs of the log.
    pub fn snapshot(&self, at: Index, digest: u64, checksum: u64) -> Snapshot {
        let base = match self.entry(at) {
            Some(entry) => Base { index: at, term: entry.term, time: entry.time, digest },
            None => self.base,
        };
        assert_eq!((base.index, base.digest), (at, digest), "{} makes a copy of before its log", self.me);
        let mut named: Vec<Entry> = self.naming().filter(|e| e.index <= at).cloned().collect();
        named.drain(1..named.len().saturating_sub(1).max(1));
        Snapshot { base, named, cluster: self.cluster, bytes: 1, checksum }
    }

    /// The log begins behind a copy that was fetched, unless it holds that very entry. Returns whether it does now.
    pub fn begin_behind(&mut self, snapshot: &Snapshot) -> bool {
        let base = snapshot.base;
        if base.index <= self.base.index || self.term_at(base.index) == Some(base.term) {
            return false;
        }
        (self.base, self.named, self.entries) = (base, snapshot.named.clone(), Vec::new());
        (self.founding, self.cluster) = (FoundingState::Sealed, snapshot.cluster);
        true
    }

    fn naming(&self) -> impl Iterator<Item = &Entry> {
        let names = |e: &&Entry| matches!(e.body, Body::Founding(_) | Body::Membership(_));
        self.named.iter().chain(self.entries.iter().filter(names))
    }

    /// Adds an entry, wherever it belongs: for a disk that only serves to read entries.
    pub fn write_unchecked(&mut self, entry: &Entry) {
        self.entries.push(entry.clone());
    }

    /// A start: counts it, and reports what is there.
    pub fn recover(&mut self, applied: Index) -> Recovered {
        self.boot = self.boot.next();
        assert!(applied <= self.last(), "the state of {} is ahead of its log", self.me);
        assert!(applied >= self.base.index, "the state of {} is at {applied}, and its log begins later", self.me);
        Recovered {
            me: self.me,
            boot: self.boot,
            hard_state: self.hard,
            founding: self.founding,
            base: self.base,
            term_starts: self.term_starts(),
            last: self.last(),
            last_time: self.entries.last().map_or(self.base.time, |e| e.time),
            memberships: self.memberships(),
            record: self.naming().next().and_then(|e| match &e.body {
                Body::Founding(record) => Some(record.clone()),
                _ => None,
            }),
            applied,
            cluster: self.cluster,
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
            Body::Founding(record) => Some(Membership { voters: record.members.clone(), ..Membership::default() }),
            Body::Membership(membership) => Some(membership.clone()),
            Body::Noop | Body::Command(_) => None,
        };
        self.naming().filter_map(|e| Some((e.index, change(e)?))).collect()
    }

    /// The last entry's index.
    pub fn last(&self) -> Index {
        Index(self.base.index.0 + self.entries.len() as u64)
    }

    /// The entry at an index.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)).filter(|e| e.index == index)
    }

    /// The term of the entry at an index; 0 before the first of all, `None` before the base.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.entry(index).map(|e| e.term) }
    }

    /// What a load gives: at most `count` entries.
    pub fn load(&self, from: Index, to: Index, count: usize) -> Vec<Entry> {
        if from <= self.base.index {
            return Vec::new();
        }
        self.entries.iter().skip(self.position(from)).take_while(|e| e.index <= to).take(count).cloned().collect()
    }

    /// The entry after the base stands first. What is not behind the base stands nowhere.
    fn position(&self, index: Index) -> usize {
        let behind = index.0.checked_sub(self.base.index.0 + 1);
        behind.map_or(usize::MAX, |at| usize::try_from(at).expect("a simulated log fits memory"))
    }
}
