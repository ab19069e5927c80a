//! The one place where a drill waits: for a condition that no file descriptor announces, or for a time that is part of it.

use std::thread;
use std::time::{Duration, Instant};

use super::DrillError;

/// Between two looks at a condition: short beside every deadline, long beside a look.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `probe` finds something or `timeout` is over; it looks at least once.
///
/// # Errors
/// [`DrillError::Timeout`] naming `what`.
pub fn wait_until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T, DrillError> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(DrillError::Timeout { what: what.to_owned(), waited: timeout });
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Lets a time pass that is part of the drill itself: the pause of somebody who chats.
pub fn pass(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_comes_later() {
        let mut looks = 0;
        let found = wait_until("the third look", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.expect("three looks fit"), 3);
    }

    #[test]
    fn gives_up_by_name() {
        let nothing = wait_until("the moon", Duration::ZERO, || None::<()>);
        assert!(matches!(nothing, Err(DrillError::Timeout { what, .. }) if what == "the moon"));
    }
}
