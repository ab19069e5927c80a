//! What a client can be told, and how long it waits before it tries again.

use std::time::Duration;

use thiserror::Error;

/// The shortest wait before something is tried again.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);

/// The longest wait before something is tried again.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// How a [`Client`](super::Client) connects, and how patient it is.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `host:port` of each replica, in the order in which they are tried.
    pub servers: Vec<String>,
    /// For how long one replica may take to accept a connection.
    pub connect_timeout: Duration,
    /// For how long it may then take to greet.
    pub hello_timeout: Duration,
    /// For how long a replica that owes an answer may be silent before it counts as lost. Longer than the replicas'
    /// `request_timeout_ms`, for which they hold a request that meets no leader.
    pub answer_timeout: Duration,
    /// After how long a silence a replica that owes nothing is asked whether it is there.
    pub ping_after: Duration,
    /// For how long to look for the first replica.
    pub connect_give_up: Duration,
    /// For how long to try, after the first connection, to get an answer out of the cluster.
    pub give_up: Duration,
    /// Ask each replica for its `status`, and try the replicas that it names as well.
    pub learn_servers: bool,
    /// How many requests may be on their way at once, at most 512. With 1, requests take effect in the order in which
    /// they were asked under every failure; see [`crate::client`].
    pub in_flight_max: usize,
}

impl ClientOptions {
    /// The usual patience, for these replicas.
    pub fn new(servers: Vec<String>) -> ClientOptions {
        ClientOptions {
            servers,
            connect_timeout: Duration::from_secs(2),
            hello_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(8),
            ping_after: Duration::from_secs(5),
            connect_give_up: Duration::from_secs(5),
            give_up: Duration::from_secs(30),
            learn_servers: false,
            in_flight_max: 64,
        }
    }
}

/// Why no client came to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// There is nobody to ask.
    #[error("no replica is named: give at least one host:port")]
    NoServers,
    /// None of them answered.
    #[error("no replica answers at {servers} (the last one: {why}): start the cluster, or name other replicas")]
    NoReplica {
        /// Who was asked.
        servers: String,
        /// What the last of them did.
        why: String,
    },
}

/// Why a request got no reply. Whether it was done is not known, unless it is said.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// An empty line is no request: a replica would not answer it.
    #[error("an empty line is no request and was not sent")]
    Empty,
    /// The line would be two.
    #[error("a request is one line, without a line feed, and was not sent")]
    LineFeed,
    /// The client has ended.
    #[error("the client has ended: connect a new one")]
    Ended,
}

/// How long to wait before the `attempt`-th try, from 0. It doubles, up to a bound, and is spread, so that the clients
/// of a dead replica do not fall upon the next one together.
pub(crate) fn back_off(attempt: u32) -> Duration {
    let full = BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(attempt)).min(BACK_OFF_MAX);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_to_its_bound() {
        for (attempt, full) in [(0, BACK_OFF_MIN), (1, BACK_OFF_MIN * 2), (40, BACK_OFF_MAX), (u32::MAX, BACK_OFF_MAX)]
        {
            let wait = back_off(attempt);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
    }
}
