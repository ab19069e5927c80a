//! `plainsong client`: the protocol's own lines, typed or piped, on a connection that outlives its replica.
//!
//! With a terminal on both sides there is a prompt with a history and completion, which says where the client is connected
//! and for whom it speaks; it takes a few words (`/to alice`) beside the protocol's lines, and what comes in is explained
//! (`--raw`: as it is).
//! Otherwise lines go in and raw lines come out, in order, and the end of the input is the end, once every reply is
//! there: a script can take it for `nc -N` with a longer breath.
//!
//! Promises
//! - **Where it differs from `nc`, it is by more promises, not by other lines.** 5, 8 and 9 get a key unless they have
//!   one, and its echo is not shown. A greeting is not shown; a bye and a change of replica are told on standard error.
//! - **Messages.** On the wire the client is in manual mode and acknowledges what it has *written out*; to whoever types
//!   it looks like automatic mode: `6|` does not repeat what was shown, and its final line counts the new ones. A typed
//!   `9|id` goes through as it is, ahead of the client's own.
//! - After a failover the whole undelivered mailbox is shown without a `6|`: nobody can tell the missed from the older.
//! - Nothing that others wrote can command the terminal.
//!
//! Exit codes: 0; 2 nobody to ask; 69 no replica answers; 74 reading or writing failed; 75 gave up waiting, also for a
//! single reply of a pipe that ended in `retry`. A reader of standard output that goes away is no failure.

mod complete;
mod look;
mod pipe;
mod prompt;
mod screen;
mod secret;
mod words;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::{ClientArgs, Exit};
use crate::client::{Client, ClientOptions, ConnectError, Events};
use crate::config::Config;
use look::Look;

/// A replica that owes an answer may be silent for so many times the time for which it holds a request: twice, because
/// an answer may be queued behind another that was held.
const HOLDS_PER_SILENCE: u32 = 2;

/// How the client ended other than by `quit` or the end of its input.
#[derive(Debug, thiserror::Error)]
pub enum ClientExit {
    /// Nobody to connect to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There was no replica in time, or some request was not done in time.
    #[error("gave up waiting: a `retry` says for each request whether it may have been done; try again later")]
    GaveUp,
    /// Standard input or output failed.
    #[error("reading or writing failed: {0}")]
    Io(#[from] io::Error),
}

impl ClientExit {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(ConnectError::NoServers) => Exit::Usage,
            Self::Connect(ConnectError::NoReplica { .. }) => Exit::Unavailable,
            Self::GaveUp => Exit::Temporary,
            Self::Io(_) => Exit::Io,
        }
    }
}

/// Runs the client until `quit` or the end of its input.
///
/// # Errors
/// See [`ClientExit`].
pub fn run(args: &ClientArgs, config: &Config) -> Result<(), ClientExit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(converse(args, config));
    // A thread may still sit in a read of standard input that nothing can end.
    runtime.shutdown_background();
    match ended {
        Err(ClientExit::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn converse(args: &ClientArgs, config: &Config) -> Result<(), ClientExit> {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let (client, events) = connect(args, config, is_terminal).await?;
    if is_terminal && let Some(prompt) = prompt::Prompt::open(Look::terminal(args.raw)) {
        return prompt.run(client, events, args.login.as_deref()).await;
    }
    let look = if is_terminal { Look::terminal(args.raw) } else { Look::pipe() };
    if let Some(name) = &args.login {
        // An ended client is told by its events.
        let _ = client.submit(format!("2|{name}")).await;
    }
    let input = tokio::io::BufReader::new(tokio::io::stdin());
    pipe::run(client, events, input, tokio::io::stdout(), look).await
}

async fn connect(args: &ClientArgs, config: &Config, is_typed: bool) -> Result<(Client, Events), ClientExit> {
    let from_config = || config.replicas.iter().map(|replica| replica.client_address()).collect();
    let servers = if args.servers.is_empty() { from_config() } else { args.servers.clone() };
    let mut options = ClientOptions::new(servers);
    // The file names all replicas; whoever names one by hand learns the others from it.
    options.learn_servers = !args.servers.is_empty();
    if is_typed {
        // What is typed, or pasted, keeps its order under every failure; a person is not slowed down by that.
        options.in_flight_max = 1;
    }
    let held = Duration::from_millis(config.request_timeout_ms.into());
    options.answer_timeout = options.answer_timeout.max(held * HOLDS_PER_SILENCE);
    Ok(Client::connect(options).await?)
}

/// Tells something on standard error, under the program's name.
fn tell(notice: &str) {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "plainsong: {notice}");
}
