//! `plainsong log`: the replay log as text, one entry a line.
//!
//! ```text
//! 17|3|2026-11-21T09:30:00.125Z|+2.a0.7.41|alice#4|5|bob|hello
//! index, term, time of the leader, and the entry as the log keeps it
//! ```
//!
//! May run beside the replica: it prints what the log held when the last page was read. Passwords stand in the log only as
//! their hashes; texts stand in it as they were sent.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use chat::Millis;

use super::{Exit, output};
use crate::config::Config;
use crate::consensus::{Entry, Index};
use crate::machine::body;
use crate::storage::{LogReader, StorageError};

/// What is read, and so held in memory, at a time.
const PAGE_BYTES: usize = 1 << 20;

/// Why the log could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The config does not name this replica.
    #[error("no replica {id} in the config, and no log in {dir}: choose another with -i, or its folder with --data")]
    NoSuchReplica {
        /// The id asked for.
        id: u16,
        /// Where its log would be.
        dir: String,
    },
    /// There is no log, or it cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Standard output failed.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
}

impl LogError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoSuchReplica { .. } => Exit::Config,
            Self::Storage(_) | Self::Output(_) => Exit::Io,
        }
    }
}

/// Prints the log of replica `id`. One that has left the config may still have a log.
pub fn run(config: &Config, id: u16) -> Result<(), LogError> {
    let dir = config.replica_dir(id);
    if config.replica(id).is_none() && !dir.exists() {
        let dir = dir.display().to_string();
        return Err(LogError::NoSuchReplica { id, dir });
    }
    match print_log(&dir, &mut BufWriter::new(io::stdout().lock())) {
        Err(LogError::Output(error)) => Ok(output::unless_closed(Err(error))?),
        other => other,
    }
}

fn print_log(dir: &Path, out: &mut impl Write) -> Result<(), LogError> {
    let reader = LogReader::open(dir)?;
    let last = reader.last()?;
    let mut next = Index(1);
    while next <= last {
        let entries = reader.read(next, last, PAGE_BYTES)?;
        // None left: the replica has cut off its tail since `last` was read.
        let Some(entry) = entries.last() else { break };
        next = entry.index.next();
        entries.iter().try_for_each(|entry| print_entry(entry, out))?;
    }
    Ok(out.flush()?)
}

fn print_entry(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{}|{}|{}|", entry.index, entry.term, Millis(entry.time))?;
    out.write_all(&body::line(&entry.body))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Batch, Body, ReplicaId, Term};
    use crate::storage;

    #[test]
    fn each_entry_is_a_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut opened = storage::open(folder.path(), ReplicaId(3), "plainsong").expect("a new folder");
        let command = Body::Command("+1.a0.7.41|bob#2|5|alice|a|b".into());
        let append = [(1, Body::Noop), (2, command)].map(|(index, body)| Entry {
            index: Index(index),
            term: Term(4),
            time: 1_763_717_400_125,
            body,
        });
        let batch = Batch { append: append.into(), ..Batch::default() };
        opened.log.write(&[batch]).expect("written");

        let mut text = Vec::new();
        print_log(folder.path(), &mut text).expect("read beside its writer");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "1|4|2025-11-21T09:30:00.125Z|noop\n\
             2|4|2025-11-21T09:30:00.125Z|+1.a0.7.41|bob#2|5|alice|a|b\n"
        );
    }

    #[test]
    fn a_folder_without_a_log_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = print_log(folder.path(), &mut io::sink()).expect_err("nothing there");
        assert_eq!(error.exit(), Exit::Io);
        assert!(matches!(error, LogError::Storage(StorageError::NoLog(_))), "{error}");
    }
}
