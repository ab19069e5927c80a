//! Replicas that are removed, leader or not, alive or not, and come back with an empty disk and `--join`; through the product's
//! own table of changes that wait ([`Admin`]).

use plainsong::actors::replicator::admin::Admin;
use plainsong::consensus::{Address, Change, Input, ReplicaId, Verdict};
use plainsong::wire::admin::Places;
use tokio::sync::oneshot;

use super::checkers::ensure;
use super::replica::{Mail, Out, Replica};
use super::world::{Event, MS, SECOND, Time, World, id};

/// How often a replica that wants to vote, and does not, asks again.
const ASK_AGAIN: Time = 300 * MS;
/// The longest time until somebody who was removed wants to join.
const AWAY_MAX: Time = 2 * SECOND;
/// Nobody is removed so soon after the loss of a disk, and no disk is lost so soon after a removal was asked for, which may be
/// on its way to the leader: that the lost one still counts then is the price of not asking it.
pub const UNNOTICED: Time = 500 * MS;
/// The longest pause between two removals that are asked for.
const PAUSE_MAX: Time = 4 * SECOND;

/// Where a replica is.
pub fn address(id: ReplicaId) -> Address {
    Address { id, clients: format!("h{id}:1"), replicas: format!("h{id}:2") }
}

impl World {
    /// Somebody asks anybody to have somebody removed; and again, later. In a world that is being healed no more.
    pub fn removal(&mut self) {
        if self.calm {
            return;
        }
        let (contact, gone) = (self.rng.usize(0..self.style.hosts), self.rng.usize(0..self.style.hosts));
        if self.wiped == 0 || self.now - self.wiped > UNNOTICED {
            self.note(|| format!("{} is asked to have {} removed", id(contact), id(gone)));
            self.removal_asked = self.now;
            self.tell(contact, Mail::Change(Change::Remove(id(gone))));
        }
        let pause = self.rng.u64(500 * MS..PAUSE_MAX);
        self.after(pause, Event::Removal);
    }

    /// The process ends, as it does in the product; its operator gives it an empty disk, and starts it with `--join`.
    pub fn is_removed(&mut self, host: usize) {
        let me = self.hosts[host].disk.me;
        let gone = self.judge.ledger.membership().is_some_and(|(_, membership)| membership.is_dismissed(me));
        ensure!(NoFalseAlarm, gone, "{me} is told that it was removed, and was not");
        self.crash(host);
        self.blank(host);
        self.hosts[host].joins = true;
        self.start_after(host, AWAY_MAX);
    }

    /// Who was wiped, and whose former self was removed then, is told nothing: nobody knows it. Its operator starts it with
    /// `--join`.
    pub fn strangers_join(&mut self) {
        let Some((_, membership)) = self.judge.ledger.membership().cloned() else { return };
        for host in 0..self.style.hosts {
            if self.style.changes && !membership.belongs(id(host)) && !self.hosts[host].joins {
                self.hosts[host].joins = true;
                self.after(MS, Event::AskToJoin { host, life: self.hosts[host].life });
            }
        }
    }

    /// As long as it does not vote, it asks anybody: each leader has to be told anew.
    pub fn ask_to_join(&mut self, host: usize, life: u64) {
        let me = self.hosts[host].disk.me;
        let Some(replica) = self.replica(host, life) else { return };
        let asks = !replica.node.voters().contains(&me);
        let contact = self.rng.usize(0..self.style.hosts);
        if asks && contact != host {
            self.tell(contact, Mail::Change(Change::Join(me, address(me.id))));
        }
        self.after(ASK_AGAIN, Event::AskToJoin { host, life });
    }
}

impl Replica {
    pub fn change_wanted(&mut self, change: Change) {
        if self.calm && matches!(change, Change::Remove(_)) {
            return;
        }
        // Nobody waits for the answer: what becomes of it is for the checkers to see in the log.
        let (answer, _) = oneshot::channel();
        self.admin.open(change, answer, self.now);
    }

    pub fn ask_changes(&mut self) {
        if self.view.destination(self.node.standing()).is_some() {
            for (number, change) in self.admin.due(self.now) {
                self.step(Input::Change(number, change));
            }
        }
    }

    pub fn change_answered(&mut self, number: u64, verdict: Verdict) {
        self.admin.answered(number, verdict, Places::default, self.now);
    }

    pub fn dismissed(&mut self) {
        self.out.push(Out::EndRemoved);
    }

    /// From now on nobody is removed.
    pub fn keep_everybody(&mut self) {
        self.calm = true;
        self.admin = Admin::default();
    }
}
