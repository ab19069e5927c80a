//! Exit codes, and which failure means which: what a script that runs `plainsong` can rely on.

use std::io;
use std::process::ExitCode;

use super::bench::BenchError;
use super::client::ClientExit;
use super::cluster::ClusterError;
use super::members::MembersError;
use super::status::StatusError;
use super::tool::ToolError;
use crate::config::ConfigError;
use crate::server::ServerError;

/// How the process ends when it does not end well. The numbers are those of BSD's `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Failed, in no way that a script could use.
    Failed = 1,
    /// The command line is wrong. (Clap ends the process with this by itself.)
    Usage = 2,
    /// Files are damaged.
    Data = 65,
    /// The files that were named are not there.
    NoInput = 66,
    /// Nobody answers, or a port is taken.
    Unavailable = 69,
    /// Reading or writing failed.
    Io = 74,
    /// Not now, perhaps later: there is no leader, or the replica runs.
    Temporary = 75,
    /// The config is missing or wrong.
    Config = 78,
}

impl Exit {
    /// The failure that a code of one of our own processes stands for.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        const KNOWN: [Exit; 7] =
            [Exit::Usage, Exit::Data, Exit::NoInput, Exit::Unavailable, Exit::Io, Exit::Temporary, Exit::Config];
        KNOWN.into_iter().find(|&exit| exit as i32 == code).unwrap_or(Self::Failed)
    }

    /// What it means, in two words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "wrong usage",
            Self::Data => "damaged files",
            Self::NoInput => "no such files",
            Self::Unavailable => "unavailable",
            Self::Io => "input or output failed",
            Self::Temporary => "no leader",
            Self::Config => "bad config",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no usable config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `server`
    #[error(transparent)]
    Server(#[from] ServerError),
    /// `cluster`
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// `client`
    #[error(transparent)]
    Client(#[from] ClientExit),
    /// `status`
    #[error(transparent)]
    Status(#[from] StatusError),
    /// `log`, `replay`, `verify`, `rebuild`, `recover`
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// `leave`, `remove`
    #[error(transparent)]
    Members(#[from] MembersError),
    /// `bench`
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// `drill`
    #[error("the drill did not pass")]
    Drill,
    /// Standard output or a thread could not be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::Server(error) => match error {
                ServerError::NoSuchReplica { .. }
                | ServerError::Config(_)
                | ServerError::NotLetIn(_)
                | ServerError::Removed { .. } => Exit::Config,
                ServerError::PortTaken { .. } | ServerError::Twin { .. } => Exit::Unavailable,
                ServerError::Storage(_) | ServerError::System { .. } => Exit::Io,
            },
            Self::Cluster(error) => error.exit(),
            Self::Client(error) => error.exit(),
            Self::Status(error) => error.exit(),
            Self::Tool(error) => error.exit(),
            Self::Members(error) => error.exit(),
            Self::Bench(error) => error.exit(),
            Self::Drill => Exit::Failed,
            Self::Io(_) => Exit::Io,
        }
    }
}
