//! Store: the one writer of `log.db` and the one of `state.db`, each on a thread of its own.
//!
//! The log's thread is where group commit happens: it takes one job, drains what is queued behind it, makes one
//! transaction with one fsync of all batches, and answers them all. The state's thread applies committed entries the
//! same way, without an fsync; outcomes are told as soon as they are computed, because the log already holds what
//! they follow from.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Recipient;
use chat::{Answer, Effect, Query};

use super::internal::{FromLog, FromState};
use crate::consensus::{Batch, Boot, Entry, Index, Member, Reader};
use crate::machine::audit::{self, Checkpoint};
use crate::machine::{self, Applied, MachineStorage};
use crate::storage::{LogStore, StateStore, StorageError};

/// Jobs taken together at most: one transaction.
const GROUP_MAX: usize = 1024;
/// The pause before a write that found the disk full is tried again.
const DISK_FULL_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of entries read for a follower that is behind, or for the state after a start, in one go.
pub const LOAD_BYTES_MAX: usize = 1 << 20;

/// What the log's thread is told.
pub enum LogJob {
    /// Make this durable.
    Persist(Batch),
    /// Read entries, from the first index to the second at most.
    Load(Reader, Index, Index),
}

/// What the state's thread is told.
pub enum StateJob {
    /// Apply these committed entries.
    Apply(Vec<Entry>),
    /// Answer a query from the state as it is then; the number comes back.
    Query(u64, Query),
}

/// What became of one job of the state's thread.
pub enum StateNews {
    /// Entries were applied up to `until`.
    Applied {
        /// The last of them.
        until: Index,
        /// What became of this run's own proposals, in order.
        own: Vec<Own>,
        /// What sessions should see, in order.
        effects: Vec<Effect>,
        /// The digests at the checkpoints among them.
        checkpoints: Vec<Checkpoint>,
    },
    /// The answer to a query, and how far the state had applied the log then.
    Answer(u64, Answer, Index),
    /// The state is damaged: nothing more will be told of it.
    Damaged,
}

/// What became of one proposal of this run of this replica.
pub struct Own {
    /// Its number in this run's stream.
    pub n: u64,
    /// Its outcome; or, if it had no effect, the number that was expected.
    pub outcome: Result<chat::Outcome, u64>,
}

/// A store's thread and the way to it. Dropping the sender ends the thread once its queue is empty.
pub struct Store<Job> {
    /// Where jobs go.
    pub jobs: Sender<Job>,
    /// The thread, to be joined after the sender is dropped.
    pub thread: JoinHandle<()>,
}

/// Starts the log's thread.
pub fn start_log(store: LogStore, to: Recipient<FromLog>) -> std::io::Result<Store<LogJob>> {
    let (jobs, queue) = channel();
    let thread = std::thread::Builder::new()
        .name("log-store".to_owned())
        .spawn(move || LogThread { store, to, queue, full: false }.run())?;
    Ok(Store { jobs, thread })
}

/// Starts the state's thread. `me` and `boot` tell this run's own proposals from others'.
pub fn start_state(
    store: StateStore,
    me: Member,
    boot: Boot,
    to: Recipient<FromState>,
) -> std::io::Result<Store<StateJob>> {
    let (jobs, queue) = channel();
    let thread = std::thread::Builder::new()
        .name("state-store".to_owned())
        .spawn(move || StateThread { store, me, boot, to, queue }.run())?;
    Ok(Store { jobs, thread })
}

struct LogThread {
    store: LogStore,
    to: Recipient<FromLog>,
    queue: Receiver<LogJob>,
    full: bool,
}

impl LogThread {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut batches = Vec::new();
            let mut loads = Vec::new();
            self.sort(first, &mut batches, &mut loads);
            while batches.len() + loads.len() < GROUP_MAX
                && let Ok(job) = self.queue.try_recv()
            {
                self.sort(job, &mut batches, &mut loads);
            }
            if !self.write(&batches) {
                return;
            }
            for (reader, from, to) in loads {
                let entries = fatal(self.store.read(from, to.min(self.store.last()), LOAD_BYTES_MAX), "read the log");
                self.to.do_send(FromLog::Loaded(reader, entries));
            }
        }
    }

    fn sort(&self, job: LogJob, batches: &mut Vec<Batch>, loads: &mut Vec<(Reader, Index, Index)>) {
        match job {
            LogJob::Persist(batch) => batches.push(batch),
            LogJob::Load(reader, from, to) => loads.push((reader, from, to)),
        }
    }

    /// Writes until it succeeds. A full disk is waited for; anything else ends the process, because what the disk holds
    /// is not known. Returns whether to go on: not when the replica stops meanwhile.
    fn write(&mut self, batches: &[Batch]) -> bool {
        let Some(last) = batches.last() else { return true };
        loop {
            match self.store.write(batches) {
                Ok(()) => {
                    if std::mem::take(&mut self.full) {
                        log::warn!("the disk has space again");
                        self.to.do_send(FromLog::DiskFull(false));
                    }
                    self.to.do_send(FromLog::Stored(last.ticket));
                    return true;
                }
                Err(error) if error.can_retry() => {
                    if !std::mem::replace(&mut self.full, true) {
                        log::error!("log: {error}");
                        self.to.do_send(FromLog::DiskFull(true));
                    }
                    if !self.to.connected() {
                        return false;
                    }
                    std::thread::sleep(DISK_FULL_PAUSE);
                }
                Err(error) => fatal(Err(error), "write the log"),
            }
        }
    }
}

struct StateThread {
    store: StateStore,
    me: Member,
    boot: Boot,
    to: Recipient<FromState>,
    queue: Receiver<StateJob>,
}

impl StateThread {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut jobs = vec![first];
            while jobs.len() < GROUP_MAX
                && let Ok(job) = self.queue.try_recv()
            {
                jobs.push(job);
            }
            if !self.group(&jobs) {
                break;
            }
        }
        // Whoever sends jobs may not have heard of the end yet: they are for nothing, but no mistake.
        while self.queue.recv().is_ok() {}
    }

    /// One transaction for all jobs; told before it commits. A full disk undoes the whole group and does it again:
    /// nothing is told before it has succeeded in memory, and nothing is told twice. A damaged state ends it: the group
    /// that met the damage tells nothing else. Returns whether to go on.
    fn group(&mut self, jobs: &[StateJob]) -> bool {
        let mut told = false;
        let mut complained = false;
        loop {
            match self.attempt(jobs, &mut told).map_err(StorageError::of_state) {
                Ok(()) => return true,
                Err(error) if error.can_retry() => {
                    if !std::mem::replace(&mut complained, true) {
                        log::error!("state: {error}");
                    }
                    if let Err(error) = self.store.rollback().map_err(StorageError::of_state) {
                        return self.give_up(error);
                    }
                    if !self.to.connected() {
                        return false;
                    }
                    std::thread::sleep(DISK_FULL_PAUSE);
                }
                Err(error) => return self.give_up(error),
            }
        }
    }

    /// The state can be derived again, if it is damaged: the log can not, nor is there a way on after other errors.
    fn give_up(&self, error: StorageError) -> bool {
        if !error.is_state_unusable() {
            fatal::<()>(Err(error), "write the state");
        } else {
            log::error!("{error}");
            self.to.do_send(FromState(vec![StateNews::Damaged]));
        }
        false
    }

    fn attempt(&mut self, jobs: &[StateJob], told: &mut bool) -> Result<(), StorageError> {
        let writes = jobs.iter().any(|job| matches!(job, StateJob::Apply(_)));
        if writes {
            self.store.begin()?;
        }
        let mut news = Vec::with_capacity(jobs.len());
        for job in jobs {
            news.push(match job {
                StateJob::Apply(entries) => self.apply(entries)?,
                StateJob::Query(number, query) => {
                    StateNews::Answer(*number, chat::answer(&self.store, query)?, self.store.applied())
                }
            });
        }
        if !std::mem::replace(told, true) {
            self.to.do_send(FromState(news));
        }
        if writes {
            self.store.commit()?;
        }
        Ok(())
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<StateNews, StorageError> {
        let (mut own, mut effects, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match machine::apply(&mut self.store, entry, &mut effects)? {
                Applied::Done { origin, outcome } if self.is_own(&origin) => {
                    own.push(Own { n: origin.n, outcome: Ok(outcome) });
                }
                Applied::Skipped { origin, expected } if self.is_own(&origin) => {
                    own.push(Own { n: origin.n, outcome: Err(expected) });
                }
                Applied::Nothing | Applied::Done { .. } | Applied::Skipped { .. } => {}
            }
            if entry.index.0.is_multiple_of(audit::EVERY) {
                checkpoints.push(Checkpoint { index: entry.index, digest: self.store.digest() });
            }
        }
        let until = entries.last().map_or(Index(0), |entry| entry.index);
        Ok(StateNews::Applied { until, own, effects, checkpoints })
    }

    fn is_own(&self, origin: &machine::Origin) -> bool {
        origin.member == self.me && origin.boot == self.boot
    }
}

/// A store that fails has nothing to fall back on: the process stops, says why, and another replica takes over.
fn fatal<T>(result: Result<T, StorageError>, doing: &str) -> T {
    result.unwrap_or_else(|error| panic!("cannot {doing}: {error}"))
}
