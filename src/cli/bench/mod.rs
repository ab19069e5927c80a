//! `plainsong bench`: how fast a cluster acknowledges messages, as its users would meet it.
//!
//! So many connections, each an account that keeps so many messages on their way to the next one's account, which is
//! online and so is pushed each of them. Progress goes to standard error, the result to standard output, ending with one
//! line for scripts. It kills nothing: with `--failover` it survives what somebody else kills, and the longest time
//! without an acknowledgement is the failover as a user feels it.
//!
//! Leaves out a fixed rate of requests: like most load generators it waits for answers, so a server that stalls is asked
//! less meanwhile, and percentiles do not show how many would have waited. The longest gap does.

mod sender;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, LocalSet};

use super::{BenchArgs, Exit, output};
use crate::config::Config;
use sender::{Sender, Start};
use tally::Tally;

/// Accounts that are deleted at a time, at the end.
const DELETIONS_AT_ONCE: usize = 50;

/// Why a benchmark has no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A connection could not be made or was lost.
    #[error("{0}\nstart the cluster with `plainsong cluster`, or name a replica with --server")]
    Lost(io::Error),
    /// Nothing was acknowledged.
    #[error("nothing was acknowledged; the first answer was: {0}")]
    NothingAcknowledged(String),
    /// Standard output or the runtime failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BenchError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lost(_) => Exit::Unavailable,
            Self::NothingAcknowledged(_) => Exit::Temporary,
            Self::Io(_) => Exit::Io,
        }
    }
}

/// Runs it.
pub(super) fn run(args: &BenchArgs, config: &Config) -> Result<(), BenchError> {
    let servers = if args.servers.is_empty() {
        config.replicas.iter().map(|replica| format!("{}:{}", replica.host, replica.port)).collect()
    } else {
        args.servers.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = LocalSet::new().block_on(&runtime, measure(args, servers))?;
    output::print(&report(args, &tally))?;
    if tally.acked() == 0 {
        return Err(BenchError::NothingAcknowledged(tally.refusal.unwrap_or_else(|| "none".to_owned())));
    }
    Ok(())
}

async fn measure(args: &BenchArgs, servers: Vec<String>) -> Result<Tally, BenchError> {
    let run: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
    let name = |n: usize| format!("bench-{run}-{n}").to_lowercase();
    let (ready, everybody) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
    let (start, wait) = watch::channel::<Start>(None);
    let mut senders = JoinSet::new();
    for n in 0..args.connections {
        let mut own: VecDeque<String> = servers.iter().cloned().collect();
        own.rotate_left(n % servers.len());
        let sender = Sender {
            name: name(n),
            to: name((n + 1) % args.connections),
            text: "x".repeat(args.size).into(),
            in_flight: args.in_flight,
            failover: args.failover,
            servers: own,
        };
        let (ready, everybody, connections) = (Rc::clone(&ready), Rc::clone(&everybody), args.connections);
        let is_ready = Rc::new(move || {
            ready.set(ready.get() + 1);
            if ready.get() == connections {
                everybody.notify_one();
            }
        });
        senders.spawn_local(sender.run(is_ready, wait.clone()));
    }
    tokio::select! {
        () = everybody.notified() => {}
        Some(ended) = senders.join_next() => {
            ended.expect("a sender does not panic").map_err(BenchError::Lost)?;
        }
    }
    let begins = Instant::now() + args.warmup;
    let tally = Rc::new(RefCell::new(Tally::new(begins, begins + args.duration)));
    // Nobody to hear it would be a run without connections, which the arguments rule out.
    let _ = start.send(Some(Rc::clone(&tally)));
    let bar = ProgressBar::new(args.duration.as_secs());
    let progress = tokio::task::spawn_local(show_progress(bar.clone(), Rc::clone(&tally)));
    while let Some(ended) = senders.join_next().await {
        ended.expect("a sender does not panic").map_err(BenchError::Lost)?;
    }
    progress.abort();
    bar.finish_and_clear();
    delete_accounts((0..args.connections).map(name), &servers).await;
    drop(start);
    Ok(Rc::into_inner(tally.clone()).map_or_else(|| tally.replace(Tally::new(begins, begins)), RefCell::into_inner))
}

/// At whichever replica serves; one that stays does no harm.
async fn delete_accounts(names: impl Iterator<Item = String>, servers: &[String]) {
    let delete = async |name: String| {
        for server in servers {
            if Sender::delete(&name, server).await.is_ok() {
                break;
            }
        }
    };
    stream::iter(names).for_each_concurrent(DELETIONS_AT_ONCE, delete).await;
}

/// A line a second, where standard error is a terminal.
async fn show_progress(bar: ProgressBar, tally: Rc<RefCell<Tally>>) {
    let begins = tally.borrow().begins;
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}").expect("the template is a constant"));
    bar.set_message("warming up");
    tokio::time::sleep_until(begins.into()).await;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    loop {
        every.tick().await;
        let (rate, median, tail) = tally.borrow_mut().look(Duration::from_secs(1));
        bar.inc(1);
        bar.set_message(format!("{rate:.0}/s  p50 {}  p99 {}", millis(median), millis(tail)));
    }
}

fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}

fn report(args: &BenchArgs, tally: &Tally) -> String {
    let seconds = args.duration.as_secs_f64();
    let (rate, pushes) = (tally.acked() as f64 / seconds, tally.pushed as f64 / seconds);
    let gap = tally.longest_gap(tally.ends);
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
    let mut text = format!(
        "{} connection{}, {} in flight each, {} bytes, {seconds:.0} s\n\n  acknowledged  {rate:>12.0} /s\n  pushed        {pushes:>12.0} /s\n",
        args.connections,
        if args.connections == 1 { "" } else { "s" },
        args.in_flight,
        args.size
    );
    for (label, share) in quantiles {
        text += &format!("  {label:<12}  {:>12}\n", millis(tally.quantile(share)));
    }
    text += &format!("  longest gap   {:>12}\n", millis(u64::try_from(gap.as_micros()).unwrap_or(u64::MAX)));
    if let Some(refusal) = &tally.refusal {
        text += &format!("  refused       {:>12}   (the first: {refusal})\n", tally.refused + tally.retried);
    }
    let fields = quantiles.map(|(label, share)| format!("{}_us={}", label.replace('.', ""), tally.quantile(share)));
    text += &format!(
        "\nbench|acked={}|per_s={rate:.0}|pushed={}|{}|gap_us={}|retried={}|refused={}|reconnects={}\n",
        tally.acked(),
        tally.pushed,
        fields.join("|"),
        gap.as_micros(),
        tally.retried,
        tally.refused,
        tally.reconnects
    );
    text
}
