//! Writes a history into the directories of replicas that do not run: the same entries into each, logged and applied.

use std::thread;
use std::time::Instant;

use anyhow::Context;
use plainsong::consensus::{Batch, Body, Boot, Entry, Index, Member, ReplicaId, Term};
use plainsong::drill::Cluster;
use plainsong::machine::{MachineStorage, Origin, apply, payload};
use plainsong::storage::{self, Opened};

const BATCH: u64 = 5_000;
/// Senders and recipients.
const ACCOUNTS: u64 = 1_000;
/// The name of a drill's cluster, see its configuration.
const CLUSTER: &str = "drill";

/// What all replicas are filled with, and after which entry.
#[derive(Clone, Copy)]
struct History {
    origin: Member,
    boot: Boot,
    last: Index,
    term: Term,
    time: u64,
    messages: u64,
    text_bytes: usize,
}

/// Fills every replica; `late` lacks the last `missed` messages.
///
/// # Errors
/// When the replicas' logs differ, or the disk is full.
pub fn fill(cluster: &Cluster, messages: u64, missed: u64, text_bytes: usize, late: u16) -> anyhow::Result<()> {
    let since = Instant::now();
    let open = |id: u16| storage::open(&cluster.data_dir(id), ReplicaId(id), CLUSTER);
    let mut replicas = cluster.ids().into_iter().map(|id| Ok((id, open(id)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let first = &replicas.first().context("a cluster of no replicas")?.1.recovered;
    let (term, _) = *first.term_starts.last().context("a founded cluster")?;
    let history = History {
        origin: first.me,
        boot: first.boot,
        last: first.last,
        term,
        time: first.last_time,
        messages,
        text_bytes,
    };
    thread::scope(|scope| {
        let fillings: Vec<_> = replicas
            .iter_mut()
            .map(|(id, opened)| {
                let messages = if *id == late { messages - missed } else { messages };
                scope.spawn(move || fill_one(opened, History { messages, ..history }))
            })
            .collect();
        fillings.into_iter().try_for_each(|filling| filling.join().expect("filling does not panic"))
    })?;
    println!("filled {} replicas in {:.0} s", replicas.len(), since.elapsed().as_secs_f64());
    Ok(())
}

fn fill_one(opened: &mut Opened, history: History) -> anyhow::Result<()> {
    let Opened { log, state, .. } = opened;
    let at_one_place = log.last() == history.last && state.applied() == history.last;
    anyhow::ensure!(at_one_place, "the replicas ended at different entries: try again");
    let text = "x".repeat(history.text_bytes);
    // The same in each replica, and any sender to any recipient: the worst for the pages of the views.
    let mut random = fastrand::Rng::with_seed(1);
    let total = ACCOUNTS + history.messages;
    let mut effects = Vec::new();
    for from in (1..=total).step_by(usize::try_from(BATCH)?) {
        let entries = (from..(from + BATCH).min(total + 1)).map(|n| {
            let command = if n <= ACCOUNTS {
                format!("|1|user{n}")
            } else {
                let (from, to) = (random.u64(1..=ACCOUNTS), random.u64(1..=ACCOUNTS));
                format!("user{from}#{}|5|user{to}|{text}", history.last.0 + from)
            };
            let origin = Origin { member: history.origin, boot: history.boot, n };
            let body = Body::Command(payload::encode(origin, &command).freeze());
            Entry { index: Index(history.last.0 + n), term: history.term, time: history.time, body }
        });
        let batch = [Batch { append: entries.collect(), ..Batch::default() }];
        log.write(&batch)?;
        state.begin()?;
        for entry in &batch[0].append {
            apply(state, entry, &mut effects)?;
        }
        state.commit()?;
        effects.clear();
    }
    Ok(())
}
