//! A cluster with millions of stored messages: how soon its replicas serve when they start, how fast one catches up that
//! missed a million entries while clients load the others, and what is left of the throughput of an empty cluster.
//!
//! The history is written through the storage layer, into the directories of a cluster that was founded by its
//! replicas: to send it would take longer than to measure with it. Its files lie in the page cache afterwards.

mod fill;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use plainsong::drill::{Cluster, LineClient, wait_until};
use plainsong::storage::LogReader;

use super::load::{Load, Shape};
use super::{cluster, proc, quantile};

#[derive(clap::Args)]
pub struct Args {
    /// Messages in the log and the state of each replica.
    #[arg(long, default_value_t = 5_000_000)]
    messages: u64,
    /// The bytes of each text; the files of all three replicas take some 3 * (170 + 2 * text) bytes a message.
    #[arg(long, default_value_t = 20)]
    text: usize,
    /// How many of the messages the last replica has missed.
    #[arg(long, default_value_t = 1_000_000)]
    missed: u64,
    /// Connections that load the cluster.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests in flight on each.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// How often throughput is compared with that of an empty cluster.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// The replica that missed the end of the history.
const LATE: u16 = 3;
/// Who caught up lacks at most so many entries.
const LAG_MAX: u64 = 2_000;
const SERVE_MAX: Duration = Duration::from_secs(60);
const CATCH_UP_MAX: Duration = Duration::from_secs(300);
/// How long each rate is looked at.
const WINDOW: Duration = Duration::from_secs(4);
/// What a load is given to get up to speed.
const WARM_UP: Duration = Duration::from_secs(1);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut full = cluster(3)?;
    // What each has applied is committed a moment later.
    proc::pass(Duration::from_secs(1));
    full.kill_all(&full.ids())?;
    fill::fill(&full, args.messages, args.missed, args.text, LATE)?;
    let bytes = proc::bytes_in(&full.data_dir(1))?;
    println!("history|messages={}|bytes_per_message={}", args.messages, bytes / args.messages);

    start_all(&mut full, args)?;
    catch_up(&mut full, args)?;
    restarts(&mut full, args)?;
    if args.rounds > 0 { beside_empty(&full, args) } else { Ok(()) }
}

fn shape(args: &Args) -> Shape {
    Shape { connections: args.connections, in_flight: args.in_flight, text_bytes: 100 }
}

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.running().into_iter().map(|id| cluster.address(id)).collect()
}

/// All but the late one start at once: they read their files, elect a leader, and serve.
fn start_all(cluster: &mut Cluster, args: &Args) -> anyhow::Result<()> {
    let since = Instant::now();
    for id in [1, 2] {
        cluster.spawn(id)?;
    }
    for id in [1, 2] {
        let (greets, serves) = served(cluster, id, since)?;
        println!("start|kind=all|messages={}|id={id}|greets_ms={greets}|serves_ms={serves}", args.messages);
    }
    Ok(())
}

/// When a replica greets, and when it has answered a login, which is a linearizable read; in milliseconds.
fn served(cluster: &Cluster, id: u16, since: Instant) -> anyhow::Result<(u128, u128)> {
    let mut greets = None;
    wait_until("a replica serves", SERVE_MAX, || {
        let mut client = LineClient::connect(cluster.address(id), SERVE_MAX).ok()?;
        greets.get_or_insert(since.elapsed());
        client.request("2|user1").ok().filter(plainsong::drill::Reply::is_ok)
    })?;
    let greets = greets.context("it was connected to")?;
    Ok((greets.as_millis(), since.elapsed().as_millis()))
}

/// The late replica starts under load. It has the entries when they are on its disk, and has caught up when its state has
/// applied them.
fn catch_up(cluster: &mut Cluster, args: &Args) -> anyhow::Result<()> {
    let leader = cluster.await_leader()?;
    let load = Load::start(&addresses(cluster), shape(args))?;
    load.rate_over(WARM_UP);
    let before = load.rate_over(WINDOW);
    let (acked, since, leader_cpu) = (load.acked(), Instant::now(), proc::cpu(cluster, leader)?);
    cluster.spawn(LATE)?;
    let late_applied = || cluster.status(LATE).ok()?.replica(LATE).map(|replica| replica.applied);
    let log = LogReader::open(&cluster.data_dir(LATE))?;
    let first = wait_until("it greets", SERVE_MAX, late_applied)?;
    let (greeted, mut stored) = (Instant::now(), None);
    let last = wait_until("it catches up", CATCH_UP_MAX, || {
        proc::pass(Duration::from_millis(20));
        let end = cluster.status(leader).ok()?.replica(leader)?.applied;
        let held = log.last().ok()?.0;
        if stored.is_none() && held + LAG_MAX >= end {
            stored = Some((held - first, greeted.elapsed().as_secs_f64()));
        }
        late_applied().filter(|applied| applied + LAG_MAX >= end)
    })?;
    let took = greeted.elapsed().as_secs_f64();
    let during = (load.acked() - acked) as f64 / since.elapsed().as_secs_f64();
    let cpu = |used: Duration| used.as_secs_f64() * 1e6 / (last - first) as f64;
    let (late_cpu, leader_cpu) = (cpu(proc::cpu(cluster, LATE)?), cpu(proc::cpu(cluster, leader)? - leader_cpu));
    load.rate_over(WARM_UP);
    let after = load.rate_over(WINDOW);
    load.stop()?;
    let (stored, stored_after) = stored.context("nothing is applied that is not stored")?;
    println!(
        "catch_up|entries={}|stored_per_s={:.0}|applied_per_s={:.0}|load_before_per_s={before:.0}|load_during_per_s={during:.0}\
         |load_after_per_s={after:.0}|during_by_before={:.2}|late_cpu_us={late_cpu:.1}|leader_cpu_us={leader_cpu:.1}",
        last - first,
        stored as f64 / stored_after,
        (last - first) as f64 / took,
        during / before
    );
    Ok(())
}

/// One replica ends, in peace and by `kill -9` under load, and starts again while the others serve.
fn restarts(cluster: &mut Cluster, args: &Args) -> anyhow::Result<()> {
    for kind in ["sigterm", "kill", "kill"] {
        cluster.await_whole()?;
        let leader = cluster.await_leader()?;
        let id = cluster.ids().into_iter().find(|&id| id != leader).context("three replicas")?;
        if kind == "sigterm" {
            cluster.terminate(id)?;
        } else {
            // Clients at the others: those of the victim would only see its end.
            let others: Vec<_> = cluster.ids().into_iter().filter(|&other| other != id).collect();
            let others: Vec<_> = others.into_iter().map(|id| cluster.address(id)).collect();
            let load = Load::start(&others, shape(args))?;
            load.rate_over(WARM_UP);
            cluster.kill(id)?;
            load.stop()?;
        }
        let since = Instant::now();
        cluster.spawn(id)?;
        let (greets, serves) = served(cluster, id, since)?;
        println!("start|kind={kind}|messages={}|id={id}|greets_ms={greets}|serves_ms={serves}", args.messages);
    }
    Ok(())
}

/// The same load in turn on this cluster and on an empty one.
fn beside_empty(full: &Cluster, args: &Args) -> anyhow::Result<()> {
    full.await_whole()?;
    let empty = cluster(3)?;
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..args.rounds {
        for (rates, cluster) in rates.iter_mut().zip([full, &empty]) {
            let load = Load::start(&addresses(cluster), shape(args))?;
            load.rate_over(WARM_UP);
            rates.push(load.rate_over(WINDOW));
            load.stop()?;
        }
        let [full, empty] = [&rates[0], &rates[1]].map(|rates| rates.last().expect("a round was run"));
        println!("round: full {full:.0}/s, empty {empty:.0}/s");
        ratios.push(full / empty);
    }
    ratios.sort_by(f64::total_cmp);
    let [full, empty] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        quantile(&rates, 0.5)
    });
    println!(
        "throughput|messages={}|full_per_s={full:.0}|empty_per_s={empty:.0}|median_ratio={:.2}",
        args.messages,
        quantile(&ratios, 0.5)
    );
    Ok(())
}
