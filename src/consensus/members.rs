//! Who is replicated to, who votes, and how that changes: replicas that join, that are removed, and that were wiped.
//!
//! One voter comes or goes at a time, so that any two majorities in a row share a replica; each by an entry, in force as
//! soon as it is appended. Two rules hold every one of them back (`Node::may_change`):
//!
//! - *No other change is on its way.* Otherwise two sets of voters could be in force of which two majorities share
//!   nobody: {1, 2, 3} and {1, 2, 3, 4, 5}, and 1 and 2 outvote nobody of 3, 4 and 5.
//! - *An entry of the own term is committed.* Otherwise (found by Ongaro in 2015)
//!   1. replica 1 leads 1 to 4, and appends "5 votes too", which only 1 and 5 hold;
//!   2. 2 is elected by 3 and 4, and appends "1 is removed", which it commits with 3, as two of 2, 3 and 4;
//!   3. 1 is elected by 4 and 5, because its voters are 1 to 5, and overwrites what was committed.

use std::collections::BTreeMap;

use super::leader::Leader;
use super::node::Part;
use super::progress::Progress;
use super::rounds::Asker;
use super::{
    Address, Body, Change, Duty, Frame, Index, Member, Membership, Node, Refusal, ReplicaId, Term, Verdict, limits,
    quorum,
};

/// What a leader knows of changes that are not done.
#[derive(Clone, Debug, Default)]
pub(super) struct Changing {
    /// Who asked to join, by id, and where it is reached. It votes when it has caught up.
    joining: BTreeMap<ReplicaId, (Member, Address)>,
    /// The change that was asked for and is not committed.
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    index: Index,
    askers: Vec<(Asker, u64)>,
}

impl Changing {
    /// Nobody there waits for an answer any more: whoever links again asks again.
    pub(super) fn lost(&mut self, id: ReplicaId) {
        if let Some(pending) = &mut self.pending {
            pending.askers.retain(|(asker, _)| !matches!(asker, Asker::Peer(peer) if peer.id == id));
        }
    }
}

/// What a leader does about a change that it admits.
enum Step {
    /// Nothing: it is so already.
    Nothing,
    /// Expects whoever joins.
    Expect(Member, Address),
    /// Appends this.
    Append(Membership),
    /// Hands leadership over first: whoever leads then is asked again.
    HandOver,
}

impl Node {
    /// Begins to replicate to a linked peer, if it belongs to this cluster or is blank: behind `last`, where the logs
    /// are likely to meet.
    pub(super) fn track(&mut self, id: ReplicaId, last: Index) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.cluster.is_some() && peer.cluster != self.cluster {
            return;
        }
        let member = peer.member;
        if let Some(leader) = self.leader() {
            leader.lost(id);
            leader.progress.insert(id, Progress::new(member, last));
        }
    }

    /// Up to where a follower is sent the log: all of it, if it votes; what is committed, if it does not. Otherwise
    ///   1. replica 1 leads 2 and 3, and appends "3 is removed"; 3 holds it, 2 does not yet, and 1 dies;
    ///   2. 2 needs two votes of three, and 3, whose log is longer, refuses; 3 does not stand, because it votes no more;
    ///   3. two of three live, and nobody is ever elected.
    pub(super) fn sendable(&self, to: Member) -> Index {
        if self.voters().contains(&to) { self.log.last() } else { self.commit }
    }

    /// Where everybody is reached: by the log, or by the config, as long as the log has no addresses.
    pub fn book(&self) -> &[Address] {
        match self.log.membership() {
            Some((_, membership)) if !membership.addresses.is_empty() => &membership.addresses,
            _ => &self.addresses,
        }
    }

    /// The membership in force and the entry that says so.
    pub fn membership_at(&self) -> Option<(Index, &Membership)> {
        self.log.membership()
    }

    // --- changes that somebody asks for ------------------------------------------------------------------------

    /// Passes on what was asked in this turn, at its end, when it is known who leads: as [`Node::ask_reads`] does.
    pub(super) fn ask_changes(&mut self) {
        for (id, change) in std::mem::take(&mut self.changes_asked) {
            match self.part {
                Part::Leader(_) => self.decide_change(Asker::Own, id, change),
                Part::Follower { leader: Some(leader) } => {
                    self.say(leader, Frame::Change { term: self.hard.term, id, change });
                }
                Part::Follower { leader: None } | Part::PreCandidate(_) | Part::Candidate(_) => {}
            }
        }
    }

    pub(super) fn change_asked(&mut self, from: Member, term: Term, id: u64, change: Change) {
        self.adopt_term(term);
        if term == self.hard.term && matches!(self.part, Part::Leader(_)) {
            self.decide_change(Asker::Peer(from), id, change);
        }
    }

    pub(super) fn change_answered(&mut self, term: Term, id: u64, verdict: Verdict) {
        self.adopt_term(term);
        self.duties.push(Duty::ChangeAnswered(id, verdict));
    }

    fn decide_change(&mut self, asker: Asker, id: u64, change: Change) {
        let Part::Leader(leader) = &mut self.part else { return };
        // Asked again, after its link or its leader was lost, while the change is on its way.
        if let Some(pending) = leader.changing.pending.as_mut().filter(|p| p.change == change) {
            if !pending.askers.contains(&(asker, id)) {
                pending.askers.push((asker, id));
            }
            return;
        }
        let verdict = match self.admit(&change) {
            Err(verdict) => verdict,
            // What makes it so may still be lost.
            Ok(Step::Nothing) if !self.is_settled() => Verdict::Later,
            Ok(Step::Nothing) => Verdict::Done(self.commit),
            Ok(Step::Expect(member, address)) => {
                if let Some(leader) = self.leader() {
                    leader.changing.joining.insert(member.id, (member, address));
                }
                Verdict::Noted
            }
            Ok(Step::HandOver) => {
                self.hand_over();
                Verdict::Later
            }
            Ok(Step::Append(membership)) => {
                let index = self.log.last().next();
                self.append_own(Body::Membership(membership));
                if let Some(leader) = self.leader() {
                    leader.changing.pending = Some(Pending { change, index, askers: vec![(asker, id)] });
                }
                return;
            }
        };
        self.tell_asker(asker, id, verdict);
    }

    fn tell_asker(&mut self, asker: Asker, id: u64, verdict: Verdict) {
        match asker {
            Asker::Own => self.duties.push(Duty::ChangeAnswered(id, verdict)),
            Asker::Peer(peer) => self.say(peer.id, Frame::ChangeReply { term: self.hard.term, id, verdict }),
        }
    }

    /// What was asked for is committed.
    pub(super) fn answer_change(&mut self) {
        let commit = self.commit;
        let Some(leader) = self.leader() else { return };
        if let Some(done) = leader.changing.pending.take_if(|p| p.index <= commit) {
            done.askers.into_iter().for_each(|(asker, id)| self.tell_asker(asker, id, Verdict::Done(done.index)));
        }
    }

    fn admit(&self, change: &Change) -> Result<Step, Verdict> {
        let Part::Leader(leader) = &self.part else { return Err(Verdict::Later) };
        let Some((_, membership)) = self.log.membership() else { return Err(Verdict::Later) };
        match change {
            Change::Join(member, address) => self.admit_join(leader, membership, *member, address),
            Change::Remove(id) => self.admit_removal(leader, membership, *id),
        }
    }

    fn admit_join(&self, leader: &Leader, now: &Membership, joins: Member, at: &Address) -> Result<Step, Verdict> {
        let id = joins.id;
        let refuse = |why| Err(Verdict::Refused(why));
        if now.removed.contains(&joins) {
            return refuse(Refusal::Removed);
        }
        if let Some(other) = self.book().iter().find(|known| known.id != id && known.collides(at)) {
            return refuse(Refusal::AddressInUse(other.id));
        }
        let known = self.book().iter().find(|known| known.id == id);
        match now.voter(id) {
            Some(voter) if voter == joins => self.admit_move(leader, now, at),
            // The same id at another place is another replica, until somebody says that the old one is gone.
            Some(_) if known != Some(at) => refuse(Refusal::IdInUse(id)),
            Some(voter) if self.is_alive(leader, voter) => refuse(Refusal::IdInUse(id)),
            Some(_) => Ok(Step::Expect(joins, at.clone())),
            None => {
                let expected = leader.changing.joining.get(&id).map(|(member, _)| *member);
                let taken = expected.is_some_and(|member| member != joins && self.is_alive(leader, member));
                if taken { refuse(Refusal::IdInUse(id)) } else { Ok(Step::Expect(joins, at.clone())) }
            }
        }
    }

    /// A voter says where it is. That the leader's config says the same is not enough, as long as the log says nothing:
    ///   1. 3 moves, and its new address stands in the files of 3 and of 1, which leads; 2 has the old file;
    ///   2. 3 asks, and is told that it is so;
    ///   3. 2 looks for 3 where it was, for ever.
    fn admit_move(&self, leader: &Leader, now: &Membership, at: &Address) -> Result<Step, Verdict> {
        if now.addresses.contains(at) {
            return Ok(Step::Nothing);
        }
        self.all_have_addresses(now.voters.iter().filter(|voter| voter.id != at.id))?;
        self.may_change(leader)?;
        Ok(Step::Append(self.with_addresses(now.clone(), Some(at))))
    }

    /// An entry that says where the voters are says it of all.
    fn all_have_addresses<'a>(&self, mut voters: impl Iterator<Item = &'a Member>) -> Result<(), Verdict> {
        match voters.find(|voter| !self.book().iter().any(|known| known.id == voter.id)) {
            Some(lost) => Err(Verdict::Refused(Refusal::NoAddress(lost.id))),
            None => Ok(()),
        }
    }

    fn admit_removal(&self, leader: &Leader, now: &Membership, id: ReplicaId) -> Result<Step, Verdict> {
        let refuse = |why| Err(Verdict::Refused(why));
        let Some(voter) = now.voter(id) else {
            // Asked again after it was done. One that was wiped, and is between removal and addition, is let go.
            return match now.removed.iter().any(|m| m.id == id) {
                true if now.belongs(id) => self.may_change(leader).map(|()| Step::Append(self.dismissed(now, id))),
                true => Ok(Step::Nothing),
                false => refuse(Refusal::Unknown(id)),
            };
        };
        let rest: Vec<Member> = now.voters.iter().copied().filter(|m| *m != voter).collect();
        if rest.is_empty() {
            return refuse(Refusal::LastVoter);
        }
        // Without addresses the entry would mean that the replica is replaced.
        self.all_have_addresses(rest.iter())?;
        self.may_change(leader)?;
        let alive = rest.iter().filter(|m| self.answers(leader, **m)).count();
        let needed = quorum::majority(rest.len());
        if alive < needed {
            let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
            let (voters, alive, needed) = (count(rest.len()), count(alive), count(needed));
            return refuse(Refusal::WouldLoseQuorum { voters, alive, needed });
        }
        Ok(if voter == self.me { Step::HandOver } else { Step::Append(self.dismissed(now, id)) })
    }

    /// See the module's header. While leadership is handed over nothing is appended at all.
    fn may_change(&self, leader: &Leader) -> Result<(), Verdict> {
        if self.commit < leader.noop || leader.transfer.is_some() {
            Err(Verdict::Later)
        } else if !self.is_settled() {
            Err(Verdict::Refused(Refusal::UnderWay))
        } else {
            Ok(())
        }
    }

    /// Whether no change of members is on its way.
    fn is_settled(&self) -> bool {
        self.log.membership().is_some_and(|(at, _)| at <= self.commit)
    }

    /// Whether that incarnation is linked, and answered lately.
    fn is_alive(&self, leader: &Leader, member: Member) -> bool {
        let answers = leader.heard.contains(&member) || leader.heard_before.contains(&member);
        member == self.me || answers && leader.of(member).is_some()
    }

    /// Whether it answers now. To have answered since the quorum check before the last is not enough to go on without
    /// another one (seed 910004122 of the simulation):
    ///   1. 1 leads 2 and 3, and is cut off; the disk of 2 is lost;
    ///   2. a second later 1, which has not noticed, is asked to remove 3, and writes that the voters are 1 and 2;
    ///   3. when it is heard again, neither it nor 3 has a majority any more, ever.
    fn answers(&self, leader: &Leader, member: Member) -> bool {
        let now = || leader.of(member).is_some_and(|p| p.unanswered <= limits::PULSES_UNANSWERED_MAX);
        member == self.me || self.is_alive(leader, member) && now()
    }

    // --- learners that have caught up ----------------------------------------------------------------------------

    /// Who joins votes when it has caught up. A wiped replica votes again only after its old incarnation was removed,
    /// and then its new one added.
    /// It has caught up before the first of the two, so that the cluster is short of a voter for a moment only. To lack
    /// little is not enough for that, it must hold the term's first entry:
    ///   1. a cluster of three has a log of 300 entries; 3 is wiped, and comes back blank: it lacks only those 300;
    ///   2. it is removed and added, and crashes, still blank; 2 dies;
    ///   3. 1 and 3 are a majority, but a blank replica votes for nobody, and never learns that it may.
    pub(super) fn promote_learners(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        let Some((_, membership)) = self.log.membership() else { return };
        if self.may_change(leader).is_err() {
            return;
        }
        let last = self.log.last();
        let caught_up =
            |p: &&Progress| p.matched >= leader.noop && last.0 - p.matched.0.min(last.0) <= limits::LEARNER_LAG_MAX;
        let joins = |p: &Progress| leader.changing.joining.get(&p.member.id).is_some_and(|(m, _)| *m == p.member);
        let comes = |p: &&Progress| {
            !membership.votes(p.member)
                && !membership.removed.contains(&p.member)
                && (membership.belongs(p.member.id) || joins(p))
        };
        let Some(learner) = leader.progress.values().filter(comes).find(caught_up).map(|p| p.member) else { return };
        let joined = leader.changing.joining.get(&learner.id).filter(|(m, _)| *m == learner);
        let mut next = membership.clone();
        match membership.voter(learner.id) {
            Some(old) => {
                next.voters.retain(|m| *m != old);
                next.removed.push(old);
            }
            None => {
                next.voters.push(learner);
                next.voters.sort_unstable();
            }
        }
        let next = self.with_addresses(next, joined.map(|(_, address)| address));
        self.append_own(Body::Membership(next));
    }

    // --- what a change says ----------------------------------------------------------------------------------------

    /// The next membership with everybody's address in it, and the one of whoever is there anew.
    fn with_addresses(&self, mut next: Membership, anew: Option<&Address>) -> Membership {
        let mut addresses: Vec<Address> = self.book().to_vec();
        if let Some(anew) = anew {
            addresses.retain(|a| a.id != anew.id);
            addresses.push(anew.clone());
        }
        // A config may name replicas that never were of this cluster.
        addresses.retain(|a| next.voter(a.id).is_some() || next.removed.iter().any(|m| m.id == a.id));
        addresses.sort_unstable();
        // A leader whose config lacks somebody says nothing, rather than that this one is nowhere.
        if next.voters.iter().all(|v| addresses.iter().any(|a| a.id == v.id)) {
            next.addresses = addresses;
        }
        next
    }

    /// The next membership without a replica, which is not to be replaced: nobody keeps its address.
    fn dismissed(&self, now: &Membership, id: ReplicaId) -> Membership {
        let mut next = now.clone();
        if let Some(voter) = now.voter(id) {
            next.voters.retain(|m| *m != voter);
            next.removed.push(voter);
        }
        let mut next = self.with_addresses(next, None);
        next.addresses.retain(|a| a.id != id);
        next
    }
}
