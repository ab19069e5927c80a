//! What clients ask of a replica, what they must be answered, and when all of it is at rest.

use bytes::Bytes;
use plainsong::consensus::{Frame, Index, Input, ReplicaId, Term};

use super::net::Lane;
use super::state::Proposal;
use super::world::{Event, FORWARD_BYTES_MAX, MS, Mail, Process, Read, World, id};

impl World {
    pub fn client(&mut self) {
        if !self.clients {
            return;
        }
        let again = self.rng.u64(MS..self.style.client_pause_max);
        self.at(again, Event::Client);
        let host = self.rng.usize(0..self.style.hosts);
        self.ask(host);
    }

    /// A client of this host proposes a few things, or reads.
    pub fn ask(&mut self, host: usize) {
        let reads = self.rng.u8(..) < 80;
        if reads { self.ask_read(host) } else { self.ask_write(host) }
    }

    pub fn ask_read(&mut self, host: usize) {
        let (floor, life) = (self.check.floor, self.hosts[host].life);
        let Some(process) = self.process(host, life) else {
            return;
        };
        let read = process.next_read;
        process.next_read += 1;
        process.reads.insert(read, Read { floor, index: None });
        self.post(host, life, Mail::Input(Input::Read(read)));
    }

    pub fn ask_write(&mut self, host: usize) {
        let count = self.rng.u64(1..6);
        let size = if self.style.fat && self.rng.u8(..) < 30 { self.rng.usize(0..400_000) } else { 0 };
        let (member, boot, life) = (self.disks[host].me, self.disks[host].boot.0, self.hosts[host].life);
        let Some(process) = self.process(host, life) else {
            return;
        };
        if process.origin.len() > 200 {
            return;
        }
        for _ in 0..count {
            let n = process.origin.next();
            process.origin.offer(Proposal { member, boot, n }.payload(size));
        }
        self.wake(host, life);
    }

    /// Sends the leader what it was not sent.
    pub fn forward(&mut self, host: usize, process: &mut Process) {
        let Some(leader) = process.known.leader else { return };
        let term = process.known.term;
        if leader != id(host) && !process.links.contains_key(&(usize::from(leader.0) - 1)) {
            return;
        }
        loop {
            let payloads: Vec<Bytes> = process.origin.take_unsent(FORWARD_BYTES_MAX);
            if payloads.is_empty() {
                return;
            }
            if leader == id(host) {
                process.inbox.push(Mail::Input(Input::Propose(payloads)));
                self.wake_taken(host, process);
            } else {
                self.send(host, process, leader, Lane::Bulk, Frame::Forward { term, payloads });
            }
        }
    }

    pub fn read_ready(&mut self, process: &mut Process, read: u64, index: Index) {
        let applied = process.state.applied;
        let Some(waiting) = process.reads.get_mut(&read) else {
            return;
        };
        assert!(index >= waiting.floor, "read {read} gives {index}, but {} was seen before it", waiting.floor);
        waiting.index.get_or_insert(index);
        if index <= applied {
            process.reads.remove(&read);
            self.check.floor = self.check.floor.max(applied);
        }
    }

    /// Why the cluster is not at rest: nobody leads, logs differ, something waits. `None` once it is.
    pub fn unrest(&self) -> Option<String> {
        let mut leader: Option<(Term, ReplicaId)> = None;
        for (host, there) in self.hosts.iter().enumerate() {
            if there.stands_by {
                continue;
            }
            let Some(process) = &there.process else {
                return Some(format!("{} is down", id(host)));
            };
            let standing = process.node.standing();
            let Some(known) = standing.leader else {
                return Some(format!("{} knows no leader", id(host)));
            };
            if *leader.get_or_insert((standing.term, known)) != (standing.term, known) {
                return Some(format!("{} follows another leader", id(host)));
            }
            if !process.node.voters().contains(&self.disks[host].me) {
                return Some(format!("{} is no voter", self.disks[host].me));
            }
            let (last, commit) = (process.node.last(), process.node.commit());
            if (last, commit, process.state.applied) != (self.check.committed(), last, last) {
                return Some(format!("{}: last {last}, commit {commit}", id(host)));
            }
            if !process.origin.is_empty() || !process.reads.is_empty() {
                let (writes, reads) = (process.origin.len(), &process.reads);
                return Some(format!("{}: {writes} proposals wait, and {reads:?}", id(host)));
            }
            self.check.state_is_right(&process.state);
        }
        None
    }
}
