//! Many clients who are logged in and silent at one replica: what each costs it, whether a message reaches every one,
//! and what they cost when it has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use plainsong::drill::{Cluster, LineClient};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{cluster, proc};

#[derive(clap::Args)]
pub struct Args {
    /// How many connections; the shipped configuration allows 20,000.
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Replicas of the cluster.
    #[arg(long, default_value_t = 3)]
    replicas: u16,
    /// How many seconds to look at the processor time of a replica with so many silent connections.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Requests that are sent before their answers are read.
const AT_ONCE: usize = 200;
/// What a process has open beside its connections, generously.
const DESCRIPTORS_BESIDE: usize = 100;
/// Connections from one source address, well below its number of ports.
const PER_ADDRESS: usize = 5_000;
const ANSWER_WAIT: Duration = Duration::from_secs(60);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let connections = within_limit(args.connections)?;
    let cluster = cluster(args.replicas)?;
    let leader = cluster.await_leader()?;
    let at = cluster.ids().into_iter().find(|&id| id != leader).context("a cluster of more than one replica")?;
    let mut sender = LineClient::connect(cluster.address(leader), ANSWER_WAIT)?;
    let names: Vec<String> = (0..connections).map(|n| format!("client{n}")).collect();
    ask_all(&mut sender, names.iter().map(|name| format!("1|{name}")))?;
    ask_all(&mut sender, ["1|sender".to_owned()].into_iter())?;
    proc::pass(Duration::from_secs(1));

    let before = Memory::of(&cluster, at)?;
    let since = Instant::now();
    let mut streams = Vec::with_capacity(names.len());
    for (batch, names) in names.chunks(AT_ONCE).enumerate() {
        let first = streams.len();
        for name in names {
            let mut stream = connect(cluster.address(at), batch * AT_ONCE / PER_ADDRESS)?;
            stream.write_all(format!("2|{name}\n").as_bytes())?;
            streams.push(stream);
        }
        for stream in &mut streams[first..] {
            expect_lines(stream, &["hello|", "ok|login|"])?;
        }
    }
    let logged_in = since.elapsed();
    let after = Memory::of(&cluster, at)?;
    let cpu = proc::cpu(&cluster, at)?;
    proc::pass(Duration::from_secs(args.seconds));
    let cpu = (proc::cpu(&cluster, at)? - cpu).as_secs_f64() / args.seconds as f64 * 100.0;

    let since = Instant::now();
    ask_all(&mut sender, names.iter().map(|name| format!("5|{name}|are you there?")))?;
    for stream in &mut streams {
        expect_lines(stream, &["msg|"])?;
    }
    let reached = since.elapsed();
    proc::pass(Duration::from_secs(1));
    let used = Memory::of(&cluster, at)?;
    println!(
        "connections|open={}|login_all_ms={}|bytes_each={}|kernel_bytes_each={}|idle_cpu_percent={cpu:.2}\
         |reached={}|reach_all_ms={}|bytes_each_after={}|resident_mib={:.0}",
        streams.len(),
        logged_in.as_millis(),
        (after.resident.saturating_sub(before.resident)) / streams.len() as u64,
        (after.kernel.saturating_sub(before.kernel)) / streams.len() as u64,
        streams.len(),
        reached.as_millis(),
        (used.resident.saturating_sub(before.resident)) / streams.len() as u64,
        used.resident as f64 / f64::from(1 << 20),
    );
    Ok(())
}

struct Memory {
    resident: u64,
    kernel: u64,
}

impl Memory {
    fn of(cluster: &Cluster, id: u16) -> anyhow::Result<Self> {
        Ok(Self { resident: cluster.resident_bytes(id)?, kernel: proc::kernel_tcp_bytes()? })
    }
}

/// How many of the connections there are descriptors for, in this process and its children: each end takes one.
fn within_limit(wanted: usize) -> anyhow::Result<usize> {
    let needed = (wanted + DESCRIPTORS_BESIDE) as u64;
    let limit = getrlimit(Resource::Nofile);
    let with = |maximum: Option<u64>| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Beyond the hard limit only root may go.
    if limit.maximum.is_none_or(|maximum| maximum >= needed) || with(Some(needed)).is_ok() {
        with(limit.maximum.max(Some(needed)))?;
        return Ok(wanted);
    }
    with(limit.maximum)?;
    let possible = usize::try_from(limit.maximum.unwrap_or(needed))?.saturating_sub(DESCRIPTORS_BESIDE);
    println!("{possible} connections only: the hard limit of `ulimit -n` is {}", possible + DESCRIPTORS_BESIDE);
    Ok(possible.min(wanted))
}

/// From one of the addresses that loopback has, so that their ports are enough.
fn connect(to: SocketAddr, source: usize) -> anyhow::Result<TcpStream> {
    let last = u8::try_from(source + 2).context("addresses of loopback")?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    Ok(stream)
}

fn ask_all(client: &mut LineClient, mut requests: impl Iterator<Item = String>) -> anyhow::Result<()> {
    loop {
        let batch: Vec<String> = requests.by_ref().take(AT_ONCE).collect();
        if batch.is_empty() {
            return Ok(());
        }
        client.send(&batch.join("\n"))?;
        for request in batch {
            let reply = client.reply()?;
            anyhow::ensure!(reply.is_ok(), "{request} was answered {}", reply.last);
        }
    }
}

/// Reads exactly so many lines, which begin so.
fn expect_lines(stream: &mut TcpStream, wanted: &[&str]) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0; 512];
    while seen.iter().filter(|byte| **byte == b'\n').count() < wanted.len() {
        let read = stream.read(&mut chunk).context("a connection was not reached")?;
        anyhow::ensure!(read > 0, "a replica closed a connection");
        seen.extend_from_slice(&chunk[..read]);
    }
    let text = String::from_utf8_lossy(&seen);
    let as_wanted = text.lines().zip(wanted).all(|(line, wanted)| line.starts_with(wanted));
    anyhow::ensure!(as_wanted && text.ends_with('\n'), "{text} in place of {wanted:?}");
    Ok(())
}
