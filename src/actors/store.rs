//! Store: the one writer of `log.db` and the one of `state.db`, each on a thread of its own.
//!
//! The log's thread is where group commit happens: it takes one job, drains what is queued behind it, makes one
//! transaction with one fsync of all batches, and answers them all. The state's thread applies committed entries, many
//! groups of jobs to a transaction and without an fsync; outcomes are told as soon as they are computed, because the
//! log already holds what they follow from.
//!
//! *At once*: while the state's thread has nothing to do, a few entries are applied by whoever would hand them over
//! ([`StateAccess::apply_at_once`]). A client that waits for one message is spared two wake-ups of a thread. The thread
//! keeps what may take long: queries, large groups, commits, a full disk.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::Recipient;
use chat::{Answer, Effect, Query};

use super::copier::Copier;
use super::internal::{FromLog, FromState};
use crate::consensus::{Batch, Boot, Entry, Index, Member, Reader};
use crate::machine::audit::{self, Checkpoint};
use crate::machine::{self, Applied, MachineStorage};
use crate::storage::{LogStore, StateStore, StorageError};

/// Jobs taken together at most: one transaction.
const GROUP_MAX: usize = 1024;
/// The pause before a write that found the disk full is tried again.
const DISK_FULL_PAUSE: Duration = Duration::from_millis(250);
/// Between two steps in which what was cut away from the log goes from its file, while there is nothing else to do.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// The state's transaction is committed at the latest so long after its first entry: what is derived in this time is
/// derived again after a crash.
const STATE_COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// The same in bytes of entries. They are kept until then, to be applied again should the transaction be undone.
const STATE_COMMIT_BYTES: usize = 2 << 20;
/// Applied at once are at most so many entries,
const AT_ONCE_ENTRIES_MAX: usize = 16;
/// of so many bytes: what a turn of the serving thread may be held up by.
const AT_ONCE_BYTES_MAX: usize = 16 << 10;
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
    /// Make everything applied so far outlast a crash of the machine.
    Sync,
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
    /// No crash takes the state back behind this.
    Synced(Index),
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

/// The state's thread, and the way to it.
pub struct State {
    /// Where jobs go.
    pub access: StateAccess,
    /// The thread, to be joined after the access is dropped.
    pub thread: JoinHandle<()>,
}

/// The way to the state. Dropping it ends the state's thread once its queue is empty.
pub struct StateAccess {
    // Dropped before the queue ends: so the file is closed by the thread, before it is joined.
    applier: Arc<Mutex<Applier>>,
    errands: Sender<Errand>,
}

/// What comes to the state's thread.
enum Errand {
    Job(StateJob),
    /// Something was applied at once: it is to be committed in time.
    CommitInTime,
}

impl StateAccess {
    /// Queues a job for the thread.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn send(&self, job: StateJob) -> Result<(), SendError<StateJob>> {
        self.errands.send(Errand::Job(job)).map_err(|SendError(errand)| match errand {
            Errand::Job(job) => SendError(job),
            Errand::CommitInTime => unreachable!("a job was sent"),
        })
    }

    /// Applies a few entries on the calling thread. `None`: nothing was done, and the thread must be sent them; they are
    /// too many, it is at work, or has met an error.
    ///
    /// The caller sees to the order: it has the news of every job that it ever sent.
    pub fn apply_at_once(&self, entries: &[Entry]) -> Option<StateNews> {
        let bytes = entries.iter().map(Entry::size).sum::<usize>();
        if entries.len() > AT_ONCE_ENTRIES_MAX || bytes > AT_ONCE_BYTES_MAX {
            return None;
        }
        let mut applier = self.applier.try_lock().ok()?;
        if applier.has_given_up || applier.failed.is_some() {
            return None;
        }
        let was_clean = applier.commit_at.is_none();
        match applier.open_transaction().and_then(|()| applier.apply(entries)) {
            Ok(news) => {
                applier.told(entries.to_vec());
                if was_clean {
                    // It cannot have ended: it holds the queue until this access is dropped.
                    let _ = self.errands.send(Errand::CommitInTime);
                }
                Some(news)
            }
            Err(error) => {
                applier.failed = Some(error);
                None
            }
        }
    }
}

/// Starts the state's thread. `me` and `boot` tell this run's own proposals from others'.
pub fn start_state(store: StateStore, me: Member, boot: Boot, to: Recipient<FromState>) -> std::io::Result<State> {
    let (errands, queue) = channel();
    let copier = match store.wal_copier() {
        Ok(wal) => Some(Copier::start(wal)?),
        Err(error) => {
            log::info!("state: its writer copies the write-ahead log itself, which will be slower: {error}");
            None
        }
    };
    let applier = Arc::new(Mutex::new(Applier {
        copier,
        store,
        me,
        boot,
        to,
        uncommitted: Vec::new(),
        uncommitted_bytes: 0,
        open: false,
        commit_at: None,
        failed: None,
        has_given_up: false,
    }));
    let access = StateAccess { applier: Arc::clone(&applier), errands };
    let thread = std::thread::Builder::new()
        .name("state-store".to_owned())
        .spawn(move || StateThread { applier, queue }.run())?;
    Ok(State { access, thread })
}

struct LogThread {
    store: LogStore,
    to: Recipient<FromLog>,
    queue: Receiver<LogJob>,
    full: bool,
}

impl LogThread {
    fn run(mut self) {
        if let Err(error) = self.store.reserve() {
            log::info!("log: no room is reserved for what comes, which will be slower: {error}");
        }
        while let Some(first) = self.next() {
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

    /// The next job. Until one comes, what was cut away goes from the file, a little at a time.
    fn next(&mut self) -> Option<LogJob> {
        while self.store.is_unswept() {
            match self.queue.recv_timeout(SWEEP_PAUSE) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => match self.store.sweep() {
                    // On a full disk it is tried again, like every write.
                    Err(error) if error.can_retry() => std::thread::sleep(DISK_FULL_PAUSE),
                    swept => drop(fatal(swept, "cut the log")),
                },
            }
        }
        self.queue.recv().ok()
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
    applier: Arc<Mutex<Applier>>,
    queue: Receiver<Errand>,
}

impl StateThread {
    fn run(self) {
        loop {
            let commit_at = self.applier().commit_at;
            let errand = match commit_at {
                None => self.queue.recv().map_err(RecvTimeoutError::from),
                Some(at) => self.queue.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let mut applier = self.applier();
            let go_on = match errand {
                Ok(Errand::Job(first)) => {
                    applier.group(self.group(first)) && (!applier.is_commit_due() || applier.commit())
                }
                Ok(Errand::CommitInTime) => !applier.is_commit_due() || applier.commit(),
                Err(RecvTimeoutError::Timeout) => applier.commit(),
                Err(RecvTimeoutError::Disconnected) => {
                    applier.commit();
                    return;
                }
            };
            if !go_on {
                break;
            }
        }
        // Whoever sends jobs may not have heard of the end yet: they are for nothing, but no mistake.
        while self.queue.recv().is_ok() {}
    }

    fn applier(&self) -> MutexGuard<'_, Applier> {
        self.applier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs that are there by now.
    fn group(&self, first: StateJob) -> Vec<StateJob> {
        let mut jobs = vec![first];
        while jobs.len() < GROUP_MAX
            && let Ok(errand) = self.queue.try_recv()
        {
            match errand {
                Errand::Job(job) => jobs.push(job),
                Errand::CommitInTime => {}
            }
        }
        jobs
    }
}

/// Applies, tells, commits.
struct Applier {
    /// Before the store, to be dropped before it.
    copier: Option<Copier>,
    store: StateStore,
    me: Member,
    boot: Boot,
    to: Recipient<FromState>,
    /// Entries that were applied and told, but are not committed.
    uncommitted: Vec<Vec<Entry>>,
    uncommitted_bytes: usize,
    /// They are in the open transaction. Not so after it was undone.
    open: bool,
    /// When to commit what is uncommitted.
    commit_at: Option<Instant>,
    /// What was met while applying at once. The thread deals with it.
    failed: Option<StorageError>,
    /// Nothing more will be told.
    has_given_up: bool,
}

impl Applier {
    /// Jobs told of together. Returns whether to go on.
    fn group(&mut self, jobs: Vec<StateJob>) -> bool {
        let Some(news) = self.until_there_is_room(|applier| applier.attempt(&jobs)) else { return false };
        self.to.do_send(FromState(news));
        let syncs = jobs.iter().any(|job| matches!(job, StateJob::Sync));
        for job in jobs {
            if let StateJob::Apply(entries) = job {
                self.told(entries);
            }
        }
        if syncs && !self.sync() {
            return false;
        }
        self.uncommitted.is_empty() || self.work_ahead()
    }

    /// Returns whether to go on.
    fn sync(&mut self) -> bool {
        if !self.commit() {
            return false;
        }
        let synced = self.until_there_is_room(|thread| thread.store.sync());
        if let Some(index) = synced {
            self.to.do_send(FromState(vec![StateNews::Synced(index)]));
        }
        synced.is_some()
    }

    /// These were applied, and their news are on the way.
    fn told(&mut self, entries: Vec<Entry>) {
        self.uncommitted_bytes += entries.iter().map(Entry::size).sum::<usize>();
        self.uncommitted.push(entries);
        self.commit_at.get_or_insert_with(|| Instant::now() + STATE_COMMIT_INTERVAL);
    }

    /// A part of the work of the commit, while nobody waits for it. Returns whether to go on.
    fn work_ahead(&mut self) -> bool {
        let done = self.until_there_is_room(|applier| {
            applier.open_transaction()?;
            applier.store.work_ahead()
        });
        done.is_some()
    }

    fn is_commit_due(&self) -> bool {
        self.uncommitted_bytes >= STATE_COMMIT_BYTES || self.commit_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Returns whether to go on.
    fn commit(&mut self) -> bool {
        if self.uncommitted.is_empty() {
            return true;
        }
        let committed = self.until_there_is_room(|applier| {
            applier.open_transaction()?;
            // However it ends, the transaction does.
            applier.open = false;
            applier.store.commit()
        });
        self.uncommitted.clear();
        let bytes = std::mem::take(&mut self.uncommitted_bytes);
        if let Some(copier) = &mut self.copier {
            copier.committed(bytes);
        }
        self.commit_at = None;
        committed.is_some()
    }

    /// Does what may find the disk full, again and again until it does not: each time the transaction is undone, and the
    /// next one begins with what had been told already. Nothing is told before it has succeeded in memory, and nothing
    /// is told twice. `None`: there is no going on. A damaged state is such an end: the group that met the damage tells
    /// nothing else.
    fn until_there_is_room<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, StorageError>) -> Option<T> {
        let mut complained = false;
        let mut failed = self.failed.take();
        loop {
            match failed.take().map_or_else(|| act(self), Err).map_err(StorageError::of_state) {
                Ok(done) => return Some(done),
                Err(error) if error.can_retry() => {
                    if !std::mem::replace(&mut complained, true) {
                        log::error!("state: {error}");
                    }
                    self.open = false;
                    if let Err(error) = self.store.rollback().map_err(StorageError::of_state) {
                        self.give_up(error);
                        return None;
                    }
                    if !self.to.connected() {
                        return None;
                    }
                    std::thread::sleep(DISK_FULL_PAUSE);
                }
                Err(error) => {
                    self.give_up(error);
                    return None;
                }
            }
        }
    }

    /// The state can be derived again, if it is damaged: the log can not, nor is there a way on after other errors.
    fn give_up(&mut self, error: StorageError) {
        self.has_given_up = true;
        if !error.is_state_unusable() {
            fatal::<()>(Err(error), "write the state");
        } else {
            log::error!("{error}");
            self.to.do_send(FromState(vec![StateNews::Damaged]));
        }
    }

    /// A transaction in which everything that was told is applied.
    fn open_transaction(&mut self) -> Result<(), StorageError> {
        if self.open {
            return Ok(());
        }
        self.store.begin()?;
        self.open = true;
        let told = std::mem::take(&mut self.uncommitted);
        let result = told.iter().try_for_each(|entries| self.apply(entries).map(drop));
        self.uncommitted = told;
        result
    }

    fn attempt(&mut self, jobs: &[StateJob]) -> Result<Vec<StateNews>, StorageError> {
        let writes = jobs.iter().any(|job| matches!(job, StateJob::Apply(_)));
        if writes || !self.uncommitted.is_empty() {
            self.open_transaction()?;
        }
        let mut news = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                StateJob::Apply(entries) => news.push(self.apply(entries)?),
                StateJob::Query(number, query) => {
                    news.push(StateNews::Answer(*number, chat::answer(&self.store, query)?, self.store.applied()));
                }
                // Behind the transaction.
                StateJob::Sync => {}
            }
        }
        Ok(news)
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

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
