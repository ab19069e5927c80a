//! `plainsong log`: the replay log as text, one entry a line.
//!
//! ```text
//! 17|3|2026-11-21T09:30:00.125Z|+2.a0.7.41|alice#4|5|bob|hello
//! index, term, time of the leader, and the entry as the log keeps it
//! ```
//!
//! May run beside the replica: it prints what the log held when the last page was read. Each row is checked against its
//! checksum. Passwords stand in the log only as their hashes; texts stand in it as they were sent.
//!
//! With `--orphans` it prints what was given up instead: see `orphans`.
//!
//! The newest entries of a replica may not be committed yet, and a new leader may replace them: `--follow` then says so
//! on standard error, and prints what stands there now.

pub mod filter;
mod orphans;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use chat::Millis;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::output;
use super::tool::{ArchiveArg, Source, ToolError};
use crate::consensus::{Entry, Index, Term};
use crate::machine::body;
use crate::storage::{History, LogReader};
use filter::Filter;

/// What is read, and so held in memory, at a time.
const PAGE_BYTES: usize = 1 << 20;
/// How often a log that is followed is looked at: another process's file tells nobody that it has grown.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// Of what was printed, so many entries are remembered while the log is followed, to notice that they were replaced.
const FOLLOW_MEMORY: usize = 1024;

/// `plainsong log`
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Whose log.
    #[command(flatten)]
    pub source: Source,
    /// And what was cut away from it.
    #[command(flatten)]
    pub archive: ArchiveArg,
    /// Which entries.
    #[command(flatten)]
    pub filter: Filter,
    /// Only the last N of these entries
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Not the log, but what this replica gave up, because another side went on without it (`drop_silent_after_ms`)
    #[arg(long, conflicts_with_all = ["tail", "follow"])]
    pub orphans: bool,
}

/// Prints the log. A reader that goes away has what it wanted.
pub fn run(args: &LogArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    if args.orphans {
        let out = &mut BufWriter::new(io::stdout().lock());
        return match orphans::print(&LogReader::open(&dir)?, &args.filter, out) {
            Err(ToolError::Output(error)) => Ok(output::unless_closed(Err(error))?),
            other => other,
        };
    }
    let archive = args.archive.locate(&args.source, config)?;
    let reader = History::open(&dir, archive.as_deref())?;
    match print_log(reader, args, &mut BufWriter::new(io::stdout().lock())) {
        Err(ToolError::Output(error)) => Ok(output::unless_closed(Err(error))?),
        other => other,
    }
}

fn print_log(reader: History, args: &LogArgs, out: &mut impl Write) -> Result<(), ToolError> {
    let mut printer = Printer { reader, filter: &args.filter, recent: VecDeque::new(), next: Index(1) };
    printer.begin(args.tail)?;
    match args.tail {
        None => printer.print(out)?,
        Some(count) => printer.print_tail(count, out)?,
    }
    out.flush()?;
    while args.follow && wait_for_more()? {
        printer.step_back_to_what_stands()?;
        printer.print(out)?;
        out.flush()?;
    }
    Ok(())
}

/// Waits for [`FOLLOW_INTERVAL`], or until the reader of standard output is gone: then `false`.
fn wait_for_more() -> io::Result<bool> {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let interval = Timespec::try_from(FOLLOW_INTERVAL).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&interval)) {
        Ok(_) => Ok(!fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

struct Printer<'a> {
    reader: History,
    filter: &'a Filter,
    /// The newest entries that were looked at.
    recent: VecDeque<(Index, Term)>,
    next: Index,
}

impl Printer<'_> {
    /// Skips what is certainly not wanted, without reading it.
    fn begin(&mut self, tail: Option<usize>) -> Result<(), ToolError> {
        let (first, last) = (self.reader.first()?, self.reader.last()?);
        if first > Index(1) && tail.is_none() && self.filter.from.unwrap_or(1) < first.0 && self.filter.since.is_none()
        {
            output::tell(&format!("the log begins at entry {first}: what came before was cut away"));
        }
        let mut next = first.max(Index(self.filter.from.unwrap_or(0)));
        if let Some(since) = self.filter.since {
            next = next.max(self.first_at(since, first, last)?);
        }
        if let Some(count) = tail
            && self.filter.is_range()
            && (self.filter.to, self.filter.until) == (None, None)
        {
            next = next.max(Index((last.0 + 1).saturating_sub(count as u64)));
        }
        self.next = next;
        Ok(())
    }

    /// An entry before which all are older than a time: times never fall along the log. In an archive, where to look for one
    /// entry is to read half a file, it is the first of a file.
    fn first_at(&self, since: Millis, first: Index, last: Index) -> Result<Index, ToolError> {
        let first = first.max(self.reader.file_before(since.0)?);
        if first < self.reader.log().first()? {
            return Ok(first);
        }
        let (mut low, mut high) = (first.0, last.0 + 1);
        while low < high {
            let middle = low.midpoint(high);
            match self.reader.read(Index(middle), Index(middle), 0)?.first() {
                Some(entry) if entry.time < since.0 => low = middle + 1,
                // A tail that was cut off meanwhile is behind everything.
                Some(_) | None => high = middle,
            }
        }
        Ok(Index(low))
    }

    fn print(&mut self, out: &mut impl Write) -> Result<(), ToolError> {
        self.visit(|entry| print_entry(entry, out))
    }

    /// The last so many of what is wanted.
    fn print_tail(&mut self, count: usize, out: &mut impl Write) -> Result<(), ToolError> {
        let mut tail = VecDeque::new();
        self.visit(|entry| {
            tail.push_back(entry.clone());
            if tail.len() > count {
                tail.pop_front();
            }
            Ok(())
        })?;
        Ok(tail.iter().try_for_each(|entry| print_entry(entry, out))?)
    }

    /// Visits what is wanted, up to the log's end as it is now.
    fn visit(&mut self, mut visit: impl FnMut(&Entry) -> io::Result<()>) -> Result<(), ToolError> {
        let last = self.reader.last()?;
        while self.next <= last {
            let entries = self.reader.read(self.next, last, PAGE_BYTES)?;
            if entries.is_empty() {
                // The replica has cut off its tail since `last` was read.
                return Ok(());
            }
            for entry in &entries {
                if self.filter.ends_before(entry) {
                    return Ok(());
                }
                if self.filter.wants(entry) {
                    visit(entry)?;
                }
                self.next = entry.index.next();
                self.recent.push_back((entry.index, entry.term));
            }
            let surplus = self.recent.len().saturating_sub(FOLLOW_MEMORY);
            self.recent.drain(..surplus);
        }
        Ok(())
    }

    /// Where a new leader has replaced what was printed, goes back to it.
    fn step_back_to_what_stands(&mut self) -> Result<(), ToolError> {
        let mut replaced = None;
        while let Some(&(index, term)) = self.recent.back() {
            let stands = self.reader.read(index, index, 0)?.first().is_some_and(|entry| entry.term == term);
            if stands {
                break;
            }
            replaced = Some(index);
            self.recent.pop_back();
        }
        if let Some(index) = replaced {
            self.next = index;
            output::tell(&format!("the entries from {index} on were not committed, and have been replaced"));
        }
        Ok(())
    }
}

fn print_entry(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{}|{}|{}|", entry.index, entry.term, Millis(entry.time))?;
    out.write_all(&body::line(&entry.body))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::consensus::{Batch, Body, ReplicaId};
    use crate::storage::{self, Opened, StorageError};

    const TIME: u64 = 1_763_717_400_125;

    fn args(dir: &Path) -> LogArgs {
        let source = Source { folder: Some(dir.to_owned()), ..Source::default() };
        LogArgs {
            source,
            archive: ArchiveArg::default(),
            filter: Filter::default(),
            tail: None,
            follow: false,
            orphans: false,
        }
    }

    fn entry((index, term, body): (u64, u64, Body)) -> Entry {
        Entry { index: Index(index), term: Term(term), time: TIME + 1_000 * index, body }
    }

    fn filled(dir: &Path, count: u64) -> Opened {
        let mut opened = storage::open(dir, ReplicaId(3), "plainsong").expect("a new folder");
        let append = (1..=count).map(|index| entry((index, 4, Body::Noop))).collect();
        opened.log.write(&[Batch { append, ..Batch::default() }]).expect("written");
        opened
    }

    fn indexes(args: &LogArgs) -> Vec<u64> {
        let mut text = Vec::new();
        let dir = args.source.folder.as_ref().expect("named");
        print_log(History::open(dir, None).expect("opens"), args, &mut text).expect("read beside its writer");
        let text = String::from_utf8(text).expect("text");
        text.lines().map(|line| line.split('|').next().expect("a field").parse().expect("an index")).collect()
    }

    #[test]
    fn each_entry_is_a_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut opened = storage::open(folder.path(), ReplicaId(3), "plainsong").expect("a new folder");
        let command = Body::Command("+1.a0.7.41|bob#2|5|alice|a|b".into());
        let append = [(1, 4, Body::Noop), (2, 4, command)].map(entry).into();
        opened.log.write(&[Batch { append, ..Batch::default() }]).expect("written");

        let mut text = Vec::new();
        let reader = History::open(folder.path(), None).expect("opens");
        print_log(reader, &args(folder.path()), &mut text).expect("read beside its writer");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "1|4|2025-11-21T09:30:01.125Z|noop\n\
             2|4|2025-11-21T09:30:02.125Z|+1.a0.7.41|bob#2|5|alice|a|b\n"
        );
    }

    #[test]
    fn bounds_and_tail_are_found_from_either_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let _opened = filled(folder.path(), 30);
        let with = |filter: Filter, tail| LogArgs { filter, tail, ..args(folder.path()) };
        let at = |index: u64| Some(Millis(TIME + 1_000 * index));
        let times = Filter { since: at(7), until: at(9), ..Filter::default() };
        assert_eq!(indexes(&with(times.clone(), None)), [7, 8, 9]);
        assert_eq!(indexes(&with(times, Some(2))), [8, 9]);
        assert_eq!(indexes(&with(Filter::default(), Some(2))), [29, 30]);
        assert_eq!(indexes(&with(Filter::default(), Some(0))), [] as [u64; 0]);
        assert_eq!(indexes(&with(Filter { since: at(31), ..Filter::default() }, None)), [] as [u64; 0]);
        assert_eq!(indexes(&with(Filter { kind: vec![filter::EntryKind::Noop], ..Filter::default() }, Some(1))), [30]);
    }

    #[test]
    fn what_a_new_leader_replaced_is_printed_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut opened = filled(folder.path(), 5);
        let (reader, filter) = (History::open(folder.path(), None).expect("opens"), Filter::default());
        let mut printer = Printer { reader, filter: &filter, recent: VecDeque::new(), next: Index(1) };
        let mut seen = Vec::new();
        let mut look = |printer: &mut Printer| {
            printer.step_back_to_what_stands().expect("it reads");
            let visit = |entry: &Entry| {
                seen.push((entry.index.0, entry.term.0));
                Ok(())
            };
            printer.visit(visit).expect("it reads");
            std::mem::take(&mut seen)
        };
        assert_eq!(look(&mut printer).len(), 5);
        let append = vec![entry((4, 6, Body::Noop))];
        let batch = Batch { truncate_from: Some(Index(4)), append, ..Batch::default() };
        opened.log.write(&[batch]).expect("written");
        assert_eq!(look(&mut printer), [(4, 6)]);
        assert_eq!(look(&mut printer), []);
        opened.log.write(&[Batch { append: vec![entry((5, 6, Body::Noop))], ..Batch::default() }]).expect("written");
        assert_eq!(look(&mut printer), [(5, 6)]);
    }

    #[test]
    fn a_folder_without_a_log_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = run(&args(folder.path()), Path::new("none")).expect_err("nothing there");
        assert_eq!(error.exit(), Exit::NoInput);
        assert!(matches!(error, ToolError::Storage(StorageError::NoLog(_))), "{error}");
    }
}
