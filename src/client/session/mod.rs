//! The client's side of the conversation, as a pure state machine: lines in, lines and events out.
//!
//! It knows neither sockets nor time. [`crate::client::link`] tells it when a connection begins and ends, what was read,
//! and when a wait is over; it answers with [`Output`]s, to be carried out in order.
//!
//! Promises
//! - **Every request gets one reply, in the order of the requests**, from whatever replica answers last.
//! - **Changes happen once.** 5, 8 and 9 go out under a key and are sent again under the same key after a lost connection
//!   or `retry|UNKNOWN`. What cannot carry a key is looked up before it is sent again: after a create or a passwd by
//!   logging in with what it would have set, after a delete by logging in with what it would have removed.
//! - **Order.** What has to be sent again goes out in order and before anything newer. After trouble one request goes out
//!   alone; the next ones follow once it is answered. One gap remains and is the price of pipelining: a send that was already
//!   on its way behind a refused one may have been accepted. `in_flight_max: 1` closes it.
//! - **Nothing is sent that could mean something else** than when it was asked: see [`Class`].
//! - The account is logged in again on every new connection, before anything is repeated.
//!
//! Leaves out: checks of requests (the replica's), back-off times and give-up times (the link's).

mod answers;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use chat::{NoteCode, RetryCode, ServerLine};

use super::line::{FinalLine, Hello, Message, Remark};
use super::mailbox::{CatchUp, Mailbox, PAGE_MESSAGES};
use super::request::{Class, Credentials, Kind};
pub(crate) use slot::Ticket;
use slot::{Slot, State};

/// Requests that wait for their reply, on their way or not. Further ones are not taken from the callers.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// The replica remembers the newest 1,024 keys of an account: more unanswered ones could not be repeated safely.
pub(crate) const IN_FLIGHT_MAX: usize = 512;

/// More replicas than any cluster has: what names more is no replica, and is not believed.
pub(crate) const SERVERS_MAX: usize = 64;

/// The version of the protocol that this client speaks.
const VERSION: u64 = 1;

/// What was asked of the replica on this connection, in the order of the lines; the front one is answered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    /// `9|0`: manual mode.
    Manual,
    /// The question where the other replicas are.
    Learn,
    /// The login that follows a reconnect.
    Restore,
    /// A page of the catch-up.
    Page,
    /// The client's own ack.
    Ack,
    /// The client's own ping.
    Ping,
    /// A caller's request.
    Request(Ticket),
    /// The login that finds out whether a caller's request was done.
    Probe(Ticket),
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none, or it is about to be closed.
    Down,
    /// Waiting for the replica's greeting.
    Greeting,
    /// Turning to manual mode and logging in again.
    Restoring,
    /// Serving requests.
    Ready,
}

/// A reply, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The lines before the final one. The messages of a `deliver` are not among them: they are events.
    pub data: Vec<String>,
    /// The caller's own key, where it came back. A key that the client made is not shown.
    pub key: Option<String>,
    /// The final line.
    pub final_line: FinalLine,
}

/// What the link has to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Write this line, and an LF.
    Line(Vec<u8>),
    /// The connection serves.
    Up(Hello),
    /// A message for the user. The user's coming back for the next event means that this one was looked at.
    Message(Message),
    /// For the user.
    Note(Remark),
    /// For the user; the connection ends.
    Bye(Remark),
    /// For the user: after a reconnect the account could not be logged in again.
    LoginLost(FinalLine),
    /// The addresses of the replicas, as this one knows them.
    Servers(Vec<String>),
    /// For the user: a line that belongs to nothing.
    Other(String),
    /// For the caller of this request.
    Reply(Ticket, Reply),
    /// A request was refused for now: call `resume` after a while, or change to another replica where that may help.
    Trouble {
        /// Another replica may be able to do it.
        elsewhere: bool,
    },
    /// This connection is of no use: close it.
    Leave(&'static str),
    /// The user said `quit`, and all is answered.
    Over,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    /// Who this client speaks for.
    credentials: Option<Credentials>,
    hello: Option<Hello>,
    /// Requests in the order in which they were asked; the front one has the ticket `first`.
    slots: VecDeque<Slot>,
    first: u64,
    flights: VecDeque<Flight>,
    mailbox: Mailbox,
    /// Nothing is sent until `resume`.
    paused: bool,
    /// After trouble: one request at a time until one is answered.
    careful: bool,
    in_flight_max: usize,
    /// Whether each replica is asked where the others are.
    learns: bool,
    learned: Vec<String>,
    key_prefix: String,
    keys: u64,
    /// Counts answers other than `retry`: when it grows, the cluster does something for us.
    progress: u64,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session that has no connection yet. `key_prefix` tells this client's keys from those of any other.
    pub(crate) fn new(key_prefix: String, in_flight_max: usize) -> Session {
        Session {
            phase: Phase::Down,
            credentials: None,
            hello: None,
            slots: VecDeque::new(),
            first: 0,
            flights: VecDeque::new(),
            mailbox: Mailbox::new(),
            paused: false,
            careful: false,
            in_flight_max: in_flight_max.clamp(1, IN_FLIGHT_MAX),
            learns: false,
            learned: Vec::new(),
            key_prefix,
            keys: 0,
            progress: 0,
            outputs: VecDeque::new(),
        }
    }

    /// From now on each replica is asked where the others are.
    pub(crate) fn learn(&mut self) {
        self.learns = true;
    }

    // ---- what the link tells --------------------------------------------------------------------------------------

    /// A connection is open.
    pub(crate) fn connected(&mut self) {
        self.phase = Phase::Greeting;
    }

    /// The connection is gone. Whatever was on its way may have been done.
    pub(crate) fn lost(&mut self) {
        self.phase = Phase::Down;
        self.paused = false;
        self.careful = true;
        let catching_up = self.mailbox.catch_up != CatchUp::Done;
        self.mailbox.new_era(self.credentials.as_ref().map_or("", |who| &who.name));
        if catching_up {
            self.mailbox.catch_up = CatchUp::Wanted;
        }
        for flight in std::mem::take(&mut self.flights) {
            if let Flight::Request(ticket) | Flight::Probe(ticket) = flight
                && let Some(slot) = self.slot(ticket)
            {
                slot.land(true);
            }
        }
        self.quit_is_done();
    }

    /// The replica said this, without its LF.
    pub(crate) fn line(&mut self, line: &str) {
        let owned = str::to_owned;
        match (self.phase, ServerLine::parse(line)) {
            (Phase::Down, _) => {}
            (_, ServerLine::Bye { code, text }) => {
                self.outputs.push_back(Output::Bye(Remark { code: owned(code.as_str()), text: text.into_owned() }));
                self.leave("it closed the connection");
            }
            (Phase::Greeting, ServerLine::Hello { version: VERSION, replica, cluster: _, cluster_id }) => {
                self.greeted(Hello { replica, cluster_id: owned(cluster_id) });
            }
            (Phase::Greeting, _) => self.leave("it does not greet like a Plainsong replica"),
            (_, ServerLine::Final { key, reply: _ }) => self.final_line(key, FinalLine::from_wire(line, key)),
            (_, ServerLine::Msg { id, from, time, text }) => {
                self.message(Message { id, from: owned(from), time, text: owned(text) });
            }
            (_, ServerLine::Note { code, text }) => {
                if code == NoteCode::LoggedOut.into() {
                    self.speak_for(None);
                }
                self.outputs.push_back(Output::Note(Remark { code: owned(code.as_str()), text: text.into_owned() }));
            }
            (_, ServerLine::Hello { .. }) => self.leave("it greeted twice"),
            (
                _,
                ServerLine::Past { .. }
                | ServerLine::User(_)
                | ServerLine::Replica(_)
                | ServerLine::Help(_)
                | ServerLine::Other(_),
            ) => self.data(line),
        }
    }

    /// A caller's request, without LF.
    pub(crate) fn request(&mut self, line: &[u8]) -> Ticket {
        let ticket = Ticket(self.first + self.slots.len() as u64);
        let (keys, prefix) = (&mut self.keys, &self.key_prefix);
        let slot = Slot::new(line, || {
            *keys += 1;
            format!("{prefix}.{keys}")
        });
        self.slots.push_back(slot);
        self.pump();
        ticket
    }

    /// A request that was refused before it could be sent; its reply keeps its place in the order.
    pub(crate) fn refused(&mut self, last: FinalLine) -> Ticket {
        let ticket = Ticket(self.first + self.slots.len() as u64);
        self.slots.push_back(Slot::new(b"", String::new));
        self.finish(ticket, None, last);
        ticket
    }

    /// The user is done with the first `place` messages that were handed out.
    pub(crate) fn done(&mut self, place: u64) {
        self.mailbox.done(place);
        self.pump();
    }

    /// The wait after `Output::Trouble` is over.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        if self.phase == Phase::Restoring && self.flights.is_empty() {
            self.restore();
        }
        self.pump();
    }

    /// Nobody has said anything for a while: is the replica there?
    pub(crate) fn ping(&mut self) {
        if self.phase == Phase::Ready {
            self.fly("12|".as_bytes().to_vec(), Flight::Ping);
        }
    }

    /// Time is up for everything that could not be sent, or was refused for now.
    pub(crate) fn give_up(&mut self) {
        self.settle_where(|_| true);
    }

    // ---- what the link asks ---------------------------------------------------------------------------------------

    /// The next thing to do.
    pub(crate) fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether another request may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < REQUESTS_MAX
    }

    /// Whether the replica owes an answer, or its greeting.
    pub(crate) fn is_owed(&self) -> bool {
        !self.flights.is_empty() || self.phase == Phase::Greeting
    }

    /// Whether the replica has not greeted yet.
    pub(crate) fn is_greeting(&self) -> bool {
        self.phase == Phase::Greeting
    }

    /// Whether callers wait for replies.
    pub(crate) fn has_requests(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Whether the connection serves and nothing has to be waited for.
    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Ready && !self.paused
    }

    /// Grows with every answer other than `retry`.
    pub(crate) fn progress(&self) -> u64 {
        self.progress
    }

    /// Every request is answered and every message acknowledged that the user had.
    pub(crate) fn is_settled(&self) -> bool {
        let mailbox_rests = self.phase == Phase::Ready && self.mailbox.rests();
        self.slots.is_empty() && (self.credentials.is_none() || self.mailbox.is_empty() || mailbox_rests)
    }

    // ---- the connection -------------------------------------------------------------------------------------------

    fn greeted(&mut self, hello: Hello) {
        // Keys and message ids mean nothing in another cluster.
        if self.hello.as_ref().is_some_and(|known| known.cluster_id != hello.cluster_id) {
            return self.leave("it belongs to another cluster");
        }
        self.hello = Some(hello);
        self.phase = Phase::Restoring;
        self.fly(b"9|0".to_vec(), Flight::Manual);
        if self.learns {
            self.learned.clear();
            self.fly(b"11|".to_vec(), Flight::Learn);
        }
        self.restore();
    }

    /// Logs in again, where there is somebody to be.
    fn restore(&mut self) {
        if let Some(who) = &self.credentials {
            let line = who.login_line().into_bytes();
            self.fly(line, Flight::Restore);
        }
    }

    /// From now on the client speaks for this account, or for none.
    fn speak_for(&mut self, who: Option<Credentials>) {
        self.mailbox.new_era(who.as_ref().map_or("", |who| &who.name));
        self.credentials = who;
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.outputs.extend(self.hello.clone().map(Output::Up));
    }

    fn leave(&mut self, why: &'static str) {
        self.phase = Phase::Down;
        self.outputs.push_back(Output::Leave(why));
    }

    /// The replica cannot do it now. Only codes that speak about this replica send us elsewhere.
    fn trouble(&mut self, code: Option<RetryCode>) {
        self.careful = true;
        self.paused = true;
        let elsewhere = match code {
            Some(RetryCode::NoQuorum | RetryCode::NotReady | RetryCode::Draining | RetryCode::DiskFull) => true,
            Some(RetryCode::NoLeader | RetryCode::Unknown | RetryCode::Busy | RetryCode::SlowDown) | None => false,
        };
        self.outputs.push_back(Output::Trouble { elsewhere });
    }

    // ---- unasked lines --------------------------------------------------------------------------------------------

    fn message(&mut self, message: Message) {
        match &mut self.mailbox.catch_up {
            CatchUp::Wanted => {}
            CatchUp::Asked(page) => page.push(message),
            CatchUp::Done => {
                let (place, is_new) = self.mailbox.hand_out(message.id);
                if let Some(&Flight::Request(ticket)) = self.flights.front()
                    && let Some(slot) = self.slot(ticket)
                    && slot.kind == Kind::Deliver
                {
                    slot.shown.push(place);
                }
                if is_new {
                    self.outputs.push_back(Output::Message(message));
                }
            }
        }
    }

    fn data(&mut self, line: &str) {
        let data = line.to_owned();
        match self.flights.front().copied() {
            Some(Flight::Request(ticket)) => {
                if let Some(slot) = self.slot(ticket) {
                    slot.data.push(data);
                }
            }
            Some(Flight::Learn) => {
                if let ServerLine::Replica(replica) = ServerLine::parse(line)
                    && self.learned.len() < SERVERS_MAX
                {
                    self.learned.push(replica.address.to_owned());
                }
            }
            _ => self.outputs.push_back(Output::Other(data)),
        }
    }

    // ---- sending --------------------------------------------------------------------------------------------------

    /// Sends whatever may go out now.
    fn pump(&mut self) {
        if !self.is_serving() {
            return;
        }
        if self.mailbox.catch_up == CatchUp::Wanted && self.mailbox.is_clear() && !self.is_delivering() {
            self.mailbox.catch_up = CatchUp::Asked(Vec::new());
            self.fly(format!("6|{PAGE_MESSAGES}").into_bytes(), Flight::Page);
        }
        self.pump_ack();
        while let Some(ticket) = self.next_to_send() {
            self.send(ticket);
        }
    }

    /// Acknowledges what the user is done with. Without a key: an ack repeats harmlessly, and keys of acks would push
    /// the keys of sends out of the replica's memory.
    fn pump_ack(&mut self) {
        if self.credentials.is_some()
            && !self.is_delivering()
            && let Some(id) = self.mailbox.take_ack()
        {
            self.fly(format!("9|{id}").into_bytes(), Flight::Ack);
        }
    }

    /// The first request that is not on its way, if it may be now.
    fn next_to_send(&self) -> Option<Ticket> {
        let place = self.slots.iter().position(|slot| slot.state == State::Waiting)?;
        let slot = &self.slots[place];
        let mut flying = 0;
        for flight in &self.flights {
            if let Flight::Request(other) | Flight::Probe(other) = *flight {
                flying += 1;
                let class = self.slots.get(self.place(other)?)?.kind.class();
                if class == Class::Alone || class != slot.kind.class() {
                    return None;
                }
            }
        }
        let catching_up = slot.kind == Kind::Deliver && self.mailbox.catch_up != CatchUp::Done;
        let in_flight_max = if self.careful { 1 } else { self.in_flight_max };
        let fits = flying < in_flight_max && !catching_up;
        fits.then_some(Ticket(self.first + place as u64))
    }

    fn send(&mut self, ticket: Ticket) {
        let places = self.mailbox.places();
        let credentials = self.credentials.clone();
        let Some(slot) = self.slot(ticket) else { return };
        slot.state = State::Flying;
        slot.begun_at.get_or_insert(places);
        let (line, flight) = match slot.probe(credentials.as_ref()) {
            Some(login) => (login.login_line().into_bytes(), Flight::Probe(ticket)),
            None => (slot.line.clone(), Flight::Request(ticket)),
        };
        if slot.kind.class() == Class::Alone {
            // What the user had belongs to the account of now, and a deliver begins after it.
            self.pump_ack();
        }
        self.fly(line, flight);
    }

    fn fly(&mut self, line: Vec<u8>, flight: Flight) {
        self.outputs.push_back(Output::Line(line));
        self.flights.push_back(flight);
    }

    /// Messages may be on their way that are older than some we have.
    fn is_delivering(&self) -> bool {
        self.flights.iter().any(|flight| match *flight {
            Flight::Page => true,
            Flight::Request(ticket) => self
                .place(ticket)
                .and_then(|place| self.slots.get(place))
                .is_some_and(|slot| slot.kind == Kind::Deliver),
            _ => false,
        })
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        usize::try_from(ticket.0.checked_sub(self.first)?).ok()
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        let place = self.place(ticket)?;
        self.slots.get_mut(place)
    }
}
