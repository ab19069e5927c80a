//! Free loopback ports that stay free while a replica is down.
//!
//! A port from the ephemeral range would not: as long as a killed replica does not listen, the kernel may give its
//! port to any outgoing connection, even to a peer's own dial, which then connects to itself. So they are looked for
//! below that range.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::DrillError;

/// Well-known services live below.
const PORT_MIN: u16 = 10_000;
/// Where Linux starts its ephemeral range unless told otherwise.
const EPHEMERAL_DEFAULT: u16 = 32_768;
const EPHEMERAL_RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// `count` distinct ports on which nothing listens on 127.0.0.1. Two calls in one process never return the same
/// until the range is used up; against other processes only the start is random, so a lost port must be expected.
///
/// # Errors
/// [`DrillError::Ports`] when there are not enough.
pub fn free_ports(count: usize) -> Result<Vec<u16>, DrillError> {
    static TURN: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(fastrand::u16(..).into()));
    let span = ephemeral_start().saturating_sub(PORT_MIN).max(1);
    // Held until all are found, so that one port is not found twice.
    let mut held = Vec::with_capacity(count);
    for _ in 0..span {
        if held.len() == count {
            break;
        }
        let port = PORT_MIN + (TURN.fetch_add(1, Ordering::Relaxed) % u32::from(span)) as u16;
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|listener| (port, listener)));
    }
    if held.len() < count {
        return Err(DrillError::Ports { found: held.len(), wanted: count });
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

fn ephemeral_start() -> u16 {
    fs::read_to_string(EPHEMERAL_RANGE_FILE)
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn are_distinct_and_below_the_ephemeral_range() {
        let ports: BTreeSet<u16> = (0..4).flat_map(|_| free_ports(10).expect("forty free ports")).collect();
        assert_eq!(ports.len(), 40);
        assert!(ports.iter().all(|&port| (PORT_MIN..ephemeral_start()).contains(&port)));
    }

    #[test]
    fn skip_a_port_that_is_taken() {
        let port = free_ports(1).expect("one free port")[0];
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it was free");
        assert!(!free_ports(200).expect("plenty").contains(&port));
    }
}
