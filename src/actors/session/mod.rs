//! One client connection.
//!
//! ```text
//!            told: lines, news, progress, hashes, ticks
//! Session ────────────────────────────────────────────> Core      pure: decides everything
//!  (actor)  <──────────────────────────────────────────           a Turn: bytes, asks, jobs, end
//! ```
//!
//! [`core::Core`] holds the whole conversation: the order of replies, the account, what was shown, what is marked. The
//! actor around it ([`actor::Session`]) carries its turns out, and its one future moves the bytes ([`io`]; why not
//! `actix::io`, see ARCHITECTURE.md).
//!
//! Promises, each held by a test here:
//! - Replies come in request order, one final line each, nothing between it and its data lines.
//! - Requests take effect in line order: writes are pipelined; what reads or changes the session's account waits for all
//!   before it, and all after it wait for it.
//! - A peer that reads slowly, or not at all, costs bounded memory and loses nothing; it is never cut for it.
//! - No message is pushed twice on a connection, none is left out, and none is marked delivered before the peer's
//!   kernel has acknowledged its bytes.
//! - An idle connection holds no buffer.
//! - A connection that asks too fast is delayed, refused, and cut, in that order ([`pace`]); one that never logs in and is
//!   silent is closed.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actix::Recipient;

use super::hasher::Hasher;
use super::messages::{SessionClosed, SessionOpened, Submit};

mod actor;
pub mod attempts;
mod barriers;
pub mod core;
mod delivery;
mod io;
mod marks;
pub mod pace;
mod printing;
mod reader;
mod requests;
mod writer;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod io_tests;
#[cfg(test)]
mod printing_tests;
#[cfg(test)]
mod testkit;

pub use self::actor::{Peer, Session};

pub use self::attempts::Attempts;

/// What every session of a replica knows.
#[derive(Debug)]
pub struct SessionConfig {
    /// This replica's id.
    pub replica: u16,
    /// The cluster's name, from the config file.
    pub cluster: String,
    /// The cluster's id, once it is founded.
    pub cluster_id: Arc<OnceLock<String>>,
    /// `limits.line_bytes`: a request line with its LF.
    pub line_bytes: usize,
    /// `limits.list`: names in one answer to `list`.
    pub list: usize,
    /// `accounts.require_password`.
    pub require_password: bool,
    /// `limits.requests_per_second`.
    pub requests_per_second: Option<NonZeroU32>,
    /// `limits.idle_seconds`.
    pub idle: Option<Duration>,
}

/// Whom every session of a replica talks to.
#[derive(Clone)]
pub struct Links {
    /// The Replicator.
    pub opened: Recipient<SessionOpened>,
    /// The Replicator.
    pub closed: Recipient<SessionClosed>,
    /// The Replicator.
    pub submit: Recipient<Submit>,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Counts failed logins.
    pub attempts: Arc<Mutex<Attempts>>,
}

/// The limits of a connection. A batch of lines is taken whole, so each of the first two can be exceeded by what one
/// read brings ([`reader::READ_BYTES_MAX`]), and the third by one reply.
pub mod limits {
    use std::time::Duration;

    /// Requests that are not answered yet. Beyond it nothing is read.
    pub const REQUESTS_MAX: usize = 1024;
    /// Their bytes, [`REQUEST_OVERHEAD_BYTES`] included. Beyond it nothing is read.
    pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
    /// What a waiting request costs beside its line.
    pub const REQUEST_OVERHEAD_BYTES: usize = 64;
    /// Output that the kernel has not taken. Beyond it no request is begun and nothing is pushed.
    pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
    /// A connection that fell behind is fed again once no more than this waits for the kernel.
    pub const OUTPUT_BYTES_LOW: u64 = 16 * 1024;
    /// Messages that are asked from the mailbox at a time.
    pub const PAGE_MESSAGES: usize = 256;
    /// Bytes at which a page of messages ends.
    pub const PAGE_BYTES: usize = 32 * 1024;
    /// Names that a `who` looks at in one turn.
    pub const WHO_PAGE_NAMES: usize = 256;
    /// After a refusal, marks and feeds are tried again after this.
    pub const RETRY_PAUSE: Duration = Duration::from_millis(500);
    /// How long a closed connection is still read, so that unread input does not reset it and take the last lines along.
    pub const LINGER: Duration = Duration::from_secs(2);
    /// When the replica stops, a connection has so long to take its last lines: a request in flight is given up after
    /// `request_timeout_ms` (3 s), and a second is left for the output.
    pub const DRAIN: Duration = Duration::from_secs(4);

    const _: () = assert!(OUTPUT_BYTES_LOW < OUTPUT_BYTES_MAX, "else whoever is blocked by the one misses the other");
    const _: () = assert!(PAGE_MESSAGES * 2 <= super::marks::UNACKNOWLEDGED_MAX, "a page is asked at half room");
    const _: () = assert!(REQUEST_OVERHEAD_BYTES * REQUESTS_MAX < REQUEST_BYTES_MAX);
}
