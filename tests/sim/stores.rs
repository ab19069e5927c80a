//! The two store threads: the log's, with group commit and one fsync a group, and the state's, which applies and answers.

use std::collections::VecDeque;

use plainsong::actors::internal::FromLog;
use plainsong::actors::store::{LogJob, Own, StateJob, StateNews};
use plainsong::consensus::{Entry, Index};
use plainsong::machine::audit::{self, Checkpoint};
use plainsong::machine::{self, Applied, MachineStorage, MapMachine};

use super::replica::{FromLogNews, Mail, Told};
use super::world::{Event, MS, World};

const DISK_FULL_PAUSE: u64 = 250 * MS;
const HUNG_LOOK: u64 = 50 * MS;

/// What the threads have to do, and the state as it is in memory.
#[derive(Default)]
pub struct Stores {
    pub log: VecDeque<LogJob>,
    /// So many of them are in the transaction under way.
    pub log_group: usize,
    full: bool,
    pub state: MapMachine,
    pub state_jobs: VecDeque<StateJob>,
    pub state_busy: bool,
}

impl Stores {
    pub fn new(state: MapMachine) -> Self {
        Self { state, ..Self::default() }
    }
}

impl World {
    pub fn hand_to_log(&mut self, host: usize, life: u64, job: LogJob) {
        self.hosts[host].stores.log.push_back(job);
        self.begin_log(host, life);
    }

    /// Takes all that is queued into one transaction.
    fn begin_log(&mut self, host: usize, life: u64) {
        let there = &mut self.hosts[host];
        if there.stores.log_group > 0 || there.stores.log.is_empty() {
            return;
        }
        there.stores.log_group = there.stores.log.len();
        let latency = if there.slow_disk_until > self.now {
            self.rng.u64(20 * MS..900 * MS)
        } else {
            self.rng.u64(self.style.fsync.clone())
        };
        self.after(latency, Event::LogDone { host, life });
    }

    /// The transaction is durable, unless the disk is full, or hangs.
    pub fn log_done(&mut self, host: usize, life: u64) {
        if self.replica(host, life).is_none() {
            return;
        }
        let now = self.now;
        if self.hosts[host].hung_disk_until > now {
            // Looked at again and again: a disk may be healed before its time.
            return self.after(HUNG_LOOK, Event::LogDone { host, life });
        }
        let writes = self.hosts[host].stores.log.iter().any(|job| matches!(job, LogJob::Persist(_)));
        if self.hosts[host].full_disk_until > now && writes {
            if !std::mem::replace(&mut self.hosts[host].stores.full, true) {
                self.post(host, life, Mail::Log(FromLogNews(FromLog::DiskFull(true))));
            }
            return self.after(DISK_FULL_PAUSE, Event::LogDone { host, life });
        }
        if std::mem::take(&mut self.hosts[host].stores.full) {
            self.post(host, life, Mail::Log(FromLogNews(FromLog::DiskFull(false))));
        }
        self.finish_log_group(host, life);
        self.begin_log(host, life);
    }

    fn finish_log_group(&mut self, host: usize, life: u64) {
        let group = std::mem::take(&mut self.hosts[host].stores.log_group);
        let jobs: Vec<LogJob> = self.hosts[host].stores.log.drain(..group).collect();
        let mut stored = None;
        for job in &jobs {
            if let LogJob::Persist(batch) = job {
                self.hosts[host].disk.write(batch);
                stored = Some(batch.ticket);
            }
        }
        if let Some(ticket) = stored {
            let mail = Box::new(Mail::Log(FromLogNews(FromLog::Stored(ticket))));
            self.after(20, Event::Post { host, life, mail });
        }
        for job in jobs {
            if let LogJob::Load(reader, from, to) = job {
                let count = self.rng.usize(1..400);
                let entries = self.hosts[host].disk.load(from, to, count);
                let mail = Box::new(Mail::Log(FromLogNews(FromLog::Loaded(reader, entries))));
                self.after(30, Event::Post { host, life, mail });
            }
        }
    }

    // --- the state -------------------------------------------------------------------------------------------

    pub fn hand_to_state(&mut self, host: usize, life: u64, job: StateJob) {
        if let StateJob::Apply(entries) = &job {
            self.judge.ledger.applies(host, &self.hosts[host].disk, entries);
        }
        let stores = &mut self.hosts[host].stores;
        stores.state_jobs.push_back(job);
        if !std::mem::replace(&mut stores.state_busy, true) {
            let latency = self.rng.u64(20..self.style.apply_max);
            self.after(latency, Event::StateDone { host, life });
        }
    }

    pub fn state_done(&mut self, host: usize, life: u64) {
        let Some(replica) = self.replica(host, life) else { return };
        let me = (replica.me, replica.run.boot);
        let count = self.hosts[host].stores.state_jobs.len();
        let count = self.rng.usize(1..=count);
        let jobs: Vec<StateJob> = self.hosts[host].stores.state_jobs.drain(..count).collect();
        let mut news = Vec::with_capacity(jobs.len());
        for job in jobs {
            if let StateJob::Sync = job {
                // What is synced outlasts every crash from here on.
                let there = &mut self.hosts[host];
                there.saved = there.stores.state.clone();
                news.push(Told(StateNews::Synced(there.saved.applied())));
                continue;
            }
            let stores = &mut self.hosts[host].stores;
            news.push(Told(match job {
                StateJob::Apply(entries) => apply(&mut self.judge, &mut stores.state, host, me, &entries),
                StateJob::Query(number, query) => {
                    let Ok(answer) = chat::answer(&stores.state, &query);
                    StateNews::Answer(number, answer, stores.state.applied())
                }
                StateJob::Sync => unreachable!("done above"),
            }));
        }
        let stores = &mut self.hosts[host].stores;
        stores.state_busy = !stores.state_jobs.is_empty();
        if stores.state_busy {
            let latency = self.rng.u64(20..self.style.apply_max);
            self.after(latency, Event::StateDone { host, life });
        }
        self.post(host, life, Mail::State(news));
    }
}

fn apply(
    judge: &mut super::checkers::Judge,
    state: &mut MapMachine,
    host: usize,
    (me, boot): super::hosts::MemberBoot,
    entries: &[Entry],
) -> StateNews {
    let (mut own, mut effects, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let Ok(applied) = machine::apply(state, entry, &mut effects);
        judge.applied(host, entry.index, &applied, state.digest());
        match applied {
            Applied::Done { origin, outcome } if (origin.member, origin.boot) == (me, boot) => {
                own.push(Own { n: origin.n, outcome: Ok(outcome) });
            }
            Applied::Skipped { origin, expected } if (origin.member, origin.boot) == (me, boot) => {
                own.push(Own { n: origin.n, outcome: Err(expected) });
            }
            Applied::Nothing | Applied::Done { .. } | Applied::Skipped { .. } => {}
        }
        if entry.index.0.is_multiple_of(audit::EVERY) {
            checkpoints.push(Checkpoint { index: entry.index, digest: state.digest() });
        }
    }
    let until = entries.last().map_or(Index(0), |entry| entry.index);
    StateNews::Applied { until, own, effects, checkpoints }
}
