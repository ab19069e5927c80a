//! The core's budgets. Every loop and queue in it has one of these.

/// How many bytes of its end a log keeps in memory, for followers that are close behind.
pub const WINDOW_BYTES: usize = 8 << 20;
/// At most so many bytes of entries in one append.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// At most so many bytes of unacknowledged appends to one follower.
pub const INFLIGHT_BYTES_MAX: usize = 4 << 20;
/// At most so many unacknowledged appends to one follower.
pub const INFLIGHT_APPENDS_MAX: usize = 128;
/// At most so many bytes of entries in one hand-over to the state.
pub const APPLY_BATCH_BYTES: usize = 1 << 20;
/// Once so many bytes of entries wait for the state, it is handed no more.
pub const APPLYING_BYTES_MAX: usize = 4 << 20;
/// A follower that, in so many answered pulses, received nothing of what was sent to it is sent it again.
pub const BEATS_WITHOUT_PROGRESS_MAX: u32 = 3;
/// A voter that has left more pulses in a row unanswered is not counted on when another one is to be removed.
pub const PULSES_UNANSWERED_MAX: u32 = 3;
/// A learner is caught up when it lacks at most so many entries of the leader's log.
pub const LEARNER_LAG_MAX: u64 = 1_000;

const _: () = assert!(APPEND_BYTES_MAX <= INFLIGHT_BYTES_MAX);
const _: () = assert!(INFLIGHT_BYTES_MAX <= WINDOW_BYTES);
const _: () = assert!(APPLY_BATCH_BYTES <= APPLYING_BYTES_MAX);
