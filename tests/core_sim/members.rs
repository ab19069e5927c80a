//! Clusters that grow and shrink: hosts that stand by until they are asked to join, replicas that are removed, leader or
//! not, alive or not, and replicas that move to another address.

use plainsong::consensus::quorum::majority;
use plainsong::consensus::{Address, Change, Index, Input, Member, ReplicaId, Verdict};

use super::world::{Event, MS, Mail, Process, Time, World, id};

/// How often a replica that wants to vote, and does not, asks again.
const ASK_AGAIN: Time = 300 * MS;

/// Where a replica is; it moves from one `place` to another.
pub fn address(host: usize, place: u32) -> Address {
    Address { id: id(host), clients: format!("h{host}:{place}"), replicas: format!("h{host}:{}", place + 1) }
}

impl World {
    /// A host that stood by starts its program with `--join`.
    pub fn joins(&mut self, host: usize) {
        if !self.hosts[host].stands_by {
            return;
        }
        self.hosts[host].stands_by = false;
        self.note(|| format!("{} wants to join", id(host)));
        self.start(host);
        self.begin_to_ask(host);
    }

    /// From now on it asks, whenever it does not vote.
    pub fn begin_to_ask(&mut self, host: usize) {
        if !std::mem::replace(&mut self.hosts[host].asks, true) {
            self.at(MS, Event::AskToJoin { host });
        }
    }

    /// As long as it does not vote, it asks anybody: each leader has to be told anew.
    pub fn ask_to_join(&mut self, host: usize) {
        let me = self.disks[host].me;
        if self.hosts[host].stands_by {
            self.hosts[host].asks = false;
            return;
        }
        // That it votes may be undone, with the entry that says so.
        let learns = |p: &Process| !p.node.voters().contains(&me);
        let contact = self.rng.usize(0..self.style.hosts);
        let place = self.hosts[host].place;
        if contact != host && self.hosts[host].process.as_ref().is_some_and(learns) {
            self.ask_change(contact, Change::Join(me, address(host, place)));
        }
        self.at(ASK_AGAIN, Event::AskToJoin { host });
    }

    /// Somebody asks this host's replica to have another one removed, or itself.
    pub fn leaves(&mut self, contact: usize) {
        let gone = self.rng.usize(0..self.style.hosts);
        self.ask_change(contact, Change::Remove(id(gone)));
    }

    /// A replica that votes shows another address.
    pub fn moves(&mut self, host: usize) {
        self.hosts[host].place += 2;
        let (me, place) = (self.disks[host].me, self.hosts[host].place);
        if self.check.membership().1.votes(me) {
            let contact = self.rng.usize(0..self.style.hosts);
            self.ask_change(contact, Change::Join(me, address(host, place)));
        }
    }

    fn ask_change(&mut self, contact: usize, change: Change) {
        let life = self.hosts[contact].life;
        let number = self.check.asks(&change);
        self.post(contact, life, Mail::Input(Input::Change(number, change)));
    }

    /// Its process ends, as it does in the product, and its operator gives it a fresh disk. It may join again.
    pub fn is_removed(&mut self, host: usize, life: u64, member: Member) {
        if self.process(host, life).is_none() {
            return;
        }
        let gone = self.check.membership().1.is_dismissed(member);
        assert!(gone, "{member} is told that it was removed, and was not");
        self.crash(host);
        self.blank(host);
        self.hosts[host].stands_by = true;
    }

    /// Whether this host's replica belongs to the cluster, by what is committed, or is on its way into it.
    pub fn belongs(&self, host: usize) -> bool {
        !self.hosts[host].stands_by
    }

    /// Whether one voter can be spared for good: a majority of two is both.
    pub fn can_spare_one(&self) -> bool {
        let voters = self.check.membership().1.voters.len();
        self.style.spares == 0 || voters > majority(voters)
    }
}

impl super::checkers::Checker {
    /// Somebody asks for a change. Returns the number of the question.
    pub fn asks(&mut self, change: &Change) -> u64 {
        self.asked.push(change.clone());
        self.asked.len() as u64 - 1
    }

    /// What is answered with "done" is committed, and was so at that entry.
    pub fn change_answered(&self, number: u64, verdict: Verdict) {
        let Verdict::Done(at) = verdict else { return };
        assert!(at <= self.committed(), "change {number} is done by {at}, which nobody committed");
        let change = &self.asked[usize::try_from(number).expect("few changes")];
        let membership = self.membership_at(at);
        let done = match change {
            Change::Join(member, address) => membership.votes(*member) && knows(&membership.addresses, address),
            Change::Remove(id) => membership.voter(*id).is_none(),
        };
        // Asked again when it was so already, it is answered with what was committed last.
        assert!(done, "{change:?} is done by {at}, but the members there are {membership:?}");
    }

    /// One voter at a time: what is committed next differs from what was committed before by one at the most.
    pub fn one_at_a_time(&self, next: &plainsong::consensus::Membership, at: Index) {
        let before = &self.membership().1;
        let gone = before.voters.iter().filter(|m| !next.votes(**m)).count();
        let new = next.voters.iter().filter(|m| !before.votes(**m)).count();
        assert!(before.voters.is_empty() || gone + new <= 1, "entry {at} changes {} voters", gone + new);
        let back = next.voters.iter().find(|m| before.removed.contains(m));
        assert_eq!(back, None, "entry {at} lets a removed incarnation vote again");
        assert!(before.removed.iter().all(|m| next.removed.contains(m)), "entry {at} forgets who was removed");
    }
}

fn knows(book: &[Address], address: &Address) -> bool {
    // Before the first change of members nobody's address is in the log.
    book.is_empty() || book.contains(address)
}

/// The ids of those who found the cluster.
pub fn founders(world: &World) -> Vec<ReplicaId> {
    (0..world.style.hosts - world.style.spares).map(id).collect()
}
