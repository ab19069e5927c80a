//! What the tests of this module share: a replica of one, and connections to it, all without sockets and clocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::BytesMut;
use chat::{
    AccountId, Answer, Command, Effect, Framer, MapStorage, MessageId, Millis, Name, Outcome, Password, PasswordHash,
    Query, RetryCode, answer, apply,
};

use super::SessionConfig;
use super::core::{Core, Job, JobDone};
use crate::actors::messages::{Ask, ClusterStatus, Done, Entered, News, ReplicaStatus, RetryLater, SessionId, What};

const ALL: usize = usize::MAX;

pub(super) fn config() -> SessionConfig {
    let cluster_id = Arc::new(OnceLock::new());
    cluster_id.set("c0ffee".to_owned()).expect("new");
    SessionConfig {
        replica: 1,
        cluster: "test".to_owned(),
        cluster_id,
        line_bytes: 8192,
        list: 1000,
        require_password: false,
        requests_per_second: None,
        idle: None,
    }
}

/// The rules of chat over a map, and who speaks for whom. Every write commits at once.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) storage: MapStorage,
    pub(super) index: u64,
    speakers: BTreeMap<SessionId, AccountId>,
    /// What was asked, as a word each.
    pub(super) asked: Vec<&'static str>,
    /// Refuse asks of this word.
    pub(super) refuse: Option<(&'static str, RetryCode)>,
}

impl Replica {
    /// Serves one ask; all news it brings about, in order.
    pub(super) fn serve(&mut self, session: SessionId, ask: Ask) -> Vec<(SessionId, News)> {
        let word = word(&ask.what);
        self.asked.push(word);
        let mut news = Vec::new();
        let result = match self.refuse {
            Some((refused, code)) if refused == word => Err(RetryLater { code, text: "try again".to_owned() }),
            _ => Ok(self.perform(session, ask.what, &mut news)),
        };
        news.push((session, News::Answered(ask.slot, result)));
        news
    }

    fn perform(&mut self, session: SessionId, what: What, news: &mut Vec<(SessionId, News)>) -> Done {
        match what {
            What::Write(command) => Done::Outcome(self.apply(&command, news)),
            What::Mark { account, ranges } => {
                Done::Outcome(self.apply(&Command::Mark { marks: vec![(account, ranges)] }, news))
            }
            What::Read(query) | What::ReadLocal(query) => Done::Answer(self.answer(&query)),
            What::Enter { name, account } => {
                let Answer::Login(undelivered) = self.answer(&Query::Login(name, account)) else { panic!("a login") };
                Done::Entered(undelivered.map(|undelivered| {
                    self.speakers.insert(session, account);
                    Entered { pushes_after: MessageId(self.index), undelivered }
                }))
            }
            What::Leave => {
                self.speakers.remove(&session);
                Done::Left
            }
            What::Who { after, limit } => Done::Who(self.online(after.as_ref(), limit)),
            What::Status => Done::Status(Arc::new(ClusterStatus {
                replicas: vec![ReplicaStatus {
                    id: 1,
                    role: "leader",
                    address: "h:1".to_owned(),
                    up: true,
                    applied: self.index,
                    lag: 0,
                }],
                this: 1,
                leader: 1,
                term: 3,
                spare: 0,
            })),
        }
    }

    fn online(&self, after: Option<&Name>, limit: usize) -> Vec<Name> {
        let Answer::List { names, .. } = self.answer(&Query::List { regex: None, after: after.cloned(), limit: ALL })
        else {
            panic!("a list")
        };
        let speaks = |name: &Name| {
            let Answer::Account(account) = self.answer(&Query::Account(name.clone())) else { panic!("an account") };
            account.is_some_and(|account| self.speakers.values().any(|id| *id == account.id))
        };
        names.into_iter().filter(speaks).take(limit).collect()
    }

    fn answer(&self, query: &Query) -> Answer {
        let Ok(answer) = answer(&self.storage, query);
        answer
    }

    pub(super) fn apply(&mut self, command: &Command, news: &mut Vec<(SessionId, News)>) -> Outcome {
        self.index += 1;
        let online = match command {
            Command::Send { to, .. } => match self.answer(&Query::Account(to.clone())) {
                Answer::Account(Some(account)) => self.speakers.values().any(|id| *id == account.id),
                _ => false,
            },
            _ => false,
        };
        let mut effects = Vec::new();
        let Ok(outcome) = apply(&mut self.storage, self.index, Millis(0), online, command, &mut effects);
        for effect in effects {
            let (account, piece) = match effect {
                Effect::Push { to, message } => (to, News::Push { account: to, id: message.id, line: message.line() }),
                Effect::Gone { account } => (account, News::LoggedOut(account)),
            };
            let to = self.speakers.iter().filter(|(_, id)| **id == account).map(|(session, _)| *session);
            news.extend(to.map(|session| (session, piece.clone())));
        }
        outcome
    }

    pub(super) fn speaks(&self, session: SessionId) -> bool {
        self.speakers.contains_key(&session)
    }
}

pub(super) fn word(what: &What) -> &'static str {
    match what {
        What::Write(Command::Create { .. }) => "create",
        What::Write(Command::Delete { .. }) => "delete",
        What::Write(Command::Send { .. }) => "send",
        What::Write(Command::Erase { .. }) => "erase",
        What::Write(Command::Passwd { .. }) => "passwd",
        What::Write(Command::Ack { .. }) => "ack",
        What::Write(Command::Mark { .. } | Command::Expire) => "mark?",
        What::Read(Query::Received { .. }) => "sync",
        What::Read(Query::History { .. }) => "history",
        What::Read(_) => "read",
        What::ReadLocal(Query::Received { .. }) => "feed",
        What::ReadLocal(Query::HistoryRest { .. }) => "rest",
        What::ReadLocal(_) => "page",
        What::Enter { .. } => "enter",
        What::Leave => "leave",
        What::Mark { .. } => "mark",
        What::Status => "status",
        What::Who { .. } => "who",
    }
}

/// One connection: its core, and a socket that takes what it is told to take.
pub(super) struct Conn {
    pub(super) core: Core,
    framer: Framer,
    input: BytesMut,
    /// Everything written to the socket so far, taken by the peer or not.
    pub(super) output: Vec<u8>,
    heard: usize,
    pub(super) closed: bool,
    /// Requests to deliver that it sent.
    pub(super) delivers: usize,
    /// The socket takes everything at once, and the peer's kernel acknowledges it.
    pub(super) drains: bool,
    pub(super) written: u64,
    pub(super) acknowledged: u64,
    pub(super) news: VecDeque<News>,
    pub(super) asks: VecDeque<Ask>,
}

impl Conn {
    pub(super) fn new(config: SessionConfig) -> Self {
        Self {
            core: Core::new(Arc::new(config), Instant::now()),
            framer: Framer::new(8192),
            input: BytesMut::new(),
            output: Vec::new(),
            heard: 0,
            closed: false,
            delivers: 0,
            drains: true,
            written: 0,
            acknowledged: 0,
            news: VecDeque::new(),
            asks: VecDeque::new(),
        }
    }

    /// The peer sends these bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.delivers += bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"6")).count();
        self.core.lines(std::iter::from_fn(|| self.framer.next(&mut self.input)));
        self.settle();
    }

    /// The socket takes this much, and the peer's kernel acknowledges that much of it.
    pub(super) fn move_on(&mut self, written: u64, acknowledged: u64) {
        let all = self.output.len() as u64;
        self.written = (self.written + written).min(all);
        self.acknowledged = (self.acknowledged + acknowledged).min(self.written);
        self.core.progress(self.written, self.acknowledged);
        self.settle();
    }

    /// Carries the core's turns out, without the Replicator.
    pub(super) fn settle(&mut self) {
        loop {
            let turn = self.core.take_turn();
            let idle = turn.output.is_empty() && turn.jobs.is_empty();
            self.output.extend_from_slice(&turn.output);
            self.asks.extend(turn.asks);
            self.closed |= turn.closed;
            for (slot, job) in turn.jobs {
                self.core.job_done(slot, perform(job));
            }
            if self.drains {
                self.written = self.output.len() as u64;
                self.acknowledged = self.written;
                self.core.progress(self.written, self.acknowledged);
            }
            if idle {
                return;
            }
        }
    }

    /// What was written since the last time.
    pub(super) fn hear(&mut self) -> String {
        let text = String::from_utf8(self.output[self.heard..].to_vec()).expect("UTF-8");
        self.heard = self.output.len();
        text
    }
}

fn fake(password: &Password) -> PasswordHash {
    PasswordHash::new(&format!("$fake${:?}", password.as_bytes())).expect("short")
}

/// Hashes that are none.
fn perform(job: Job) -> JobDone {
    match job {
        Job::Hash(password) => JobDone::Hash(fake(&password)),
        Job::Check { given: Some(given), stored: Some(stored), .. } => {
            if stored == fake(&given) {
                JobDone::Right
            } else {
                JobDone::Wrong
            }
        }
        Job::Check { .. } => JobDone::Wrong,
    }
}

/// A replica and its connections, by number.
pub(super) struct World {
    pub(super) replica: Replica,
    pub(super) conns: Vec<Conn>,
}

impl World {
    /// So many greeted connections.
    pub(super) fn new(conns: usize) -> Self {
        let mut world = Self { replica: Replica::default(), conns: Vec::new() };
        for _ in 0..conns {
            world.connect(config());
        }
        world
    }

    pub(super) fn connect(&mut self, config: SessionConfig) -> usize {
        let mut conn = Conn::new(config);
        conn.settle();
        assert!(conn.hear().starts_with("hello|1|"));
        self.conns.push(conn);
        self.conns.len() - 1
    }

    /// The peer of connection `n` sends lines; all that follows from it happens; what it hears.
    pub(super) fn say(&mut self, n: usize, lines: &str) -> String {
        self.conns[n].send(format!("{lines}\n").as_bytes());
        self.run();
        self.conns[n].hear()
    }

    /// Serves asks and carries news until nothing is under way.
    pub(super) fn run(&mut self) {
        while self.serve_one() || self.tell_one() {}
    }

    pub(super) fn serve_one(&mut self) -> bool {
        (0..self.conns.len()).any(|n| self.serve(n))
    }

    fn tell_one(&mut self) -> bool {
        (0..self.conns.len()).any(|n| self.tell(n))
    }

    /// Serves the next ask of a connection.
    pub(super) fn serve(&mut self, n: usize) -> bool {
        let Some(ask) = self.conns[n].asks.pop_front() else {
            return false;
        };
        for (to, piece) in self.replica.serve(SessionId(n as u64), ask) {
            self.conns[usize::try_from(to.0).expect("small")].news.push_back(piece);
        }
        true
    }

    /// Tells a connection its next piece of news.
    pub(super) fn tell(&mut self, n: usize) -> bool {
        let conn = &mut self.conns[n];
        let Some(piece) = conn.news.pop_front() else {
            return false;
        };
        conn.core.news(vec![piece]);
        conn.settle();
        true
    }
}
