//! What time the node is told, and what the other replicas are told of this one's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Replicator;
use crate::consensus::Input;
use crate::wire::PeerLine;

impl Replicator {
    pub(super) fn step(&mut self, input: Input) {
        self.node.step(self.clocks.agreed(wall_clock(), Instant::now()), input);
    }

    pub(super) fn compare_clocks(&mut self, now: Instant) {
        let own = wall_clock();
        if self.clocks.is_due(now) {
            for id in self.view.linked() {
                self.say(id, PeerLine::Clock(own));
            }
        }
        match self.clocks.news(own, now) {
            None => {}
            Some(0) => log::info!("this machine's clock agrees with most of the others again"),
            Some(off) => log::warn!(
                "this machine's clock is {} s {} most of the others: set it; messages are stamped by theirs",
                off.unsigned_abs() / 1000,
                if off > 0 { "ahead of" } else { "behind" }
            ),
        }
    }
}

/// This machine's, in Unix milliseconds.
pub(super) fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
