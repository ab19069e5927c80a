//! What was committed, by anybody, ever; who led which term; and what is on whose disks.

use std::collections::{BTreeMap, BTreeSet};

use plainsong::consensus::{Body, Boot, ClusterId, Entry, Index, Log, Member, Membership, Mode, Role, Term};
use plainsong::mode::Core;

use super::ensure;
use super::sides::{SideId, Sides};
use crate::sim::disk::Disk;
use crate::sim::hosts::Host;

/// Who led a term, in which of its starts, and the log it began with.
struct Reign {
    leader: Member,
    boot: Boot,
    log: Log,
}

/// See the module's header.
#[derive(Default)]
pub struct Ledger {
    /// Each with all that was committed on it: one, unless silence counts as death.
    pub sides: Sides,
    memberships: Vec<(Index, Membership)>,
    reigns: BTreeMap<Term, Reign>,
    /// Members whose disk was wiped, or put back: their promises are void.
    pub forgetful: BTreeSet<Member>,
    boots: BTreeMap<Member, Boot>,
    cluster: Option<ClusterId>,
}

impl Ledger {
    /// The committed voters, and since which entry.
    pub fn membership(&self) -> Option<&(Index, Membership)> {
        self.memberships.last()
    }

    pub fn voters(&self) -> &[Member] {
        self.memberships.last().map_or(&[], |(_, membership)| &membership.voters)
    }

    /// A process started.
    pub fn starts(&mut self, host: usize, me: Member, boot: Boot) {
        let before = self.boots.insert(me, boot);
        let forgets = self.forgetful.contains(&me);
        ensure!(NoFalseClaims, forgets || before < Some(boot), "host {host} starts as boot {boot} of {me} once more");
    }

    /// A node took what is between `before` and its commit index for committed. Gives what is news, and on which side.
    pub fn commit_moved(&mut self, host: usize, node: &Core, disk: &Disk, before: Index) -> (SideId, Vec<Entry>) {
        let after = node.commit();
        ensure!(CommittedForever, after > before, "the commit index of {} falls from {before} to {after}", node.me());
        let term = node.standing().term;
        let mut news = Vec::new();
        for index in (before.0 + 1..=after.0).map(Index) {
            let in_memory = node.log().entries(index, index, 1).and_then(|mut one| one.pop());
            let on_disk = || disk.entry(index).filter(|e| node.log().term_at(index) == Some(e.term)).cloned();
            let Some(entry) = in_memory.or_else(on_disk) else {
                ensure!(LogsAgree, false, "{} takes {index} for committed, but lacks it", node.me());
                break;
            };
            if self.sides.commits(host, node.me(), term, &entry) {
                self.names_voters(&entry);
                news.push(entry);
            }
        }
        (self.sides.of(host), news)
    }

    fn names_voters(&mut self, entry: &Entry) {
        match &entry.body {
            Body::Founding(record) => {
                ensure!(OneFounding, self.cluster.is_none(), "a second founding record is committed: {record:?}");
                self.cluster = Some(record.cluster);
                let first = Membership { voters: record.members.clone(), ..Membership::default() };
                self.memberships.push((entry.index, first));
            }
            Body::Membership(membership) => self.memberships.push((entry.index, membership.clone())),
            Body::Noop | Body::Command(_) => {}
        }
    }

    /// A leader's commit index moved: a majority of its voters must hold it on their disks.
    pub fn commit_is_durable(&self, node: &Core, hosts: &[Host]) {
        let index = node.commit();
        let term = node.log().term_at(index);
        let (me, voters) = (node.me(), node.voters());
        let (held, voters) = (self.holders(&voters, hosts, index, term), voters.len());
        // With a change of voters the next one may be appended in the same turn: those before it decided.
        let held_before = self.holders(self.voters(), hosts, index, term) * 2 > self.voters().len();
        let enough = match node.mode() {
            Mode::Quorum => held * 2 > voters || held_before,
            Mode::PrimaryBackup => held == voters,
        };
        ensure!(MajorityHolds, enough, "{me} commits {index}, which {held} of {voters} voters hold");
    }

    /// A client was told of this entry.
    pub fn is_held_by_majority(&self, hosts: &[Host], index: Index) {
        let Some(entry) = self.sides.entry(SideId::default(), index) else {
            ensure!(MajorityHolds, false, "a client is told of {index}, which nobody committed");
            return;
        };
        // A membership is in force when it is appended: it decides what is committed in front of it, too.
        let first = self.memberships.partition_point(|(at, _)| *at <= index).saturating_sub(1);
        let known = self.memberships[first..].iter().map(|(_, membership)| &membership.voters[..]);
        let in_force = hosts.iter().filter_map(|h| h.replica.as_ref()).map(|r| r.node.voters());
        let held = |voters: &[Member]| self.holders(voters, hosts, index, Some(entry.term)) * 2 > voters.len();
        ensure!(
            MajorityHolds,
            known.map(<[Member]>::to_vec).chain(in_force).any(|voters| held(&voters)),
            "a client is told of {index}, which a minority holds"
        );
    }

    /// The same where silence counts: nobody knows who leads while somebody who led hangs. Whoever says so has it in its log, or has given it up by now, and kept it.
    pub fn is_held_by_teller(&self, side: SideId, disk: &Disk, index: Index) {
        let entry = self.sides.entry(side, index);
        let held = entry.is_some_and(|entry| holds(disk, entry));
        ensure!(MajorityHolds, held, "a client is told of {index}, which {} lacks that told it", disk.me);
    }

    /// The same with views. The members at that time may be gone; whoever leads now has it, and whoever leads next is looked
    /// at when it begins.
    pub fn is_held_by_leader(&self, hosts: &[Host], index: Index) {
        let term = self.sides.entry(SideId::default(), index).map(|entry| entry.term);
        let nodes = hosts.iter().filter_map(|h| h.replica.as_ref()).map(|r| &r.node);
        let leads = |node: &&Core| node.standing().role == Role::Leader;
        let newest = nodes.filter(leads).max_by_key(|node| node.standing().term).map(Core::me);
        let held = newest.is_none_or(|leader| self.holders(&[leader], hosts, index, term) == 1);
        ensure!(MajorityHolds, term.is_some() && held, "a client is told of {index}, which {newest:?} lacks");
    }

    fn holders(&self, voters: &[Member], hosts: &[Host], index: Index, term: Option<Term>) -> usize {
        let holds = |member: &&Member| {
            // Who has yielded meanwhile has it still, aside.
            let aside = |disk: &Disk| disk.orphans.iter().any(|(_, e)| e.index == index && Some(e.term) == term);
            let in_log = |disk: &Disk| disk.base.index > index || term.is_some() && disk.term_at(index) == term;
            let holds = |disk: &Disk| in_log(disk) || aside(disk);
            self.forgetful.contains(member) || hosts.iter().any(|h| h.disk.me == **member && holds(&h.disk))
        };
        voters.iter().filter(holds).count()
    }

    /// A node leads: alone in its term, with everything that earlier terms committed, and with durable votes.
    pub fn leads(&mut self, node: &Core, boot: Boot, hosts: &[Host]) {
        let (me, term) = (node.me(), node.standing().term);
        if let Some(reign) = self.reigns.get(&term) {
            let same = (reign.leader, reign.boot) == (me, boot);
            ensure!(OneLeader, same, "{me} and {} both lead term {term}", reign.leader);
            return;
        }
        self.reigns.insert(term, Reign { leader: me, boot, log: node.log().clone() });
        for entry in self.sides.needed_by(node) {
            let here = node.log().term_at(entry.index);
            ensure!(
                CommittedForever,
                here == Some(entry.term) || entry.index < node.log().base(),
                "{me} leads term {term} without committed {}",
                entry.index
            );
        }
        if let Core::PrimaryBackup(node) = node {
            let view = &node.views().installed;
            let accepted = |m: &Member| {
                let gave = |disk: &Disk| disk.views.as_ref().is_some_and(|views| views.promised.id >= view.id);
                hosts.iter().any(|h| h.disk.me == *m && gave(&h.disk))
            };
            let all = view.members.iter().all(|(m, _)| accepted(m));
            ensure!(OneLeader, all, "{me} leads {view}, which not all its members have accepted durably");
            return;
        }
        let gave = |d: &Disk| d.hard.term > term || d.hard.term == term && d.hard.vote == Some(me);
        let votes = |m: &&Member| self.forgetful.contains(m) || hosts.iter().any(|h| h.disk.me == **m && gave(&h.disk));
        let voters = node.voters();
        let (votes, voters) = (voters.iter().filter(votes).count(), voters.len());
        ensure!(OneLeader, votes * 2 > voters, "{me} leads term {term} with {votes} durable votes of {voters}");
    }

    /// Whether a follower's disk may say in `term` that its log is the leader's up to `matched`.
    pub fn is_leaders_log(&self, disk: &Disk, term: Term, matched: Index) -> bool {
        let Some(reign) = self.reigns.get(&term) else { return false };
        let expected = if matched <= reign.log.last() { reign.log.term_at(matched) } else { Some(term) };
        // What is before the base of either is committed, and in the durable state.
        let gone = matched < disk.base.index || matched < reign.log.base();
        gone || disk.term_at(matched) == expected
    }

    /// Entries go to a state: they must be on the disk, and committed.
    pub fn applies(&self, host: usize, disk: &Disk, entries: &[Entry]) {
        for entry in entries {
            let (me, index) = (disk.me, entry.index);
            ensure!(NoFalseClaims, disk.entry(index) == Some(entry), "{me} applies {index}, which its disk lacks");
            let committed = self.sides.entry(self.sides.of(host), index);
            ensure!(LogsAgree, committed == Some(entry), "{me} applies {entry:?}, which nobody committed");
        }
    }

    /// A replica is told that its disk is an old copy.
    pub fn told_to_start_anew(&self, me: Member) {
        ensure!(NoFalseAlarm, self.forgetful.contains(&me), "{me} is told so, and its disk is whole");
    }
}

/// Whether it is in the log, or kept aside.
pub fn holds(disk: &Disk, entry: &Entry) -> bool {
    disk.entry(entry.index) == Some(entry) || disk.orphans.iter().any(|(_, orphan)| orphan == entry)
}
