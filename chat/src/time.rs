//! Points in time, as they stand in messages. Nobody here asks a clock: times are handed in.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z. Printed as RFC 3339 in UTC, always with three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

/// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year.
const PRINTED_MILLIS_MAX: u64 = 253_402_300_799_999;

impl Millis {
    /// Reads what `Display` prints. Finer fractions than a millisecond are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Self)
    }

    /// The nearest millisecond before `time`; the epoch for anything earlier.
    pub fn from_system_time(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A later time would be an error in `Display`, which `to_string` turns into a panic.
        let printed = UNIX_EPOCH + Duration::from_millis(self.0.min(PRINTED_MILLIS_MAX));
        humantime::format_rfc3339_millis(printed).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_rfc_3339_with_milliseconds() {
        for (millis, printed) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (PRINTED_MILLIS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Millis(millis).to_string(), printed);
            assert_eq!(Millis::parse(printed), Some(Millis(millis)));
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_does_not_panic() {
        assert_eq!(Millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "now", "2026-01-02", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59.999Z"] {
            assert_eq!(Millis::parse(text), None, "{text}");
        }
    }
}
