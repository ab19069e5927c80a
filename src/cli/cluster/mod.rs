//! `plainsong cluster`: every replica of the config on this machine, as child processes in the foreground.
//!
//! Promises: what a replica prints is passed on, line by line, with its id; a replica that ends is told and the rest run
//! on; Ctrl-C or SIGTERM ends them all in order and within a bound, a second Ctrl-C at once; and no replica outlives this
//! process, however it ends (see `supervised.rs`, the other end of that line).
//!
//! Leaves out: restarting what ended. A replica that crashed has something to tell, and who practises crashes does not
//! want it back by itself.
//!
//! [`child`] runs one process, [`watch`] looks at the cluster as a client would, [`lines`] prints, and [`story`] decides
//! what to say about it all. Here they are put together.

mod child;
mod lines;
mod story;
mod watch;

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch as latest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::child::{Launcher, Order};
use self::lines::Lines;
use self::story::{Event, Story};
use super::Exit;
use crate::config::{Config, ReplicaConfig};

/// How long replicas may take to end after SIGTERM. They hand leadership over and finish what is in flight, which the
/// request timeout bounds; this is several times its default.
const STOP_WAIT_MAX: Duration = Duration::from_secs(15);

/// How long to wait for the system to end processes that were killed.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Events that wait for the supervisor; those who send them wait for a place.
const EVENTS_MAX: usize = 256;

/// Why the cluster did not run, or runs no longer without having been told to stop.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A process could not be started.
    #[error("cannot start replica {id} ({said}): is the program still where it was?")]
    Start {
        /// Which replica.
        id: u16,
        /// What the system said. Not the `source` of this error: it would be told twice.
        said: io::Error,
    },
    /// All replicas have ended by themselves.
    #[error("no replica runs; the first to fail: {first}; more is in the lines above")]
    AllEnded {
        /// The first that failed, and how.
        first: String,
        /// What it failed of.
        exit: Exit,
    },
    /// They run, and none of them answers.
    #[error("no replica answers after {} s: their lines are above; is `host` in the config this machine?", waited.as_secs())]
    NobodyAnswers {
        /// How long they had.
        waited: Duration,
    },
    /// The system refused a signal handler, a thread or a path.
    #[error("cannot set up the cluster: {0}")]
    System(#[from] io::Error),
}

impl ClusterError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::AllEnded { exit, .. } => *exit,
            Self::NobodyAnswers { .. } => Exit::Unavailable,
            Self::Start { .. } | Self::System(_) => Exit::Io,
        }
    }
}

/// Runs every replica of `config`, which was read from `file`, until told to stop.
pub fn run(file: &Path, config: &Config) -> Result<(), ClusterError> {
    let launcher =
        Launcher { executable: std::env::current_exe()?, config: file.to_owned(), data_dir: config.data_dir.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lines, printer) = lines::start()?;
    let result = runtime.block_on(supervise(&launcher, config, &lines));
    // Tasks hold places in the queue of lines; they go first, so that the printer sees its end.
    drop(runtime);
    drop(lines);
    printer.finish();
    result
}

async fn supervise(launcher: &Launcher, config: &Config, lines: &Lines) -> Result<(), ClusterError> {
    let mut stop = Stop::listen()?;
    let (events_in, mut events) = mpsc::channel(EVENTS_MAX);
    let (orders, orders_out) = latest::channel(Order::Run);
    // Dropped at the end of this function, and all tasks with it: a child whose task is dropped is killed.
    let mut tasks = JoinSet::new();

    let mut story = Story::new(config);
    lines.say(&story.opening());
    for replica in &config.replicas {
        if let Some(address) = taken_address(replica) {
            story.hear(Event::Taken { id: replica.id, address }).iter().for_each(|line| lines.say(line));
            continue;
        }
        let mut child = launcher.start(replica.id).map_err(|said| ClusterError::Start { id: replica.id, said })?;
        lines.pass_on(&mut tasks, replica.id, &mut child);
        tasks.spawn(child::mind(replica.id, child, orders_out.clone(), events_in.clone()));
        tasks.spawn(watch::readiness(replica.id, replica.client_address(), events_in.clone()));
    }
    let addresses = config.replicas.iter().map(|replica| replica.client_address()).collect();
    tasks.spawn(watch::leadership(addresses, events_in));

    loop {
        if let Some(verdict) = story.verdict() {
            end_all(&orders, &mut events, &mut story, lines, &mut stop).await;
            return verdict;
        }
        tokio::select! {
            Some(event) = events.recv() => story.hear(event).iter().for_each(|line| lines.say(line)),
            () = stop.asked() => {
                lines.say("ending all replicas; once more to kill them");
                end_all(&orders, &mut events, &mut story, lines, &mut stop).await;
                return Ok(());
            }
        }
    }
}

/// An address of the replica at which somebody else listens already. The replica would find out by itself, but until it
/// has, that somebody, perhaps a replica of the same id, would be taken for it and greeted as up.
fn taken_address(replica: &ReplicaConfig) -> Option<String> {
    let host = replica.bind.map_or_else(|| replica.host.clone(), |address| address.to_string());
    let is_taken = |port| {
        let listening = TcpListener::bind((host.as_str(), port));
        listening.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    [(replica.port, replica.client_address()), (replica.internal_port, replica.internal_address())]
        .into_iter()
        .find_map(|(port, address)| is_taken(port).then_some(address))
}

/// Ends what still runs: SIGTERM, then, after [`STOP_WAIT_MAX`] or when asked once more, SIGKILL.
async fn end_all(
    orders: &latest::Sender<Order>,
    events: &mut mpsc::Receiver<Event>,
    story: &mut Story,
    lines: &Lines,
    stop: &mut Stop,
) {
    orders.send_replace(Order::End);
    tokio::select! {
        () = all_ended(events, story, lines) => return,
        () = sleep_until(Instant::now() + STOP_WAIT_MAX) => {
            lines.say(&format!("not ended after {} s, and now killed: {}", STOP_WAIT_MAX.as_secs(), story.running()));
        }
        () = stop.asked() => lines.say(&format!("killed: {}", story.running())),
    }
    orders.send_replace(Order::Kill);
    tokio::select! {
        () = all_ended(events, story, lines) => {}
        () = sleep_until(Instant::now() + KILL_WAIT_MAX) => {
            lines.say(&format!("the system has not ended yet: {}", story.running()));
        }
    }
}

async fn all_ended(events: &mut mpsc::Receiver<Event>, story: &mut Story, lines: &Lines) {
    while !story.all_ended() {
        let Some(event) = events.recv().await else { return };
        if let Event::Ended { .. } = event {
            story.hear(event).iter().for_each(|line| lines.say(line));
        }
    }
}

/// The signals that ask for the end: Ctrl-C, SIGTERM, and a terminal that was closed.
struct Stop([Signal; 3]);

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    /// Ends when one of them comes.
    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    }
}
