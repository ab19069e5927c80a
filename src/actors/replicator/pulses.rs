//! Rounds of pulses, as far as the Replicator has to do with them: what a round says, and the answer that Heartbeat waits for
//! before it asks for the next one. And what else Heartbeat and Election are told at the end of a turn: they share a thread,
//! which sleeps most of the time, and what is said together wakes it once.
//!
//! What was heard of a leader is told before that it is time to stand, if it came before:
//!   1. A view is installed; its leader says so, and dies. This replica learns both at once: that somebody leads, and that
//!      whoever leads is dead.
//!   2. Election is told to stand soon, and at the end of the turn that a leader was heard of, which starts its timers anew.
//!   3. Nobody stands for a whole election timeout.
//!
//! Every tick is answered, with the turn that it asks for and the pulses of its round. Not where it is handled:
//!   1. A process starts. Heartbeat, on its own thread, ticks before this actor is told where its outlets are.
//!   2. The tick finds nowhere to send an answer. Were it forgotten, Heartbeat would wait for ever: this replica hears all
//!      others, and gives no sign of life. Where silence counts, they go on without it; and one that is cut off with it alone
//!      hears nobody, so that their side does not serve. (One of 120 starts on two busy cores.)

use std::time::{Duration, Instant};

use super::Replicator;
use crate::actors::internal::{ToElection, ToHeartbeat};
use crate::consensus::{Frame, Input, ReplicaId};
use crate::wire::PeerLine;

/// Election is told at most once in this time that a leader was heard of.
const HEARD_INTERVAL: Duration = Duration::from_millis(10);

/// Pulses of this turn, and whether a tick waits for its answer.
#[derive(Default)]
pub(super) struct Pulses {
    pub(super) lines: Vec<(ReplicaId, Vec<PeerLine>)>,
    tick_waits: bool,
}

impl Replicator {
    /// It is time for a round.
    pub(super) fn pulse_due(&mut self) {
        self.pulses.tick_waits = true;
        self.watch_disk();
        self.give_signs_of_life();
        self.step(Input::PulseDue);
    }

    /// A pulse carries the news of who is up; an answer reports how far this replica is.
    pub(super) fn pulse(&mut self, to: ReplicaId, frame: Frame) {
        let applied = self.node.applied();
        let news = match frame {
            Frame::Beat { .. } => self.view.spread(applied),
            _ => vec![self.view.report(applied)],
        };
        self.pulses.lines.push((to, vec![PeerLine::Frame(frame), PeerLine::News(news)]));
    }

    pub(super) fn tell_the_pulse_thread(&mut self) {
        let Some(outlets) = &self.outlets else { return };
        let Pulses { lines, tick_waits } = std::mem::take(&mut self.pulses);
        if tick_waits || !lines.is_empty() {
            let awaited = self.node.awaits_a_round();
            outlets.heartbeat.do_send(ToHeartbeat::Pulses { lines, ticked: tick_waits, awaited });
        }
        let watched = self.node.watched();
        if watched != self.watched {
            outlets.heartbeat.do_send(ToHeartbeat::Watch(watched.clone()));
            self.watched = watched;
        }
        self.tell_who_was_heard();
    }

    /// Somebody should stand soon.
    pub(super) fn stand_soon(&mut self) {
        self.tell_who_was_heard();
        self.to_election(ToElection::StandSoon);
    }

    fn tell_who_was_heard(&mut self) {
        let now = Instant::now();
        let recently = self.told_heard.is_some_and(|at| now.duration_since(at) < HEARD_INTERVAL);
        if std::mem::take(&mut self.heard_leader) && !recently {
            self.told_heard = Some(now);
            self.to_election(ToElection::Heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex, OnceLock, mpsc};
    use std::time::Duration;

    use actix::{Actor, Addr, Context, Handler};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::sync::{oneshot, watch};
    use tokio::time::timeout;

    use super::super::keeper::Keep;
    use super::super::{Connect, Outlets, ReplicatorSettings};
    use super::*;
    use crate::actors::directory::{Book, Doom};
    use crate::actors::internal::{FromHeartbeat, Shared, ToElection};
    use crate::actors::peer::Peers;
    use crate::actors::store;
    use crate::consensus::{ClusterId, Duty, Mode, Run, Settings};
    use crate::mode::Core;
    use crate::storage::{self, Opened};
    use crate::wire::admin::Places;

    /// Longer than a turn takes on a busy machine.
    const ANSWER_WAIT: Duration = Duration::from_secs(10);

    /// What Heartbeat and Election are told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Told {
        Ticked,
        Heard,
        StandSoon,
    }

    /// Repeats it to the test.
    struct Ears(UnboundedSender<Told>);

    impl Actor for Ears {
        type Context = Context<Self>;
    }

    impl Handler<ToHeartbeat> for Ears {
        type Result = ();

        fn handle(&mut self, message: ToHeartbeat, _: &mut Self::Context) {
            if matches!(message, ToHeartbeat::Pulses { ticked: true, .. }) {
                self.0.send(Told::Ticked).expect("the test listens");
            }
        }
    }

    impl Handler<ToElection> for Ears {
        type Result = ();

        fn handle(&mut self, message: ToElection, _: &mut Self::Context) {
            let told = match message {
                ToElection::Heard => Told::Heard,
                ToElection::StandSoon => Told::StandSoon,
                ToElection::Standing(_) | ToElection::Living(_) | ToElection::Gone(..) => return,
            };
            self.0.send(told).expect("the test listens");
        }
    }

    /// Carries out duties, in one turn.
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct CarryOut(Vec<Duty>);

    impl Handler<CarryOut> for Replicator {
        type Result = ();

        fn handle(&mut self, CarryOut(duties): CarryOut, ctx: &mut Self::Context) {
            self.carry_out(duties);
            self.stir(ctx);
        }
    }

    fn replicator(opened: &Opened) -> Addr<Replicator> {
        let me = opened.recovered.me;
        let run = Run { boot: opened.recovered.boot, nonce: 7 };
        let settings = Settings {
            run,
            ids: vec![me.id],
            addresses: Vec::new(),
            book: 7,
            joins: false,
            fresh_cluster: ClusterId(9),
        };
        let node = Core::new(Mode::PrimaryBackup, &opened.recovered, settings).dropping_silent(true);
        let shared = Shared {
            introduction: Mutex::new(node.introduction()),
            cluster: Arc::new(OnceLock::new()),
            term: AtomicU64::new(0),
            commit: AtomicU64::new(0),
        };
        let settings = ReplicatorSettings {
            me,
            boot: run.boot,
            request_timeout: ANSWER_WAIT,
            election_timeout_max: ANSWER_WAIT,
            quota: chat::Quota::default(),
            drops_silent: true,
            keep: Keep { entries: None, time: None, archived: 0, margin: 0 },
            given: Places { cluster: None, at: crate::consensus::Index(0), addresses: Vec::new() },
            joins: false,
            book: watch::Sender::new(Book::default()),
            doom: Doom::default(),
            shared: Arc::new(shared),
        };
        Replicator::new(settings, node).start()
    }

    /// A replica, what connects it, and what it tells the pulse thread from then on.
    fn prepare(dir: &Path) -> (Addr<Replicator>, Connect, UnboundedReceiver<Told>) {
        let opened = storage::open(dir, ReplicaId(1), "plainsong").expect("it opens");
        let replicator = replicator(&opened);
        let (told, heard) = unbounded_channel();
        let ears = Ears(told).start();
        let Opened { log, state, recovered, .. } = opened;
        let outlets = Outlets {
            log: store::start_log(log, replicator.clone().recipient()).expect("a thread").jobs,
            state: store::start_state(state, recovered.me, recovered.boot, replicator.clone().recipient())
                .expect("a thread")
                .access,
            courier: mpsc::channel().0,
            archivist: None,
            peers: Peers::new(replicator.clone().recipient(), Arc::default()),
            heartbeat: ears.clone().recipient(),
            election: ears.recipient(),
            ending: oneshot::channel().0,
        };
        (replicator, Connect(outlets), heard)
    }

    #[actix_rt::test]
    async fn a_tick_that_comes_before_the_outlets_is_answered_as_every_other() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (replicator, connect, mut heard) = prepare(dir.path());
        replicator.do_send(FromHeartbeat::PulseDue(Vec::new()));
        replicator.do_send(connect);
        for _ in 0..3 {
            let told = timeout(ANSWER_WAIT, heard.recv()).await;
            assert_eq!(told, Ok(Some(Told::Ticked)), "or Heartbeat never ticks again");
            replicator.do_send(FromHeartbeat::PulseDue(Vec::new()));
        }
    }

    #[actix_rt::test]
    async fn the_last_words_of_a_leader_do_not_delay_who_is_to_stand_soon() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (replicator, connect, mut heard) = prepare(dir.path());
        replicator.do_send(connect);
        replicator.do_send(CarryOut(vec![Duty::HeardLeader, Duty::StandSoon]));
        for next in [Told::Heard, Told::StandSoon] {
            assert_eq!(timeout(ANSWER_WAIT, heard.recv()).await, Ok(Some(next)));
        }
    }
}
