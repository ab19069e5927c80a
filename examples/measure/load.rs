//! Clients that send as fast as they are answered, in the background, each to the account of the next one, who is pushed
//! every message; and how many were acknowledged so far.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::proc;

const READ_BYTES: usize = 64 << 10;
/// A replica that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Shape {
    pub connections: usize,
    /// Requests of each that are not answered yet.
    pub in_flight: usize,
    pub text_bytes: usize,
}

/// The clients. Dropping it without [`Load::stop`] leaves them to end by themselves.
pub struct Load {
    acked: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    clients: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    /// Logs everybody in, then begins.
    pub fn start(addresses: &[SocketAddr], shape: Shape) -> anyhow::Result<Self> {
        let run = fastrand::u32(..);
        let name = |n: usize| format!("load-{run:x}-{n}");
        let mut streams = Vec::new();
        for n in 0..shape.connections {
            let mut stream = TcpStream::connect(addresses[n % addresses.len()])?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.write_all(format!("1|{}\n", name(n)).as_bytes())?;
            await_created(&mut stream)?;
            streams.push(stream);
        }
        let (acked, stopping) = (Arc::default(), Arc::default());
        let clients = streams.into_iter().enumerate().map(|(n, stream)| {
            let line = format!("5|{}|{}\n", name((n + 1) % shape.connections), "x".repeat(shape.text_bytes));
            let (acked, stopping) = (Arc::clone(&acked), Arc::clone(&stopping));
            thread::spawn(move || pump(stream, line.as_bytes(), shape.in_flight, &acked, &stopping))
        });
        let clients = clients.collect();
        Ok(Self { acked, stopping, clients })
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Acknowledged per second over the next `time`.
    pub fn rate_over(&self, time: Duration) -> f64 {
        let (before, since) = (self.acked(), Instant::now());
        proc::pass(time);
        (self.acked() - before) as f64 / since.elapsed().as_secs_f64()
    }

    /// Lets what is in flight be answered, and tells how many were in all; fails if any client did.
    pub fn stop(self) -> anyhow::Result<u64> {
        self.stopping.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic")?;
        }
        Ok(self.acked.load(Ordering::Relaxed))
    }
}

/// Reads the greeting and the answer to `create`.
fn await_created(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let mut chunk = [0; 512];
    while seen.iter().filter(|byte| **byte == b'\n').count() < 2 {
        let read = stream.read(&mut chunk).context("the answer to a create")?;
        if read == 0 {
            break;
        }
        seen.extend_from_slice(&chunk[..read]);
    }
    let text = String::from_utf8_lossy(&seen);
    ensure!(text.lines().nth(1).is_some_and(|line| line.starts_with("ok|create|")), "not created: {text}");
    Ok(())
}

fn pump(
    mut stream: TcpStream,
    line: &[u8],
    in_flight: usize,
    acked: &AtomicU64,
    stopping: &AtomicBool,
) -> anyhow::Result<()> {
    let mut chunk = vec![0; READ_BYTES];
    let (mut out, mut due) = (0, in_flight);
    // The first byte of a line tells an answer from a push, and the second an `ok` from anything else.
    let mut lines = Lines::default();
    while out > 0 || !stopping.load(Ordering::Relaxed) {
        if due > 0 && !stopping.load(Ordering::Relaxed) {
            stream.write_all(&line.repeat(due))?;
            out += due;
            due = 0;
        }
        let read = match stream.read(&mut chunk) {
            // A child of this process has ended.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context("a client of the load")?,
        };
        if read == 0 {
            bail!("a replica closed the connection of a client of the load");
        }
        due = lines.oks(&chunk[..read])?;
        out -= due;
        acked.fetch_add(due as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Counts the lines of a stream by their first letter, however it is cut.
#[derive(Default)]
struct Lines {
    inside: bool,
}

impl Lines {
    /// How many `ok|…` lines begin here.
    fn oks(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut oks = 0;
        let mut at = 0;
        while at < bytes.len() {
            if !self.inside {
                match bytes[at] {
                    b'o' => oks += 1,
                    b'm' => {}
                    _ => bail!("unexpected: {}", String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 200)])),
                }
                self.inside = true;
            }
            match bytes[at..].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    at += end + 1;
                    self.inside = false;
                }
                None => break,
            }
        }
        Ok(oks)
    }
}
