//! People: each speaks to one replica, asks one thing (or a burst) at a time, retries under a key what was left open, and
//! moves on to another replica when this one dies or keeps it waiting.

use std::collections::VecDeque;

use chat::{
    AccountId, Command, HistoryPage, IdRange, Key, MessageId, MessageIds, Name, PasswordHash, Query, Shown, Speaker,
    Text,
};
use plainsong::actors::messages::{Ask, SessionId, Slot, What};

use super::checkers::{Floor, SideId, Token, ensure};
use super::replica::{Asks, Mail};
use super::world::{Event, MS, SECOND, Time, World};

/// Names that people go by. A few only, so that they meet.
const NAMES: [&str; 6] = ["ann", "bob", "cyd", "dan", "eve", "fay"];
/// `request_timeout_ms`, and what it takes to notice.
const ANSWERED_MAX: Time = 4 * SECOND;
/// A request to a replica travels at most so long.
const LATENCY_MAX: Time = MS;
/// Messages in one answer.
const PAGE: usize = 20;
/// Names in a list; and more messages than a witness's mailbox holds.
pub const ALL: usize = 1_000;

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Conn {
    pub host: usize,
    pub life: u64,
    pub session: SessionId,
}

/// What is asked under a key.
#[derive(Clone, Debug)]
pub enum Wish {
    Send { to: Name, token: Option<Token> },
    Erase(MessageIds),
}

/// A keyed request whose outcome is not known: it is asked again under the same key.
#[derive(Clone, Debug)]
pub struct Keyed {
    pub op: usize,
    pub speaker: Speaker,
    pub wish: Wish,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub enum Kind {
    Create { op: usize, name: Name, witness: bool },
    LookUp { name: Name },
    Enter { name: Name, account: AccountId },
    Send { op: usize, keyed: Option<Keyed>, token: Option<Token> },
    Undelivered { account: AccountId },
    Received { account: u64, token: Option<Token> },
    History { account: AccountId, with: Option<Name>, page: HistoryPage, limit: usize },
    Erase { op: usize, keyed: Keyed },
    Passwd { op: usize },
    Ack { op: usize, id: MessageId },
    Mark,
    List,
    Delete { speaker: Speaker },
    Leave,
}

/// A request under way.
#[derive(Clone, Debug)]
pub struct Pending {
    pub slot: Slot,
    pub asked: Time,
    pub floor: Floor,
    pub kind: Kind,
}

/// See the module's header.
#[derive(Debug)]
pub struct Client {
    pub at: Option<Conn>,
    pub speaker: Option<Speaker>,
    /// The newest message that this connection was pushed, or that came before its pushes.
    pub pushed: u64,
    pub pending: VecDeque<Pending>,
    slot: u64,
    pub retry: VecDeque<Keyed>,
    /// The newest message that was read of its mailbox.
    pub read_to: MessageId,
    /// What its history showed when it last looked.
    pub seen: Vec<u64>,
    home: usize,
    pub served: u64,
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self {
            at: None,
            speaker: None,
            pushed: 0,
            pending: VecDeque::new(),
            slot: 0,
            retry: VecDeque::new(),
            read_to: MessageId(0),
            seen: Vec::new(),
            home: number,
            served: 0,
        }
    }
}

impl World {
    /// Whose session this is.
    pub fn client_of(&self, session: SessionId) -> usize {
        usize::try_from(session.0).expect("fits") % self.clients.len()
    }

    /// The side of the run that it speaks to.
    pub fn side_of_client(&self, client: usize) -> SideId {
        let at = self.clients[client].at.map(|Conn { host, life, .. }| self.judge.ledger.sides.of_run(host, life));
        at.unwrap_or_default()
    }

    pub fn client_acts(&mut self, client: usize) {
        let again = self.rng.u64(MS..self.style.think_max);
        self.after(again, Event::Client(client));
        if !self.clients_on {
            return;
        }
        if self.clients[client].at.is_none() {
            self.connect(client);
        } else if let Some(oldest) = self.clients[client].pending.front() {
            let (asked, patience) = (oldest.asked, if self.rng.u8(..) < 3 { 200 * MS } else { ANSWERED_MAX });
            if self.now - asked > patience {
                if patience == ANSWERED_MAX {
                    self.must_have_answered(client, asked);
                }
                self.hang_up(client);
            }
        } else {
            self.choose(client);
        }
    }

    /// Every request ends with an answer: `UNKNOWN`, if nothing better is known. Only a process that was paused is
    /// excused.
    fn must_have_answered(&self, client: usize, asked: Time) {
        let Some(Conn { host, life, .. }) = self.clients[client].at else { return };
        let there = &self.hosts[host];
        let excused = there.life != life || there.disturbed >= asked || there.paused_until > self.now;
        let waits = &self.clients[client].pending;
        ensure!(Serves, excused, "host {host} has not answered client {client} for {ANSWERED_MAX} us: {waits:?}");
    }

    fn connect(&mut self, client: usize) {
        let host = self.rng.usize(0..self.style.hosts);
        self.connect_to(client, host);
    }

    /// Connects, if somebody answers.
    pub fn connect_to(&mut self, client: usize, host: usize) {
        if self.hosts[host].replica.is_none() || self.hosts[host].paused_until > self.now {
            return;
        }
        self.sessions += 1;
        let number = self.sessions * self.clients.len() as u64 + client as u64;
        let (life, session) = (self.hosts[host].life, SessionId(number));
        self.clients[client].at = Some(Conn { host, life, session });
        self.clients[client].slot = 0;
        self.post(host, life, Mail::Opened(session));
    }

    pub fn hang_up(&mut self, client: usize) {
        let Some(Conn { host, life, session }) = self.clients[client].at else { return };
        self.note(|| format!("client {client} leaves host {host}"));
        self.post(host, life, Mail::Closed(session));
        self.client_cut(client, session);
    }

    /// The connection is gone: what was asked is open.
    pub fn client_cut(&mut self, client: usize, session: SessionId) {
        if self.clients[client].at.is_none_or(|at| at.session != session) {
            return;
        }
        self.clients[client].at = None;
        self.clients[client].speaker = None;
        for pending in std::mem::take(&mut self.clients[client].pending) {
            self.left_open(client, &pending);
        }
    }

    /// Asks the replica. Everything that a checker must know is known when the request leaves.
    pub fn ask(&mut self, client: usize, asks: Vec<(What, Kind)>) {
        let Some(Conn { host, life, session }) = self.clients[client].at else { return };
        let (now, floor, latency) = (self.now, self.judge.floor(), self.rng.u64(20..LATENCY_MAX));
        let arrived = self.instant() + std::time::Duration::from_micros(latency);
        self.asked += asks.len() as u64;
        let mut submit = Vec::with_capacity(asks.len());
        for (what, kind) in asks {
            let it = &mut self.clients[client];
            it.slot += 1;
            let slot = Slot(it.slot);
            self.trace.note(now, || format!("client {client} asks host {host} {slot:?}: {what:?}"));
            it.pending.push_back(Pending { slot, asked: now, floor: floor.clone(), kind });
            submit.push(Ask { slot, arrived, what });
        }
        self.after(latency, Event::Post { host, life, mail: Box::new(Mail::Submit(session, Asks(submit))) });
    }

    // --- what people want --------------------------------------------------------------------------------------

    fn choose(&mut self, client: usize) {
        let Some(speaker) = self.clients[client].speaker.clone() else {
            let wanted = self.clients[client].retry.front().map(|keyed| keyed.speaker.name.clone());
            let name = wanted.unwrap_or_else(|| self.own_name(client));
            return self.look_up(client, name);
        };
        if let Some(keyed) = self.clients[client].retry.pop_front() {
            if keyed.speaker == speaker {
                return match &keyed.wish {
                    Wish::Erase(_) => self.erase_keyed(client, keyed),
                    Wish::Send { to, token } => {
                        let (to, token) = (to.clone(), *token);
                        self.send(client, vec![(keyed.op, to, Some(keyed), token)], &speaker)
                    }
                };
            }
            // The account it spoke for is gone, or somebody else's: it is left open.
            if keyed.speaker.name != speaker.name {
                self.clients[client].retry.push_back(keyed);
                return self.ask(client, vec![(What::Leave, Kind::Leave)]);
            }
        }
        match self.rng.u8(0..100) {
            0..22 => self.send_new(client, &speaker, 1, true),
            22..30 => self.read_history(client, speaker.id),
            30..36 => self.erase(client, speaker),
            36 => self.change_password(client, speaker),
            37..48 => self.send_new(client, &speaker, 1, false),
            48..54 => {
                let count = self.rng.usize(2..6);
                let keyed = self.rng.bool();
                self.send_new(client, &speaker, count, keyed);
            }
            54..64 => self.send_to_witness(client, &speaker),
            64..72 => self.read_witness(client),
            72..82 => self.read_mail(client, speaker.id),
            82..88 => self.ack(client, speaker),
            88..91 => self.mark(client, speaker.id),
            91..95 => {
                self.ask(client, vec![(What::Read(Query::List { regex: None, after: None, limit: ALL }), Kind::List)])
            }
            95 => self.ask(client, vec![(What::Leave, Kind::Leave)]),
            96 | 97 => self.create_witness(client),
            98 => self.hang_up(client),
            _ => self.delete(client, speaker),
        }
    }

    pub fn any_name(&mut self) -> &'static str {
        NAMES[self.rng.usize(0..NAMES.len())]
    }

    fn own_name(&mut self, client: usize) -> Name {
        let at = if self.rng.u8(..) < 200 { self.clients[client].home } else { self.rng.usize(0..NAMES.len()) };
        name(NAMES[at % NAMES.len()])
    }

    pub fn look_up(&mut self, client: usize, name: Name) {
        self.ask(client, vec![(What::Read(Query::Account(name.clone())), Kind::LookUp { name })]);
    }

    pub fn create(&mut self, client: usize, name: Name, witness: bool) {
        let op = self.judge.request();
        self.judge.requests.attempt(op);
        let tag = PasswordHash::new(&format!("$sim${op}")).expect("short");
        let command = Command::Create { name: name.clone(), password: Some(tag) };
        self.ask(client, vec![(What::Write(command), Kind::Create { op, name, witness })]);
    }

    pub fn enter(&mut self, client: usize, name: Name, account: AccountId) {
        self.clients[client].read_to = MessageId(0);
        self.clients[client].seen = Vec::new();
        self.ask(client, vec![(What::Enter { name: name.clone(), account }, Kind::Enter { name, account })]);
    }

    fn send_new(&mut self, client: usize, speaker: &Speaker, count: usize, keyed: bool) {
        let sends = (0..count).map(|_| {
            let op = self.judge.request();
            let to = name(self.any_name());
            let wish = Wish::Send { to: to.clone(), token: None };
            let keyed = keyed.then(|| Keyed { op, speaker: speaker.clone(), wish });
            (op, to, keyed, None)
        });
        let sends = sends.collect();
        self.send(client, sends, speaker);
    }

    fn send_to_witness(&mut self, client: usize, speaker: &Speaker) {
        let Some(to) = self.judge.history.witness().map(|(to, _)| name(to)) else {
            return self.create_witness(client);
        };
        let op = self.judge.request();
        let token = self.judge.history.appends(op, self.now);
        let wish = Wish::Send { to: to.clone(), token };
        let keyed = self.rng.bool().then(|| Keyed { op, speaker: speaker.clone(), wish });
        self.send(client, vec![(op, to, keyed, token)], speaker);
    }

    fn send(&mut self, client: usize, sends: Vec<(usize, Name, Option<Keyed>, Option<Token>)>, speaker: &Speaker) {
        let asks = sends.into_iter().map(|(op, to, keyed, token)| {
            self.judge.requests.attempt(op);
            let key = keyed.as_ref().map(|_| Key::new(&format!("k{op}")).expect("a good key"));
            let text = Text::new(&format!("m{op}")).expect("a good text");
            let command = Command::Send { speaker: speaker.clone(), key, to, text };
            (What::Write(command), Kind::Send { op, keyed, token })
        });
        let asks = asks.collect();
        self.ask(client, asks);
    }

    fn create_witness(&mut self, client: usize) {
        if self.judge.history.witness().is_none() {
            self.witnesses += 1;
            let name = name(&format!("w{}", self.witnesses));
            self.create(client, name, true);
        }
    }

    fn read_witness(&mut self, client: usize) {
        let Some(account) = self.judge.history.witness().map(|(_, account)| account) else { return };
        let token = self.judge.history.reads(self.now);
        let query =
            Query::Received { account: AccountId(account), after: MessageId(0), limit: ALL, bytes_max: usize::MAX };
        self.ask(client, vec![(What::Read(query), Kind::Received { account, token })]);
    }

    fn read_mail(&mut self, client: usize, account: AccountId) {
        let query = Query::Undelivered {
            account,
            shown: Shown::default(),
            again_after: Some(MessageId(0)),
            limit: PAGE,
            bytes_max: usize::MAX,
        };
        self.ask(client, vec![(What::Read(query), Kind::Undelivered { account })]);
    }

    fn ack(&mut self, client: usize, speaker: Speaker) {
        let id = self.clients[client].read_to;
        if id == MessageId(0) {
            return self.read_mail(client, speaker.id);
        }
        let op = self.judge.request();
        self.judge.requests.attempt(op);
        let key = Some(Key::new(&format!("a{op}")).expect("a good key"));
        let command = Command::Ack { speaker, key, id, ranges: vec![IdRange::new(MessageId(1), id)] };
        self.ask(client, vec![(What::Write(command), Kind::Ack { op, id })]);
    }

    fn mark(&mut self, client: usize, account: AccountId) {
        let to = MessageId(self.clients[client].pushed);
        let ranges = vec![IdRange::new(MessageId(to.0.saturating_sub(5)), to)];
        self.ask(client, vec![(What::Mark { account, ranges }, Kind::Mark)]);
    }

    fn delete(&mut self, client: usize, speaker: Speaker) {
        if self.rng.u8(..) < 60 {
            let command = Command::Delete { speaker: speaker.clone() };
            self.ask(client, vec![(What::Write(command), Kind::Delete { speaker })]);
        }
    }
}

/// A name that needs no folding.
pub fn name(text: &str) -> Name {
    Name::fold(text).expect("a good name")
}
