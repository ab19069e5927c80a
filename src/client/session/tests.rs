//! The session against a model of a replica that loses connections, refuses, and answers `UNKNOWN` at random.
//!
//! Nothing here is a socket or a clock, so a seed decides everything. What is judged: each send is stored once (and, with
//! one in flight, in the order asked), replies come in order, each message is shown once, and none is marked before its
//! reader was done with it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use fastrand::Rng;

use super::{Output, Session};
use crate::client::line::Verdict;

const SEEDS: u64 = 300;
const STEPS: u32 = 600;
/// One of so many answers is `retry`, and one of so many steps cuts the connection.
const FAULT_ONE_IN: u32 = 12;

/// What all replicas agree on.
#[derive(Default)]
struct Cluster {
    ids: u64,
    stored: Vec<String>,
    keys: HashMap<String, u64>,
    mailbox: BTreeSet<u64>,
    undelivered: BTreeSet<u64>,
}

/// One connection, seen from the replica.
#[derive(Default)]
struct Connection {
    requests: VecDeque<String>,
    replies: VecDeque<String>,
    is_logged_in: bool,
    shown: BTreeSet<u64>,
}

struct World {
    rng: Rng,
    session: Session,
    cluster: Cluster,
    connection: Option<Connection>,
    is_paused: bool,
    has_faults: bool,
    asked: u32,
    shown: Vec<u64>,
    done: HashSet<u64>,
    replies: Vec<String>,
}

impl Connection {
    /// Takes one request, like a replica.
    fn serve(&mut self, cluster: &mut Cluster, fault: Option<u32>, done: &HashSet<u64>) {
        let Some(line) = self.requests.pop_front() else { return };
        let (key, request) = match line.strip_prefix('@').and_then(|keyed| keyed.split_once('|')) {
            Some((key, request)) => (Some(key), request),
            None => (None, line.as_str()),
        };
        let echo = key.map_or(String::new(), |key| format!("@{key}|"));
        let is_local = request == "9|0";
        let code = match fault.filter(|_| !is_local) {
            Some(0) => Some("NO_LEADER"),
            Some(1) => Some("NO_QUORUM"),
            Some(_) => Some("UNKNOWN"),
            None => None,
        };
        // UNKNOWN: done or not, where there is something to do.
        let is_change = request.starts_with('5') || request.starts_with('9');
        let is_done = code.is_none() || (fault == Some(2) && is_change);
        let answer = if is_done { self.execute(cluster, key, request, done) } else { String::new() };
        let answer = code.map_or(answer, |code| format!("retry|{code}|by chance"));
        self.replies.push_back(echo + &answer);
    }

    fn execute(&mut self, cluster: &mut Cluster, key: Option<&str>, request: &str, done: &HashSet<u64>) -> String {
        let (op, args) = request.split_once('|').unwrap_or((request, ""));
        match op {
            "2" => {
                self.is_logged_in = true;
                format!("ok|login|alice|{}", cluster.undelivered.len())
            }
            _ if !self.is_logged_in && args != "0" => "err|NOT_LOGGED_IN|log in".to_owned(),
            "5" => {
                let key = key.expect("a send has a key").to_owned();
                let id = *cluster.keys.entry(key).or_insert_with(|| {
                    cluster.ids += 1;
                    cluster.stored.push(args.to_owned());
                    cluster.ids
                });
                format!("ok|sent|bob|{id}")
            }
            "6" => {
                let page: Vec<u64> = cluster.undelivered.iter().copied().take(args.parse().unwrap_or(100)).collect();
                self.replies.extend(page.iter().map(|id| message_line(*id)));
                self.shown.extend(&page);
                format!("ok|deliver|{}|0", page.len())
            }
            "9" => {
                let to: u64 = args.parse().expect("an id");
                for id in self.shown.iter().filter(|&&id| id <= to) {
                    if cluster.undelivered.remove(id) {
                        assert!(done.contains(id), "{id} is marked, and its reader is not done with it");
                    }
                }
                format!("ok|ack|{to}")
            }
            other => panic!("the session does not send {other}"),
        }
    }
}

fn message_line(id: u64) -> String {
    format!("msg|{id}|bob|2026-11-21T14:40:00.000Z|{id}")
}

impl World {
    fn new(seed: u64, in_flight_max: usize) -> World {
        let mut session = Session::new("k".to_owned(), in_flight_max);
        session.request(b"2|alice");
        World {
            rng: Rng::with_seed(seed),
            session,
            cluster: Cluster::default(),
            connection: None,
            is_paused: false,
            has_faults: true,
            asked: 0,
            shown: Vec::new(),
            done: HashSet::new(),
            replies: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.rng.u32(0..10) {
            0 if self.has_faults => self.ask(),
            1 if self.has_faults => self.arrive(),
            2 if self.has_faults && self.rng.u32(0..FAULT_ONE_IN) == 0 => self.cut(),
            3 if self.is_paused => {
                self.is_paused = false;
                self.session.resume();
            }
            4 | 5 => self.read_message(),
            6 | 7 => {
                let is_fault = self.has_faults && self.rng.u32(0..FAULT_ONE_IN) == 0;
                let fault = is_fault.then(|| self.rng.u32(0..4));
                if let Some(connection) = &mut self.connection {
                    connection.serve(&mut self.cluster, fault, &self.done);
                }
            }
            8 | 9 => {
                if let Some(line) = self.connection.as_mut().and_then(|connection| connection.replies.pop_front()) {
                    self.session.line(&line);
                }
            }
            _ => {}
        }
        self.carry_out();
        if self.connection.is_none() {
            let hello = VecDeque::from(["hello|1|1|test|c0ffee".to_owned()]);
            self.connection = Some(Connection { replies: hello, ..Connection::default() });
            self.session.connected();
        }
    }

    fn ask(&mut self) {
        if self.rng.u32(0..8) == 0 {
            self.session.request(if self.rng.bool() { b"6|" } else { b"6|2" });
        } else {
            self.asked += 1;
            self.session.request(format!("5|bob|{}", self.asked).as_bytes());
        }
    }

    /// Somebody writes to alice.
    fn arrive(&mut self) {
        self.cluster.ids += 1;
        let id = self.cluster.ids;
        self.cluster.mailbox.insert(id);
        self.cluster.undelivered.insert(id);
        if let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_logged_in) {
            connection.replies.push_back(message_line(id));
            connection.shown.insert(id);
        }
    }

    fn read_message(&mut self) {
        if let Some(&id) = self.shown.get(self.done.len()) {
            self.done.insert(id);
            self.session.done(self.done.len() as u64);
        }
    }

    fn cut(&mut self) {
        self.connection = None;
        self.is_paused = false;
        self.session.lost();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.output() {
            match output {
                Output::Line(line) => {
                    let line = String::from_utf8(line).expect("UTF-8");
                    self.connection.iter_mut().for_each(|connection| connection.requests.push_back(line.clone()));
                }
                Output::Message(message) => self.shown.push(message.id.0),
                Output::Reply(_, reply) => {
                    assert_eq!(reply.final_line.verdict(), Verdict::Ok, "{}", reply.final_line);
                    self.replies.push(reply.final_line.to_string());
                }
                Output::Trouble { elsewhere: true } if self.rng.bool() => self.cut(),
                Output::Trouble { .. } => self.is_paused = true,
                Output::Up(_) | Output::Servers(_) => {}
                other => panic!("not in this world: {other:?}"),
            }
        }
    }

    /// Without further faults, everything comes to rest.
    fn settle(&mut self) {
        self.has_faults = false;
        self.session.request(b"6|");
        let rests = |world: &World| world.session.is_settled() && world.done.len() == world.shown.len();
        let is_quiet = |world: &World| {
            world.connection.as_ref().is_some_and(|one| one.requests.is_empty() && one.replies.is_empty())
        };
        for _ in 0..200_000 {
            if rests(self) && is_quiet(self) {
                return;
            }
            self.step();
        }
        panic!("it does not come to rest: {:?}", self.session);
    }
}

fn run(seed: u64, in_flight_max: usize) -> World {
    let mut world = World::new(seed, in_flight_max);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world
}

#[test]
fn each_send_is_stored_once_and_each_message_is_shown_once() {
    for seed in 0..SEEDS {
        let world = run(seed, 8);
        let sends = world.asked as usize;
        let stored: HashSet<&String> = world.cluster.stored.iter().collect();
        assert_eq!((stored.len(), world.cluster.stored.len()), (sends, sends), "seed {seed}: stored once");
        let shown: BTreeSet<u64> = world.shown.iter().copied().collect();
        assert_eq!(shown.len(), world.shown.len(), "seed {seed}: shown once");
        assert_eq!(shown, world.cluster.mailbox, "seed {seed}: all are shown");
        assert!(world.cluster.undelivered.is_empty(), "seed {seed}: all are marked");
        assert!(world.session.mailbox.is_empty(), "seed {seed}: nothing is remembered for ever");
    }
}

#[test]
fn with_one_in_flight_order_holds_whatever_happens() {
    for seed in 0..SEEDS {
        let world = run(seed, 1);
        let asked: Vec<String> = (1..=world.asked).map(|text| format!("bob|{text}")).collect();
        assert_eq!(world.cluster.stored, asked, "seed {seed}");
    }
}

#[test]
fn replies_come_in_the_order_of_the_requests() {
    for seed in 0..SEEDS {
        let world = run(seed, 8);
        let mut sent = world.replies.iter().filter(|line| line.starts_with("ok|sent"));
        // The n-th send asked is the n-th reply: its id is that under which the n-th text was stored.
        let by_key = (1..).map_while(|key| world.cluster.keys.get(&format!("k.{key}")));
        for id in by_key {
            assert_eq!(sent.next().expect("a reply"), &format!("ok|sent|bob|{id}"), "seed {seed}");
        }
        assert_eq!(sent.next(), None);
    }
}
