//! Silence that counts as death, as far as the Replicator has to do with it: signs of life, and what the operator is told.

use std::collections::BTreeSet;

use super::{Replicator, stamps};
use crate::actors::internal::Ending;
use crate::consensus::{Index, Input, Member, Run, ViewId, WhyAnew};
use crate::wire::PeerLine;

impl Replicator {
    /// To everybody, with the next pulses. That it comes from here makes one that hangs silent.
    pub(super) fn give_signs_of_life(&mut self) {
        if self.settings.drops_silent {
            let sign = PeerLine::Clock(stamps::wall_clock());
            self.pulses.lines.extend(self.view.linked().into_iter().map(|id| (id, vec![sign.clone()])));
        }
    }

    pub(super) fn silent(&mut self, silent: BTreeSet<(Member, Run)>) {
        for (member, run) in &silent {
            log::warn!("replica {member} (boot {}) is silent, and counts as dead until it is heard", run.boot);
        }
        self.step(Input::Silent(silent));
    }

    pub(super) fn gave_up(&mut self, from: Index, count: u64, to: ViewId) {
        let me = self.settings.me.id;
        log::warn!(
            "entries {from} to {} ({count}) are given up, because view {to} goes on without them; somebody may have been told \
             ok: they are kept aside, see `plainsong log --orphans -i {me}`",
            from.0 + count - 1
        );
    }

    pub(super) fn starts_anew(&mut self, why: WhyAnew) {
        match why {
            WhyAnew::Isolated => {
                log::warn!(
                    "nobody is heard, and others may go on without this replica: it starts anew, and waits for them"
                );
            }
            WhyAnew::GaveUp => {
                log::warn!("the state is derived again without what was given up: this replica starts anew")
            }
        }
        // Whoever wants it stopped does not want it to start anew.
        self.end(if self.stopping.is_some() { Ending::Stopped } else { Ending::Anew });
    }
}
