//! Replicas on hosts of their own: a network namespace each, joined by a router that can lose packets from one to
//! another. Only inside the [`enclosure`](super::enclosure), which is the router and where the clients are.
//!
//! A cut is a routing rule at the router that drops what it should forward, silently and in one direction: nobody is
//! told, as with a broken cable. Clients reach every replica all the time, but for one that lives on a host of its
//! own, the [guest](Network::guest), and may be cut off as a replica may.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::enclosure::succeed;
use super::{DrillError, Host};

/// Replica `n` lives at `.n`, and the guest at the next.
const PREFIX: [u8; 3] = [10, 77, 0];
/// The router, and the clients.
const ROUTER: u8 = 254;
/// Where iproute2 keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// The network.
#[derive(Debug)]
pub struct Network {
    replicas: u16,
    cuts: Vec<(u16, u16)>,
}

impl Network {
    /// Makes the hosts and links. The kernel removes them with the enclosure.
    ///
    /// # Errors
    /// [`DrillError::Skip`] where iproute2 is missing or the kernel refuses.
    pub fn make(replicas: u16) -> Result<Self, DrillError> {
        lay_out(replicas).map_err(|why| DrillError::Skip(format!("cannot make a network ({why})")))?;
        Ok(Self { replicas, cuts: Vec::new() })
    }

    /// The hosts, in the order of ids.
    pub fn hosts(&self) -> Vec<Host> {
        let host =
            |id| Host { address: address(id), enter: ["ip", "netns", "exec", &name(id)].map(str::to_owned).into() };
        (1..=self.replicas).map(host).collect()
    }

    /// The host of a client that can be cut off.
    pub fn guest(&self) -> u16 {
        self.replicas + 1
    }

    /// Connects from the [guest](Network::guest)'s host.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect_from_guest(&self, to: SocketAddr, timeout: Duration) -> Result<TcpStream, DrillError> {
        let place = format!("{NAMESPACES}/{}", name(self.guest()));
        // A thread of its own goes there and ends; a socket stays where it was made.
        let connect = move || {
            move_into_link_name_space(File::open(place)?.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&to, timeout)
        };
        let connecting = thread::spawn(connect).join().expect("nothing in it panics");
        connecting.map_err(DrillError::io("connect from a host of its own"))
    }

    /// From now on nothing gets from any of `from` to any of `to`.
    ///
    /// # Errors
    /// [`DrillError::Skip`] when the kernel has no policy routing.
    pub fn cut(&mut self, from: &[u16], to: &[u16]) -> Result<(), DrillError> {
        for &source in from {
            for &target in to {
                rule("add", source, target)?;
                self.cuts.push((source, target));
            }
        }
        Ok(())
    }

    /// Undoes all cuts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&mut self) -> Result<(), DrillError> {
        self.cuts.drain(..).try_for_each(|(source, target)| rule("del", source, target))
    }
}

fn rule(verb: &str, from: u16, to: u16) -> Result<(), DrillError> {
    let (from, to) = (address(from), address(to));
    ip(&format!("rule {verb} from {from} to {to} blackhole"))
        .map_err(|why| DrillError::Skip(format!("cannot cut a link ({why})")))
}

fn lay_out(replicas: u16) -> Result<(), String> {
    // Names of namespaces are files there; on a disk of our own they are seen by nobody and leave nothing.
    succeed(Command::new("mount").args(["-t", "tmpfs", "plainsong-drill", "/run"]))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|error| format!("ip_forward: {error}"))?;
    ip("link set lo up")?;
    let router = Ipv4Addr::new(PREFIX[0], PREFIX[1], PREFIX[2], ROUTER);
    for id in 1..=replicas + 1 {
        let (name, address) = (name(id), address(id));
        for command in [
            format!("netns add {name}"),
            format!("link add to-{name} type veth peer name eth0 netns {name}"),
            format!("addr add {router}/32 dev to-{name}"),
            format!("link set to-{name} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} addr add {address}/32 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} route add {router} dev eth0"),
            format!("-n {name} route add default via {router} src {address}"),
            format!("route add {address} dev to-{name} src {router}"),
        ] {
            ip(&command)?;
        }
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<(), String> {
    succeed(Command::new("ip").args(arguments.split(' '))).map_err(|why| format!("{why}, at ip {arguments}"))
}

fn name(id: u16) -> String {
    format!("host{id}")
}

fn address(id: u16) -> Ipv4Addr {
    let last = u8::try_from(id).expect("a drill has few replicas");
    Ipv4Addr::new(PREFIX[0], PREFIX[1], PREFIX[2], last)
}
