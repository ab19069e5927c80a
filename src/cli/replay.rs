//! `plainsong replay`: the state as it was after any entry of the log, in a directory of its own.
//!
//! The source is only read, also while its replica runs. A state that stands in the directory already is shown as it is,
//! so that a second look costs nothing.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use chat::{AccountId, Answer, MessageId, Millis, Name, Query, Storage as _};
use clap::{Args, ValueHint};

use super::log::filter::{name, time};
use super::output;
use super::progress::Progress;
use super::tool::{Source, ToolError};
use crate::consensus::Index;
use crate::machine::MachineStorage as _;
use crate::storage::{Goal, LogReader, StateStore, StateView, replay};

/// Messages of a mailbox that are read at a time.
const PAGE_MESSAGES: usize = 1_000;
/// The same in bytes of their lines.
const PAGE_BYTES: usize = 1 << 20;

/// `plainsong replay`
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Whose log.
    #[command(flatten)]
    pub source: Source,
    /// The directory for the state: new, or one that an earlier replay filled
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub into: PathBuf,
    /// Up to this entry
    #[arg(long, value_name = "INDEX")]
    pub to_index: Option<u64>,
    /// Up to this time, as the log writes it: 2026-11-21T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "to_index")]
    pub until: Option<Millis>,
    /// Print what this account had received by then, a `msg|` line each
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub mailbox: Option<Name>,
}

/// Replays, and shows what came of it.
pub fn run(args: &ReplayArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    let view = match StateView::open(&args.into)? {
        Some(view) => shown_again(args, view)?,
        None => {
            fill(&dir, args)?;
            StateView::open(&args.into)?
                .ok_or_else(|| ToolError::Damaged("the state that was made is gone".to_owned()))?
        }
    };
    let summary = summary(&dir, &view)?;
    let Some(mailbox) = &args.mailbox else { return Ok(output::print(&summary)?) };
    output::tell_lines(&summary);
    match print_mailbox(view.store(), mailbox, &mut BufWriter::new(io::stdout().lock())) {
        Err(ToolError::Output(error)) => Ok(output::unless_closed(Err(error))?),
        other => other,
    }
}

/// A state that was replayed before is not taken further: whether it is still a beginning of this log cannot be seen.
fn shown_again(args: &ReplayArgs, view: StateView) -> Result<StateView, ToolError> {
    let (into, applied) = (args.into.display(), view.store().applied());
    if args.to_index.is_some_and(|index| Index(index) != applied) || args.until.is_some() {
        let what = format!("{into} holds a state already, after entry {applied}: name a new directory with --into");
        return Err(ToolError::Impossible(what));
    }
    output::tell(&format!("{into} holds a state already: this is what it says"));
    Ok(view)
}

fn fill(dir: &Path, args: &ReplayArgs) -> Result<(), ToolError> {
    let log = LogReader::open(dir)?;
    let goal = goal(&log, dir, args)?;
    let mut progress = Progress::new("replaying", goal.apply_to.0);
    let mut state = StateStore::create_scratch(&args.into, &log.owner()?)?;
    replay(dir, &mut state, goal, &mut |index| progress.at(index.0))?;
    state.finish(&args.into)?;
    Ok(())
}

fn goal(log: &LogReader, dir: &Path, args: &ReplayArgs) -> Result<Goal, ToolError> {
    let (first, last) = (log.first()?, log.last()?);
    if first > Index(1) {
        return Err(ToolError::Impossible(cut(first)));
    }
    // What the replica has applied is committed. What is behind it may be, or be replaced.
    let committed = StateView::open(dir).ok().flatten().map(|view| view.store().applied());
    let asked = args.to_index.map(Index);
    if let Some(asked) = asked.filter(|asked| *asked > last) {
        return Err(ToolError::Impossible(format!("the log ends at entry {last}: there is no entry {asked}")));
    }
    let index = asked.unwrap_or(committed.unwrap_or(last)).min(last);
    if committed.is_none_or(|committed| index > committed) {
        let known = committed.unwrap_or_default();
        output::tell(&format!("of the entries behind {known} this replica does not know that they are committed"));
    }
    Ok(Goal { until: args.until.map_or(u64::MAX, |until| until.0), ..Goal::index(index) })
}

/// Why nothing can be derived from this log alone.
pub(super) fn cut(first: Index) -> String {
    format!(
        "the log begins at entry {first}: what came before was cut off, and the state cannot be derived from what is \
         left. `plainsong verify` still checks all that is there"
    )
}

fn summary(dir: &Path, view: &StateView) -> Result<String, ToolError> {
    let state = view.store();
    let applied = state.applied();
    let time = match LogReader::open(dir)?.read(applied, applied, 0)?.first() {
        Some(entry) => Millis(entry.time).to_string(),
        None => "before the log".to_owned(),
    };
    Ok(format!(
        "entry     {applied}\ntime      {time}\ndigest    {:016x}\naccounts  {}\nmessages  {}\n",
        state.digest(),
        state.accounts_count()?,
        state.messages_count()?
    ))
}

/// All that the account received and has not erased, oldest first.
fn print_mailbox(state: &StateStore, name: &Name, out: &mut impl Write) -> Result<(), ToolError> {
    let account = state.account(name)?;
    let account: AccountId = match account {
        Some(account) => account.id,
        None => return Err(ToolError::Impossible(format!("there was no account {} then", name.as_str()))),
    };
    let (mut after, mut count) = (MessageId(0), 0);
    loop {
        let query = Query::Received { account, after, limit: PAGE_MESSAGES, bytes_max: PAGE_BYTES };
        let Answer::Received { messages, exhausted } = chat::answer(state, &query)? else {
            unreachable!("a query is answered by its own kind")
        };
        messages.iter().try_for_each(|message| out.write_all(&message.line))?;
        count += messages.len();
        after = messages.last().map_or(after, |message| message.id);
        if exhausted || messages.is_empty() {
            break;
        }
    }
    out.flush()?;
    output::tell(&format!("{count} messages, {} of them undelivered", state.undelivered_count(account)?));
    Ok(())
}
