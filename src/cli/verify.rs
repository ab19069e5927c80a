//! `plainsong verify`: whether a replica's files are what was written, and the state what the log gives.
//!
//! Of the log: each row's checksum and form, no gap, terms and times that never fall, the lists beside the entries. Of the
//! state: each row's checksum, and that it is, row by row, what the log gives when it is applied anew to nothing.
//!
//! Runs beside a running replica too: the log is replayed to where the state is at the start, then to where it is at the
//! end, and that moment of it is compared. What is behind it in the log is checked, and not applied.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::output;
use super::progress::Progress;
use super::tool::{Source, ToolError};
use crate::consensus::Index;
use crate::machine::MachineStorage as _;
use crate::storage::{Goal, LogReader, StateStore, StateView, StorageError, replay};

/// Entries that are checked in one moment of the log.
const SCRUB_ROWS: u64 = 1 << 14;

/// `plainsong verify`
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Whose files.
    #[command(flatten)]
    pub source: Source,
    /// Where the second state is made, of the same size; removed at the end [default: beside the replica's folder]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub scratch: Option<PathBuf>,
}

/// Checks, and tells what is sound. What is not is the error.
pub fn run(args: &VerifyArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    let report = verify(&dir, args.scratch.as_deref()).map_err(|error| advised(error, &dir))?;
    Ok(output::print(&report)?)
}

/// Adds what to do to an error that says what is damaged.
fn advised(error: ToolError, dir: &Path) -> ToolError {
    let ToolError::Storage(error) = error else { return error };
    if !error.is_damage() {
        return error.into();
    }
    let dir = dir.display();
    let next = if error.is_state_unusable() {
        format!("stop the replica, then: plainsong rebuild --state {dir}")
    } else {
        "stop the replica, then: plainsong rebuild --from-others -i ID".to_owned()
    };
    ToolError::Damaged(format!("{error}\nnext: {next}"))
}

fn verify(dir: &Path, scratch: Option<&Path>) -> Result<String, ToolError> {
    let log = LogReader::open(dir)?;
    let owner = log.owner()?;
    let (first, last) = (log.first()?, log.last()?);
    let applied = match StateView::open(dir)? {
        Some(view) if !view.belongs_to(&owner) => return Err(StorageError::OtherState.into()),
        Some(view) => view.store().applied(),
        None => Index(0),
    };
    if applied > log.last()? {
        return Err(StorageError::LogBehindState { last, applied }.into());
    }
    if applied < first.prev() {
        return Err(StorageError::StateLost { base: first.prev(), applied }.into());
    }
    let (checked, state) = match (applied, first) {
        (Index(0), _) => (first.prev(), "state  none yet: it is derived when the replica starts\n".to_owned()),
        (_, Index(1)) => compare(dir, &log, applied, scratch)?,
        (_, first) => (first.prev(), own_rows(dir, first)?),
    };
    let end = scrub(&log, checked.next())?;
    let entries = (end.0 + 1).saturating_sub(first.0);
    Ok(format!("log    {entries} entries, {first} to {end}: sound\n{state}sound\n"))
}

/// Replays into a scratch state, and compares. Gives how far the log has been read, and a line about the state.
fn compare(dir: &Path, log: &LogReader, applied: Index, scratch: Option<&Path>) -> Result<(Index, String), ToolError> {
    // Removed when it is dropped, with what is in it.
    let folder = tempfile::Builder::new().prefix("plainsong-verify-").tempdir_in(scratch.unwrap_or(beside(dir)))?;
    let mut state = StateStore::create_scratch(folder.path(), &log.owner()?)?;
    let mut progress = Progress::new("verifying", applied.0);
    replay(dir, &mut state, Goal::index(applied), &mut |index| progress.at(index.0))?;
    drop(progress);
    let view = StateView::open(dir)?.ok_or_else(|| ToolError::Impossible("the state was set aside just now".into()))?;
    let applied = view.store().applied();
    replay(dir, &mut state, Goal::index(applied), &mut |_| {})?;
    if applied < state.applied() {
        return Err(ToolError::Impossible("the state was derived anew just now: verify it again".to_owned()));
    }
    let (found, given) = (view.store().digest(), state.digest());
    let difference = view.first_difference(&state)?;
    if found != given || difference.is_some() {
        let row = difference.map_or_else(|| "its digest".to_owned(), |difference| difference.to_string());
        return Err(StorageError::corrupt_state(format!(
            "after entry {applied} it is not what the log gives: digest {found:016x} instead of {given:016x}; the first \
             difference is in {row}"
        ))
        .into());
    }
    Ok((applied, format!("state  after entry {applied}, digest {found:016x}: what the log gives\n")))
}

/// Of a state that cannot be derived from its log alone: each row by itself.
fn own_rows(dir: &Path, first: Index) -> Result<String, ToolError> {
    let Some(view) = StateView::open(dir)? else { return Ok("state  none\n".to_owned()) };
    view.first_difference(view.store())?;
    let (applied, digest) = (view.store().applied(), view.store().digest());
    Ok(format!(
        "state  after entry {applied}, digest {digest:016x}: each row is what was written; not compared with the log, \
         which begins at entry {first}\n"
    ))
}

/// Checks the log from an entry to its end. A running replica may cut its tail off meanwhile. Gives the last entry.
fn scrub(log: &LogReader, from: Index) -> Result<Index, ToolError> {
    let mut end = from.prev();
    // A scrub looks at the entry before, too.
    let mut next = Some(from.max(log.first()?.min(log.last()?).next()));
    let mut progress = Progress::new("checking the log", log.last()?.0);
    while let Some(from) = next {
        let scrubbed = log.scrub(from, SCRUB_ROWS)?;
        end = Index(from.0 + scrubbed.rows - 1).max(end);
        next = scrubbed.next;
        progress.at(end.0);
    }
    Ok(end)
}

fn beside(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
