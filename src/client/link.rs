//! Carries the session's wishes out: dials, reads, writes, waits.
//!
//! Promises: decides nothing about requests or messages, only about *when* and *where*: which replica is tried next, how
//! long a silence may last, and when to give up. Replicas are tried in turn; a full round of failures is followed by a
//! back-off that doubles.
//!
//! | edge | bound | when it is full |
//! |---|---|---|
//! | callers → link | `ASKS_MAX`, then `REQUESTS_MAX` | callers wait |
//! | link → reader of events | `EVENTS_MAX`, then `OUTBOX_EVENTS` | nothing more is read from the replica |
//! | link → replica | what `REQUESTS_MAX` requests need | callers wait |

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::line::FinalLine;
use super::options::{ClientOptions, ConnectError, back_off};
use super::session::{Output, Reply, SERVERS_MAX, Session, Ticket};
use super::{End, Event};

/// A longer line than any replica sends: what sends it is none.
const SERVER_LINE_BYTES_MAX: usize = 4 << 20;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// Events beyond the channel's that may wait before the link stops reading.
const OUTBOX_EVENTS: usize = 64;

/// A connection that lasted this long was a good one: its loss starts the back-off anew.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// What a handle asks of its link.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A request line. Without `reply`, its reply becomes an event.
    Request {
        /// The line.
        line: Vec<u8>,
        /// Who waits for it.
        reply: Option<oneshot::Sender<Reply>>,
    },
    /// The reply of a request that was not sent.
    Refused(FinalLine),
    /// No more requests.
    Close,
}

type Dial = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The connection, or the way to one.
enum Wire {
    Waiting(Instant),
    Dialing(Dial),
    Open(Open),
}

struct Open {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    since: Instant,
    /// How much of `input` holds no LF.
    searched: usize,
}

/// What happened on the wire.
enum Happened {
    WaitOver,
    Dialed(TcpStream),
    Moved,
    Failed(String),
}

/// The task behind a client.
pub(crate) struct Link {
    options: ClientOptions,
    session: Session,
    asks: mpsc::Receiver<Ask>,
    events: mpsc::Sender<Event>,
    done: watch::Receiver<u64>,
    /// Taken by the first connection.
    up: Option<oneshot::Sender<Result<(), ConnectError>>>,
    callers: HashMap<Ticket, oneshot::Sender<Reply>>,
    outbox: VecDeque<Event>,
    wire: Wire,
    /// The replica that is, was last, or is about to be connected.
    server: usize,
    /// Failures in a row, of dials, connections and refused requests.
    strikes: u32,
    /// When the last line came, or a silence began that counts.
    heard_at: Instant,
    /// The replica owed something when this was last looked at.
    is_owed: bool,
    resume_at: Option<Instant>,
    /// Since when nothing is done for us.
    trouble_since: Option<Instant>,
    /// The trouble is a refusal, not an absence.
    is_refused: bool,
    progress: u64,
    is_closing: bool,
    over: Option<End>,
    last_failure: String,
}

impl Wire {
    /// Waits for the next thing to happen. Cancel-safe.
    async fn next(&mut self, may_read: bool) -> Happened {
        match self {
            Wire::Waiting(until) => {
                sleep_until(*until).await;
                Happened::WaitOver
            }
            Wire::Dialing(dial) => match dial.await {
                Ok(stream) => Happened::Dialed(stream),
                Err(error) => Happened::Failed(error.to_string()),
            },
            Wire::Open(open) => match open.advance(may_read).await {
                Ok(()) => Happened::Moved,
                Err(error) => Happened::Failed(error.to_string()),
            },
        }
    }
}

impl Open {
    async fn advance(&mut self, may_read: bool) -> io::Result<()> {
        let (mut from, mut to) = self.stream.split();
        let must_write = !self.output.is_empty();
        self.input.reserve(READ_BYTES);
        tokio::select! {
            read = from.read_buf(&mut self.input), if may_read => match read? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
                _ if self.input.len() > SERVER_LINE_BYTES_MAX + READ_BYTES => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "it sent a line without end"))
                }
                _ => Ok(()),
            },
            written = to.write_buf(&mut self.output), if must_write => written.map(|_| ()),
            else => std::future::pending().await,
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let Some(lf) = self.input[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.input.len();
            return None;
        };
        let mut line = self.input.split_to(self.searched + lf);
        self.input.advance(1);
        self.searched = 0;
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

impl Link {
    pub(crate) fn new(
        options: ClientOptions,
        asks: mpsc::Receiver<Ask>,
        events: mpsc::Sender<Event>,
        done: watch::Receiver<u64>,
        up: oneshot::Sender<Result<(), ConnectError>>,
    ) -> Link {
        let key_prefix: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        let now = Instant::now();
        let mut session = Session::new(key_prefix, options.in_flight_max);
        if options.learn_servers {
            session.learn();
        }
        Link {
            session,
            options,
            asks,
            events,
            done,
            up: Some(up),
            callers: HashMap::new(),
            outbox: VecDeque::new(),
            wire: Wire::Waiting(now),
            server: 0,
            strikes: 0,
            heard_at: now,
            is_owed: false,
            resume_at: None,
            trouble_since: Some(now),
            is_refused: false,
            progress: 0,
            is_closing: false,
            over: None,
            last_failure: "none was tried".to_owned(),
        }
    }

    /// Runs until the client ends.
    pub(crate) async fn run(mut self) {
        let end = loop {
            self.take_stock();
            if let Some(end) = self.end() {
                break end;
            }
            self.turn().await;
        };
        // Callers learn at once; the reader of events when it comes to it.
        self.callers.clear();
        self.asks.close();
        self.outbox.push_back(Event::Ended(end));
        for event in self.outbox {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
    }

    /// Waits for one thing to happen and passes it on.
    async fn turn(&mut self) {
        let may_read = self.may_read();
        let may_ask = !self.is_closing && self.session.has_room();
        let has_event = !self.outbox.is_empty();
        let deadline = self.deadline();
        let events = self.events.clone();
        tokio::select! {
            happened = self.wire.next(may_read) => self.happened(happened),
            ask = self.asks.recv(), if may_ask => self.asked(ask.unwrap_or(Ask::Close)),
            permit = events.reserve(), if has_event => {
                if let (Ok(permit), Some(event)) = (permit, self.outbox.pop_front()) {
                    permit.send(event);
                } else {
                    self.outbox.clear();
                }
            }
            Ok(()) = self.done.changed() => {
                let done = *self.done.borrow_and_update();
                self.session.done(done);
            }
            () = sleep_until(deadline) => self.tick(Instant::now()),
        }
    }

    fn may_read(&self) -> bool {
        self.outbox.len() < OUTBOX_EVENTS
    }

    /// Brings the session's wishes and the clocks up to date.
    fn take_stock(&mut self) {
        self.carry_out();
        while self.may_read()
            && let Wire::Open(open) = &mut self.wire
            && let Some(line) = open.take_line()
        {
            self.heard_at = Instant::now();
            self.session.line(&line);
            self.carry_out();
        }
        let was_owed = std::mem::replace(&mut self.is_owed, self.session.is_owed());
        if !self.may_read() || (self.is_owed && !was_owed) {
            self.heard_at = Instant::now();
        }
        let went_on = self.session.progress() != self.progress;
        self.progress = self.session.progress();
        if went_on {
            self.strikes = 0;
        }
        if went_on || (self.session.is_serving() && !self.session.has_requests()) {
            self.trouble_since = None;
            self.is_refused = false;
        }
    }

    /// Whether, and how, the client has ended.
    fn end(&self) -> Option<End> {
        if self.over.is_some() {
            return self.over;
        }
        let nobody_reads = self.events.is_closed();
        let is_settled = self.session.is_settled() || (nobody_reads && !self.session.has_requests());
        if self.is_closing && is_settled && self.outbox.is_empty() {
            return Some(End::Closed);
        }
        None
    }

    fn asked(&mut self, ask: Ask) {
        let (ticket, reply) = match ask {
            Ask::Request { line, reply } => (self.session.request(&line), reply),
            Ask::Refused(last) => (self.session.refused(last), None),
            Ask::Close => {
                self.is_closing = true;
                return;
            }
        };
        if let Some(reply) = reply {
            self.callers.insert(ticket, reply);
        }
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Moved => {}
            Happened::WaitOver => {
                let (server, limit) = (self.options.servers[self.server].clone(), self.options.connect_timeout);
                self.wire = Wire::Dialing(Box::pin(dial(server, limit)));
            }
            Happened::Dialed(stream) => {
                let now = Instant::now();
                let (input, output) = (BytesMut::new(), BytesMut::new());
                self.wire = Wire::Open(Open { stream, input, output, since: now, searched: 0 });
                self.heard_at = now;
                self.session.connected();
            }
            Happened::Failed(why) => self.lost(&why),
        }
    }

    /// Does what the session wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.session.output() {
            match output {
                Output::Line(line) => {
                    if let Wire::Open(open) = &mut self.wire {
                        open.output.extend_from_slice(&line);
                        open.output.extend_from_slice(b"\n");
                    }
                }
                Output::Up(hello) => {
                    let again = self.up.is_none();
                    if let Some(up) = self.up.take() {
                        // Whoever asked may have gone; the handles' end will be seen then.
                        let _ = up.send(Ok(()));
                    }
                    let server = self.options.servers[self.server].clone();
                    self.tell(Event::Connected { replica: hello.replica, server, again });
                }
                Output::Message(message) => self.tell(Event::Message(message)),
                Output::Note(remark) => self.tell(Event::Note(remark)),
                Output::Bye(remark) => self.tell(Event::Bye(remark)),
                Output::LoginLost(last) => self.tell(Event::LoginLost(last)),
                Output::Other(line) => self.tell(Event::Other(line)),
                Output::Servers(addresses) => self.learn(addresses),
                Output::Reply(ticket, reply) => match self.callers.remove(&ticket) {
                    // A caller that went away does not want it.
                    Some(caller) => drop(caller.send(reply)),
                    None => self.tell(Event::Reply(reply)),
                },
                Output::Trouble { elsewhere } => self.trouble(elsewhere),
                Output::Leave(why) => self.lost(why),
                Output::Over => self.over = Some(End::Quit),
            }
        }
    }

    /// Further replicas to try, behind those that are known.
    fn learn(&mut self, addresses: Vec<String>) {
        let servers = &mut self.options.servers;
        for address in addresses {
            if servers.len() < SERVERS_MAX && !servers.contains(&address) {
                servers.push(address);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if !self.events.is_closed() {
            self.outbox.push_back(event);
        }
    }

    /// A request was refused for now.
    fn trouble(&mut self, elsewhere: bool) {
        let now = Instant::now();
        self.trouble_since.get_or_insert(now);
        self.is_refused = true;
        if elsewhere && self.options.servers.len() > 1 {
            return self.lost("it cannot serve for now");
        }
        if self.resume_at.is_none() {
            self.resume_at = Some(now + back_off(self.strikes));
            self.strikes = self.strikes.saturating_add(1);
        }
    }

    /// There is no connection: on to the next replica.
    fn lost(&mut self, why: &str) {
        let now = Instant::now();
        if let Wire::Open(open) = &self.wire {
            if open.since.elapsed() > STEADY_AFTER && !self.is_refused {
                self.strikes = 0;
            }
            if self.up.is_none() {
                let server = self.options.servers[self.server].clone();
                self.tell(Event::Disconnected { server, why: why.to_owned() });
            }
        }
        self.last_failure = format!("{}: {why}", self.options.servers[self.server]);
        self.trouble_since.get_or_insert(now);
        self.resume_at = None;
        self.session.lost();
        self.server = (self.server + 1) % self.options.servers.len();
        self.strikes = self.strikes.saturating_add(1);
        let round = u32::try_from(self.options.servers.len()).unwrap_or(u32::MAX);
        let is_round = self.strikes.is_multiple_of(round);
        let wait = if is_round { back_off(self.strikes / round - 1) } else { Duration::ZERO };
        self.wire = Wire::Waiting(now + wait);
    }

    /// One of the clocks has run out.
    fn tick(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.give_up_at()) {
            self.give_up();
        }
        if is_due(self.resume_at) {
            self.resume_at = None;
            self.session.resume();
        }
        if is_due(self.silence_ends_at()) {
            self.heard_at = now;
            if self.session.is_owed() {
                self.lost("it has fallen silent");
            } else {
                self.session.ping();
            }
        }
    }

    fn deadline(&self) -> Instant {
        let clocks = [self.give_up_at(), self.resume_at, self.silence_ends_at()];
        clocks.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + self.options.ping_after)
    }

    /// When the time is up. While a request is on its way on a living connection, it is not.
    fn give_up_at(&self) -> Option<Instant> {
        let limit = if self.up.is_some() { self.options.connect_give_up } else { self.options.give_up };
        self.trouble_since.filter(|_| !self.session.is_serving()).map(|since| since + limit)
    }

    /// Callers get what can be said. A client whose replicas are there, but refuse, lives on.
    fn give_up(&mut self) {
        if let Some(up) = self.up.take() {
            let servers = self.options.servers.join(", ");
            // Whoever asked may have gone.
            let _ = up.send(Err(ConnectError::NoReplica { servers, why: self.last_failure.clone() }));
            self.over = Some(End::GaveUp);
        }
        self.session.give_up();
        self.carry_out();
        if !self.is_refused || self.is_closing {
            self.over = Some(End::GaveUp);
        }
        self.trouble_since = None;
        self.is_refused = false;
    }

    /// When a replica has been silent for too long, or should be asked whether it is there.
    fn silence_ends_at(&self) -> Option<Instant> {
        let Wire::Open(open) = &self.wire else { return None };
        let limit = if self.session.is_greeting() {
            self.options.hello_timeout
        } else if self.session.is_owed() {
            self.options.answer_timeout
        } else {
            self.options.ping_after
        };
        Some(self.heard_at.max(open.since) + limit)
    }
}

/// Connects to one replica.
async fn dial(server: String, limit: Duration) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let stream = timeout(limit, TcpStream::connect(server)).await.map_err(late)??;
    // A request is one small write: it must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    Ok(stream)
}
