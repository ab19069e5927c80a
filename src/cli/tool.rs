//! What the operator's tools share (`log`, `replay`, `verify`, `rebuild`, `recover`): which files they work on, how they
//! ask before they change something, and how they fail.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueHint};

use super::{DataArg, Exit, load};
use crate::config::ConfigError;
use crate::storage::StorageError;

/// Whose files a tool works on.
#[derive(Args, Debug, Default)]
#[group(skip)]
#[command(group = ArgGroup::new("whose").required(true))]
pub struct Source {
    /// Which replica of the config
    #[arg(short, long, value_name = "ID", group = "whose")]
    pub id: Option<u16>,
    /// `--data`
    #[command(flatten)]
    pub data: DataArg,
    /// A replica's folder, instead of -i and the config
    #[arg(value_name = "DIR", group = "whose", conflicts_with = "dir", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
}

impl Source {
    /// The replica's folder. One that has left the config may still have its files.
    pub(super) fn locate(&self, config: &Path) -> Result<PathBuf, ToolError> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let id = self.id.expect("the command line has one of the two");
        let config = load(config, &self.data)?;
        let dir = config.replica_dir(id);
        if config.replica(id).is_none() && !dir.exists() {
            return Err(ToolError::NoSuchReplica { id, dir: dir.display().to_string() });
        }
        Ok(dir)
    }
}

/// Where what was cut away from the log is read.
#[derive(Args, Debug, Default)]
pub struct ArchiveArg {
    /// The folder with what was cut away from the log [default: the replica's, in `log.archive` of the config]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub archive: Option<PathBuf>,
}

impl ArchiveArg {
    /// The folder, if there is to be one.
    pub(super) fn locate(&self, source: &Source, config: &Path) -> Result<Option<PathBuf>, ToolError> {
        match (&self.archive, source.id) {
            (Some(dir), _) => Ok(Some(dir.clone())),
            (None, Some(id)) => Ok(load(config, &source.data)?.archive_dir(id)),
            (None, None) => Ok(None),
        }
    }
}

/// Why a tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no usable config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The config does not name this replica.
    #[error("no replica {id} in the config, and no log in {dir}: choose another with -i, or its folder with --data")]
    NoSuchReplica {
        /// The id asked for.
        id: u16,
        /// Where its log would be.
        dir: String,
    },
    /// The files cannot be used, or are damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The files are not what they should be.
    #[error("{0}")]
    Damaged(String),
    /// What was asked for cannot be had: the sentence says what can.
    #[error("{0}")]
    Impossible(String),
    /// The others cannot be asked, or do not serve.
    #[error("{0}")]
    Unavailable(String),
    /// Nobody said yes.
    #[error("nothing was changed: {0}")]
    Declined(&'static str),
    /// Standard output, or a file of the tool's own, failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl ToolError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoSuchReplica { .. } => Exit::Config,
            Self::Storage(error) => match error {
                StorageError::NoLog(_) | StorageError::NoBackup(_) => Exit::NoInput,
                StorageError::InUse { .. } => Exit::Temporary,
                _ if error.is_damage() => Exit::Data,
                _ => Exit::Io,
            },
            Self::Damaged(_) => Exit::Data,
            Self::Impossible(_) | Self::Declined(_) => Exit::Failed,
            Self::Unavailable(_) => Exit::Unavailable,
            Self::Output(_) => Exit::Io,
        }
    }
}

/// What must be typed before a tool goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consent<'a> {
    /// The word that says yes.
    pub word: &'a str,
    /// It was said on the command line.
    pub given: bool,
}

impl Consent<'_> {
    /// Asks, on a terminal. Elsewhere only `--yes` says yes: nobody reads the question.
    pub(super) fn ask(self) -> Result<(), ToolError> {
        if self.given {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(ToolError::Declined("standard input is no terminal; say --yes if that is meant"));
        }
        let mut out = io::stderr().lock();
        write!(out, "type {:?} to go on: ", self.word)?;
        out.flush()?;
        drop(out);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == self.word { Ok(()) } else { Err(ToolError::Declined("another word was typed")) }
    }
}
