//! What the two stores cost: entries a second, and bytes a message.
//!
//! `cargo run --release --example storage_bench [-- MESSAGES [ACCOUNTS [DIR]]]`
//!
//! In DIR the files are kept, as those of replica 1 of a cluster "bench": something for `plainsong verify DIR` to read.

use std::path::Path;
use std::time::{Duration, Instant};

use plainsong::consensus::{Batch, Body, Boot, Entry, Index, Member, ReplicaId, Term};
use plainsong::machine::{MachineStorage, Origin, apply, payload};
use plainsong::storage::{self, Opened};

const BATCH: usize = 1_000;
const TEXT_BYTES: usize = 100;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let messages = args.first().map_or(Ok(400_000), |arg| arg.parse())?;
    let accounts = args.get(1).map_or(Ok(1_000), |arg| arg.parse())?;
    let scratch = tempfile::tempdir()?;
    let dir = args.get(2).map_or(scratch.path(), Path::new);
    let mut opened = storage::open(dir, ReplicaId(1), "bench")?;
    let me = opened.recovered.me;

    run(&mut opened, entries(me, 1, accounts, |n| format!("|1|user{n}")))?;
    let before = bytes(dir, "state.db")?;
    // Any sender and any recipient: the worst for the pages of the views.
    let mut random = fastrand::Rng::with_seed(1);
    let text = "x".repeat(TEXT_BYTES);
    let send = |_| {
        let (from, to) = (random.u64(1..=accounts), random.u64(1..=accounts));
        format!("user{from}#{from}|5|user{to}|{text}")
    };
    let (log, state) = run(&mut opened, entries(me, accounts + 1, accounts + messages, send))?;
    let (log_bytes, state_bytes) = (bytes(dir, "log.db")?, bytes(dir, "state.db")? - before);

    drop(opened);
    let start = Instant::now();
    storage::open(dir, ReplicaId(1), "bench")?;
    let reopened = start.elapsed();

    println!("{messages} messages of {TEXT_BYTES} bytes among {accounts} accounts, {BATCH} a batch");
    println!("log.db    {:>9.0} entries/s  {:>4} bytes/message", rate(messages, log), log_bytes / messages);
    println!("state.db  {:>9.0} entries/s  {:>4} bytes/message", rate(messages, state), state_bytes / messages);
    println!("reopened in {} ms", reopened.as_millis());
    Ok(())
}

fn entries(member: Member, from: u64, to: u64, command: impl FnMut(u64) -> String) -> Vec<Entry> {
    let payloads = (from..=to).map(command).zip(from..);
    let entry = |(command, n): (String, u64)| {
        let body = Body::Command(payload::encode(Origin { member, boot: Boot(1), n }, &command).freeze());
        Entry { index: Index(n), term: Term(1), time: 1_800_000_000_000 + n, body }
    };
    payloads.map(entry).collect()
}

/// Logs and applies, and tells what each took.
fn run(opened: &mut Opened, entries: Vec<Entry>) -> anyhow::Result<(Duration, Duration)> {
    let (mut log, mut state) = (Duration::ZERO, Duration::ZERO);
    let mut effects = Vec::new();
    for chunk in entries.chunks(BATCH) {
        let batch = [Batch { append: chunk.to_vec(), ..Batch::default() }];
        let start = Instant::now();
        opened.log.write(&batch)?;
        log += start.elapsed();
        let start = Instant::now();
        opened.state.begin()?;
        for entry in chunk {
            apply(&mut opened.state, entry, &mut effects)?;
        }
        opened.state.commit()?;
        state += start.elapsed();
        effects.clear();
    }
    anyhow::ensure!(opened.state.applied() == opened.log.last(), "everything was applied");
    Ok((log, state))
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The file's size once its write-ahead log is in it.
fn bytes(dir: &Path, file: &str) -> anyhow::Result<u64> {
    let conn = rusqlite::Connection::open(dir.join(file))?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(std::fs::metadata(dir.join(file))?.len())
}
