//! Logs that are cut, and copies of the state that are offered, fetched and installed, or come to nothing in the middle.

use plainsong::consensus::{Index, Input, Mark, Snapshot};

use super::world::{Event, MS, World};

impl World {
    /// A host cuts its log somewhere, as far as what no crash takes back allows. Sometimes it asks for more: to no effect.
    pub fn cut_log(&mut self, host: usize) {
        let durable = self.hosts[host].saved.applied;
        let committed = self.check.committed();
        let beyond = self.rng.u8(..) < 30;
        let last = if beyond { committed } else { durable };
        let index = Index(self.rng.u64(0..=last.0));
        let Some(digest) = self.check.digest_at(index) else { return };
        self.note(|| format!("host {host} is to cut its log at {index}; its state is durable up to {durable}"));
        // In this order in one turn, or with the news of the state in a later one.
        if self.rng.u8(..) < 230 {
            self.tell(host, Input::StateDurable(durable));
        }
        self.tell(host, Input::Cut(Mark { index, digest }));
    }

    /// A copy of the state is made: of some commit of it, not older than the base. Perhaps there is one already.
    pub fn copied(&mut self, host: usize, life: u64) {
        let base = self.disks[host].base.index;
        let Some(process) = self.process(host, life) else { return };
        let now = process.state.clone();
        let there = &self.hosts[host];
        let state = if there.saved.applied >= base && self.rng.bool() { there.saved.clone() } else { now };
        let same = there.outgoing.as_ref().is_some_and(|(copy, _)| copy.base.index >= base);
        if !same || self.rng.u8(..) < 80 {
            let checksum = self.rng.u64(1..);
            let snapshot = self.disks[host].snapshot(state.applied, state.digest, checksum);
            self.hosts[host].outgoing = Some((snapshot, state));
        }
        let (snapshot, _) = self.hosts[host].outgoing.clone().expect("it was just made");
        let input = Input::SnapshotMade(snapshot);
        self.at(MS, Event::Input { host, life, input });
    }

    pub fn fetch(&mut self, host: usize, from: usize, snapshot: Snapshot) {
        let (life, from_life) = (self.hosts[host].life, self.hosts[from].life);
        let delay = self.rng.u64(MS..self.style.fetch_max);
        self.at(delay, Event::Fetched { host, life, from, from_life, snapshot });
    }

    /// The whole copy is here, if nothing happened on the way. A stale one may come late.
    pub fn fetched(&mut self, host: usize, life: u64, (from, from_life): (usize, u64), snapshot: Snapshot) {
        if self.process(host, life).is_none() {
            return;
        }
        let pair = (host.min(from), host.max(from));
        let offers = self.hosts[from].life == from_life && self.links.get(&pair).is_some_and(|link| link.alive);
        let copy = self.hosts[from].outgoing.clone().filter(|(copy, _)| offers && *copy == snapshot);
        let Some(copy) = copy else { return };
        self.hosts[host].incoming = Some(copy);
        self.tell(host, Input::SnapshotFetched(snapshot));
    }

    /// The process ends, to start anew from the copy; or dies before, in between, or behind the step that counts.
    pub fn install(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_none() {
            return;
        }
        let Some(snapshot) = self.hosts[host].installs.take() else { return };
        self.stop(host);
        if self.rng.u8(..) < 200 {
            let begins = self.disks[host].begin_behind(&snapshot);
            self.note(|| format!("host {host} installs the state after {}: {begins}", snapshot.base.index));
        }
        self.start_after(host, 50 * MS);
    }

    /// What the next start does: a log that begins behind a copy takes it; any other copy goes away.
    pub fn finish_install(&mut self, host: usize) {
        let base = self.disks[host].base;
        let Some((copy, state)) = self.hosts[host].incoming.take() else { return };
        if self.hosts[host].saved.applied < base.index && copy.base == base {
            self.hosts[host].saved = state;
        }
    }
}
