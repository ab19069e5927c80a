//! How long clients of the other replicas wait when the leader dies, falls silent or is asked to end: the longest time
//! between two answers at a client that sends one message after the other through a follower, while others load the
//! cluster through all followers. No request of any of them may be refused.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use plainsong::drill::judge::longest_gap;
use plainsong::drill::network::Network;
use plainsong::drill::{Cluster, ClusterOptions, LineClient, STATUS_WAIT, enclosure, wait_until};

use super::load::{Load, Shape};
use super::{binary, cluster, quantile};

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum End {
    /// `kill -9`.
    Kill,
    /// SIGSTOP: its sockets stay open, and it says nothing more.
    Stop,
    /// SIGTERM: it hands over.
    Term,
    /// Cut off from the other replicas, in network namespaces (needs root, or user namespaces).
    Cut,
}

/// What is measured unless it is said: all that needs nothing of the machine.
const USUAL: [End; 3] = [End::Kill, End::Stop, End::Term];

#[derive(clap::Args)]
pub struct Args {
    /// How often each.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How leaders end; by default all but `cut`, which stands alone.
    #[arg(long, value_enum)]
    by: Vec<End>,
    /// This process is in namespaces of its own already.
    #[arg(long, hide = true)]
    enclosed: bool,
    /// Replicas of the cluster.
    #[arg(long, default_value_t = 5)]
    replicas: u16,
    /// Connections that load the cluster meanwhile, each with four requests in flight; 0 for none.
    #[arg(long, default_value_t = 4)]
    load: usize,
    /// Show what the replicas logged in rounds with a longer gap than this, in milliseconds.
    #[arg(long)]
    explain: Option<u64>,
}

/// Answers to the client before and after an end that make a round.
const STEADY: usize = 50;
/// An answer comes within this, or the round has failed.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (mut cluster, mut network) = if args.by == [End::Cut] { apart(args)? } else { (cluster(args.replicas)?, None) };
    let ms = |gap: Duration| gap.as_secs_f64() * 1000.0;
    let ends = if args.by.is_empty() { &USUAL[..] } else { &args.by };
    for &end in ends {
        let mut gaps = Vec::new();
        let mut refused = 0;
        for round in 0..args.rounds {
            let before = args.explain.map(|_| logs(&cluster)).transpose()?;
            let (gap, load) = around(&mut cluster, network.as_mut(), args, end, round)?;
            gaps.push(gap);
            let is_long = args.explain.is_some_and(|above| gap > Duration::from_millis(above));
            if let Some(before) = before.filter(|_| is_long) {
                println!("round {round} by {end:?}: {:.1} ms", ms(gap));
                explain(&before, &logs(&cluster)?);
            }
            if let Err(error) = load {
                refused += 1;
                println!("round {round}: {error:#}");
            }
        }
        println!("all, in ms: {}", gaps.iter().map(|gap| format!("{:.1}", ms(*gap))).collect::<Vec<_>>().join(" "));
        gaps.sort_unstable();
        println!(
            "failover|by={}|rounds={}|load={}|median_ms={:.1}|p90_ms={:.1}|worst_ms={:.1}|rounds_with_refusals={refused}",
            format!("{end:?}").to_lowercase(),
            args.rounds,
            args.load,
            ms(quantile(&gaps, 0.5)),
            ms(quantile(&gaps, 0.9)),
            ms(quantile(&gaps, 1.0)),
        );
    }
    Ok(())
}

/// What each replica has logged so far.
fn logs(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    cluster.ids().into_iter().map(|id| Ok(fs::read_to_string(cluster.log_file(id))?)).collect()
}

/// What all have logged since, by the time at which they did.
fn explain(before: &[String], after: &[String]) {
    let news = after.iter().zip(before).zip(1..);
    let mut lines: Vec<(&str, u16)> =
        news.flat_map(|((after, before), id)| after[before.len()..].lines().map(move |line| (line, id))).collect();
    lines.sort_unstable();
    for (line, id) in lines {
        println!("  replica {id}: {line}");
    }
}

/// A cluster on hosts of its own, whose links can be cut.
fn apart(args: &Args) -> anyhow::Result<(Cluster, Option<Network>)> {
    if !args.enclosed {
        return Err(enclosure::enter(true).into());
    }
    let network = Network::make(args.replicas)?;
    // Off loopback replicas must share a secret.
    let options = ClusterOptions { replicas: args.replicas, extra: "secret: for-the-measurement".to_owned() };
    Ok((Cluster::start_on(&binary()?, &options, &network.hosts(), |_| Ok(()))?, Some(network)))
}

/// One round: the gap, and whether all of the load was served.
fn around(
    cluster: &mut Cluster,
    mut network: Option<&mut Network>,
    args: &Args,
    end: End,
    round: usize,
) -> anyhow::Result<(Duration, anyhow::Result<u64>)> {
    let leader = cluster.await_leader()?;
    let followers: Vec<u16> = cluster.running().into_iter().filter(|&id| id != leader).collect();
    let addresses: Vec<SocketAddr> = followers.iter().map(|&id| cluster.address(id)).collect();
    let shape = Shape { connections: args.load, in_flight: 4, text_bytes: 100 };
    let load = Load::start(&addresses, shape)?;
    let last = *addresses.last().context("a cluster of more than one replica")?;
    let (answers, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
    let flow = |more: usize| {
        let until = answers.load(Ordering::Relaxed) + more;
        wait_until("the client is answered", STATUS_WAIT, || (answers.load(Ordering::Relaxed) >= until).then_some(()))
    };
    let gap = thread::scope(|scope| {
        let client = scope.spawn(|| write(last, &format!("{end:?}{round}"), &answers, &stopping));
        let harm = flow(STEADY).map_err(anyhow::Error::from).and_then(|()| {
            let since = Instant::now();
            match end {
                End::Kill => cluster.kill(leader)?,
                End::Stop => cluster.pause(leader)?,
                End::Term => drop(cluster.terminate(leader)?),
                End::Cut => {
                    let network = network.as_mut().context("`--by cut` stands alone")?;
                    network.cut(&[leader], &followers)?;
                    network.cut(&followers, &[leader])?;
                }
            }
            flow(STEADY)?;
            Ok(since)
        });
        stopping.store(true, Ordering::Relaxed);
        let times = client.join().expect("the client does not panic");
        let (since, times) = (harm?, times?);
        longest_gap(&times, since, Instant::now()).context("answers came after the end of the leader")
    })?;
    let load = load.stop();
    match end {
        End::Stop => cluster.resume(leader)?,
        End::Kill | End::Term => cluster.restart(leader)?,
        End::Cut => network.expect("it was cut a moment ago").heal()?,
    }
    cluster.await_whole()?;
    Ok((gap, load))
}

/// Sends one message after the other to itself, and tells when each was answered.
fn write(
    address: SocketAddr,
    name: &str,
    answers: &AtomicUsize,
    stopping: &AtomicBool,
) -> anyhow::Result<Vec<Instant>> {
    let mut client = LineClient::connect(address, ANSWER_WAIT)?;
    let name = format!("{name}-{:x}", fastrand::u32(..));
    let mut request = format!("1|{name}");
    let mut times = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let reply = client.request(&request)?;
        anyhow::ensure!(reply.is_ok(), "{request} was answered {}", reply.last);
        times.push(Instant::now());
        answers.fetch_add(1, Ordering::Relaxed);
        request = format!("5|{name}|one after the other");
    }
    Ok(times)
}
