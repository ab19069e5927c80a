//! Election: owns *when to campaign*. The timers are pure ([`timers`]); votes are counted in the node.

pub mod timers;

use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle};

use super::internal::{FromElection, ToElection};
use timers::Timers;

/// See the module's header.
pub struct Election {
    timers: Timers,
    replicator: Recipient<FromElection>,
    armed: Option<(Instant, SpawnHandle)>,
}

impl Election {
    /// An election without a leader.
    pub fn new(timers: Timers, replicator: Recipient<FromElection>) -> Self {
        Self { timers, replicator, armed: None }
    }

    /// Arms one timer for the next thing that is due; ticks are never counted.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let next = self.timers.next();
        if let Some((at, handle)) = self.armed {
            // An earlier wake-up does no harm: it finds nothing due. That saves arming anew at every pulse.
            if next.is_some_and(|next| next >= at) && at > Instant::now() {
                return;
            }
            ctx.cancel_future(handle);
            self.armed = None;
        }
        if let Some(at) = next {
            let pause = at.saturating_duration_since(Instant::now());
            let handle = ctx.run_later(pause, |election, ctx| {
                election.armed = None;
                election.fire();
                election.arm(ctx);
            });
            self.armed = Some((at, handle));
        }
    }

    fn fire(&mut self) {
        for due in self.timers.due(Instant::now(), fastrand::f64()) {
            self.replicator.do_send(due);
        }
    }
}

impl Actor for Election {
    type Context = Context<Self>;
}

impl Handler<ToElection> for Election {
    type Result = ();

    fn handle(&mut self, news: ToElection, ctx: &mut Self::Context) {
        let now = Instant::now();
        match news {
            ToElection::Heard => self.timers.heard(now, fastrand::f64()),
            ToElection::Standing(standing) => self.timers.standing(now, standing, fastrand::f64()),
            ToElection::StandSoon => self.timers.stand_soon(now),
            ToElection::Living(living) => self.timers.living(living),
            ToElection::Gone(id, run) => {
                if self.timers.leader() == Some(id) {
                    log::info!("the leader, replica {id} (boot {}), is gone", run.boot);
                    self.timers.leader_gone(now);
                }
            }
        }
        self.fire();
        self.arm(ctx);
    }
}
