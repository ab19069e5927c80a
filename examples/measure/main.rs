//! What a cluster of real processes costs and how fast it is, beside the rate of sends that `plainsong bench` shows: each
//! measurement starts replicas of its own on free ports, and ends with one line for scripts.
//!
//! ```text
//! cargo run --release --example measure -- idle          CPU and memory of replicas that nobody uses
//! cargo run --release --example measure -- connections   memory of an idle connection; a push to each of 20,000
//! cargo run --release --example measure -- fanout        one sender, 1,000 sessions of one account
//! cargo run --release --example measure -- disk          bytes that a message takes on each replica
//! cargo run --release --example measure -- failover      20 leaders each killed, stopped, asked to end
//! cargo run --release --example measure -- history       millions of stored messages: start, catch-up, throughput
//! ```
//!
//! The replicas run the program `$PLAINSONG`, by default `target/release/plainsong`, which must have been built. All
//! figures come from outside the replicas: clients, `/proc`, and the sizes of files.

mod connections;
mod disk;
mod failover;
mod fanout;
mod history;
mod idle;
mod load;
mod proc;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use plainsong::drill::{Cluster, ClusterOptions};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU and memory of three, then of five replicas that nobody uses.
    Idle(idle::Args),
    /// Many logged-in connections at one replica: what one costs, and whether each is reached.
    Connections(connections::Args),
    /// Messages to an account with many sessions.
    Fanout(fanout::Args),
    /// How many bytes a message takes on each replica.
    Disk(disk::Args),
    /// How long clients of the other replicas wait when the leader ends.
    Failover(failover::Args),
    /// A cluster with a long history: how it starts, catches up and serves, beside an empty one.
    History(history::Args),
}

fn main() -> anyhow::Result<()> {
    println!("load average before: {}", proc::load_average()?);
    match Cli::parse().what {
        What::Idle(args) => idle::run(&args),
        What::Connections(args) => connections::run(&args),
        What::Fanout(args) => fanout::run(&args),
        What::Disk(args) => disk::run(&args),
        What::Failover(args) => failover::run(&args),
        What::History(args) => history::run(&args),
    }
}

/// The program under test.
fn binary() -> anyhow::Result<PathBuf> {
    let built = || {
        let own = std::env::current_exe().ok()?;
        // target/PROFILE/examples/measure: the release build beside it, whatever this one's profile is.
        Some(own.ancestors().nth(3)?.join("release").join("plainsong"))
    };
    let path = std::env::var_os("PLAINSONG").map(PathBuf::from).or_else(built).context("where is this program?")?;
    path.canonicalize().with_context(|| format!("no {}: run `cargo build --release`", path.display()))
}

/// A cluster of so many replicas with the shipped configuration.
fn cluster(replicas: u16) -> anyhow::Result<Cluster> {
    let options = ClusterOptions { replicas, ..ClusterOptions::default() };
    Ok(Cluster::start(&binary()?, &options)?)
}

/// The share of sorted values below which so many of them lie: 0.5 is the median, 1 the worst.
fn quantile<T: Copy>(sorted: &[T], share: f64) -> T {
    let last = sorted.len() - 1;
    sorted[((last as f64) * share).round() as usize]
}
