//! People who type lines, each at a real session core, over a socket of which the seed decides how much the kernels take
//! and acknowledge, and when.
//!
//! Several people share an account, on whatever replicas, some in manual mode. They pipeline, switch accounts, delete
//! them, stop reading, vanish, and hang up in the middle. [`Conversation`] judges what each connection is sent.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use chat::{Framer, PasswordHash};
use plainsong::actors::messages::{News, SessionId, Slot};
use plainsong::actors::session::SessionConfig;
use plainsong::actors::session::core::{Core, Job, JobDone};
use plainsong::actors::session::limits::RETRY_PAUSE;

use super::checkers::{Asked, Conversation, Eyes, Speaker};
use super::replica::{Asks, Mail};
use super::world::{Event, MS, SECOND, Time, World};

/// Sessions of people have greater numbers than those of clients.
const SESSIONS_FROM: u64 = 1 << 40;
/// Their accounts. No client speaks for one of them.
const ACCOUNTS: [&str; 3] = ["pat", "pim", "poe"];
const PEOPLE: usize = 5;
const PASSWORD: &str = "pw";
/// From a key press to the replica.
const TYPING: Time = 200;
/// From the Replicator to a session: another task of the same thread.
const TURN: Time = 10;
/// A person who waits longer leaves.
const PATIENCE: Time = 5 * SECOND;
/// What a kernel takes for somebody who does not read.
const DEAF_KERNEL_BYTES: u64 = 300;

/// What happens to a person, or at their connection.
#[derive(Debug)]
pub enum Happens {
    /// They do something.
    Acts,
    /// The next of what was typed, or of what the Replicator says, reaches the session.
    Next,
    /// A password is hashed or checked.
    Job(Slot, JobDone),
    /// What was refused may be tried again.
    Tick,
    /// The kernels go on.
    Moves,
    /// The replica learns that the connection is dead.
    Breaks,
    /// The person learns that the replica is dead.
    Cut,
}

/// What waits in front of a session, in order.
#[derive(Debug)]
enum Input {
    /// `None`: the end of all lines.
    Typed(Option<Vec<String>>),
    News(Box<News>),
}

/// A connection.
#[derive(Debug)]
struct Line {
    host: usize,
    life: u64,
    session: SessionId,
    /// `None` once the process is dead.
    core: Option<Box<Core>>,
    conversation: Conversation,
    /// Apart from the events that take from it: what was put off twice could come out of order.
    inbox: VecDeque<Input>,
    output: Vec<u8>,
    taken: u64,
    acknowledged: u64,
    /// So much of it was judged.
    judged: usize,
    /// What the replica's kernel takes beyond what is acknowledged.
    room: u64,
    deaf_until: Time,
    /// Nothing passes any more, and nobody knows.
    dead: bool,
    moving: bool,
    ticking: bool,
    /// The core is done with it.
    ended: bool,
    /// Nothing more will be typed.
    silent: bool,
    since: Time,
}

/// A send under a key whose outcome is not known.
#[derive(Clone, Debug)]
struct Wish {
    account: u64,
    line: String,
}

/// See the module's header.
#[derive(Debug)]
pub struct Person {
    home: usize,
    line: Option<Line>,
    wishes: Vec<Wish>,
}

impl Person {
    pub fn is_connected(&self) -> bool {
        self.line.is_some()
    }
}

/// All of them.
pub fn people() -> Vec<Person> {
    (0..PEOPLE).map(|home| Person { home, line: None, wishes: Vec::new() }).collect()
}

/// Whether a session is a person's.
pub fn is_a_persons(session: SessionId) -> bool {
    session.0 >= SESSIONS_FROM
}

fn config() -> SessionConfig {
    SessionConfig {
        replica: 1,
        cluster: "sim".to_owned(),
        cluster_id: Arc::new(OnceLock::new()),
        line_bytes: 8192,
        list: 1000,
        require_password: false,
        requests_per_second: None,
        idle: None,
    }
}

impl World {
    fn person_of(&self, session: SessionId) -> Option<usize> {
        self.people.iter().position(|person| person.line.as_ref().is_some_and(|line| line.session == session))
    }

    fn happens_to(&mut self, after: Time, person: usize, session: SessionId, what: Happens) {
        self.after(after, Event::Person { person, session, what: Box::new(what) });
    }

    fn reaches(&mut self, after: Time, person: usize, session: SessionId, input: Input) {
        if let Some(line) = &mut self.people[person].line {
            line.inbox.push_back(input);
            self.happens_to(after, person, session, Happens::Next);
        }
    }

    /// On which host something happens: a process that is paused finds it when it goes on.
    pub fn person_waits_for(&self, person: usize, session: SessionId, what: &Happens) -> Option<usize> {
        let line = self.people[person].line.as_ref().filter(|line| line.session == session)?;
        let in_process = !matches!(what, Happens::Acts | Happens::Cut);
        (in_process && line.core.is_some()).then_some(line.host)
    }

    pub fn tell_person(&mut self, session: SessionId, news: News) {
        if let Some(person) = self.person_of(session) {
            self.reaches(TURN, person, session, Input::News(Box::new(news)));
        }
    }

    pub fn person(&mut self, person: usize, session: SessionId, what: Happens) {
        if matches!(what, Happens::Acts) {
            return self.person_acts(person);
        }
        let now = self.instant();
        let Some(line) = self.people[person].line.as_mut().filter(|line| line.session == session) else { return };
        if matches!(what, Happens::Cut) {
            return self.person_is_cut(person);
        }
        if matches!(what, Happens::Moves) {
            line.moving = false;
            if !self.kernels_go_on(person) {
                return;
            }
        }
        let Some(line) = self.people[person].line.as_mut() else { return };
        let (written, acknowledged) = (line.taken, line.acknowledged);
        let next = if matches!(what, Happens::Next) { line.inbox.pop_front() } else { None };
        let Some(core) = line.core.as_deref_mut() else { return };
        core.at(now);
        core.progress(written, acknowledged);
        match next {
            Some(Input::Typed(Some(lines))) => {
                let (mut framer, mut bytes) = (Framer::new(8192), BytesMut::new());
                lines.iter().for_each(|line| bytes.extend_from_slice(format!("{line}\n").as_bytes()));
                core.lines(std::iter::from_fn(|| framer.next(&mut bytes)));
            }
            Some(Input::Typed(None)) => core.eof(),
            Some(Input::News(news)) => core.news(vec![*news]),
            None => {}
        }
        match what {
            Happens::Job(slot, done) => core.job_done(slot, done),
            Happens::Tick => {
                line.ticking = false;
                core.tick();
            }
            Happens::Breaks => core.gone(),
            Happens::Next | Happens::Moves | Happens::Acts | Happens::Cut => {}
        }
        self.carry_out_turn(person);
    }

    /// What the session actor does with a turn.
    fn carry_out_turn(&mut self, person: usize) {
        let mut closed = false;
        let Some(line) = self.people[person].line.as_mut() else { return };
        let (host, life, session) = (line.host, line.life, line.session);
        let Some(core) = line.core.as_deref_mut() else { return };
        let turn = core.take_turn();
        line.output.extend_from_slice(&turn.output);
        self.judge.book.is_written(line.session.0, &turn.output);
        closed |= turn.closed;
        let ticks = core.wants_tick() && !std::mem::replace(&mut line.ticking, core.wants_tick());
        let moves = !line.dead && (line.output.len() as u64) > line.acknowledged && !line.moving;
        line.moving |= moves;
        line.ended |= closed;
        if !turn.asks.is_empty() {
            self.post(host, life, Mail::Submit(session, Asks(turn.asks)));
        }
        if closed {
            self.post(host, life, Mail::Closed(session));
        }
        if ticks {
            let pause = u64::try_from(RETRY_PAUSE.as_micros()).expect("short");
            self.happens_to(pause, person, session, Happens::Tick);
        }
        if moves {
            let latency = self.rng.u64(50..3 * MS);
            self.happens_to(latency, person, session, Happens::Moves);
        }
        for (slot, job) in turn.jobs {
            let took = self.rng.u64(MS..20 * MS);
            self.happens_to(took, person, session, Happens::Job(slot, perform(&job)));
        }
        if closed {
            self.line_may_be_over(person);
        }
    }

    /// The kernels take and acknowledge something. Whether the replica can learn of it.
    fn kernels_go_on(&mut self, person: usize) -> bool {
        let reads = self.people[person].line.as_ref().is_some_and(|line| line.deaf_until <= self.now);
        let all = self.rng.bool();
        let share = self.rng.f64();
        let Some(line) = self.people[person].line.as_mut().filter(|line| !line.dead) else { return false };
        let kernel = if reads { u64::MAX } else { line.judged as u64 + DEAF_KERNEL_BYTES };
        let may = line.taken.min(kernel).max(line.acknowledged);
        let more = may - line.acknowledged;
        line.acknowledged += if all { more } else { (more as f64 * share) as u64 };
        line.taken = (line.output.len() as u64).min(line.acknowledged + line.room);
        let (goes_on, session) = ((line.output.len() as u64) > line.acknowledged, line.session);
        line.moving = goes_on;
        if goes_on {
            let latency = if reads { self.rng.u64(50..3 * MS) } else { self.rng.u64(20 * MS..100 * MS) };
            self.happens_to(latency, person, session, Happens::Moves);
        }
        self.judge_line(person);
        self.line_may_be_over(person);
        true
    }

    /// Everything that the peer's kernel has is judged.
    fn judge_line(&mut self, person: usize) {
        let Some(line) = self.people[person].line.as_mut() else { return };
        let side = self.judge.ledger.sides.of_run(line.host, line.life);
        let eyes = Eyes::of(&self.judge.told, &self.judge.ledger.sides, side);
        let mut newest = None;
        let has = usize::try_from(line.acknowledged).expect("it is in memory");
        while let Some(length) = line.output[line.judged..has].iter().position(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(&line.output[line.judged..line.judged + length]).expect("UTF-8");
            self.trace.note(self.now, || format!("person {person} reads {text}"));
            newest = newest.max(line.conversation.hears(text, eyes, &mut self.judge.book));
            line.judged += length + 1;
            line.since = self.now;
        }
        self.judge.ledger.sides.seen(side, newest.unwrap_or_default());
    }

    /// All was written, and everything of it has arrived: the person sees the end.
    fn line_may_be_over(&mut self, person: usize) {
        let over = |line: &Line| line.ended && line.acknowledged == line.output.len() as u64;
        if self.people[person].line.as_ref().is_some_and(over) {
            self.people[person].line = None;
        }
    }

    /// A process is dead: its kernel may still send what it has.
    pub fn host_leaves_people(&mut self, host: usize) {
        for person in 0..self.people.len() {
            let (part, after) = (self.rng.f64(), self.rng.u64(0..2 * MS));
            let Some(line) = self.people[person].line.as_mut().filter(|line| line.host == host) else { continue };
            line.core = None;
            if !line.dead {
                line.acknowledged += ((line.taken - line.acknowledged) as f64 * part) as u64;
            }
            let session = line.session;
            self.judge_line(person);
            self.happens_to(after, person, session, Happens::Cut);
        }
    }

    fn person_is_cut(&mut self, person: usize) {
        self.people[person].line = None;
    }

    /// The person resets the connection, and the replica learns it at once.
    pub fn person_hangs_up(&mut self, person: usize) {
        let now = self.instant();
        let Some(line) = self.people[person].line.as_mut() else { return };
        if let Some(core) = line.core.as_deref_mut() {
            core.at(now);
            core.progress(line.taken, line.acknowledged);
            core.gone();
            self.carry_out_turn(person);
        }
        self.people[person].line = None;
    }

    // --- what people want --------------------------------------------------------------------------------------

    fn person_acts(&mut self, person: usize) {
        let again = self.rng.u64(MS..self.style.think_max);
        self.happens_to(again, person, SessionId(0), Happens::Acts);
        if !self.clients_on {
            return;
        }
        let Some(line) = &self.people[person].line else {
            let host = self.rng.usize(0..self.style.hosts);
            return self.person_connects(person, host);
        };
        if self.now - line.since > PATIENCE && line.conversation.open() > 0 || line.dead && self.now > line.deaf_until {
            return self.person_hangs_up(person);
        }
        if line.deaf_until <= self.now && line.conversation.open() < 4 && !line.silent && !line.dead {
            self.person_chooses(person);
        }
    }

    fn person_connects(&mut self, person: usize, host: usize) {
        if self.hosts[host].replica.is_none() || self.hosts[host].paused_until > self.now {
            return;
        }
        self.sessions += 1;
        let (life, session) = (self.hosts[host].life, SessionId(SESSIONS_FROM + self.sessions));
        let core = Core::new(Arc::new(config()), self.instant());
        let room = if self.rng.bool() { 1 << 20 } else { self.rng.u64(20..600) };
        self.post(host, life, Mail::Opened(session));
        self.people[person].line = Some(Line {
            host,
            life,
            session,
            core: Some(Box::new(core)),
            conversation: Conversation::new(session.0),
            inbox: VecDeque::new(),
            output: Vec::new(),
            taken: 0,
            acknowledged: 0,
            judged: 0,
            room,
            deaf_until: 0,
            dead: false,
            moving: false,
            ticking: false,
            ended: false,
            silent: false,
            since: self.now,
        });
        self.carry_out_turn(person);
    }

    fn person_chooses(&mut self, person: usize) {
        let line = self.people[person].line.as_ref().expect("it is connected");
        let newest = line.conversation.newest;
        let account = match line.conversation.speaker {
            Speaker::Account(account) => Some(account),
            _ => None,
        };
        // Who types behind a `login` that is not answered cannot know for whom.
        let is_sure = line.conversation.open() == 0;
        let other = if self.rng.u8(..) < 40 { self.rng.usize(0..ACCOUNTS.len()) } else { self.people[person].home };
        let name = ACCOUNTS[other % ACCOUNTS.len()];
        let lines = match (account, self.rng.u8(0..100)) {
            (None, 0..8) => vec!["ack|0".to_owned(), format!("login|{name}|{PASSWORD}")],
            (None, 8..50) => vec![format!("create|{name}|{PASSWORD}")],
            (None, 50..55) => vec![format!("login|{name}|wrong")],
            (None, _) => vec![format!("login|{name}|{PASSWORD}"), "deliver".to_owned()],
            (Some(account), 0..45) => self.new_sends(person, is_sure.then_some(account)),
            (Some(account), 45..55) if is_sure => self.asks_again(person, account),
            (_, 55..68) => vec!["deliver".to_owned()],
            (_, 68..71) => vec!["deliver|2".to_owned(), "ping".to_owned()],
            (_, 71..77) if newest > 0 => vec![format!("ack|{newest}")],
            (_, 77..80) => vec!["history".to_owned()],
            (_, 80..83) if newest > 0 => vec![format!("erase|{newest}")],
            (_, 83..86) => vec!["logout".to_owned()],
            (_, 86..89) => vec![format!("login|{name}|{PASSWORD}")],
            (_, 89) => vec!["logout".to_owned(), format!("login|{name}|{PASSWORD}"), "deliver".to_owned()],
            (_, 90) if self.rng.u8(..) < 100 => vec!["delete".to_owned()],
            (_, 91) => vec!["quit".to_owned()],
            (_, 92) => return self.person_is_silent(person),
            (_, 93 | 94) => return self.person_goes_deaf(person),
            (_, 95) => return self.line_dies(person),
            (_, 96) => return self.person_hangs_up(person),
            _ => vec!["help".to_owned()],
        };
        self.person_types(person, lines);
    }

    fn new_sends(&mut self, person: usize, account: Option<u64>) -> Vec<String> {
        let count = if self.rng.u8(..) < 60 { self.rng.usize(2..6) } else { 1 };
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            self.sessions += 1;
            let (n, to) = (self.sessions, ACCOUNTS[self.rng.usize(0..ACCOUNTS.len())]);
            let line = format!("send|{to}|x{n}");
            if let Some(account) = account.filter(|_| self.rng.bool()) {
                let line = format!("@x{n}|{line}");
                // Asked again later, whatever came of it: a repeat is harmless under the same key, for the same account.
                self.people[person].wishes.push(Wish { account, line: line.clone() });
                lines.push(line);
            } else {
                lines.push(line);
            }
        }
        lines
    }

    fn asks_again(&mut self, person: usize, account: u64) -> Vec<String> {
        let wishes = &mut self.people[person].wishes;
        match wishes.pop() {
            Some(wish) if wish.account == account => vec![wish.line],
            _ => vec!["ping|again".to_owned()],
        }
    }

    fn person_types(&mut self, person: usize, lines: Vec<String>) {
        let (floor, now) = (self.judge.floor(), self.now);
        let Some(line) = self.people[person].line.as_mut() else { return };
        if line.conversation.open() == 0 {
            line.since = now;
        }
        for text in &lines {
            self.trace.note(now, || format!("person {person} types {text}"));
            line.conversation.asks(Asked { line: text.clone(), floor: floor.clone() }, &mut self.judge.book);
            line.silent |= text == "quit";
        }
        let session = line.session;
        self.asked += lines.len() as u64;
        self.reaches(TYPING, person, session, Input::Typed(Some(lines)));
    }

    /// `nc -N`: what is owed still comes.
    fn person_is_silent(&mut self, person: usize) {
        let Some(line) = self.people[person].line.as_mut() else { return };
        line.silent = true;
        let session = line.session;
        self.reaches(TYPING, person, session, Input::Typed(None));
    }

    fn person_goes_deaf(&mut self, person: usize) {
        let until = self.now + self.rng.u64(50 * MS..2 * SECOND);
        if let Some(line) = self.people[person].line.as_mut() {
            line.deaf_until = until;
        }
    }

    /// Packets are dropped from now on. Each end learns of it when it has waited for long enough.
    fn line_dies(&mut self, person: usize) {
        let (here, there) = (self.rng.u64(100 * MS..2 * SECOND), self.rng.u64(100 * MS..6 * SECOND));
        let until = self.now + here;
        let Some(line) = self.people[person].line.as_mut() else { return };
        (line.dead, line.deaf_until) = (true, until);
        let session = line.session;
        self.happens_to(there, person, session, Happens::Breaks);
    }

    // --- the end -----------------------------------------------------------------------------------------------

    /// The accounts of people that live.
    pub fn accounts_of_people(&self) -> Vec<(String, u64)> {
        let living = self.judge.told[self.survivor().0].model.living().filter(|(name, _)| ACCOUNTS.contains(name));
        living.map(|(name, account)| (name.to_owned(), account)).collect()
    }

    /// Somebody logs in, asks for what waits, and leaves.
    pub fn person_empties_mailbox(&mut self, host: usize, name: &str) {
        let survivor = self.survivor();
        self.judge.ledger.sides.seen(survivor, self.judge.ledger.sides.committed(survivor));
        self.person_connects(0, host);
        let lines = [format!("login|{name}|{PASSWORD}"), "deliver".to_owned(), "quit".to_owned()];
        self.person_types(0, lines.to_vec());
    }
}

/// Hashes that are none: all people have the same password.
fn perform(job: &Job) -> JobDone {
    match job {
        Job::Hash(_) => JobDone::Hash(PasswordHash::new("$sim$x").expect("short")),
        Job::Check { given: Some(given), .. } if given.as_bytes() == PASSWORD.as_bytes() => JobDone::Right,
        Job::Check { .. } => JobDone::Wrong,
    }
}
