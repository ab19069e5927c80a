//! Reading an archive, and the log behind it, as one history.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zstd::stream::read::Decoder;

use super::{END, HEAD, Stretch, stretches};
use crate::consensus::{ClusterId, Entry, Index};
use crate::storage::error::StorageError;
use crate::storage::log::{Cells, LogReader};

/// Longer than any line of a row: what a damaged file says is never believed so far.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Longer than any field before the line.
const FIELD_BYTES_MAX: u64 = 64;

/// A replica's log, and before it what was cut away and archived.
#[derive(Debug)]
pub struct History {
    log: LogReader,
    archive: Option<PathBuf>,
    /// Where the last read ended: reading on costs nothing.
    rows: RefCell<Option<Rows>>,
}

impl History {
    /// Opens the log in a data directory, and looks at an archive.
    pub fn open(data: &Path, archive: Option<&Path>) -> Result<Self, StorageError> {
        Ok(Self { log: LogReader::open(data)?, archive: archive.map(Path::to_owned), rows: RefCell::default() })
    }

    /// The log alone.
    pub fn log(&self) -> &LogReader {
        &self.log
    }

    /// The first entry from which on all can be read at this moment.
    pub fn first(&self) -> Result<Index, StorageError> {
        let mut first = self.log.first()?;
        let files = self.stretches()?;
        while let Some(before) = files.iter().find(|stretch| stretch.holds(first.prev())) {
            first = before.first;
        }
        Ok(first)
    }

    /// The last entry at this moment.
    pub fn last(&self) -> Result<Index, StorageError> {
        self.log.last()
    }

    /// The first entry of the file in which something of a time may begin; of the log, if none does.
    pub fn file_before(&self, time: u64) -> Result<Index, StorageError> {
        let (first, kept) = (self.first()?, self.log.first()?);
        let mut found = first;
        for stretch in self.stretches()?.into_iter().filter(|stretch| first <= stretch.first && stretch.first < kept) {
            let Some(dir) = &self.archive else { break };
            match Rows::open(dir, stretch)?.next()? {
                Some(entry) if entry.time < time => found = stretch.first,
                Some(_) | None => return Ok(found),
            }
        }
        let kept_before = self.log.read(kept, kept, 0)?.first().is_some_and(|entry| entry.time < time);
        Ok(if kept_before { kept } else { found })
    }

    /// The entries `from..=to`, as many as fit `bytes_max` and at least one if any is there: see [`LogReader::read`]. They
    /// begin later than `from` only if neither archive nor log has it.
    pub fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        if from < self.log.first()?
            && let Some(dir) = &self.archive
        {
            let entries = self.read_archive(dir, from, to, bytes_max)?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        self.log.read(from, to, bytes_max)
    }

    fn read_archive(&self, dir: &Path, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while next <= to && (entries.is_empty() || bytes < bytes_max) {
            let mut kept = self.rows.borrow_mut();
            let mut rows = match kept.take().filter(|rows| rows.next == next) {
                Some(rows) => rows,
                None => match self.stretches()?.into_iter().rev().find(|stretch| stretch.holds(next)) {
                    Some(stretch) => Rows::open_at(dir, stretch, next)?,
                    None => break,
                },
            };
            while next <= to && (entries.is_empty() || bytes < bytes_max) {
                let Some(entry) = rows.next()? else { break };
                bytes += entry.size();
                next = entry.index.next();
                entries.push(entry);
            }
            if !rows.is_at_end() {
                *kept = Some(rows);
            }
        }
        Ok(entries)
    }

    fn stretches(&self) -> Result<Vec<Stretch>, StorageError> {
        self.archive.as_deref().map_or(Ok(Vec::new()), stretches)
    }
}

/// The rows of one file, in order.
pub(super) struct Rows {
    path: PathBuf,
    from: BufReader<Decoder<'static, BufReader<File>>>,
    cluster: ClusterId,
    next: Index,
    last: Index,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({}, at {})", self.path.display(), self.next)
    }
}

impl Rows {
    pub fn open(dir: &Path, stretch: Stretch) -> Result<Self, StorageError> {
        let path = stretch.path(dir);
        let fail = |error| StorageError::io("read", &path)(error);
        let decoder = Decoder::new(File::open(&path).map_err(fail)?).map_err(fail)?;
        let mut rows = Self {
            from: BufReader::new(decoder),
            cluster: ClusterId(0),
            next: stretch.first,
            last: stretch.last,
            path: path.clone(),
        };
        let head = rows.line()?;
        let says = head.strip_prefix(HEAD).and_then(|rest| {
            let (cluster, rest) = rest.split_once('|')?;
            let cluster = ClusterId(u64::from_str_radix(cluster, 16).ok()?);
            (rest == format!("{}|{}", stretch.first, stretch.last)).then_some(cluster)
        });
        rows.cluster = says.ok_or_else(|| rows.damaged("its head is not what its name says"))?;
        Ok(rows)
    }

    /// From an entry of the file on.
    fn open_at(dir: &Path, stretch: Stretch, from: Index) -> Result<Self, StorageError> {
        let mut rows = Self::open(dir, stretch)?;
        while rows.next < from && rows.next()?.is_some() {}
        Ok(rows)
    }

    /// Of the founding record.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    fn is_at_end(&self) -> bool {
        self.next > self.last
    }

    /// The next entry. Behind the last one, the end is read too, and so zstd's own checksum.
    pub fn next(&mut self) -> Result<Option<Entry>, StorageError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let index = self.number()?;
        if index != self.next.0 {
            return Err(self.damaged("a row is missing"));
        }
        let (term, time, kind, crc, len) =
            (self.number()?, self.number()?, self.number()?, self.number()?, self.number()?);
        if len > LINE_BYTES_MAX {
            return Err(self.damaged("a row is too long"));
        }
        let mut line = vec![0; usize::try_from(len + 1).map_err(|_| self.damaged("a row is too long"))?];
        let read = self.from.read_exact(&mut line);
        read.map_err(|error| self.failed(error))?;
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("a row does not end where it says"));
        }
        let entry = Cells { term, time, kind, line: Bytes::from(line), crc }.entry(Index(index));
        let entry = entry.map_err(|_| self.damaged("the checksum of a row does not match"))?;
        self.next = entry.index.next();
        if self.is_at_end() {
            self.end()?;
        }
        Ok(Some(entry))
    }

    fn end(&mut self) -> Result<(), StorageError> {
        let end = self.line()?;
        let mut behind = [0; 1];
        let read = self.from.read(&mut behind);
        let is_end = end.starts_with(END) && read.map_err(|error| self.failed(error))? == 0;
        if is_end { Ok(()) } else { Err(self.damaged("it does not end behind its last row")) }
    }

    fn number(&mut self) -> Result<u64, StorageError> {
        let field = self.until(b'|')?;
        field.parse().map_err(|_| self.damaged("a number in it cannot be read"))
    }

    fn line(&mut self) -> Result<String, StorageError> {
        self.until(b'\n')
    }

    fn until(&mut self, end: u8) -> Result<String, StorageError> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(2 * FIELD_BYTES_MAX).read_until(end, &mut bytes);
        read.map_err(|error| self.failed(error))?;
        if bytes.pop() != Some(end) {
            return Err(self.damaged("it ends in the middle of a row"));
        }
        String::from_utf8(bytes).map_err(|_| self.damaged("a number in it cannot be read"))
    }

    fn damaged(&self, what: &'static str) -> StorageError {
        StorageError::ArchiveDamaged { path: self.path.clone(), what }
    }

    /// What zstd does not like is damage; what the system does not like is not.
    fn failed(&self, error: std::io::Error) -> StorageError {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("it ends in the middle of a row"),
            ErrorKind::Other | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                self.damaged("it cannot be decompressed")
            }
            _ => StorageError::io("read", &self.path)(error),
        }
    }
}
