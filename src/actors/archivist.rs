//! Archivist: writes what is to be cut away from the log to the archive, on a thread of its own, because it waits for disks.
//!
//! One job at a time, until it is done: a disk that is full, or a folder that is another's, keeps the log from being cut, and
//! the replica from nothing. It is tried again, and told.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use actix::{Message, Recipient};

use super::store::Store;
use crate::consensus::Mark;
use crate::storage;

/// The pause before an archive that could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// Archivist → Replicator: all up to there is in the archive, on stable storage.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Archived(pub Mark);

/// Where an archivist reads and writes.
pub struct ArchivistSettings {
    /// The data directory.
    pub data: PathBuf,
    /// The replica's folder in the archive.
    pub archive: PathBuf,
}

/// Starts the thread. It ends once its queue does.
pub fn start(settings: ArchivistSettings, to: Recipient<Archived>) -> std::io::Result<Store<Mark>> {
    let (jobs, queue) = channel();
    let thread = std::thread::Builder::new().name("archivist".to_owned()).spawn(move || {
        while let Ok(mark) = queue.recv()
            && archive(&settings, mark, &to, &queue)
        {}
    })?;
    Ok(Store { jobs, thread })
}

/// Returns whether to go on.
fn archive(settings: &ArchivistSettings, mark: Mark, to: &Recipient<Archived>, queue: &Receiver<Mark>) -> bool {
    let mut told = String::new();
    loop {
        match storage::archive(&settings.data, &settings.archive, mark.index) {
            Ok(()) => {
                if !told.is_empty() {
                    log::warn!("the archive is written again");
                }
                to.do_send(Archived(mark));
                return true;
            }
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    log::warn!("the archive is not written, so the log is not cut, and grows: {text}");
                    told = text;
                }
            }
        }
        match queue.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => {}
            // It is asked for the next only when this one is done.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
