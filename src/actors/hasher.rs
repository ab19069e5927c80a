//! Passwords are hashed and checked here, off every actor's thread: one Argon2id hash costs some 25 ms and 19 MiB.
//!
//! A few plain threads take jobs from one bounded queue. A full queue is a refusal (`retry|BUSY`), never a wait, so a
//! flood of logins costs at most [`THREADS`] cores and [`THREADS`] × 19 MiB. A job whose session is gone is skipped. The
//! threads are nice ([`NICENESS`]): on a machine of two cores they would else halve what is left for everybody's sends.
//!
//! Promises: each job taken is answered once by [`HashDone`], unless the session is gone. A password is never printed,
//! and dropped as soon as its job is done.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use actix::{Message, Recipient};
use argon2::password_hash::phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use chat::{Password, PasswordHash};

use crate::actors::messages::Slot;
use crate::memory;

/// Threads that hash.
pub const THREADS: usize = 2;

/// How much the threads give way to all others: as far as the system goes.
pub const NICENESS: i32 = 19;

/// Jobs that wait: at 25 ms each, the last one waits less than `request_timeout_ms` (3 s).
pub const QUEUE_JOBS_MAX: usize = 128;

/// Bytes of random salt: what RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    /// Make the hash of a new password.
    Hash(Password),
    /// Check a password against the hash of an account.
    Verify(Password, PasswordHash),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// The new hash.
    Hash(PasswordHash),
    /// Whether the password is the account's.
    Matches(bool),
    /// No job was done: the queue is full, or the system gave no random bytes.
    Busy,
}

/// Hasher → Session: a job is done.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct HashDone {
    /// Which request waits for it.
    pub slot: Slot,
    /// What came of it.
    pub hashed: Hashed,
}

struct Job {
    slot: Slot,
    work: Work,
    to: Recipient<HashDone>,
}

/// The queue that feeds the threads. They end when its last clone is gone.
#[derive(Clone)]
pub struct Hasher {
    jobs: SyncSender<Job>,
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_JOBS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..THREADS {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("hasher-{n}")).spawn(move || serve(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Queues a job. `false` when the queue is full: nothing will be answered.
    #[must_use]
    pub fn try_queue(&self, slot: Slot, work: Work, to: Recipient<HashDone>) -> bool {
        match self.jobs.try_send(Job { slot, work, to }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn serve(queue: &Mutex<Receiver<Job>>) {
    // On Linux the calling thread's own. Without it passwords are checked all the same.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        log::warn!("the threads that hash passwords cannot be made nice: a flood of logins will slow others: {error}");
    }
    loop {
        // The lock is held while waiting: the other thread waits for the lock instead of for the queue.
        let Ok(job) = queue.lock().unwrap_or_else(PoisonError::into_inner).recv() else {
            return;
        };
        if job.to.connected() {
            job.to.do_send(HashDone { slot: job.slot, hashed: perform(job.work) });
            memory::give_back();
        }
    }
}

/// Does one job. Slow on purpose.
fn perform(work: Work) -> Hashed {
    match work {
        Work::Hash(password) => hash(&password).map_or(Hashed::Busy, Hashed::Hash),
        Work::Verify(password, hash) => Hashed::Matches(verify(&password, &hash)),
    }
}

fn hash(password: &Password) -> Option<PasswordHash> {
    let mut salt = [0; SALT_BYTES];
    if let Err(error) = getrandom::fill(&mut salt) {
        log::error!("no random bytes for a salt, so no account gets a password: {error}");
        return None;
    }
    let hash: phc::PasswordHash =
        Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).expect("a password fits in a line");
    Some(PasswordHash::new(&hash.to_string()).expect("a PHC string of the default parameters has 97 bytes"))
}

fn verify(password: &Password, hash: &PasswordHash) -> bool {
    match phc::PasswordHash::new(hash.as_str()) {
        Ok(parsed) => Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok(),
        Err(error) => {
            log::error!("a stored password hash cannot be read, so nobody can log in to its account: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text).expect("not empty")
    }

    #[test]
    fn a_hash_fits_its_password_alone() {
        let Hashed::Hash(hash) = perform(Work::Hash(password("geheim|1"))) else { panic!("no random bytes") };
        assert!(hash.as_str().starts_with("$argon2id$v=19$"), "{}", hash.as_str());
        assert_eq!(perform(Work::Verify(password("geheim|1"), hash.clone())), Hashed::Matches(true));
        assert_eq!(perform(Work::Verify(password("geheim|2"), hash)), Hashed::Matches(false));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash(&password("x")), hash(&password("x")), "the salt is random");
    }

    #[test]
    fn a_hash_that_cannot_be_read_fits_nothing() {
        let broken = PasswordHash::new("$argon2id$broken").expect("fits a line");
        assert_eq!(perform(Work::Verify(password("x"), broken)), Hashed::Matches(false));
    }
}
