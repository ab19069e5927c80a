//! The command line: what can be typed, and who does it.
//!
//! Promises: every subcommand explains itself with an example under `--help`; what goes wrong ends as a [`Failure`]
//! with one [`Exit`] code; results are printed on standard output and all else on standard error; a reader of standard
//! output that goes away (`plainsong log -i 1 | head`) is no failure.

pub mod backup;
pub mod bench;
pub mod client;
pub mod cluster;
pub mod drill;
mod exit;
pub mod found;
pub mod log;
pub mod manual;
pub mod members;
mod output;
mod progress;
pub mod rebuild;
pub mod recover;
pub mod replay;
pub mod status;
mod supervised;
mod tool;
pub mod verify;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::config::{Config, ConfigError, Replication};
use crate::server;
pub use drill::DrillArgs;
pub use exit::{Exit, Failure};
pub use log::LogArgs;
pub use tool::{Source, ToolError};

const EXAMPLES: &str = "\
Start:
  plainsong cluster                 every replica of config.yaml, here and now
  plainsong client                  speak to it; or: nc 127.0.0.1 5001
  plainsong status                  who leads, who is up

Exit codes: 0 done, 1 failed, 2 wrong usage, 65 damaged files, 66 no such files,
69 unavailable or port taken, 74 input or output failed, 75 no leader, or a replica runs
that must be stopped first (try again), 78 bad config.
RUST_LOG=debug tells more; NO_COLOR is honoured.";

const CLIENT_HELP: &str = "\
In a terminal there is a prompt: [replica] account> . It takes the protocol's lines (`send|bob|hi`,
`6|`) and a few words: /to bob (then plain text goes to bob), /history, /who, /list, /status,
/login, /create, /passwd (which ask for the password without showing it), /help, /quit. Tab completes,
Ctrl-D waits for the replies that are due, Ctrl-C does not. The history of lines, without passwords, is in
$XDG_STATE_HOME/plainsong/history (~/.local/state by default).

On a pipe raw lines go in and come out, and the end of the input is the end.

When the replica fails, the client goes to another, logs in again, shows what arrived meanwhile, and sends again
under the same key what was not answered: each message is sent once and shown once.

Examples:
  plainsong client --login alice
  plainsong client --server 127.0.0.1:5001 --raw < script

Exit codes: 0 done, 2 wrong usage, 69 no replica answers, 74 input or output failed,
75 gave up waiting. NO_COLOR is honoured.";

/// A replicated, persistent, fault-tolerant chat server that anyone can speak to with nc.
#[derive(Debug, Parser)]
#[command(name = "plainsong", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// The config file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.yaml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `plainsong` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one replica until SIGTERM
    #[command(after_help = "Examples:\n  plainsong server -i 3 --data /var/lib/plainsong\n  \
                            plainsong server -i 6 --join 10.0.0.1:7001   (any member's internal port)")]
    Server(ServerArgs),
    /// Runs every replica of the config on this machine until Ctrl-C
    #[command(after_help = "Examples:\n  plainsong cluster\n  plainsong cluster --config test.yaml --data /tmp/test")]
    Cluster(ClusterArgs),
    /// Speaks to the cluster, and keeps doing so when a replica fails
    #[command(after_help = CLIENT_HELP)]
    Client(ClientArgs),
    /// Shows who leads, who is up and who lags; 75 without a leader, 69 when nobody answers
    #[command(after_help = "Examples:\n  plainsong status\n  plainsong status --server 127.0.0.1:5003\n  \
                            until plainsong status > /dev/null 2>&1; do sleep 1; done")]
    Status(StatusArgs),
    /// Checks a config file and says what it describes
    #[command(after_help = "Example:\n  plainsong check-config test.yaml && plainsong cluster --config test.yaml")]
    CheckConfig(CheckConfigArgs),
    /// Prints the replay log of a replica as text: index|term|time|entry
    #[command(after_help = "Examples:\n  plainsong log -i 1 --tail 3\n  plainsong log -i 1 --follow --account bob\n  \
                            plainsong log data/1 --kind voters --since 2026-11-21T09:30:00Z")]
    Log(LogArgs),
    /// Derives the state as it was after any entry of the log, in a directory of its own
    #[command(after_help = "Examples:\n  plainsong replay -i 1 --into then --until 2026-11-21T09:30:00Z\n  \
                            plainsong replay -i 1 --into then --mailbox bob")]
    Replay(replay::ReplayArgs),
    /// Checks every row of a replica's files, and that the state is what the log gives; 65 if not
    #[command(after_help = "Example:\n  plainsong verify -i 1 && echo sound")]
    Verify(verify::VerifyArgs),
    /// Makes the state of a stopped replica again from its log, or all of it from the other replicas
    #[command(after_help = "Examples:\n  plainsong rebuild -i 1 --state\n  plainsong rebuild -i 1 --from-others\n\n\
                            What is replaced is set aside, never deleted.")]
    Rebuild(rebuild::RebuildArgs),
    /// Founds the cluster anew from one stopped replica, when a majority of disks is lost for good
    #[command(after_help = "Example:\n  plainsong recover --force -i 1\n\n\
                            Choose the replica with the longest log: plainsong log -i 1 --tail 1")]
    Recover(recover::RecoverArgs),
    /// Copies the files of a replica, while it runs, for the day when all are lost
    #[command(after_help = "Example:\n  plainsong backup -i 1 --to /backups/monday")]
    Backup(backup::BackupArgs),
    /// Makes the data directory of a replica out of a backup
    #[command(
        after_help = "Example, after the loss of all replicas:\n  plainsong restore --from /backups/monday -i 1\n  \
                            plainsong recover --force -i 1"
    )]
    Restore(backup::RestoreArgs),
    /// Founds the cluster with the replicas that are there, when one of the config will not come for a while
    #[command(after_help = "Example:\n  plainsong found")]
    Found(found::FoundArgs),
    /// Takes a running replica out of the cluster
    #[command(after_help = "Example:\n  plainsong leave -i 3")]
    Leave(MemberArgs),
    /// Takes a replica out of the cluster, also one that is lost
    #[command(after_help = "Examples:\n  plainsong remove -i 3\n  plainsong remove -i 3 --member 10.0.0.2:7002 --yes")]
    Remove(MemberArgs),
    /// Measures how fast the cluster acknowledges messages
    #[command(after_help = "Examples:\n  plainsong bench\n  plainsong bench -n 1 --duration 5\n  \
                            plainsong bench --failover --duration 60   (and kill a leader meanwhile)\n\n\
                            It makes accounts bench-…, and deletes them at the end; what it sent stays in the replay log.")]
    Bench(BenchArgs),
    /// Prints a script that completes this command line in a shell
    #[command(after_help = "Example:\n  plainsong completions bash > /etc/bash_completion.d/plainsong")]
    Completions(manual::CompletionsArgs),
    /// Prints the manual page
    #[command(after_help = "Examples:\n  plainsong man | man -l -\n  plainsong man verify > plainsong-verify.1")]
    Man(manual::ManArgs),
    /// Breaks a cluster of its own on purpose and judges what its clients saw
    #[command(after_help = "Example:\n  plainsong drill kill_leader")]
    Drill(DrillArgs),
}

/// `plainsong server`
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Which replica of the config to run
    #[arg(short, long, value_name = "ID")]
    pub id: u16,
    /// `--data`
    #[command(flatten)]
    pub data: DataArg,
    /// Join the cluster of the member whose internal port this is; may stay in later starts
    #[arg(long, value_name = "HOST:PORT")]
    pub join: Option<String>,
    /// End when standard input closes: set by `cluster`, so that no replica outlives it
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `plainsong cluster`
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// `--data`
    #[command(flatten)]
    pub data: DataArg,
}

/// `plainsong client`
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Connect here instead of to the replicas of the config; may be repeated
    #[arg(long = "server", value_name = "HOST:PORT")]
    pub servers: Vec<String>,
    /// Send and print lines as they are, without a prompt and without explaining them
    #[arg(long)]
    pub raw: bool,
    /// Log in as this account first
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,
}

/// `plainsong status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Ask here instead of the replicas of the config; may be repeated
    #[arg(long = "server", value_name = "HOST:PORT")]
    pub servers: Vec<String>,
}

/// `plainsong check-config`
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// The file to check, instead of --config
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// `plainsong leave`, `plainsong remove`
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Which replica goes
    #[arg(short, long, value_name = "ID")]
    pub id: u16,
    /// Ask the member with this internal port instead of those of the config; may be repeated
    #[arg(long = "member", value_name = "HOST:PORT")]
    pub members: Vec<String>,
    /// Do not ask whether it is meant (only a terminal is asked)
    #[arg(short, long)]
    pub yes: bool,
}

/// `plainsong bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Connect here instead of to the replicas of the config; may be repeated
    #[arg(long = "server", value_name = "HOST:PORT")]
    pub servers: Vec<String>,
    /// Connections, spread over the replicas
    #[arg(short = 'n', long, default_value_t = 50, value_parser = at_least_one)]
    pub connections: usize,
    /// Messages that each has on their way at once
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub in_flight: usize,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub size: usize,
    /// Seconds to measure for
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// Seconds of warm-up before
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub warmup: Duration,
    /// Go on at another replica when one is lost, and send what was not answered again under the same key
    #[arg(long)]
    pub failover: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "seconds, more than 0".to_owned())
}

/// `--data`, shared by the subcommands that use the replicas' folders.
#[derive(Debug, Default, Args)]
pub struct DataArg {
    /// Keep the replicas' folders here instead of in the config's data_dir
    #[arg(long = "data", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

impl Command {
    /// What it is called on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Cluster(_) => "cluster",
            Self::Client(_) => "client",
            Self::Status(_) => "status",
            Self::CheckConfig(_) => "check-config",
            Self::Log(_) => "log",
            Self::Replay(_) => "replay",
            Self::Verify(_) => "verify",
            Self::Rebuild(_) => "rebuild",
            Self::Recover(_) => "recover",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Found(_) => "found",
            Self::Leave(_) => "leave",
            Self::Remove(_) => "remove",
            Self::Bench(_) => "bench",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Drill(_) => "drill",
        }
    }
}

/// Does what was typed.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let file = cli.config;
    match cli.command {
        Command::Server(args) => {
            let config = load(&file, &args.data)?;
            if args.supervised {
                supervised::end_with_standard_input()?;
            }
            server::run(&config, args.id, args.join.as_deref())?;
        }
        Command::Cluster(args) => cluster::run(&file, &load(&file, &args.data)?)?,
        Command::Client(args) => client::run(&args, &load_unless(!args.servers.is_empty(), &file)?)?,
        Command::Status(args) => status::run(&args, &load_unless(!args.servers.is_empty(), &file)?)?,
        Command::CheckConfig(args) => check_config(&args.file.unwrap_or(file))?,
        Command::Log(args) => log::run(&args, &file)?,
        Command::Replay(args) => replay::run(&args, &file)?,
        Command::Verify(args) => verify::run(&args, &file)?,
        Command::Rebuild(args) => rebuild::run(&args, &file)?,
        Command::Recover(args) => recover::run(&args, &file)?,
        Command::Backup(args) => backup::backup(&args, &file)?,
        Command::Restore(args) => backup::restore(&args, &file)?,
        Command::Found(args) => found::run(&args, &load_unless(false, &file)?)?,
        Command::Leave(args) => members::remove(&args, &load_unless(false, &file)?, true)?,
        Command::Remove(args) => members::remove(&args, &load_unless(false, &file)?, false)?,
        Command::Bench(args) => bench::run(&args, &load_unless(!args.servers.is_empty(), &file)?)?,
        Command::Completions(args) => manual::completions(&args)?,
        Command::Man(args) => manual::man(&args)?,
        Command::Drill(args) => {
            if !drill::run(&args)? {
                return Err(Failure::Drill);
            }
        }
    }
    Ok(())
}

fn load(file: &Path, data: &DataArg) -> Result<Config, ConfigError> {
    let mut config = Config::load(file)?;
    if let Some(dir) = &data.dir {
        config.data_dir.clone_from(dir);
    }
    Ok(config)
}

/// Whoever names the servers needs no file, so a missing one is no error then. One that is there must still be good.
fn load_unless(servers_are_named: bool, file: &Path) -> Result<Config, ConfigError> {
    match Config::load(file) {
        Err(ConfigError::Missing { .. }) if servers_are_named => Ok(Config::default()),
        loaded => loaded,
    }
}

fn check_config(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    output::print(&summary(file, &config))?;
    Ok(())
}

/// What the file describes, in words that let a reader notice what he did not mean.
fn summary(file: &Path, config: &Config) -> String {
    let replicas = config.replicas.len();
    let majority = config.majority();
    let (must, may_fail) = match config.replication {
        Replication::Quorum => (format!("{majority} of them must agree"), replicas - majority),
        Replication::PrimaryBackup => ("all that live must agree".to_owned(), replicas - 1),
    };
    let mut text = format!(
        "{}: good\ncluster {}: {replicas} replicas; {must}, {may_fail} may fail\ndata in {}\n",
        file.display(),
        config.cluster,
        config.data_dir.display(),
    );
    for replica in &config.replicas {
        let bind = replica.bind.map(|address| format!(", listening on {address}")).unwrap_or_default();
        text += &format!(
            "replica {}: clients {}, replicas {}{bind}\n",
            replica.id,
            replica.client_address(),
            replica.internal_address()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("plainsong "), "`plainsong {} --help` shows no example", command.get_name());
        }
    }

    #[test]
    fn the_summary_counts() {
        let config = Config::parse(include_bytes!("../../config.yaml")).expect("the shipped config.yaml is sound");
        let text = summary(Path::new("config.yaml"), &config);
        assert!(text.contains("5 replicas; 3 of them must agree, 2 may fail"), "{text}");
        assert!(text.contains("replica 4: clients 127.0.0.1:5004, replicas 127.0.0.1:7004\n"), "{text}");
    }
}
