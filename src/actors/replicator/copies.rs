//! Copies of the state on their way in and out, and how much of the log is kept.

use std::time::{Duration, Instant};

use actix::{Context, Handler};

use crate::actors::courier::{CourierJob, FromCourier};
use crate::actors::messages::News;
use crate::actors::store::StateJob;
use crate::consensus::{Input, ReplicaId, Role, Snapshot};
use crate::wire::PeerLine;

use super::keeper::Step;
use super::{Replicator, Stopping};

/// Who needs a copy of the state and has asked for no piece of one for so long is offered it again.
const OFFERED_AGAIN: Duration = Duration::from_secs(20);
/// A follower that lacks so many entries is told about,
const BEHIND_ENTRIES_MIN: u64 = 50_000;
/// not more often than this.
const BEHIND_TOLD_INTERVAL: Duration = Duration::from_secs(5);

/// What is known of a follower that is far behind: how far it was, and when.
pub(super) type Behind = (u64, Instant);

impl Replicator {
    pub(super) fn tell_courier(&mut self, job: CourierJob) {
        self.served = Instant::now();
        if let Some(outlets) = &self.outlets {
            outlets.courier.send(job).expect("the courier's thread lives as long as its queue");
        }
    }

    /// Once a sweep: old entries go, and who waits for a copy in vain gets another offer.
    pub(super) fn keep_log(&mut self, now: Instant) {
        match self.keeper.next(self.node.last(), self.node.applied(), now) {
            None => {}
            Some(Step::Sync) => self.hand_to_state(StateJob::Sync),
            Some(Step::Cut(mark)) => self.step(Input::Cut(mark)),
        }
        if self.node.is_offering() && now.duration_since(self.served) >= OFFERED_AGAIN {
            let base = self.node.log().base();
            self.tell_courier(CourierJob::Make(base));
        }
        self.tell_who_is_behind(now);
    }

    /// The copy is here. Every session ends first, with a word: the next life of this replica goes on from another state.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        log::info!("the state after entry {} is fetched: starting anew from it", snapshot.base.index);
        if self.stopping.is_none() {
            self.install = Some(snapshot);
            self.hub.tell_all(&News::Drain(self.farewell()));
            self.stopping = Some(Stopping::Draining(Instant::now()));
        }
    }

    fn tell_who_is_behind(&mut self, now: Instant) {
        if self.node.standing().role != Role::Leader {
            return self.behind.clear();
        }
        let last = self.node.last().0;
        let ids: Vec<ReplicaId> = self.node.book().iter().map(|address| address.id).collect();
        for id in ids {
            let Some(at) =
                self.node.matched(id).map(|at| at.0).filter(|at| last.saturating_sub(*at) > BEHIND_ENTRIES_MIN)
            else {
                self.behind.remove(&id);
                continue;
            };
            let (before, told) = *self.behind.entry(id).or_insert((at, now));
            let passed = now.duration_since(told);
            if passed >= BEHIND_TOLD_INTERVAL && at > before {
                let rate = (at - before) as f64 / passed.as_secs_f64();
                let left = (last - at) as f64 / rate;
                log::info!("replica {id} catches up: {at} of {last} entries, {rate:.0}/s, {left:.0} s left");
                self.behind.insert(id, (at, now));
            }
        }
    }
}

impl Handler<FromCourier> for Replicator {
    type Result = ();

    fn handle(&mut self, news: FromCourier, ctx: &mut Context<Self>) {
        match news {
            FromCourier::Made(snapshot) => self.step(Input::SnapshotMade(snapshot)),
            FromCourier::Piece(to, chunk) => self.say(to, PeerLine::Chunk(chunk)),
            FromCourier::Ask(from, asks) => asks.into_iter().for_each(|ask| self.say(from, PeerLine::Fetch(ask))),
            FromCourier::Fetched(snapshot) => self.step(Input::SnapshotFetched(snapshot)),
        }
        self.stir(ctx);
    }
}
