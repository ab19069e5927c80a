//! Writing an archive: beside the replica, by a thread that has time.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use zstd::stream::write::Encoder;

use super::reader::Rows;
use super::{END, FILE_ENTRIES_MAX, HEAD, PART, Stretch, stretches};
use crate::consensus::{ClusterId, Entry, Index};
use crate::storage::dir::sync_dir;
use crate::storage::error::StorageError;
use crate::storage::log::{Cells, LogReader};

/// Read from the log at a time.
const PAGE_BYTES: usize = 1 << 20;
/// zstd's own default: chat lines shrink to a quarter of their size, at more than a disk takes.
const LEVEL: i32 = 3;

/// Writes what the log of a replica holds up to an entry, and the archive does not. When it returns, all of that is on stable
/// storage. Entries that the log never had (it began behind a copy) are missing, and stay so.
pub fn archive(data: &Path, dir: &Path, to: Index) -> Result<(), StorageError> {
    let log = LogReader::open(data)?;
    let Some(cluster) = log.founded()? else { return Ok(()) };
    fs::create_dir_all(dir).map_err(StorageError::io("create", dir))?;
    let part = dir.join(PART);
    let mut next = log.first()?;
    if let Some(newest) = stretches(dir)?.into_iter().max_by_key(|stretch| stretch.last) {
        continues(&log, dir, newest, cluster)?;
        next = next.max(newest.last.next());
    }
    while next <= to {
        let stretch = Stretch { first: next, last: to.min(Index(next.0 + FILE_ENTRIES_MAX - 1)) };
        write(&log, &part, stretch, cluster)?;
        let path = stretch.path(dir);
        fs::rename(&part, &path).map_err(StorageError::io("rename", &part))?;
        sync_dir(dir)?;
        next = stretch.last.next();
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(())
}

/// Writes one file under its temporary name, and syncs it. A failed one is removed: its room is needed.
fn write(log: &LogReader, part: &Path, stretch: Stretch, cluster: ClusterId) -> Result<(), StorageError> {
    let written = try_write(log, part, stretch, cluster);
    if written.is_err() {
        // What is left of it is overwritten by the next attempt.
        let _ = fs::remove_file(part);
    }
    written
}

fn try_write(log: &LogReader, part: &Path, stretch: Stretch, cluster: ClusterId) -> Result<(), StorageError> {
    let fail = |error| StorageError::io("write", part)(error);
    let file = File::create(part).map_err(fail)?;
    let mut encoder = Encoder::new(file, LEVEL).map_err(fail)?;
    encoder.include_checksum(true).map_err(fail)?;
    let mut out = BufWriter::new(encoder);
    writeln!(out, "{HEAD}{cluster}|{}|{}", stretch.first, stretch.last).map_err(fail)?;
    let mut next = stretch.first;
    while next <= stretch.last {
        let entries = log.read(next, stretch.last, PAGE_BYTES)?;
        if entries.first().is_none_or(|entry| entry.index != next) {
            return Err(StorageError::CutMeanwhile(next));
        }
        for entry in &entries {
            write_row(&mut out, entry).map_err(fail)?;
            next = entry.index.next();
        }
    }
    writeln!(out, "{END}{}", stretch.last.0 + 1 - stretch.first.0).map_err(fail)?;
    let encoder = out.into_inner().map_err(|error| fail(error.into_error()))?;
    let file = encoder.finish().map_err(fail)?;
    file.sync_all().map_err(fail)
}

fn write_row(out: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
    let Cells { term, time, kind, line, crc } = Cells::of(entry);
    write!(out, "{}|{term}|{time}|{kind}|{crc}|{}|", entry.index, line.len())?;
    out.write_all(&line)?;
    out.write_all(b"\n")
}

/// Refuses to add to the archive of another history: of another cluster, or of one that was left behind by `recover`.
fn continues(log: &LogReader, dir: &Path, newest: Stretch, cluster: ClusterId) -> Result<(), StorageError> {
    let other = || StorageError::OtherArchive(dir.to_owned());
    let mut rows = Rows::open(dir, newest)?;
    if rows.cluster() != cluster {
        return Err(other());
    }
    if newest.last > log.last()? {
        return Err(other());
    }
    let base = log.base()?;
    if newest.last < base.index {
        return Ok(());
    }
    let mut last = None;
    while let Some(entry) = rows.next()? {
        last = Some(entry);
    }
    let last = last.ok_or_else(other)?;
    let same = if newest.last == base.index {
        (last.term, last.time) == (base.term, base.time)
    } else {
        log.read(newest.last, newest.last, 0)?.first() == Some(&last)
    };
    if same { Ok(()) } else { Err(other()) }
}
