//! What the supervisor knows of its replicas, what it says about them, and when there is nothing left to supervise.
//! Pure: events in, lines out.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::super::Exit;
use super::ClusterError;
use super::watch::READY_WAIT_MAX;
use crate::config::Config;

/// What happens to the replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody else listens at an address of its, so it was not started.
    Taken { id: u16, address: String },
    /// It greets its clients.
    Ready { id: u16 },
    /// It has not greeted in time.
    NotReady { id: u16, why: String },
    /// Its process has ended: how, or why the system cannot say.
    Ended { id: u16, status: Result<ExitStatus, String> },
    /// It leads, as far as the one asked knows.
    Leads { id: u16, term: u64 },
    /// Nobody who was asked knows a leader any more.
    NobodyLeads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Silent,
    Ended,
}

struct Replica {
    phase: Phase,
    host: String,
    port: u16,
}

/// All replicas, and the first that failed.
pub(super) struct Story {
    cluster: String,
    replicas: BTreeMap<u16, Replica>,
    first_failure: Option<(String, Exit)>,
}

impl Story {
    /// All of them are starting.
    pub(super) fn new(config: &Config) -> Self {
        let replicas = config.replicas.iter().map(|replica| {
            (replica.id, Replica { phase: Phase::Starting, host: replica.host.clone(), port: replica.port })
        });
        Self { cluster: config.cluster.clone(), replicas: replicas.collect(), first_failure: None }
    }

    /// What is said first.
    pub(super) fn opening(&self) -> String {
        format!("starting the {} replicas of {}; Ctrl-C ends them", self.replicas.len(), self.cluster)
    }

    /// Takes an event in, and returns what is said about it. What comes late about a replica that has ended is no news.
    pub(super) fn hear(&mut self, event: Event) -> Vec<String> {
        match event {
            Event::Taken { id, address } => self.taken(id, &address),
            Event::Ready { id } => self
                .enter(id, Phase::Ready)
                .map(|replica| format!("replica {id} is up: nc {} {}", replica.host, replica.port)),
            Event::NotReady { id, why } => self
                .enter(id, Phase::Silent)
                .map(|_| format!("replica {id} does not answer after {} s: {why}", READY_WAIT_MAX.as_secs())),
            Event::Ended { id, status } => self.ended(id, status),
            Event::Leads { id, term } => Some(format!("replica {id} leads (term {term})")),
            Event::NobodyLeads => Some("no replica leads".to_owned()),
        }
        .into_iter()
        .collect()
    }

    fn enter(&mut self, id: u16, phase: Phase) -> Option<&Replica> {
        let replica = self.replicas.get_mut(&id).filter(|replica| replica.phase != Phase::Ended)?;
        replica.phase = phase;
        Some(replica)
    }

    fn taken(&mut self, id: u16, address: &str) -> Option<String> {
        let how = format!("{address} is taken");
        self.enter(id, Phase::Ended)?;
        self.first_failure.get_or_insert((how.clone(), Exit::Unavailable));
        Some(format!("replica {id} is not started: {how}; `ss -ltnp` shows by whom"))
    }

    fn ended(&mut self, id: u16, status: Result<ExitStatus, String>) -> Option<String> {
        let (how, failure) = described(&status);
        self.enter(id, Phase::Ended)?;
        if let Some(exit) = failure {
            self.first_failure.get_or_insert((how.clone(), exit));
        }
        let left = self.replicas.values().filter(|replica| replica.phase != Phase::Ended).count();
        Some(format!("replica {id} ended: {how}; {left} still run{}", if left == 1 { "s" } else { "" }))
    }

    /// Whether nothing runs any more.
    pub(super) fn all_ended(&self) -> bool {
        self.replicas.values().all(|replica| replica.phase == Phase::Ended)
    }

    /// Who still runs, for a sentence.
    pub(super) fn running(&self) -> String {
        let running = self.replicas.iter().filter(|(_, replica)| replica.phase != Phase::Ended);
        let names: Vec<_> = running.map(|(id, _)| format!("replica {id}")).collect();
        names.join(", ")
    }

    /// How it came out, once there is nothing left to supervise. Replicas that were each told to end did what they
    /// were told; that is no failure.
    pub(super) fn verdict(&mut self) -> Option<Result<(), ClusterError>> {
        if self.all_ended() {
            return Some(match self.first_failure.take() {
                Some((first, exit)) => Err(ClusterError::AllEnded { first, exit }),
                None => Ok(()),
            });
        }
        let lost = |replica: &Replica| matches!(replica.phase, Phase::Silent | Phase::Ended);
        self.replicas.values().all(lost).then_some(Err(ClusterError::NobodyAnswers { waited: READY_WAIT_MAX }))
    }
}

/// How a process ended, and what it failed of, if it did.
fn described(status: &Result<ExitStatus, String>) -> (String, Option<Exit>) {
    match status {
        Err(why) => (format!("unknown ({why})"), Some(Exit::Failed)),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => ("exit code 0".to_owned(), None),
            (Some(code), _) => {
                let exit = Exit::from_code(code);
                (format!("exit code {code} ({})", exit.meaning()), Some(exit))
            }
            (None, Some(signal)) => (format!("signal {signal}{}", signal_name(signal)), Some(Exit::Failed)),
            (None, None) => (status.to_string(), Some(Exit::Failed)),
        },
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        6 => " (aborted: a bug, or a disk that failed; see its last lines)",
        9 => " (killed)",
        15 => " (terminated)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story {
        let text = b"replicas:\n- {id: 1, host: localhost, port: 5001, internal_port: 7001}\n\
                     - {id: 2, host: localhost, port: 5002, internal_port: 7002}\n";
        Story::new(&Config::parse(text).expect("sound"))
    }

    fn ended(id: u16, raw: i32) -> Event {
        Event::Ended { id, status: Ok(ExitStatus::from_raw(raw)) }
    }

    #[test]
    fn a_replica_that_is_up_says_how_to_speak_to_it() {
        assert_eq!(story().hear(Event::Ready { id: 2 }), ["replica 2 is up: nc localhost 5002"]);
    }

    #[test]
    fn one_that_ends_leaves_the_others_running() {
        let mut story = story();
        assert_eq!(story.hear(ended(1, 9)), ["replica 1 ended: signal 9 (killed); 1 still runs"]);
        assert!(story.verdict().is_none());
        assert_eq!(story.running(), "replica 2");
        assert!(story.hear(Event::Ready { id: 1 }).is_empty(), "it is not up again");
    }

    #[test]
    fn when_all_have_ended_the_first_failure_is_the_reason() {
        let mut story = story();
        assert_eq!(story.hear(ended(2, 69 << 8)), ["replica 2 ended: exit code 69 (unavailable); 1 still runs"]);
        story.hear(ended(1, 1 << 8));
        let error = story.verdict().expect("nothing runs").expect_err("they failed");
        assert_eq!(error.exit(), Exit::Unavailable);
        assert!(error.to_string().contains("exit code 69"), "{error}");
    }

    #[test]
    fn a_replica_whose_port_is_taken_is_not_waited_for() {
        let mut story = story();
        let taken = Event::Taken { id: 1, address: "localhost:5001".to_owned() };
        assert_eq!(story.hear(taken), ["replica 1 is not started: localhost:5001 is taken; `ss -ltnp` shows by whom"]);
        assert_eq!(story.running(), "replica 2");
        story.hear(ended(2, 0));
        let error = story.verdict().expect("nothing runs").expect_err("one could not start");
        assert_eq!(error.exit(), Exit::Unavailable);
    }

    #[test]
    fn replicas_that_ended_well_are_no_failure() {
        let mut story = story();
        story.hear(ended(1, 0));
        story.hear(ended(2, 0));
        assert!(matches!(story.verdict(), Some(Ok(()))));
    }

    #[test]
    fn a_cluster_that_nobody_can_reach_is_given_up() {
        let mut story = story();
        let silent = |id| Event::NotReady { id, why: "connection refused".to_owned() };
        assert_eq!(story.hear(silent(1)), ["replica 1 does not answer after 30 s: connection refused"]);
        assert!(story.verdict().is_none(), "replica 2 may still come up");
        story.hear(silent(2));
        let error = story.verdict().expect("given up").expect_err("nobody answers");
        assert_eq!(error.exit(), Exit::Unavailable);
    }
}
