//! One account with many sessions, spread over the replicas, and somebody who sends it messages at a steady rate: how long
//! until every session has each of them. The time runs from the moment that the message is sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use super::{cluster, quantile};

#[derive(clap::Args)]
pub struct Args {
    /// Sessions of the recipient.
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Replicas of the cluster.
    #[arg(long, default_value_t = 3)]
    replicas: u16,
    /// All sessions at one replica, a follower, in place of all.
    #[arg(long)]
    one: bool,
}

/// What is read at once.
const READ_BYTES: usize = 16 << 10;
/// The last message is with everybody within this, or the measurement has failed.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// When each message was sent, and when each session had it.
#[derive(Default)]
struct Times {
    sent: Vec<Instant>,
    /// For each message, how many sessions have it.
    seen: Vec<usize>,
    /// For each message that all have, how long that took.
    took: Vec<Duration>,
    each: Vec<Duration>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let cluster = cluster(args.replicas)?;
    let leader = cluster.await_leader()?;
    let followers: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
    let served = if args.one { followers[..1].to_vec() } else { cluster.ids() };
    let at = |n: usize| cluster.address(served[n % served.len()]).to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let times = LocalSet::new().block_on(&runtime, measure(args, at))?;
    let mut times = times.take();
    times.took.sort_unstable();
    times.each.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "fanout|sessions={}|rate={}|messages={}|all_p50_ms={:.1}|all_p99_ms={:.1}|all_worst_ms={:.1}|each_p50_ms={:.1}",
        args.sessions,
        args.rate,
        times.took.len(),
        ms(quantile(&times.took, 0.5)),
        ms(quantile(&times.took, 0.99)),
        ms(quantile(&times.took, 1.0)),
        ms(quantile(&times.each, 0.5)),
    );
    Ok(())
}

async fn measure(args: &Args, at: impl Fn(usize) -> String) -> anyhow::Result<Rc<RefCell<Times>>> {
    let mut sender = enter(&at(0), "1|sender").await?;
    enter(&at(0), "1|crowd").await?;
    let count = args.rate * args.seconds;
    let times = Rc::new(RefCell::new(Times { seen: vec![0; count as usize], ..Times::default() }));
    let mut readers = JoinSet::new();
    for n in 0..args.sessions {
        let stream = enter(&at(n), "2|crowd").await?;
        readers.spawn_local(read(stream, Rc::clone(&times), args.sessions));
    }
    let mut every = tokio::time::interval(Duration::from_secs(1) / args.rate);
    for n in 0..count {
        every.tick().await;
        times.borrow_mut().sent.push(Instant::now());
        sender.write_all(format!("5|crowd|{n}\n").as_bytes()).await?;
    }
    let all = async {
        while let Some(ended) = readers.join_next().await {
            ended.expect("a reader does not panic")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LAST_WAIT, all).await.context("not every session had every message")??;
    Ok(times)
}

/// Connects, and says who is there.
async fn enter(address: &str, request: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut hello, mut answer) = (String::new(), String::new());
    stream.read_line(&mut hello).await?;
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    stream.read_line(&mut answer).await?;
    anyhow::ensure!(answer.starts_with("ok|"), "{request} was answered {answer}");
    Ok(stream.into_inner())
}

/// Notes when each message came, and ends with the last.
async fn read(mut stream: TcpStream, times: Rc<RefCell<Times>>, sessions: usize) -> anyhow::Result<()> {
    let mut input = Vec::with_capacity(READ_BYTES);
    let mut next = 0;
    loop {
        anyhow::ensure!(stream.read_buf(&mut input).await? > 0, "a replica closed a connection");
        let now = Instant::now();
        let end = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = input[..end].iter().filter(|byte| **byte == b'\n').count();
        input.drain(..end);
        let mut times = times.borrow_mut();
        for n in next..next + lines {
            times.seen[n] += 1;
            let took = now - times.sent[n];
            times.each.push(took);
            if times.seen[n] == sessions {
                times.took.push(took);
            }
        }
        next += lines;
        if next == times.seen.len() {
            return Ok(());
        }
    }
}
