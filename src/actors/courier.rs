//! Courier: makes, sends and fetches copies of the state, on a thread of its own, because all of it waits for disks.
//!
//! The receiver sets the pace: it asks for a piece, and for the next one when it has written one. So at most
//! [`PIECES_ASKED`] are on their way, whoever is slow. When a link breaks, what is here stays; when the same copy is offered
//! again, it is asked for from where it ends. A process that ends forgets what it had fetched.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use actix::{Message, Recipient};

use super::store::Store;
use crate::consensus::{Index, Member, ReplicaId, Snapshot};
use crate::storage::{Incoming, Outgoing};
use crate::wire::limits::CHUNK_BYTES_MAX;
use crate::wire::{Chunk, Fetch};

/// Pieces that are asked for and not here: 4 MiB.
const PIECES_ASKED: u64 = 16;
/// A copy that nobody has asked for in this time is removed.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// The pause after a disk was found full, or a copy came to nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// A copy is made, or fetched, so often; then it waits to be wanted again.
const TRIES_MAX: u32 = 5;
/// How often it is told how far a copy is.
const TOLD_INTERVAL: Duration = Duration::from_secs(5);

/// What the courier is told.
pub enum CourierJob {
    /// Make a copy of a state that has applied at least this, unless there is one.
    Make(Index),
    /// A piece is asked for.
    Read(ReplicaId, Fetch),
    /// Fetch a copy.
    Fetch(ReplicaId, Snapshot),
    /// A piece came.
    Write(ReplicaId, Chunk),
}

/// Courier → Replicator.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum FromCourier {
    /// There is a copy.
    Made(Snapshot),
    /// A line for another replica: a piece, or what asks for one.
    Piece(ReplicaId, Chunk),
    /// Ask for these.
    Ask(ReplicaId, Vec<Fetch>),
    /// The copy is here, whole and synced.
    Fetched(Snapshot),
}

/// What a courier is made with.
pub struct CourierSettings {
    /// The data directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub me: Member,
    /// The cluster's name in the config.
    pub cluster: String,
}

/// Starts the thread.
pub fn start(settings: CourierSettings, to: Recipient<FromCourier>) -> std::io::Result<Store<CourierJob>> {
    let (jobs, queue) = channel();
    let thread = std::thread::Builder::new()
        .name("courier".to_owned())
        .spawn(move || Courier { settings, to, queue, outgoing: None, used: Instant::now(), fetching: None }.run())?;
    Ok(Store { jobs, thread })
}

struct Courier {
    settings: CourierSettings,
    to: Recipient<FromCourier>,
    queue: Receiver<CourierJob>,
    outgoing: Option<Outgoing>,
    /// When the outgoing copy was last asked for.
    used: Instant,
    fetching: Option<Fetching>,
}

struct Fetching {
    from: ReplicaId,
    incoming: Incoming,
    /// Asked for up to here.
    asked: u64,
    tries: u32,
    told: Instant,
    /// Where it was then.
    told_at: u64,
}

impl Courier {
    fn run(mut self) {
        loop {
            let job = match &self.outgoing {
                None => self.queue.recv().map_err(RecvTimeoutError::from),
                Some(_) => self.queue.recv_timeout(UNUSED_MAX.saturating_sub(self.used.elapsed())),
            };
            match job {
                Ok(job) => self.does(job),
                Err(RecvTimeoutError::Timeout) => self.outgoing = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn does(&mut self, job: CourierJob) {
        match job {
            CourierJob::Make(at_least) => self.make(at_least),
            CourierJob::Read(to, fetch) => self.read(to, fetch),
            CourierJob::Fetch(from, snapshot) => self.fetch(from, snapshot, 0),
            CourierJob::Write(from, chunk) => self.write(from, &chunk),
        }
    }

    // --- sending ---------------------------------------------------------------------------------------------

    fn make(&mut self, at_least: Index) {
        self.used = Instant::now();
        for _ in 0..TRIES_MAX {
            if let Some(outgoing) = self.outgoing.as_ref().filter(|o| o.snapshot.base.index >= at_least) {
                self.to.do_send(FromCourier::Made(outgoing.snapshot.clone()));
                return;
            }
            self.outgoing = None;
            let began = Instant::now();
            match Outgoing::make(&self.settings.dir) {
                Ok(Some(made)) => {
                    let (base, mib) = (made.snapshot.base.index, made.snapshot.bytes >> 20);
                    log::info!("a copy of the state after entry {base} is made: {mib} MiB in {:?}", began.elapsed());
                    self.outgoing = Some(made);
                    self.used = Instant::now();
                    continue;
                }
                // What it may not be older than has just been made durable: it is there in a moment.
                Ok(None) => {}
                Err(error) => log::error!("no copy of the state can be made: {error}"),
            }
            if !self.to.connected() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn read(&mut self, to: ReplicaId, fetch: Fetch) {
        // Another was made since: its fetcher is offered that one.
        let Some(outgoing) = self.outgoing.as_ref().filter(|o| o.snapshot.checksum == fetch.copy) else { return };
        self.used = Instant::now();
        match outgoing.read(fetch.offset, CHUNK_BYTES_MAX) {
            Ok(bytes) => {
                self.to.do_send(FromCourier::Piece(to, Chunk { copy: fetch.copy, offset: fetch.offset, bytes }));
            }
            Err(error) => {
                log::error!("the copy of the state cannot be read: {error}");
                self.outgoing = None;
            }
        }
    }

    // --- fetching --------------------------------------------------------------------------------------------

    fn fetch(&mut self, from: ReplicaId, snapshot: Snapshot, tries: u32) {
        let same = self.fetching.take().filter(|f| *f.incoming.snapshot() == snapshot);
        let incoming = match same {
            Some(fetching) => fetching.incoming,
            None => match Incoming::begin(&self.settings.dir, snapshot) {
                Ok(incoming) => incoming,
                Err(error) => return log::error!("no copy of the state can be fetched: {error}"),
            },
        };
        let (base, mib) = (incoming.snapshot().base.index, incoming.snapshot().bytes >> 20);
        let at = incoming.offset();
        log::info!("fetching the state after entry {base} from replica {from}: {mib} MiB, from byte {at} on");
        self.fetching = Some(Fetching { from, asked: at, incoming, tries, told: Instant::now(), told_at: at });
        self.ask();
        self.finish_if_whole();
    }

    /// Asks for as many pieces as may be on their way.
    fn ask(&mut self) {
        let Some(fetching) = &mut self.fetching else { return };
        let (copy, bytes) = (fetching.incoming.snapshot().checksum, fetching.incoming.snapshot().bytes);
        let until = bytes.min(fetching.incoming.offset() + PIECES_ASKED * CHUNK_BYTES_MAX as u64);
        let mut asks = Vec::new();
        while fetching.asked < until {
            asks.push(Fetch { copy, offset: fetching.asked });
            fetching.asked += CHUNK_BYTES_MAX as u64;
        }
        if !asks.is_empty() {
            self.to.do_send(FromCourier::Ask(fetching.from, asks));
        }
    }

    fn write(&mut self, from: ReplicaId, chunk: &Chunk) {
        let Some(fetching) = &mut self.fetching else { return };
        if fetching.from != from || fetching.incoming.snapshot().checksum != chunk.copy {
            return;
        }
        match fetching.incoming.write(chunk.offset, &chunk.bytes) {
            Ok(true) => {
                fetching.tell();
                self.ask();
                self.finish_if_whole();
            }
            // Asked for twice, over two links.
            Ok(false) => {}
            Err(error) => {
                // A piece may be half there: from the beginning.
                log::error!("the state cannot be fetched: {error}");
                self.again();
            }
        }
    }

    fn finish_if_whole(&mut self) {
        let Some(fetching) = self.fetching.take_if(|f| f.incoming.is_whole()) else { return };
        let (from, snapshot, tries) = (fetching.from, fetching.incoming.snapshot().clone(), fetching.tries);
        match fetching.incoming.finish(self.settings.me, &self.settings.cluster) {
            Ok(snapshot) => self.to.do_send(FromCourier::Fetched(snapshot)),
            Err(error) => {
                log::error!("{error}");
                self.once_more(from, snapshot, tries);
            }
        }
    }

    fn again(&mut self) {
        if let Some(fetching) = self.fetching.take() {
            self.once_more(fetching.from, fetching.incoming.snapshot().clone(), fetching.tries);
        }
    }

    fn once_more(&mut self, from: ReplicaId, snapshot: Snapshot, tries: u32) {
        self.fetching = None;
        if tries < TRIES_MAX && self.to.connected() {
            std::thread::sleep(PAUSE);
            self.fetch(from, snapshot, tries + 1);
        }
    }
}

impl Fetching {
    fn tell(&mut self) {
        let passed = self.told.elapsed();
        if passed < TOLD_INTERVAL {
            return;
        }
        let (at, bytes) = (self.incoming.offset(), self.incoming.snapshot().bytes);
        let rate = (at - self.told_at) as f64 / passed.as_secs_f64();
        let left = (bytes - at) as f64 / rate.max(1.0);
        log::info!(
            "fetching the state: {} of {} MiB, {:.0} MiB/s, {left:.0} s left",
            at >> 20,
            bytes >> 20,
            rate / f64::from(1 << 20)
        );
        (self.told, self.told_at) = (Instant::now(), at);
    }
}
