//! What comes round by the clock: what has waited too long, a disk that hangs, and a stop in good order.

use std::time::{Duration, Instant};

use actix::{ActorContext, AsyncContext, Context, SpawnHandle};

use super::{Replicator, Stopping};
use crate::actors::internal::Ending;
use crate::actors::messages::News;
use crate::consensus::{Input, Role};

/// How often what has waited too long is looked for.
const INTERVAL: Duration = Duration::from_millis(50);
/// The same while nothing waits: each look wakes a processor that sleeps.
const IDLE_INTERVAL: Duration = Duration::from_millis(250);
/// A stopping leader waits so long for another to take over.
const HAND_OVER_MAX: Duration = Duration::from_millis(1_500);
/// A stopping replica waits so long for its sessions to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// One that starts anew from a copy waits no longer: it answers nothing meanwhile, and the logs that it must meet go on.
const INSTALL_DRAIN_MAX: Duration = Duration::from_secs(1);

/// The next sweep.
#[derive(Debug)]
pub(super) struct Sweep {
    timer: SpawnHandle,
    /// Nothing waited when it was armed.
    idle: bool,
}

impl Replicator {
    /// Sees to it that a sweep comes in time for what waits now.
    pub(super) fn arm_sweep(&mut self, ctx: &mut Context<Self>) {
        let idle = self.nothing_waits();
        if let Some(sweep) = &self.sweep {
            if idle || !sweep.idle {
                return;
            }
            ctx.cancel_future(sweep.timer);
        }
        let timer = ctx.run_later(if idle { IDLE_INTERVAL } else { INTERVAL }, |replicator, ctx| {
            replicator.sweep = None;
            replicator.sweep(ctx);
        });
        self.sweep = Some(Sweep { timer, idle });
    }

    fn nothing_waits(&self) -> bool {
        self.stopping.is_none() && self.admin.is_empty() && self.view.contact().is_some() && self.requests.is_empty()
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.refuse_expired(now);
        self.tell_of_quorum(now);
        self.compare_clocks(now);
        self.expire(now);
        self.expire_changes(now);
        self.go_on_stopping(now, ctx);
        self.keep_log(now);
        self.arm_sweep(ctx);
        self.stir(ctx);
    }

    /// A disk that has not answered for longer than an election takes: somebody else should lead.
    pub(super) fn watch_disk(&mut self) {
        let hangs = self.storing.hangs(Instant::now(), self.settings.election_timeout_max);
        if hangs && self.node.standing().role == Role::Leader {
            log::warn!(
                "the disk has not answered for {:?}: handing leadership over",
                self.settings.election_timeout_max
            );
            self.step(Input::Gray);
        }
    }

    fn go_on_stopping(&mut self, now: Instant, ctx: &mut Context<Self>) {
        match self.stopping {
            None => {}
            Some(Stopping::HandingOver(since)) => {
                let leads = self.node.standing().role == Role::Leader;
                let waits = leads && !self.view.is_alone() && now.duration_since(since) < HAND_OVER_MAX;
                if !waits {
                    self.hub.tell_all(&News::Drain(self.farewell()));
                    self.stopping = Some(Stopping::Draining(now));
                }
            }
            Some(Stopping::Draining(since)) => {
                let idle = self.hub.is_empty() && !self.node.is_storing();
                let most = if self.install.is_some() { INSTALL_DRAIN_MAX } else { DRAIN_MAX };
                if idle || now.duration_since(since) >= most {
                    let ending = self.install.take().map_or(Ending::Stopped, |copy| Ending::Install(Box::new(copy)));
                    self.end(ending);
                    ctx.stop();
                }
            }
        }
    }

    /// Serving ends: the stores' queues end with their senders.
    pub(super) fn end(&mut self, ending: Ending) {
        if let Some(outlets) = self.outlets.take() {
            // The start-up code is gone only if the process is.
            let _ = outlets.ending.send(ending);
        }
    }
}
