//! Who was not heard for so long that it counts as dead (`drop_silent_after_ms`), and when this replica has to expect that it
//! does itself. Pure, told what time it is; the owner is Heartbeat.
//!
//! Everybody gives every other a sign of life at each heartbeat. A watched run that gave none for the whole time is *silent*.
//! A replica that had none of anybody for half of it is *isolated*: it is so before anybody can take it for dead, because
//! clocks run alike, and what is on its way takes less than the other half. Only runs of its views count: where two were cut
//! off together and one starts anew, the other hears nobody from then on, and does not go on alone either.
//!
//! A process that stood still (SIGSTOP, a starved machine) was isolated, whatever waits in its sockets by now. (To a machine
//! that was suspended no time has passed, and nobody seems silent.)
//!   1. Replica 1 stands still for a minute; the others go on without it.
//!   2. It wakes, and its timer is due before anything is read: everybody has been silent for a minute.
//!   3. Were it to take them for dead, it would go on alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::consensus::{Member, Run};

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These runs are silent, and no others; it was different before.
    Silent(BTreeSet<(Member, Run)>),
    /// Nobody who is watched was heard, or the process stood still. Said at every look, because whoever acts on it may not
    /// have had a reason to before.
    Isolated,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Silence {
    after: Duration,
    heard: BTreeMap<(Member, Run), Instant>,
    told: BTreeSet<(Member, Run)>,
    looked: Instant,
}

impl Silence {
    /// Nobody is watched. Silence counts from `after` on.
    pub fn new(after: Duration, now: Instant) -> Self {
        Self { after, heard: BTreeMap::new(), told: BTreeSet::new(), looked: now }
    }

    /// These are watched. Who was not before has just been heard, as it were.
    pub fn watch(&mut self, watched: &[(Member, Run)], now: Instant) {
        self.heard.retain(|one, _| watched.contains(one));
        for one in watched {
            self.heard.entry(*one).or_insert(now);
        }
    }

    /// A sign of life.
    pub fn heard(&mut self, member: Member, run: Run, now: Instant) {
        if let Some(heard) = self.heard.get_mut(&(member, run)) {
            *heard = now;
        }
    }

    /// To be called at every heartbeat.
    pub fn look(&mut self, now: Instant) -> Option<Found> {
        let stood_still = now.duration_since(std::mem::replace(&mut self.looked, now)) >= self.after / 2;
        let silent_for = |time: Duration| {
            let silent = self.heard.iter().filter(move |(_, heard)| now.duration_since(**heard) >= time);
            silent.map(|(one, _)| *one).collect::<BTreeSet<_>>()
        };
        let hears_nobody = silent_for(self.after / 2).len() == self.heard.len();
        if !self.heard.is_empty() && (stood_still || hears_nobody) {
            return Some(Found::Isolated);
        }
        let silent = silent_for(self.after);
        (silent != self.told).then(|| {
            self.told.clone_from(&silent);
            Found::Silent(silent)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Boot, Incarnation, ReplicaId};

    const AFTER: Duration = Duration::from_millis(2_000);
    const BEAT: Duration = Duration::from_millis(50);

    fn one(id: u16) -> (Member, Run) {
        let member = Member { id: ReplicaId(id), incarnation: Incarnation(7) };
        (member, Run { boot: Boot(1), nonce: 7 })
    }

    /// Beats from `from` until `to`; `living` are heard at each. Gives what was found, and when.
    fn beats(silence: &mut Silence, start: Instant, from: u64, to: u64, living: &[u16]) -> Vec<(u64, Found)> {
        let mut found = Vec::new();
        for at in (from..=to).step_by(50) {
            let now = start + Duration::from_millis(at);
            for id in living {
                silence.heard(one(*id).0, one(*id).1, now);
            }
            found.extend(silence.look(now).map(|news| (at, news)));
        }
        found
    }

    #[test]
    fn one_that_is_silent_counts_as_dead_until_it_is_heard() {
        let start = Instant::now();
        let mut silence = Silence::new(AFTER, start);
        silence.watch(&[one(2), one(3)], start);
        let silent = |ids: &[u16]| Found::Silent(ids.iter().map(|id| one(*id)).collect());
        assert_eq!(beats(&mut silence, start, 0, 4_000, &[2]), [(2_000, silent(&[3]))]);
        assert_eq!(beats(&mut silence, start, 4_050, 5_000, &[2, 3]), [(4_050, silent(&[]))]);
    }

    #[test]
    fn who_hears_nobody_is_isolated_long_before_anybody_is_silent() {
        let start = Instant::now();
        let mut silence = Silence::new(AFTER, start);
        silence.watch(&[one(2), one(3)], start);
        let found = beats(&mut silence, start, 0, 3_000, &[]);
        assert_eq!(found.first(), Some(&(1_000, Found::Isolated)));
        assert!(found.iter().all(|(_, news)| *news == Found::Isolated), "nobody is said to be dead: {found:?}");
        assert_eq!(beats(&mut silence, start, 3_050, 3_050, &[3]), [(3_050, Found::Silent([one(2)].into()))]);
    }

    #[test]
    fn a_process_that_stood_still_is_isolated_whatever_it_hears_first() {
        let start = Instant::now();
        let mut silence = Silence::new(AFTER, start);
        silence.watch(&[one(2), one(3)], start);
        assert_eq!(beats(&mut silence, start, 0, 500, &[2, 3]), []);
        assert_eq!(beats(&mut silence, start, 1_500, 1_500, &[2, 3]), [(1_500, Found::Isolated)]);
        assert_eq!(beats(&mut silence, start, 1_550, 1_550, &[2, 3]), []);
    }

    #[test]
    fn one_that_is_watched_from_now_on_has_the_whole_time() {
        let start = Instant::now();
        let mut silence = Silence::new(AFTER, start);
        assert_eq!(
            beats(&mut silence, start, 0, 9_000, &[]),
            [],
            "nobody is watched, and nobody could go on without it"
        );
        silence.watch(&[one(2), one(3)], start + Duration::from_millis(9_000));
        let silent = Found::Silent([one(3)].into());
        assert_eq!(beats(&mut silence, start, 9_000 + BEAT.as_millis() as u64, 12_000, &[2]), [(11_000, silent)]);
    }
}
