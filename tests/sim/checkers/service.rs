//! A healthy majority serves, whatever the others do: a leader with a hung disk is replaced, a quorum that comes back is
//! used, and a bad link does not make terms climb for ever.

use plainsong::consensus::{Index, Term};

use super::ensure;
use crate::sim::world::{SECOND, Time};

/// A leader whose disk has not answered for so long is replaced, if there is anybody to take over.
pub const HANGS_MAX: Time = 3 * SECOND;
/// Within this time of being whole and connected, a majority has committed something new. Clients that wait at a replica
/// that is cut off need their whole timeout to move on.
const PATIENCE: Time = 9 * SECOND;
/// And so many fsyncs: a bad link may lose the votes that slow disks gave.
const FSYNCS: Time = 20;
/// So many terms a second are too many, in whatever weather.
const TERMS_A_SECOND_MAX: u64 = 12;
const TERMS_FREE: u64 = 40;

/// See the module's header.
#[derive(Default)]
pub struct Service {
    /// What an fsync takes in this world, at most.
    pub fsync_max: Time,
    healthy: Option<Vec<usize>>,
    since: Time,
    committed: Index,
    term: Term,
    hangs_since: Time,
    ordered: u64,
}

impl Service {
    /// Somebody is in a term.
    pub fn term(&mut self, term: Term) {
        self.term = self.term.max(term);
    }

    /// Leadership is to be handed over: that costs a term.
    pub fn term_is_ordered(&mut self) {
        self.ordered += 1;
    }

    /// Who is healthy now, if they are a majority, connected, and have clients; and when something last went wrong.
    /// A leader whose disk hangs is told of apart: the others commit without it, but its own clients wait.
    pub fn look(
        &mut self,
        now: Time,
        healthy: Option<Vec<usize>>,
        hanging_leader: Option<usize>,
        disturbed: Time,
        committed: Index,
    ) {
        let climbs = self.term.0 <= TERMS_FREE + self.ordered + TERMS_A_SECOND_MAX * (now / SECOND);
        ensure!(Serves, climbs, "{} terms in {} s", self.term, now / SECOND);
        let served = committed > self.committed;
        if hanging_leader.is_none() || healthy != self.healthy || healthy.is_none() {
            self.hangs_since = now;
        }
        let hangs = now - self.hangs_since;
        ensure!(Serves, hangs < HANGS_MAX, "{hanging_leader:?} leads, and its disk hangs; {healthy:?} could");
        if healthy != self.healthy || served || healthy.is_none() || disturbed > self.since {
            (self.healthy, self.since, self.committed) = (healthy, now.max(disturbed), committed);
            return;
        }
        let waited = now.saturating_sub(self.since) / 1_000;
        ensure!(
            Serves,
            now.saturating_sub(self.since) < PATIENCE + FSYNCS * self.fsync_max,
            "hosts {:?} are whole and connected, and have committed nothing in {waited} ms",
            self.healthy
        );
    }
}
