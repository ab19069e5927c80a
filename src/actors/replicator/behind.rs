//! What a leader says of followers that are far behind: how far they are, how fast they catch up, and how long that
//! takes. Pure. Who makes no headway is not spoken of: that its link is down is told elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::consensus::{Index, ReplicaId};

/// A follower that lacks so many entries is told about,
const BEHIND_ENTRIES_MIN: u64 = 50_000;
/// not more often than this.
const TOLD_INTERVAL: Duration = Duration::from_secs(5);

/// How far each of them was when it was told about last.
#[derive(Debug, Default)]
pub struct Behind(BTreeMap<ReplicaId, (u64, Instant)>);

impl Behind {
    /// Nobody follows this replica.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A follower holds the log up to `matched`, if that is known. What is to be told of it.
    pub fn look(&mut self, id: ReplicaId, matched: Option<Index>, last: Index, now: Instant) -> Option<String> {
        let (last, at) = (last.0, matched.map(|at| at.0));
        let Some(at) = at.filter(|at| last.saturating_sub(*at) > BEHIND_ENTRIES_MIN) else {
            self.0.remove(&id);
            return None;
        };
        let (before, told) = *self.0.entry(id).or_insert((at, now));
        let passed = now.duration_since(told);
        if passed < TOLD_INTERVAL || at <= before {
            return None;
        }
        self.0.insert(id, (at, now));
        let rate = (at - before) as f64 / passed.as_secs_f64();
        let left = (last - at) as f64 / rate;
        Some(format!("replica {id} catches up: {at} of {last} entries, {rate:.0}/s, {left:.0} s left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_catches_up_is_told_with_how_fast_and_how_long() {
        let (mut behind, start, id) = (Behind::default(), Instant::now(), ReplicaId(3));
        let mut look = |at: Option<u64>, last, seconds| {
            behind.look(id, at.map(Index), Index(last), start + Duration::from_secs(seconds))
        };
        assert_eq!(look(Some(10_000), 400_000, 0), None, "how fast is not known yet");
        assert_eq!(look(Some(30_000), 400_000, 4), None, "too soon");
        let told = "replica 3 catches up: 60000 of 410000 entries, 10000/s, 35 s left";
        assert_eq!(look(Some(60_000), 410_000, 5).as_deref(), Some(told));
        assert_eq!(look(Some(60_000), 420_000, 15), None, "it stands still");
        let told = "replica 3 catches up: 200000 of 420000 entries, 7000/s, 31 s left";
        assert_eq!(look(Some(200_000), 420_000, 25).as_deref(), Some(told));
        assert_eq!(look(Some(380_000), 420_000, 35), None, "it lacks little");
        assert_eq!(look(None, 420_000, 36), None);
        assert_eq!(look(Some(1), 420_000, 60), None, "far behind anew: how fast is not known yet");
    }
}
