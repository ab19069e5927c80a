//! Copies of the state on their way in and out, and how much of the log is kept.

use std::time::{Duration, Instant};

use actix::{Context, Handler};

use crate::actors::archivist::Archived;
use crate::actors::courier::{CourierJob, FromCourier};
use crate::actors::messages::News;
use crate::actors::store::StateJob;
use crate::consensus::{Input, Mark, ReplicaId, Role, Snapshot};
use crate::wire::PeerLine;

use super::keeper::{Log, Step};
use super::{Replicator, Stopping};

/// Who needs a copy of the state and has asked for no piece of one for so long is offered it again.
const OFFERED_AGAIN: Duration = Duration::from_secs(20);

impl Replicator {
    pub(super) fn tell_courier(&mut self, job: CourierJob) {
        self.served = Instant::now();
        if let Some(outlets) = &self.outlets {
            outlets.courier.send(job).expect("the courier's thread lives as long as its queue");
        }
    }

    /// Once a sweep: old entries go, and who waits for a copy in vain gets another offer.
    pub(super) fn keep_log(&mut self, now: Instant) {
        let node = &self.node;
        let (base, last) = (node.log().base(), node.last());
        let log = Log { base, last, applied: node.applied(), followed: node.slowest_followed() };
        match self.keeper.next(log, now) {
            None => {}
            Some(Step::Sync) => self.hand_to_state(StateJob::Sync),
            Some(Step::Archive(mark)) => self.hand_to_archivist(mark),
            Some(Step::Cut(mark)) => self.step(Input::Cut(mark)),
        }
        if self.node.is_offering() && now.duration_since(self.served) >= OFFERED_AGAIN {
            let base = self.node.log().base();
            self.tell_courier(CourierJob::Make(base));
        }
        self.tell_who_is_behind(now);
    }

    fn hand_to_archivist(&self, mark: Mark) {
        if let Some(archivist) = self.outlets.as_ref().and_then(|outlets| outlets.archivist.as_ref()) {
            archivist.send(mark).expect("the archivist's thread lives as long as its queue");
        }
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
        let ids: Vec<ReplicaId> = self.node.book().iter().map(|address| address.id).collect();
        for id in ids {
            if let Some(told) = self.behind.look(id, self.node.matched(id), self.node.last(), now) {
                log::info!("{told}");
            }
        }
    }
}

impl Handler<FromCourier> for Replicator {
    type Result = ();

    fn handle(&mut self, news: FromCourier, ctx: &mut Context<Self>) {
        match news {
            FromCourier::Made(snapshot) => {
                self.keeper.lend(snapshot.base.index, Instant::now());
                self.step(Input::SnapshotMade(snapshot));
            }
            FromCourier::Piece(to, chunk) => {
                self.keeper.asked(Instant::now());
                self.say(to, PeerLine::Chunk(chunk));
            }
            FromCourier::Ask(from, asks) => asks.into_iter().for_each(|ask| self.say(from, PeerLine::Fetch(ask))),
            // Much can have happened meanwhile. What is not wanted takes the room of another state.
            FromCourier::Fetched(snapshot) if !self.node.wants(&snapshot) => self.tell_courier(CourierJob::Forget),
            FromCourier::Fetched(snapshot) => self.step(Input::SnapshotFetched(snapshot)),
        }
        self.stir(ctx);
    }
}

impl Handler<Archived> for Replicator {
    type Result = ();

    fn handle(&mut self, Archived(mark): Archived, _: &mut Context<Self>) {
        // The next sweep cuts.
        self.keeper.archived(mark);
    }
}
