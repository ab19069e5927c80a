//! Founding: how a set of blank replicas becomes a cluster exactly once.
//!
//! A blank replica cannot know whether it is new or was wiped. So nothing that one replica finds on its own disk makes
//! it vote or lead; the cluster is founded when *every* replica of the address book is there and blank:
//!
//! 1. the lowest id, blank like all the others, makes the founding record durable: it has [`FoundingState::Copied`] it;
//! 2. the others copy it, durably, and say so;
//! 3. who has seen that all copied, or one who has, is [`FoundingState::Sealed`], durably. Only then may it vote.
//!
//! Why the detour over `Copied`: were the record enough, then
//!   1. replica 1 founds cluster A with 2 and 3, but only 2 hears of it; 1 and 2 elect a leader and acknowledge;
//!   2. 1 is wiped, and finds 3 blank, and 2 cut off: every replica *it can see* is blank.
//!
//! With it, 3 has copied before anybody votes, so no founding record is ever made beside a living cluster: whoever
//! asks all replicas finds one that is not blank.
//!
//! An operator may say that whoever is missing is not waited for ([`Founder::without_missing`]). Then the record names those
//! who are there, if they are a majority of the address book and all blank: so it shares a replica with every other record
//! that could be made, and that replica copies only one of the two, and the other is never sealed. Whoever is left out joins
//! later, blank. What no replica can see is the operator's word: that no cluster lives among those who are missing.

use std::collections::BTreeMap;

use super::quorum::majority;
use super::{ClusterId, Founding, FoundingState, Member, Mode, Refusal, ReplicaId};

/// What a replica shows of itself when a link comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Who.
    pub member: Member,
    /// Which run of it.
    pub run: super::Run,
    /// Its cluster, once it has a founding record.
    pub cluster: Option<ClusterId>,
    /// How far its founding is.
    pub founding: FoundingState,
    /// A digest of its address book and mode: founding needs them equal everywhere.
    pub book: u64,
    /// Started with `--join`: it never founds.
    pub joins: bool,
    /// The last index of its log.
    pub last: super::Index,
}

/// What to do about the founding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// All are here and blank, and this is the lowest id: make this record durable.
    Make(Founding),
    /// All have copied, or one knows that all have: seal.
    Seal,
}

/// What this replica has seen of the founding.
#[derive(Clone, Debug)]
pub struct Founder {
    me: Member,
    book: u64,
    joins: bool,
    /// Every id of the address book, this one included.
    ids: Vec<ReplicaId>,
    /// The id a new cluster would get: drawn at random at the start of the process.
    fresh: ClusterId,
    seen: BTreeMap<ReplicaId, Introduction>,
    /// What a new cluster replicates by.
    mode: Mode,
}

impl Founder {
    /// A founder that has seen nobody.
    pub fn new(me: Member, ids: Vec<ReplicaId>, book: u64, joins: bool, fresh: ClusterId) -> Self {
        Self { me, book, joins, ids, fresh, seen: BTreeMap::new(), mode: Mode::Quorum }
    }

    /// The same, for a cluster that replicates by `mode`.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// What this replica shows of itself.
    pub fn introduction(
        &self,
        run: super::Run,
        cluster: Option<ClusterId>,
        founding: FoundingState,
        last: super::Index,
    ) -> Introduction {
        Introduction { member: self.me, run, cluster, founding, book: self.book, joins: self.joins, last }
    }

    /// A link to a peer is up.
    pub fn met(&mut self, peer: Introduction) {
        self.seen.insert(peer.member.id, peer);
    }

    /// The link is gone. What was seen of the peer's founding stays true of it only while it is linked: a wiped
    /// replica comes back blank.
    pub fn lost(&mut self, id: ReplicaId) {
        self.seen.remove(&id);
    }

    /// A linked peer's founding went on.
    pub fn heard(&mut self, from: Member, cluster: Option<ClusterId>, state: FoundingState) {
        if let Some(peer) = self.seen.get_mut(&from.id).filter(|p| p.member == from) {
            peer.cluster = cluster;
            peer.founding = state;
        }
    }

    /// The peers that are linked and blank.
    pub fn blank_peers(&self) -> impl Iterator<Item = Member> + '_ {
        self.seen.values().filter(|p| p.founding == FoundingState::Blank).map(|p| p.member)
    }

    /// What to do now, given what is durable here.
    pub fn step(&self, state: FoundingState, record: Option<&Founding>) -> Step {
        match (state, record) {
            (FoundingState::Blank, _) => self.make().map_or(Step::Wait, Step::Make),
            (FoundingState::Copied, Some(record)) if self.all_copied(record) => Step::Seal,
            (FoundingState::Copied | FoundingState::Sealed, _) => Step::Wait,
        }
    }

    fn make(&self) -> Option<Founding> {
        let lowest = self.ids.iter().min()?;
        if *lowest != self.me.id || self.joins {
            return None;
        }
        let mut members = vec![self.me];
        for id in self.ids.iter().filter(|id| **id != self.me.id) {
            let peer = self.seen.get(id)?;
            if peer.founding != FoundingState::Blank || peer.book != self.book || peer.joins {
                return None;
            }
            members.push(peer.member);
        }
        members.sort_unstable();
        Some(Founding { cluster: self.fresh, mode: self.mode, members })
    }

    /// The record of those who are here, for an operator who knows that nobody else is to be waited for.
    pub fn without_missing(&self, state: FoundingState) -> Result<Founding, Refusal> {
        match state {
            FoundingState::Blank => {}
            FoundingState::Copied => return Err(Refusal::FoundingUnderWay),
            FoundingState::Sealed => return Err(Refusal::Founded),
        }
        if self.joins {
            return Err(Refusal::OtherBook(self.me.id));
        }
        let mut members = vec![self.me];
        for peer in self.seen.values() {
            let id = peer.member.id;
            if peer.founding != FoundingState::Blank || peer.cluster.is_some() {
                return Err(Refusal::NotBlank(id));
            }
            if peer.book != self.book || peer.joins || !self.ids.contains(&id) {
                return Err(Refusal::OtherBook(id));
            }
            members.push(peer.member);
        }
        members.sort_unstable();
        if members[0] != self.me {
            return Err(Refusal::AskLower(members[0].id));
        }
        let needed = majority(self.ids.len());
        if members.len() < needed {
            let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
            return Err(Refusal::TooFewToFound { here: count(members.len()), needed: count(needed) });
        }
        Ok(Founding { cluster: self.fresh, mode: self.mode, members })
    }

    fn all_copied(&self, record: &Founding) -> bool {
        let holds = |peer: &Introduction| peer.cluster == Some(record.cluster);
        let sealed = self.seen.values().any(|p| holds(p) && p.founding == FoundingState::Sealed);
        sealed
            || record.members.iter().filter(|m| **m != self.me).all(|m| {
                self.seen.get(&m.id).is_some_and(|p| p.member == *m && holds(p) && p.founding != FoundingState::Blank)
            })
    }

    /// Whether a blank replica may copy this record from a peer: one that names it among a majority of its own address book,
    /// and nobody else. In a view all of the book are members.
    pub fn may_copy(&self, record: &Founding) -> bool {
        let known = record.members.iter().all(|m| self.ids.contains(&m.id));
        let needed = match self.mode {
            Mode::Quorum => majority(self.ids.len()),
            Mode::PrimaryBackup => self.ids.len(),
        };
        let enough = record.members.len() >= needed;
        !self.joins && record.mode == self.mode && record.members.contains(&self.me) && known && enough
    }
}
