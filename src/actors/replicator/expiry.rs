//! When the leader proposes a step of the retention. Pure: told what time it is.
//!
//! A step that ended at its bound is followed by the next at once, so what is over is worked off as fast as steps
//! commit, one at a time; else there is a pause. A step that was refused, or of which nobody knows, costs such a pause:
//! steps are repeated without harm, each takes what is over when it is applied.

use std::time::{Duration, Instant};

use chat::Outcome;

/// Between a step that found no more and the next: a day that is over is noticed soon enough, and an idle cluster writes
/// few entries for it.
pub const PAUSE: Duration = Duration::from_secs(600);

/// See the module's header.
#[derive(Debug)]
pub struct Expiry {
    pause: Duration,
    next: Option<Instant>,
    under_way: bool,
}

impl Expiry {
    /// The first step is due as soon as this replica leads.
    pub fn new(pause: Duration) -> Self {
        Self { pause, next: None, under_way: false }
    }

    /// Whether to propose a step now; if so, it is under way.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.under_way || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.under_way = true;
        true
    }

    /// What came of the step under way; `None`: nobody knows, or it was refused for now.
    pub fn ended(&mut self, now: Instant, outcome: Option<&Outcome>) {
        self.under_way = false;
        let more = matches!(outcome, Some(Outcome::Expired { more: true, .. }));
        self.next = if more { None } else { now.checked_add(self.pause) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_at_a_time_and_a_pause_once_there_is_no_more() {
        let start = Instant::now();
        let mut expiry = Expiry::new(PAUSE);
        assert!(expiry.is_due(start));
        assert!(!expiry.is_due(start + PAUSE), "one is under way");
        expiry.ended(start, Some(&Outcome::Expired { messages: 9, more: true }));
        assert!(expiry.is_due(start), "there is more");
        expiry.ended(start, Some(&Outcome::Expired { messages: 9, more: false }));
        assert!(!expiry.is_due(start + PAUSE / 2));
        assert!(expiry.is_due(start + PAUSE));
        expiry.ended(start + PAUSE, None);
        assert!(!expiry.is_due(start + PAUSE), "what is refused is not tried again at once");
        assert!(expiry.is_due(start + 2 * PAUSE));
    }
}
