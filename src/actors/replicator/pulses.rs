//! What Heartbeat and Election are told at the end of a turn. They share a thread, which sleeps most of the time: what is
//! said together wakes it once.

use std::time::{Duration, Instant};

use super::Replicator;
use crate::actors::internal::{ToElection, ToHeartbeat};

/// Election is told at most once in this time that a leader was heard of.
const HEARD_INTERVAL: Duration = Duration::from_millis(10);

impl Replicator {
    pub(super) fn tell_the_pulse_thread(&mut self) {
        let Some(outlets) = &self.outlets else { return };
        if std::mem::take(&mut self.ticked) {
            outlets.heartbeat.do_send(ToHeartbeat::Ticked);
        }
        if !self.pulses.is_empty() {
            outlets.heartbeat.do_send(ToHeartbeat::Pulses(std::mem::take(&mut self.pulses)));
        }
        let watched = self.node.watched();
        if watched != self.watched {
            outlets.heartbeat.do_send(ToHeartbeat::Watch(watched.clone()));
            self.watched = watched;
        }
        let now = Instant::now();
        let recently = self.told_heard.is_some_and(|at| now.duration_since(at) < HEARD_INTERVAL);
        if std::mem::take(&mut self.heard_leader) && !recently {
            self.told_heard = Some(now);
            outlets.election.do_send(ToElection::Heard);
        }
    }
}
