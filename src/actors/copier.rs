//! Copier: copies what stands in the write-ahead log of `state.db` into the file, beside the thread that writes it.
//!
//! Why: SQLite copies with a commit, once there are 16 MiB, and waits for the disk before and after. With 1,000 requests in
//! flight the state's thread stood still for 40 to 90 ms every 0.7 s, on all replicas at about the same time, and with
//! it every answer.
//!
//! # Promises
//! - It only works ahead. What it has not copied, or could not (a full disk), the writer copies with a commit, as if
//!   there were no copier. So its errors are only logged.
//! - Its connection is closed before the writer's is: who drops the [`Copier`] waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::storage::WalCopier;

/// So many bytes of committed entries make a copy worth its two waits for the disk, and are usually there before the
/// write-ahead log has the 16 MiB at which the writer copies.
const COPY_BYTES: usize = 6 << 20;

/// The thread, and the way to it.
pub struct Copier {
    /// Behind an option, to be dropped before the thread is waited for.
    nudges: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Committed since the last nudge.
    bytes: usize,
}

impl Copier {
    /// Starts the thread.
    pub fn start(wal: WalCopier) -> std::io::Result<Self> {
        // Room for one: nudged while it is at work, it looks once more.
        let (nudges, nudged) = sync_channel(1);
        let thread = std::thread::Builder::new().name("state-copier".to_owned()).spawn(move || run(&wal, &nudged))?;
        Ok(Self { nudges: Some(nudges), thread: Some(thread), bytes: 0 })
    }

    /// Entries of so many bytes were committed.
    pub fn committed(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= COPY_BYTES
            && let Some(nudges) = &self.nudges
        {
            self.bytes = 0;
            // Where there is no room, a nudge waits already, and its copy takes this along.
            let _ = nudges.try_send(());
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.nudges = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic aborts the process");
        }
    }
}

fn run(wal: &WalCopier, nudged: &Receiver<()>) {
    while nudged.recv().is_ok() {
        if let Err(error) = wal.copy() {
            log::debug!("state: its write-ahead log is left to the writer: {error}");
        }
    }
}
