//! The courier's thread, with time for a disk: copies of states, in pieces, over links that break; and what a replica does
//! to start anew from one.

use bytes::Bytes;
use plainsong::actors::courier::{CourierJob, FromCourier};
use plainsong::actors::store::LogJob;
use plainsong::consensus::{ReplicaId, Snapshot};
use plainsong::machine::MachineStorage as _;
use plainsong::wire::{Chunk, Fetch};

use super::replica::Mail;
use super::world::{Event, MS, World};

/// A copy has at most so many pieces, of one byte each.
const PIECES_MAX: u64 = 6;

impl World {
    pub fn hand_to_courier(&mut self, host: usize, life: u64, job: CourierJob) {
        match job {
            CourierJob::Make(at_least) => {
                if self.hosts[host].outgoing.as_ref().is_some_and(|copy| copy.base.index < at_least) {
                    self.hosts[host].outgoing = None;
                }
                let latency = self.rng.u64(MS..30 * MS);
                self.after(latency, Event::CopyMade { host, life });
            }
            CourierJob::Read(to, fetch) => {
                let offers = self.hosts[host].outgoing.as_ref().is_some_and(|copy| copy.checksum == fetch.copy);
                if offers {
                    let chunk = Chunk { copy: fetch.copy, offset: fetch.offset, bytes: Bytes::from_static(b"\n") };
                    self.courier_tells(host, life, FromCourier::Piece(to, chunk));
                }
            }
            CourierJob::Fetch(from, snapshot) => self.fetch(host, life, from, snapshot),
            CourierJob::Write(from, chunk) => self.write_piece(host, life, from, &chunk),
        }
    }

    fn courier_tells(&mut self, host: usize, life: u64, news: FromCourier) {
        let latency = self.rng.u64(50..20 * MS);
        self.after(latency, Event::Post { host, life, mail: Box::new(Mail::Courier(news)) });
    }

    /// The state as of some commit: what the threads hold by now, or what would outlast a crash.
    pub fn copy_made(&mut self, host: usize, life: u64) {
        if self.replica(host, life).is_none() {
            return;
        }
        if self.hosts[host].outgoing.is_none() {
            let (checksum, pieces, saved) = (self.rng.u64(1..), self.rng.u64(1..=PIECES_MAX), self.rng.bool());
            let there = &self.hosts[host];
            let keeps = there.saved.applied() >= there.disk.base.index;
            let state = if saved && keeps { &there.saved } else { &there.stores.state };
            let snapshot = there.disk.snapshot(state.applied(), state.digest(), checksum);
            self.judge.copies(host, state.applied(), state.digest());
            let state = state.clone();
            self.copies.insert(checksum, state);
            self.hosts[host].outgoing = Some(Snapshot { bytes: pieces, ..snapshot });
        }
        let made = self.hosts[host].outgoing.clone().expect("it was just made");
        self.courier_tells(host, life, FromCourier::Made(made));
    }

    fn fetch(&mut self, host: usize, life: u64, from: ReplicaId, snapshot: Snapshot) {
        let here = self.hosts[host].fetching.take().filter(|(_, same, _)| *same == snapshot);
        let offset = here.map_or(0, |(_, _, offset)| offset);
        let ask = Fetch { copy: snapshot.checksum, offset };
        self.hosts[host].fetching = Some((from, snapshot, offset));
        self.courier_tells(host, life, FromCourier::Ask(from, vec![ask]));
    }

    fn write_piece(&mut self, host: usize, life: u64, from: ReplicaId, chunk: &Chunk) {
        let Some((asked, snapshot, offset)) = &mut self.hosts[host].fetching else { return };
        if (*asked, snapshot.checksum, *offset) != (from, chunk.copy, chunk.offset) {
            return; // of another copy, or asked for twice
        }
        *offset += 1;
        let (snapshot, offset) = (snapshot.clone(), *offset);
        if offset < snapshot.bytes {
            let ask = Fetch { copy: snapshot.checksum, offset };
            self.courier_tells(host, life, FromCourier::Ask(from, vec![ask]));
            return;
        }
        self.hosts[host].fetching = None;
        self.hosts[host].incoming = Some(snapshot.clone());
        self.courier_tells(host, life, FromCourier::Fetched(snapshot));
    }

    /// The process ends in good order, begins its log behind the copy, and starts; or it dies on the way.
    pub fn install(&mut self, host: usize, snapshot: &Snapshot) {
        let jobs: Vec<LogJob> = self.hosts[host].stores.log.drain(..).collect();
        self.hosts[host].stores.log_group = 0;
        for job in &jobs {
            if let LogJob::Persist(batch) = job {
                self.hosts[host].disk.write(batch);
            }
        }
        self.crash(host);
        let dies = self.rng.u8(..) < 40;
        if !dies {
            let begins = self.hosts[host].disk.begin_behind(snapshot);
            self.note(|| format!("host {host} installs the state after {}: {begins}", snapshot.base.index));
        }
        self.start_after(host, 100 * MS);
    }

    /// What the next start does: a log that begins behind a copy takes it, any other copy goes away.
    pub fn finish_install(&mut self, host: usize) {
        let base = self.hosts[host].disk.base;
        let Some(copy) = self.hosts[host].incoming.take() else { return };
        if self.hosts[host].saved.applied() < base.index && copy.base == base {
            self.hosts[host].saved = self.copies[&copy.checksum].clone();
        }
    }
}
