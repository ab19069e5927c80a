//! How many files and sockets this process may have open, and how many clients fit in.
//!
//! Systems start programs with a soft limit of 1,024, which the program itself may raise up to the hard one. What a
//! replica opens beside clients must never be what is left over: without descriptors it cannot take a link from
//! another replica, and crowds of clients would cost it its place in the cluster.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything but clients: files of the stores, listeners, links in both directions, reactors; generously.
const RESERVED: u64 = 64;
/// Of the links to one other replica, those that stand and those that are being replaced.
const PER_REPLICA: u64 = 4;

/// What to ask of the system, and what it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// The soft limit to be set.
    soft: u64,
    /// How many clients may be served.
    connections: u64,
}

/// Raises the soft limit as far as is needed and possible; returns how many of the wanted connections fit.
pub fn make_room(connections: u32, replicas: usize) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    // `None` is "no limit".
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let plan = plan(connections, replicas as u64, soft, hard);
    if plan.soft > soft
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(plan.soft), maximum: limit.maximum })
    {
        log::warn!("`ulimit -n` stays at {soft}: {error}");
    }
    if plan.connections < u64::from(connections) {
        log::warn!(
            "at most {} of the {connections} clients of `limits.connections` are served: `ulimit -Hn` is {hard}; raise it",
            plan.connections
        );
    }
    u32::try_from(plan.connections).expect("no more than wanted")
}

fn plan(connections: u32, replicas: u64, soft: u64, hard: u64) -> Plan {
    let beside = RESERVED + PER_REPLICA * replicas;
    let soft = soft.max(beside + u64::from(connections)).min(hard);
    // With next to no descriptors, one client is better than none to be told by.
    Plan { soft, connections: soft.saturating_sub(beside).clamp(1, u64::from(connections)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of three replicas.
    const BESIDE: u64 = RESERVED + 3 * PER_REPLICA;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_needed() {
        assert_eq!(plan(20_000, 3, 1_024, 1 << 20), Plan { soft: 20_000 + BESIDE, connections: 20_000 });
        assert_eq!(plan(20_000, 3, 1_024, u64::MAX), Plan { soft: 20_000 + BESIDE, connections: 20_000 });
    }

    #[test]
    fn what_is_enough_stays() {
        assert_eq!(plan(500, 3, 1_024, 4_096), Plan { soft: 1_024, connections: 500 });
        assert_eq!(plan(500, 3, u64::MAX, u64::MAX), Plan { soft: u64::MAX, connections: 500 });
    }

    #[test]
    fn below_the_hard_limit_links_come_before_clients() {
        assert_eq!(plan(20_000, 3, 1_024, 20_000), Plan { soft: 20_000, connections: 20_000 - BESIDE });
        assert_eq!(plan(20_000, 3, 10, 10), Plan { soft: 10, connections: 1 });
    }
}
