//! What was cut away from the log, in compressed files: a folder for each replica, a file for each stretch of entries.
//!
//! ```text
//! 00000000000000000001-00000000000000065536.log.zst       the first and the last entry of a file
//! writing.part                                            one that is being written; never read
//! ```
//! A file is zstd over text, and reads as it (`zstdcat`): a head, a row for each entry with the checksum that it has in the
//! log, and an end. A row says how many bytes its line has, because a command is any bytes.
//!
//! ```text
//! plainsong-archive|1|00c0ffee00c0ffee|1|65536            version, founding record's cluster, first, last
//! 17|3|1763717400125|1|2868471210|31|+2.a0.7.41|alice#4|5|bob|hi       index|term|time|kind|crc|bytes|line
//! end|65536                                               how many rows
//! ```
//!
//! # Promises
//! - A file is there under its name only when it is whole and on stable storage; the log is cut only behind it. A kill in
//!   between leaves entries in both, and the next run goes on behind the last file: no hole, and nothing twice.
//! - Nothing of another history is added to an archive.
//! - A reader checks every row as one of the log is checked.
//!
//! # Left out
//! Deleting: what is old enough to go is for the owner of the folder to say.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::consensus::Index;
use crate::storage::error::StorageError;

pub use reader::History;
pub use writer::archive;

/// Entries of one file at most: some 20 MiB of text, so that a reader who wants one entry reads no more.
pub const FILE_ENTRIES_MAX: u64 = 1 << 16;

/// How the head begins: the version counts up when the form changes.
const HEAD: &str = "plainsong-archive|1|";
const END: &str = "end|";
const ENDING: &str = ".log.zst";
const PART: &str = "writing.part";

/// A file, by what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    first: Index,
    last: Index,
}

impl Stretch {
    fn file_name(self) -> String {
        format!("{:020}-{:020}{ENDING}", self.first.0, self.last.0)
    }

    fn parse(name: &str) -> Option<Self> {
        let (first, last) = name.strip_suffix(ENDING)?.split_once('-')?;
        let stretch = Self { first: Index(first.parse().ok()?), last: Index(last.parse().ok()?) };
        (stretch.file_name() == name && Index(0) < stretch.first && stretch.first <= stretch.last).then_some(stretch)
    }

    fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }

    fn holds(self, index: Index) -> bool {
        self.first <= index && index <= self.last
    }
}

/// The files of an archive, ascending. None, if there is no such folder.
fn stretches(dir: &Path) -> Result<Vec<Stretch>, StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StorageError::io("read", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(StorageError::io("read", dir))?.file_name();
        found.extend(name.to_str().and_then(Stretch::parse));
    }
    found.sort_unstable();
    Ok(found)
}
