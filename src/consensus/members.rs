//! Who is replicated to, and how a wiped replica becomes a voter again.

use super::node::Part;
use super::progress::Progress;
use super::{Body, Index, Member, Membership, Node, ReplicaId, limits};

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

    /// A wiped replica votes again only after its old incarnation was removed, and then its new one added: one voter
    /// at a time, each change only after an entry of the own term is committed and no other change is on its way.
    /// It has caught up before the first of the two, so that the cluster is short of a voter for a moment only. To lack
    /// little is not enough for that, it must hold the term's first entry:
    ///   1. a cluster of three has a log of 300 entries; 3 is wiped, and comes back blank: it lacks only those 300;
    ///   2. it is removed and added, and crashes, still blank; 2 dies;
    ///   3. 1 and 3 are a majority, but a blank replica votes for nobody, and never learns that it may.
    pub(super) fn promote_learners(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        let Some((changed_at, membership)) = self.log.membership() else { return };
        if self.commit < leader.noop || changed_at > self.commit || leader.transfer.is_some() {
            return;
        }
        let last = self.log.last();
        let caught_up =
            |p: &&Progress| p.matched >= leader.noop && last.0 - p.matched.0.min(last.0) <= limits::LEARNER_LAG_MAX;
        let returns = |p: &&Progress| {
            let id = p.member.id;
            !membership.votes(p.member)
                && !membership.removed.contains(&p.member)
                && (membership.voter(id).is_some() || membership.removed.iter().any(|m| m.id == id))
        };
        let Some(learner) = leader.progress.values().filter(returns).find(caught_up).map(|p| p.member) else { return };
        let next = match membership.voter(learner.id) {
            Some(old) => without(membership, old),
            None => with(membership, learner),
        };
        self.append_own(Body::Membership(next));
    }
}

fn without(membership: &Membership, old: Member) -> Membership {
    let mut next = membership.clone();
    next.voters.retain(|m| *m != old);
    next.removed.push(old);
    next
}

fn with(membership: &Membership, new: Member) -> Membership {
    let mut next = membership.clone();
    next.voters.push(new);
    next.voters.sort_unstable();
    next
}
