//! The parts that are counted. Each warms up first: what is counted is the steady state, not first allocations.

use std::hint::black_box;

use bytes::BytesMut;
use chat::{Done, Framer, Key, LineItem, MessageId, Millis, Reply, ServerLine, request};
use plainsong::consensus::{Batch, Body, Boot, Entry, Index, Member, ReplicaId, Term};
use plainsong::machine::{Origin, apply, payload};
use plainsong::storage::{self, Opened};

use super::cores::Cores;
use super::meter::Meter;

/// One part.
pub struct Case {
    pub name: &'static str,
    /// How often it does what `unit` names.
    pub units: u64,
    pub unit: &'static str,
    pub run: fn(&Meter),
}

/// Of everything that is done many times.
const MANY: u64 = 2_000;
/// Entries of a batch: a busy replica's.
const BATCH: u64 = 200;
const TEXT: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
const ACCOUNTS: u64 = 100;

pub const CASES: &[Case] = &[
    Case { name: "parse_line", units: MANY, unit: "line", run: parse_line },
    Case { name: "leader_proposes", units: BATCH, unit: "entry", run: |meter| lead(meter, BATCH) },
    Case { name: "leader_proposes_one", units: 1, unit: "entry", run: |meter| lead(meter, 1) },
    Case { name: "follower_appends", units: BATCH, unit: "entry", run: |meter| follow(meter, BATCH) },
    Case { name: "follower_appends_one", units: 1, unit: "entry", run: |meter| follow(meter, 1) },
    Case { name: "log_append", units: MANY, unit: "entry", run: |meter| log(meter, MANY / BATCH, BATCH) },
    Case { name: "log_append_one", units: 20, unit: "entry", run: |meter| log(meter, 20, 1) },
    Case { name: "apply", units: MANY, unit: "entry", run: apply_entries },
    Case { name: "render_reply", units: MANY, unit: "line", run: render_reply },
    Case { name: "render_msg", units: MANY, unit: "line", run: render_msg },
];

fn parse_line(meter: &Meter) {
    let lines = |count: u64| -> BytesMut {
        let lines: String = (0..count).map(|n| format!("@k{n}|5|bob|{TEXT}\n")).collect();
        lines.as_bytes().into()
    };
    let mut framer = Framer::new(8192);
    let mut parse = |mut input: BytesMut| {
        let mut count = 0;
        while let Some(item) = framer.next(&mut input) {
            let LineItem::Line(line) = item else { panic!("all lines are good") };
            let parsed = request::parse(&line);
            black_box(parsed.request.and_then(request::Request::check)).expect("a send");
            count += 1;
        }
        count
    };
    parse(lines(10));
    let input = lines(MANY);
    assert_eq!(meter.measure(|| parse(input)), MANY);
}

fn lead(meter: &Meter, count: u64) {
    let mut cores = Cores::elected();
    for round in 0..3 {
        let payloads = (0..count).map(|n| payload_of(cores.leader(), round * count + n + 1)).collect();
        cores.replicate(payloads, |work| if round == 2 { meter.measure(work) } else { work() }, |work| work());
    }
}

fn follow(meter: &Meter, count: u64) {
    let mut cores = Cores::elected();
    for round in 0..3 {
        let payloads = (0..count).map(|n| payload_of(cores.leader(), round * count + n + 1)).collect();
        cores.replicate(payloads, |work| work(), |work| if round == 2 { meter.measure(work) } else { work() });
    }
}

fn payload_of(member: Member, n: u64) -> bytes::Bytes {
    let (from, to) = (n % ACCOUNTS + 1, n * 7 % ACCOUNTS + 1);
    let command = format!("user{from}#{from}|5|user{to}|{TEXT}");
    payload::encode(Origin { member, boot: Boot(1), n }, &command).freeze()
}

/// Accounts first, then messages among them.
fn entries(member: Member, from: u64, count: u64) -> Vec<Entry> {
    let entry = |n: u64| {
        let account = || payload::encode(Origin { member, boot: Boot(1), n }, &format!("|1|user{n}")).freeze();
        let command = if n <= ACCOUNTS { account() } else { payload_of(member, n) };
        Entry { index: Index(n), term: Term(1), time: 1_800_000_000_000 + n, body: Body::Command(command) }
    };
    (from..from + count).map(entry).collect()
}

fn open(dir: &tempfile::TempDir) -> Opened {
    storage::open(dir.path(), ReplicaId(1), "bench").expect("a blank directory")
}

fn log(meter: &Meter, batches: u64, batch: u64) {
    let dir = tempfile::tempdir().expect("a place for files");
    let Opened { mut log, recovered, dir: _lock, .. } = open(&dir);
    let batch_from = |from| [Batch { append: entries(recovered.me, from, batch), ..Batch::default() }];
    log.write(&batch_from(1)).expect("room");
    for n in 1..=batches {
        let batch = batch_from(n * batch + 1);
        meter.measure(|| log.write(&batch)).expect("room");
    }
}

fn apply_entries(meter: &Meter) {
    let dir = tempfile::tempdir().expect("a place for files");
    let Opened { mut state, recovered, dir: _lock, .. } = open(&dir);
    let mut run = |entries: &[Entry]| {
        let mut effects = Vec::new();
        state.begin().expect("no transaction is open");
        for entry in entries {
            black_box(apply(&mut state, entry, &mut effects)).expect("room");
        }
        state.commit().expect("room");
        effects.len()
    };
    run(&entries(recovered.me, 1, ACCOUNTS + BATCH));
    for n in 0..MANY / BATCH {
        let entries = entries(recovered.me, ACCOUNTS + BATCH + n * BATCH + 1, BATCH);
        meter.measure(|| run(&entries));
    }
}

fn render_reply(meter: &Meter) {
    let mut out = BytesMut::with_capacity(1 << 20);
    let key = Key::new("k1").expect("a key");
    let id = MessageId(1_234_567);
    let render = |out: &mut BytesMut| {
        let reply = Reply::Ok(Done::Sent { to: "bob", id, online: true });
        (0..MANY).for_each(|_| black_box(&reply).write(Some(&key), out));
    };
    meter.measure(|| render(&mut out));
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, MANY);
}

fn render_msg(meter: &Meter) {
    let mut out = BytesMut::with_capacity(1 << 20);
    let line = ServerLine::Msg { id: MessageId(1_234_567), from: "alice", time: Millis(1_800_000_000_000), text: TEXT };
    meter.measure(|| (0..MANY).for_each(|_| black_box(&line).write(&mut out)));
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, MANY);
}
