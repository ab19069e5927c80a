//! Histories: one; or several, where silence counts as death (`drop_silent_after_ms`) and two sides may serve at once.
//!
//! A side is what was committed, in order. Each replica belongs to one: whoever commits an entry that is not the one that
//! its side has there moves to the side that has it, or begins a new one. What must hold of the several:
//! - nobody commits two entries of one term at one index, nor changes the first entry;
//! - a view's leader holds what its base, and the base of that, and so on, committed;
//! - what a replica has applied stays in its log, or is kept aside there;
//! - at the end all logs are one side, and what was committed on any other is kept aside by somebody, and was reported;
//! - where [`Sides::may_fork`] is not set, there is one side.
//!
//! What is said of requests, reads and mailboxes is said of a side. What was acknowledged on another binds up to where the
//! two part.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use plainsong::consensus::{Entry, Index, Member, Term, ViewId};
use plainsong::mode::Core;

use super::model::Model;
use super::{ensure, holds};
use crate::sim::disk::Disk;
use crate::sim::hosts::Host;

/// Which side: 0 is the one that every cluster begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideId(pub usize);

/// What was acknowledged to anybody on each side, at some moment.
#[derive(Clone, Debug, Default)]
pub struct Floor(Vec<Index>);

/// Where each request took effect.
pub type Effects = HashMap<usize, Index>;

/// What the entries of a side come to.
#[derive(Default)]
pub struct Told {
    pub model: Model,
    /// The digest after each entry, by whoever applied it first.
    pub digests: Vec<u64>,
    pub effects: Effects,
}

/// A side.
struct Chain {
    /// Entry `i` at `i - 1`, and the least term in which a node took it for committed.
    committed: Vec<(Entry, Term)>,
    /// A read that is asked now may not show less; a write may not come before it.
    floor: Index,
    /// How long a beginning it shares with each side that is older.
    shared: Vec<Index>,
}

impl Chain {
    fn entry(&self, index: Index) -> Option<&(Entry, Term)> {
        self.committed.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }
}

/// See the module's header.
pub struct Sides {
    chains: Vec<Chain>,
    /// Two sides may serve.
    pub may_fork: bool,
    /// By host, of its present run or its last.
    of: Vec<SideId>,
    /// Of runs that have ended.
    past: HashMap<(usize, u64), SideId>,
    /// How far each host's state has applied which side.
    reached: Vec<(SideId, Index)>,
    /// The base of each view that anybody knows.
    bases: BTreeMap<ViewId, ViewId>,
}

impl Default for Sides {
    fn default() -> Self {
        let first = Chain { committed: Vec::new(), floor: Index(0), shared: Vec::new() };
        Self {
            chains: vec![first],
            may_fork: false,
            of: Vec::new(),
            past: HashMap::new(),
            reached: Vec::new(),
            bases: BTreeMap::new(),
        }
    }
}

impl Sides {
    pub fn count(&self) -> usize {
        self.chains.len()
    }

    /// The side of a host's present run, or of its last.
    pub fn of(&self, host: usize) -> SideId {
        self.of.get(host).copied().unwrap_or_default()
    }

    /// The side of a run.
    pub fn of_run(&self, host: usize, life: u64) -> SideId {
        self.past.get(&(host, life)).copied().unwrap_or_else(|| self.of(host))
    }

    /// A run has ended.
    pub fn ends(&mut self, host: usize, life: u64) {
        if self.may_fork {
            self.past.insert((host, life), self.of(host));
        }
    }

    /// The last committed entry of a side.
    pub fn committed(&self, side: SideId) -> Index {
        Index(self.chains[side.0].committed.len() as u64)
    }

    /// How much was ever committed, anywhere: it grows with each entry.
    pub fn progress(&self) -> Index {
        Index(self.chains.iter().map(|chain| chain.committed.len() as u64).sum())
    }

    /// The committed entry at an index.
    pub fn entry(&self, side: SideId, index: Index) -> Option<&Entry> {
        self.chains[side.0].entry(index).map(|(entry, _)| entry)
    }

    /// The last entry that both have.
    fn shared(&self, one: SideId, other: SideId) -> Index {
        let (older, newer) = (one.0.min(other.0), one.0.max(other.0));
        self.chains[newer].shared.get(older).copied().unwrap_or(Index(u64::MAX))
    }

    // --- what is acknowledged ------------------------------------------------------------------------------------

    pub fn floor(&self) -> Floor {
        Floor(self.chains.iter().map(|chain| chain.floor).collect())
    }

    /// Somebody was told of this.
    pub fn seen(&mut self, side: SideId, index: Index) {
        let floor = &mut self.chains[side.0].floor;
        *floor = index.max(*floor);
    }

    /// What of it is on that side.
    pub fn least(&self, floor: &Floor, side: SideId) -> Index {
        let on_side = |(at, seen): (usize, &Index)| self.shared(SideId(at), side).min(*seen);
        floor.0.iter().enumerate().map(on_side).max().unwrap_or_default()
    }

    // --- what is committed ---------------------------------------------------------------------------------------

    /// A node on that host takes the entry for committed. Returns whether that is news for its side.
    pub fn commits(&mut self, host: usize, who: Member, term: Term, entry: &Entry) -> bool {
        let may_fork = self.may_fork;
        let side = self.of(host);
        let chain = &mut self.chains[side.0];
        let at = usize::try_from(entry.index.0 - 1).expect("fits");
        ensure!(LogsAgree, at <= chain.committed.len(), "{who} commits {} before what precedes it", entry.index);
        if let Some((known, in_term)) = chain.committed.get_mut(at) {
            if known != entry {
                ensure!(CommittedForever, may_fork, "{who} commits {entry:?}, but before it was {known:?}");
                return self.leaves_side(host, who, term, entry);
            }
            // Who leads commits first, where it matters in which view that was.
            *in_term = if may_fork { *in_term } else { term.min(*in_term) };
            return false;
        }
        chain.committed.push((entry.clone(), term));
        true
    }

    fn leaves_side(&mut self, host: usize, who: Member, term: Term, entry: &Entry) -> bool {
        let (before, side) = (entry.index.prev(), self.of(host));
        self.of.resize(self.of.len().max(host + 1), SideId::default());
        let has_it = |other: &SideId| {
            let known = self.entry(*other, entry.index);
            let parted = self.entry(side, entry.index);
            let one_view = parted.is_some_and(|parted| parted.term == entry.term);
            ensure!(OneLeader, !one_view, "{who} commits {entry:?}, and another entry of that view is {parted:?}");
            known == Some(entry) && self.shared(side, *other) >= before
        };
        if let Some(other) = (0..self.count()).map(SideId).find(has_it) {
            self.of[host] = other;
            return false;
        }
        ensure!(OneFounding, before >= Index(1), "{who} commits another first entry: {entry:?}");
        let shared = (0..self.count()).map(|at| before.min(self.shared(SideId(at), side))).collect();
        let parts_at = usize::try_from(before.0).expect("fits");
        let mut committed = self.chains[side.0].committed[..parts_at].to_vec();
        committed.push((entry.clone(), term));
        self.of[host] = SideId(self.count());
        self.chains.push(Chain { committed, floor: Index(0), shared });
        true
    }

    /// What a side that has just begun comes to, up to where it left another.
    pub fn begun(&self, side: SideId, told: &[Told]) -> Told {
        let mut begun = Told::default();
        let chain = &self.chains[side.0];
        let (parent, parted) = chain.shared.iter().enumerate().max_by_key(|(_, shared)| **shared).expect("it left one");
        for (entry, _) in chain.committed.iter().take_while(|(entry, _)| entry.index <= *parted) {
            begun.effects.extend(begun.model.commits(entry));
            begun.model.take_marked();
        }
        let parted = usize::try_from(parted.0).expect("fits");
        begun.digests.extend(told[parent].digests.iter().take(parted));
        begun
    }

    /// Which views are on top of which.
    pub fn hears_of_views(&mut self, node: &Core) {
        if let Core::PrimaryBackup(node) = node
            && self.may_fork
        {
            let views = node.views();
            self.bases.extend([&views.promised, &views.installed].map(|view| (view.id, view.base)));
        }
    }

    /// What whoever leads must have: what was committed in earlier terms; where two sides may serve, in the views that its
    /// own is on top of. Who is elected late, in a term that is over, need not have what a later term committed.
    pub fn needed_by(&self, node: &Core) -> impl Iterator<Item = &Entry> {
        let term = node.standing().term;
        let under = match node {
            Core::PrimaryBackup(node) if self.may_fork => Some(self.views_under(node.views().installed.base)),
            _ => None,
        };
        let needed = move |in_term: Term| under.as_ref().map_or(in_term < term, |under| under.contains(&in_term));
        let all = self.chains.iter().flat_map(|chain| &chain.committed);
        all.filter(move |(_, in_term)| needed(*in_term)).map(|(entry, _)| entry)
    }

    fn views_under(&self, base: ViewId) -> BTreeSet<Term> {
        let mut under = BTreeSet::from([Term(0)]);
        let mut next = Some(&base);
        while let Some(id) = next {
            under.insert(Term(id.number));
            next = self.bases.get(id).filter(|base| *base < id);
        }
        under
    }

    // --- what is kept --------------------------------------------------------------------------------------------

    /// The state of a host applies an entry, of the side that it gives.
    pub fn applied(&mut self, host: usize, index: Index) -> SideId {
        let side = self.of(host);
        self.reached.resize(self.reached.len().max(host + 1), (SideId::default(), Index(0)));
        self.reached[host] = (side, index.max(self.reached[host].1));
        side
    }

    /// A run begins, with a state that has applied so much. What the run before had applied is in the log, or kept aside.
    pub fn begins(&mut self, host: usize, disk: &Disk, applied: Index) {
        let Some((side, reached)) = self.reached.get(host).copied().filter(|_| self.may_fork) else { return };
        for (entry, _) in self.chains[side.0].committed.iter().take_while(|(entry, _)| entry.index <= reached) {
            ensure!(CommittedForever, holds(disk, entry), "{} had applied {entry:?}, and has it nowhere", disk.me);
        }
        self.reached[host] = (self.of(host), applied);
    }

    /// The end: all logs are that side, and what any other acknowledged is kept aside.
    pub fn close(&self, survivor: SideId, hosts: &[Host]) {
        let log: Vec<&Entry> = self.chains[survivor.0].committed.iter().map(|(entry, _)| entry).collect();
        for host in hosts {
            let kept = log.iter().filter(|entry| entry.index > host.disk.base.index);
            let same = host.disk.last() == self.committed(survivor)
                && kept.into_iter().all(|entry| host.disk.entry(entry.index) == Some(*entry));
            ensure!(LogsAgree, same, "the log of {} is another one", host.disk.me);
            let (kept, told) = (host.disk.orphans.len() as u64, host.gave_up);
            ensure!(NoFalseClaims, kept <= told, "{} keeps {kept} entries aside, and told of {told}", host.disk.me);
        }
        for (entry, _) in self.chains.iter().flat_map(|chain| &chain.committed) {
            let kept = self.entry(survivor, entry.index) == Some(entry) || hosts.iter().any(|h| holds(&h.disk, entry));
            ensure!(
                CommittedForever,
                kept,
                "{entry:?} was committed, and is lost: it is in no log, and not kept aside"
            );
        }
    }
}

/// What whoever reads what one side says looks at.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    pub model: &'a Model,
    pub committed: Index,
    sides: &'a Sides,
    side: SideId,
}

impl<'a> Eyes<'a> {
    pub fn of(told: &'a [Told], sides: &'a Sides, side: SideId) -> Self {
        Self { model: &told[side.0].model, committed: sides.committed(side), sides, side }
    }

    /// What of that is on this side.
    pub fn least(&self, floor: &Floor) -> Index {
        self.sides.least(floor, self.side)
    }
}
