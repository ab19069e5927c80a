//! What this replica knows of the cluster's condition: what `status` prints, and what refusals say. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::actors::messages::{ClusterStatus, ReplicaStatus};
use crate::consensus::{Incarnation, Index, Member, Mode, ReplicaId, Role, Standing, Term, quorum};
use crate::machine::audit::{Audit, Checkpoint, Verdict};
use crate::wire::PeerNews;

/// See the module's header.
#[derive(Debug)]
pub struct View {
    me: ReplicaId,
    incarnation: Incarnation,
    addresses: BTreeMap<ReplicaId, String>,
    standing: Option<Standing>,
    voters: Vec<Member>,
    /// Whose data link is up, and who that is now.
    linked: BTreeMap<ReplicaId, Incarnation>,
    /// Who answers pulses, as this replica's own Heartbeat sees it.
    living: BTreeSet<ReplicaId>,
    /// Who did, and does not, though its data link stands. One that has just linked is not known to answer, but not silent.
    silent: BTreeSet<ReplicaId>,
    /// What the leader spread last (on a follower), or the followers reported (on the leader).
    news: BTreeMap<ReplicaId, PeerNews>,
    /// When each other replica was heard of last.
    heard: BTreeMap<ReplicaId, Instant>,
    /// Since when there is nobody to send requests to.
    contact_lost: Option<Instant>,
    /// Whether this replica's disk is full.
    full: bool,
    audit: Audit,
    mode: Mode,
}

impl View {
    /// A view of a replica that has just started: nobody is there yet.
    pub fn new(me: Member, addresses: BTreeMap<ReplicaId, String>, now: Instant) -> Self {
        Self {
            me: me.id,
            incarnation: me.incarnation,
            addresses,
            standing: None,
            voters: Vec::new(),
            linked: BTreeMap::new(),
            living: BTreeSet::new(),
            silent: BTreeSet::new(),
            news: BTreeMap::new(),
            heard: BTreeMap::new(),
            contact_lost: Some(now),
            full: false,
            audit: Audit::new(me.id),
            mode: Mode::Quorum,
        }
    }

    /// The same, in a cluster of that mode.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How many of so many must be there for a write. In a view all must, who are not proven dead.
    fn needed(&self, voters: usize) -> usize {
        match self.mode {
            Mode::Quorum => quorum::majority(voters),
            Mode::PrimaryBackup => voters,
        }
    }

    /// How many of those may fail, one after the other, before nothing can be written.
    fn spare(&self, up: usize, voters: usize) -> usize {
        match self.mode {
            Mode::Quorum => up.saturating_sub(quorum::majority(voters)),
            Mode::PrimaryBackup => up.saturating_sub(1),
        }
    }

    /// Role, term or leader changed.
    pub fn standing(&mut self, standing: Standing, now: Instant) {
        // Logs of two views need not be one (`drop_silent_after_ms`). In the next view everybody tells anew what it has.
        //   1. Replicas 1, 2 and 3 serve apart from 4 and 5, and all hear that 1 to 3 had such and such a state at entry 64.
        //   2. They yield to 4 and 5, whose log ends at 40, and start anew.
        //   3. 4 comes to entry 64, and a majority has another state: it would derive its own again, and again.
        if self.mode == Mode::PrimaryBackup && self.standing.is_none_or(|before| before.term != standing.term) {
            self.audit.forget_others();
        }
        self.standing = Some(standing);
        self.contact_changed(now);
    }

    /// Where everybody is, by the newest that is known: who is not there any more is shown no more.
    pub fn addresses(&mut self, addresses: BTreeMap<ReplicaId, String>) {
        self.news.retain(|id, _| addresses.contains_key(id));
        self.addresses = addresses;
    }

    /// The voters changed.
    pub fn voters(&mut self, voters: &[Member]) {
        self.voters = voters.to_vec();
    }

    /// A data link came up.
    pub fn link_up(&mut self, peer: Member, now: Instant) {
        let id = peer.id;
        self.linked.insert(id, peer.incarnation);
        self.silent.remove(&id);
        self.heard(id, now);
        self.contact_changed(now);
    }

    /// A data link ended.
    pub fn link_down(&mut self, id: ReplicaId, now: Instant) {
        self.linked.remove(&id);
        self.silent.remove(&id);
        self.heard.remove(&id);
        self.contact_changed(now);
    }

    /// Whose data link is up.
    pub fn linked(&self) -> Vec<ReplicaId> {
        self.linked.keys().copied().collect()
    }

    /// Anything came from the replica.
    pub fn heard(&mut self, id: ReplicaId, now: Instant) {
        self.heard.insert(id, now);
    }

    /// Who answers pulses.
    pub fn living(&mut self, living: BTreeSet<ReplicaId>) {
        let linked = self.living.difference(&living).filter(|id| self.linked.contains_key(*id));
        self.silent.extend(linked);
        self.silent.retain(|id| !living.contains(id));
        self.living = living;
    }

    /// This replica's disk is full, or has room again.
    pub fn disk_full(&mut self, full: bool) {
        self.full = full;
    }

    /// News that came with a pulse or its answer; and what they say of the states. Of these, who leads is heard on all, and
    /// any other on its own: who leads an older view may know of another history.
    pub fn news(&mut self, from: ReplicaId, news: Vec<PeerNews>) -> Vec<Verdict> {
        let voters = self.voting_ids();
        let leads = self.standing.is_some_and(|standing| standing.leader == Some(from));
        let others = news.iter().filter(|one| one.id != self.me && (leads || one.id == from));
        let verdicts = others.map(|one| self.audit.note(one.id, one.checkpoint, &voters)).collect();
        // Who joins reports before this replica knows where it is: it is shown without an address, as long as the leader
        // spreads news of it. A report is of one replica, and says nothing of others.
        if news.len() > 1 {
            self.news.retain(|id, _| self.addresses.contains_key(id) || news.iter().any(|one| one.id == *id));
        }
        self.news.extend(news.into_iter().map(|one| (one.id, one)));
        verdicts
    }

    /// This replica's own state has come to a checkpoint.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Verdict {
        self.audit.note(self.me, checkpoint, &self.voting_ids())
    }

    /// The leader to send requests to: this replica itself, or one whose link is up.
    pub fn contact(&self) -> Option<ReplicaId> {
        let leader = self.standing?.leader?;
        (leader == self.me || self.linked.contains_key(&leader)).then_some(leader)
    }

    /// Whom to send requests to, and in which term, if the node follows that very leader as it stands `now`. This view is
    /// told of a change only with the duties of a turn, but requests are sent before them:
    ///   1. replica 1 leads term 4; a vote makes this node take part in term 5, in which it knows no leader yet;
    ///   2. by this view 1 still leads: what waits would be sent to it, for term 5, and ignored;
    ///   3. 1 is elected in term 5: it counts as the one that everything was sent to, and is sent nothing again.
    pub fn destination(&self, now: Standing) -> Option<(Term, ReplicaId)> {
        self.contact().filter(|leader| now.leader == Some(*leader)).map(|leader| (now.term, leader))
    }

    /// For how long there has been nobody to send requests to.
    pub fn out_of_contact(&self, now: Instant) -> Option<Duration> {
        self.contact_lost.map(|since| now.duration_since(since))
    }

    fn contact_changed(&mut self, now: Instant) {
        self.contact_lost = match self.contact() {
            Some(_) => None,
            None => self.contact_lost.or(Some(now)),
        };
    }

    /// Why nothing can be stored, if it is for want of room: this replica's disk is full, or too many of those that are up
    /// are. What the others said of theirs holds while there is a leader to spread it.
    pub fn no_room(&self) -> Option<&'static str> {
        if self.full {
            return Some("the disk of this replica is full; nothing was done");
        }
        self.contact()?;
        let voting = self.voting_ids();
        let up: Vec<_> = voting.iter().filter(|id| self.is_up(**id)).collect();
        let full = up.iter().filter(|id| self.is_full(***id)).count();
        let needed = self.needed(voting.len());
        (up.len() >= needed && up.len() - full < needed).then_some("too many disks are full; nothing was done")
    }

    fn is_full(&self, id: ReplicaId) -> bool {
        if id == self.me { self.full } else { self.news.get(&id).is_some_and(|news| news.full) }
    }

    /// Whether no other replica votes.
    pub fn is_alone(&self) -> bool {
        self.voting_ids().iter().all(|id| *id == self.me)
    }

    /// Whether a majority of the voters was heard of within `recently`.
    pub fn majority_in_reach(&self, now: Instant, recently: Duration) -> bool {
        let ids = self.voting_ids();
        let in_reach = ids.iter().filter(|id| **id == self.me || self.spoke(**id, now, recently)).count();
        in_reach >= self.needed(ids.len())
    }

    /// Whether another replica was heard of within `recently`, and its link still stands.
    fn spoke(&self, id: ReplicaId, now: Instant, recently: Duration) -> bool {
        self.linked.contains_key(&id) && self.heard.get(&id).is_some_and(|at| now.duration_since(*at) <= recently)
    }

    /// The voters; before the founding, all of the address book.
    fn voting_ids(&self) -> Vec<ReplicaId> {
        if self.voters.is_empty() {
            self.addresses.keys().copied().collect()
        } else {
            self.voters.iter().map(|m| m.id).collect()
        }
    }

    /// Whether a replica hangs, as far as is known here: a leader asks for pulses itself, others hear it of the leader.
    pub fn is_silent(&self, id: ReplicaId) -> bool {
        match self.contact() {
            Some(leader) if leader != self.me => self.news.get(&id).is_some_and(|news| !news.up),
            _ => self.silent.contains(&id),
        }
    }

    /// Whether a replica votes, as who it is now: one that was wiped does not for what it was, even before that is removed.
    fn votes(&self, id: ReplicaId) -> bool {
        let now = if id == self.me { Some(&self.incarnation) } else { self.linked.get(&id) };
        self.voters.iter().any(|voter| voter.id == id && now.is_none_or(|now| *now == voter.incarnation))
    }

    fn is_up(&self, id: ReplicaId) -> bool {
        let leads_or_alone = self.contact().is_none_or(|leader| leader == self.me);
        match self.news.get(&id) {
            _ if id == self.me => true,
            // A follower repeats what the leader spread.
            Some(news) if !leads_or_alone => news.up,
            _ => self.living.contains(&id),
        }
    }

    /// What the leader spreads with its pulses.
    pub fn spread(&self, applied: Index) -> Vec<PeerNews> {
        let joining = self.news.keys().filter(|id| self.is_up(**id));
        let ids: BTreeSet<ReplicaId> = self.addresses.keys().chain(joining).copied().collect();
        ids.into_iter()
            .map(|id| PeerNews {
                id,
                up: self.is_up(id),
                votes: self.votes(id),
                full: self.is_full(id),
                applied: if id == self.me { applied } else { self.news.get(&id).map_or(Index(0), |n| n.applied) },
                checkpoint: self.audit.newest(id),
            })
            .collect()
    }

    /// What a follower reports with its answer to a pulse.
    pub fn report(&self, applied: Index) -> PeerNews {
        let checkpoint = self.audit.newest(self.me);
        PeerNews { id: self.me, up: true, votes: self.votes(self.me), full: self.full, applied, checkpoint }
    }

    /// What `status` prints. Without a leader nobody is asked for pulses: then who was not heard of within `recently`
    /// counts as down, though its link stands (a process that hangs keeps its connections).
    pub fn status(&self, applied: Index, now: Instant, recently: Duration) -> ClusterStatus {
        let leader = self.contact();
        let mut spread = self.spread(applied);
        if leader.is_none() {
            spread.iter_mut().filter(|n| n.id != self.me).for_each(|n| n.up &= self.spoke(n.id, now, recently));
        }
        let front = spread.iter().map(|news| news.applied).max().unwrap_or_default();
        let mut replicas: Vec<ReplicaStatus> = spread
            .iter()
            .map(|news| ReplicaStatus {
                id: news.id.0,
                role: self.role(news, leader),
                address: self.addresses.get(&news.id).cloned().unwrap_or_default(),
                up: news.up,
                applied: news.applied.0,
                lag: front.0 - news.applied.0,
            })
            .collect();
        replicas.sort_by_key(|r| (Some(r.id) != leader.map(|l| l.0), r.id));
        let voting = self.voting_ids();
        let counts = |id| if self.voters.is_empty() { voting.contains(&id) } else { self.votes(id) };
        let up = spread.iter().filter(|news| news.up && counts(news.id)).count();
        let spare = self.spare(up, voting.len());
        ClusterStatus {
            replicas,
            this: self.me.0,
            leader: leader.map_or(0, |l| l.0),
            term: self.standing.map_or(0, |s| s.term.0),
            spare: u16::try_from(spare).unwrap_or(u16::MAX),
        }
    }

    fn role(&self, news: &PeerNews, leader: Option<ReplicaId>) -> &'static str {
        let candidate = self.standing.is_some_and(|s| s.role == Role::Candidate);
        if Some(news.id) == leader {
            "leader"
        } else if news.id == self.me && candidate {
            "candidate"
        } else if news.votes {
            "follower"
        } else {
            "learner"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u16) -> Member {
        Member { id: ReplicaId(id), incarnation: Incarnation(7) }
    }

    fn view(now: Instant) -> View {
        let addresses = (1..=3).map(|id| (ReplicaId(id), format!("127.0.0.1:500{id}"))).collect();
        let mut view = View::new(member(2), addresses, now);
        view.voters(&[member(1), member(2), member(3)]);
        view
    }

    fn following(leader: Option<u16>) -> Standing {
        Standing { role: Role::Follower, term: Term(4), leader: leader.map(ReplicaId) }
    }

    #[test]
    fn contact_needs_a_leader_and_a_link_to_it() {
        let now = Instant::now();
        let mut view = view(now);
        view.standing(following(Some(1)), now);
        assert_eq!(view.contact(), None);
        view.link_up(member(1), now);
        assert_eq!((view.contact(), view.out_of_contact(now)), (Some(ReplicaId(1)), None));
        let later = now + Duration::from_secs(1);
        view.link_down(ReplicaId(1), later);
        assert_eq!(view.out_of_contact(later + Duration::from_secs(2)), Some(Duration::from_secs(2)));
        view.standing(following(None), later + Duration::from_secs(1));
        assert_eq!(
            view.out_of_contact(later + Duration::from_secs(2)),
            Some(Duration::from_secs(2)),
            "still since then"
        );
    }

    #[test]
    fn nothing_is_sent_to_a_leader_of_the_term_before() {
        let now = Instant::now();
        let mut view = view(now);
        view.link_up(member(1), now);
        view.standing(following(Some(1)), now);
        assert_eq!(view.destination(following(Some(1))), Some((Term(4), ReplicaId(1))));
        let voted = Standing { term: Term(5), ..following(None) };
        assert_eq!(view.destination(voted), None, "the node knows of no leader in term 5 yet");
    }

    #[test]
    fn a_linked_but_silent_majority_is_not_in_reach() {
        let now = Instant::now();
        let mut view = view(now);
        let recently = Duration::from_secs(1);
        assert!(!view.majority_in_reach(now, recently));
        view.link_up(member(3), now);
        assert!(view.majority_in_reach(now + recently, recently));
        assert!(!view.majority_in_reach(now + 2 * recently, recently));
    }

    #[test]
    fn without_a_leader_status_does_not_count_on_replicas_that_hang() {
        let now = Instant::now();
        let recently = Duration::from_secs(1);
        let mut view = view(now);
        view.standing(following(None), now);
        view.living([1, 2, 3].map(ReplicaId).into());
        view.link_up(member(1), now);
        view.link_up(member(3), now);
        assert_eq!(view.status(Index(1), now, recently).spare, 1);
        let later = now + 2 * recently;
        view.heard(ReplicaId(3), later);
        let status = view.status(Index(1), later, recently);
        let up: Vec<_> = status.replicas.iter().map(|r| (r.id, r.up)).collect();
        assert_eq!((up, status.spare), (vec![(1, false), (2, true), (3, true)], 0));
    }

    /// Replica 3 votes, is emptied, and is linked again as somebody new, before its old self is removed: to call it a voter
    /// that is up would promise a failure too many.
    #[test]
    fn a_wiped_replica_is_not_counted_for_what_it_was() {
        let (now, recently) = (Instant::now(), Duration::from_secs(1));
        let mut view = view(now);
        view.standing(Standing { role: Role::Leader, term: Term(4), leader: Some(ReplicaId(2)) }, now);
        view.living([1, 2, 3].map(ReplicaId).into());
        view.link_up(member(1), now);
        view.link_up(member(3), now);
        let third = |view: &View| {
            let status = view.status(Index(1), now, recently);
            (status.replicas.last().map(|row| row.role), status.spare)
        };
        assert_eq!(third(&view), (Some("follower"), 1));
        view.link_down(ReplicaId(3), now);
        view.link_up(Member { incarnation: Incarnation(8), ..member(3) }, now);
        assert_eq!(third(&view), (Some("learner"), 0));
    }

    #[test]
    fn there_is_no_room_when_the_full_disks_leave_no_majority() {
        let now = Instant::now();
        let mut view = view(now);
        view.link_up(member(1), now);
        view.standing(following(Some(1)), now);
        let mut spread = view.spread(Index(1));
        let mut tell = |view: &mut View, full: [bool; 2], up: bool| {
            (spread[0].full, spread[2].full, spread[0].up, spread[2].up) = (full[0], full[1], true, up);
            view.news(ReplicaId(1), spread.clone());
            view.no_room().is_some()
        };
        assert!(!tell(&mut view, [false, true], true), "two of three have room");
        assert!(tell(&mut view, [true, true], true));
        assert!(!tell(&mut view, [false, true], false), "who is down is not full");
        assert!(tell(&mut view, [true, false], false), "one has room, and one is needed more that is down");
        view.standing(following(None), now);
        assert_eq!(view.no_room(), None, "nobody knows any more");
        view.disk_full(true);
        assert!(view.no_room().is_some());
    }

    #[test]
    fn who_is_linked_and_answers_no_more_is_silent_until_it_answers() {
        let now = Instant::now();
        let mut view = view(now);
        let silent = |view: &View| [1, 3].map(|id| view.is_silent(ReplicaId(id)));
        view.standing(Standing { role: Role::Leader, term: Term(4), leader: Some(ReplicaId(2)) }, now);
        view.link_up(member(1), now);
        view.link_up(member(3), now);
        assert_eq!(silent(&view), [false, false], "nobody was asked yet");
        view.living([1, 2, 3].map(ReplicaId).into());
        view.living([1, 2].map(ReplicaId).into());
        assert_eq!(silent(&view), [false, true]);
        view.living([1, 2, 3].map(ReplicaId).into());
        assert_eq!(silent(&view), [false, false], "it goes on");
        view.living([2].map(ReplicaId).into());
        view.link_down(ReplicaId(1), now);
        view.link_up(member(1), now);
        assert_eq!(silent(&view), [false, true], "a new link is a new beginning");
    }

    /// Three of five served apart, came to entry 64, and gave it up: when this replica comes to its own entry 64, what they had
    /// there says nothing. With views only; and what others had is heard of who leads alone.
    #[test]
    fn what_was_told_in_an_older_view_outvotes_nobody() {
        let now = Instant::now();
        let following = |term| Standing { role: Role::Follower, term: Term(term), leader: Some(ReplicaId(1)) };
        let had = |id, digest| PeerNews {
            id: ReplicaId(id),
            up: true,
            votes: true,
            full: false,
            applied: Index(64),
            checkpoint: Checkpoint { index: Index(64), digest },
        };
        let verdict = |mode, terms: [u64; 2], from| {
            let mut view = view(now).with_mode(mode);
            view.standing(following(terms[0]), now);
            view.news(ReplicaId(from), vec![had(1, 5), had(3, 5)]);
            view.standing(following(terms[1]), now);
            view.checkpoint(Checkpoint { index: Index(64), digest: 7 })
        };
        let outvoted = Verdict::Outvoted(Index(64));
        assert_eq!(verdict(Mode::PrimaryBackup, [4, 4], 1), outvoted);
        assert_eq!(verdict(Mode::PrimaryBackup, [4, 9], 1), Verdict::Agrees);
        assert_eq!(verdict(Mode::PrimaryBackup, [4, 4], 3), Verdict::Differs(ReplicaId(3), Index(64)));
        assert_eq!(verdict(Mode::Quorum, [4, 9], 1), outvoted);
    }

    #[test]
    fn a_follower_prints_what_the_leader_spread() {
        let now = Instant::now();
        let mut view = view(now);
        view.link_up(member(1), now);
        view.standing(following(Some(1)), now);
        let news = |id, up, applied| PeerNews {
            id: ReplicaId(id),
            up,
            votes: true,
            full: false,
            applied: Index(applied),
            checkpoint: Checkpoint::default(),
        };
        view.news(ReplicaId(1), vec![news(1, true, 40), news(2, true, 30), news(3, false, 10)]);
        let status = view.status(Index(38), now, Duration::from_secs(1));
        let rows: Vec<_> = status.replicas.iter().map(|r| (r.id, r.role, r.up, r.applied, r.lag)).collect();
        assert_eq!(rows, [(1, "leader", true, 40, 0), (2, "follower", true, 38, 2), (3, "follower", false, 10, 30)]);
        assert_eq!((status.this, status.leader, status.term, status.spare), (2, 1, 4, 0));
    }
}
