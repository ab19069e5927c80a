//! One connection of a benchmark: an account that keeps so many messages on their way to another account.
//!
//! It speaks the protocol from its page, with nothing of the client library between it and the socket, so that what is
//! measured is the server. With `failover` it carries on at another replica after a loss, and sends what was not answered
//! again under the same keys.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::super::wire::Conversation;
use super::tally::Tally;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// A longer line is no replica's.
const LINE_BYTES_MAX: usize = 4 << 20;
/// After the end, answers are awaited for so long.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// With `failover`, a replica is looked for so long, with this pause after each round of all of them.
const LOOK_MAX: Duration = Duration::from_secs(30);
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// When to begin, and where to count. Nobody begins before everybody is connected.
pub(super) type Start = Option<Rc<RefCell<Tally>>>;

/// See the module's header.
pub(super) struct Sender {
    pub name: String,
    pub to: String,
    pub text: Rc<str>,
    /// Messages on their way at once.
    pub in_flight: usize,
    pub failover: bool,
    /// All replicas, the first one first.
    pub servers: VecDeque<String>,
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Pending {
    n: u64,
    asked: Instant,
}

struct Wire {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Sender {
    /// Makes the account, says so, and sends from the start to the end.
    pub(super) async fn run(mut self, ready: Rc<dyn Fn()>, mut start: watch::Receiver<Start>) -> io::Result<()> {
        let mut wire = self.begin().await?;
        ready();
        let Ok(started) = start.wait_for(Option::is_some).await.map(|start| start.clone()) else { return Ok(()) };
        let tally = started.expect("that was waited for");
        let mut pending = VecDeque::new();
        let mut next = 0;
        while let Err(error) = self.pump(&mut wire, &mut pending, &mut next, &tally).await {
            if !self.failover {
                return Err(error);
            }
            tally.borrow_mut().reconnects += 1;
            wire = self.move_on().await?;
            for message in &pending {
                self.put(&mut wire, message.n);
            }
        }
        Ok(())
    }

    /// Ends the account: a benchmark leaves nothing but its log.
    pub(super) async fn delete(name: &str, server: &str) -> io::Result<()> {
        let mut conversation = Conversation::open(server).await?;
        said_ok(server, &conversation.ask(&format!("2|{name}")).await?)?;
        said_ok(server, &conversation.ask("4|").await?)
    }

    /// Makes the account at the first server of the list that serves. What the first of them said is told if none does.
    async fn begin(&mut self) -> io::Result<Wire> {
        let mut failed = None;
        for _ in 0..self.servers.len() {
            match self.enter("1").await {
                Ok(wire) => return Ok(wire),
                Err(error) => failed.get_or_insert(error),
            };
            self.servers.rotate_left(1);
        }
        Err(failed.expect("there is at least one"))
    }

    /// Connects to the first server and speaks for the account: `1` makes it, `2` logs in.
    async fn enter(&self, op: &str) -> io::Result<Wire> {
        let server = self.servers.front().expect("there is at least one");
        let mut conversation = Conversation::open(server).await?;
        let mut answer = conversation.ask(&format!("{op}|{}", self.name)).await?;
        // Nobody else draws this run's names: it was made through a server that then was lost.
        if answer.last().is_some_and(|last| last.starts_with("err|NAME_TAKEN|")) {
            answer = conversation.ask(&format!("2|{}", self.name)).await?;
        }
        said_ok(server, &answer)?;
        let (stream, read) = conversation.into_parts();
        Ok(Wire { stream, input: BytesMut::from(&read[..]), output: BytesMut::new() })
    }

    async fn move_on(&mut self) -> io::Result<Wire> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            self.servers.rotate_left(1);
            let failed = match self.enter("2").await {
                Ok(wire) => return Ok(wire),
                Err(error) => error,
            };
            if began.elapsed() > LOOK_MAX {
                return Err(failed);
            }
            tries += 1;
            if tries % self.servers.len() == 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
    }

    fn put(&self, wire: &mut Wire, n: u64) {
        if self.failover {
            wire.output.extend_from_slice(format!("@{n}|").as_bytes());
        }
        for part in ["5|", &self.to, "|", &self.text, "\n"] {
            wire.output.extend_from_slice(part.as_bytes());
        }
    }

    /// Sends and counts until the end, then until everything is answered.
    async fn pump(
        &self,
        wire: &mut Wire,
        pending: &mut VecDeque<Pending>,
        next: &mut u64,
        tally: &RefCell<Tally>,
    ) -> io::Result<()> {
        let ends = tally.borrow().ends;
        loop {
            let now = Instant::now();
            while now < ends && pending.len() < self.in_flight {
                pending.push_back(Pending { n: *next, asked: now });
                self.put(wire, *next);
                *next += 1;
            }
            if pending.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at((ends + DRAIN_MAX).into(), wire.move_bytes()).await {
                Ok(moved) => moved?,
                Err(_) => return Ok(()),
            }
            let now = Instant::now();
            while let Some(line) = wire.take_line() {
                self.hear(&line, pending, &mut tally.borrow_mut(), now)?;
            }
        }
    }

    fn hear(&self, line: &[u8], pending: &mut VecDeque<Pending>, tally: &mut Tally, now: Instant) -> io::Result<()> {
        if line.starts_with(b"msg|") {
            tally.push(now);
            return Ok(());
        }
        let keyless = match line.strip_prefix(b"@") {
            Some(keyed) => keyed.iter().position(|b| *b == b'|').map_or(keyed, |at| &keyed[at + 1..]),
            None => line,
        };
        let text = || String::from_utf8_lossy(keyless).into_owned();
        if keyless.starts_with(b"note|") {
            return Ok(());
        }
        if keyless.starts_with(b"bye|") {
            return Err(io::Error::other(text()));
        }
        let Some(message) = pending.pop_front() else {
            return Err(io::Error::other(format!("it answers what was not asked: {}", text())));
        };
        if keyless.starts_with(b"ok|") {
            tally.acknowledged(message.asked, now);
        } else if keyless.starts_with(b"retry|") {
            tally.retry(&text());
            if self.failover {
                // Whoever cannot serve is left; what it refused comes first at the next.
                pending.push_front(message);
                return Err(io::Error::other(text()));
            }
        } else {
            tally.refuse(&text());
        }
        Ok(())
    }
}

fn said_ok(server: &str, answer: &[String]) -> io::Result<()> {
    let last = answer.last().map_or("nothing", String::as_str);
    if last.starts_with("ok|") { Ok(()) } else { Err(io::Error::other(format!("{server} says {last}"))) }
}

impl Wire {
    /// Waits until something was read or written.
    async fn move_bytes(&mut self) -> io::Result<()> {
        let (mut from, mut to) = self.stream.split();
        self.input.reserve(READ_BYTES);
        tokio::select! {
            read = from.read_buf(&mut self.input) => match read? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
                _ if self.input.len() > LINE_BYTES_MAX + READ_BYTES => Err(io::Error::other("it sent a line without end")),
                _ => Ok(()),
            },
            written = to.write_buf(&mut self.output), if !self.output.is_empty() => written.map(drop),
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let at = self.input.iter().position(|b| *b == b'\n')?;
        let line = self.input.split_to(at);
        self.input.advance(1);
        Some(line)
    }
}
