//! The door: takes client connections, and knows how many there are.
//!
//! It listens on one task and hands each connection to one of the session threads, in turn. Beyond
//! `limits.connections`, or `limits.connections_per_address`, a connection is told so and closed. It survives what makes `accept` fail for a while: a peer
//! that has gone again costs nothing, and when the process has no more descriptors it waits for [`ACCEPT_PAUSE`] instead
//! of spinning.
//!
//! `TCP_USER_TIMEOUT` is not set, on purpose: see [`crate::actors::kernel`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use chat::{ByeCode, ServerLine};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use super::messages::SessionId;
use super::session::attempts::Origin;
use super::session::{Links, Peer, Session, SessionConfig};

/// After a failure of `accept` that will not go away at once.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection on which nothing was heard for so long is probed.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// The pause between probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer until the peer counts as gone.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Bytes that the kernel holds for a peer before it is told that there is no room: without it, a peer that does not
/// read costs 4 MB of kernel memory (measured), with it 0.3 MB.
pub const NOT_SENT_BYTES: u32 = 128 * 1024;

/// Connections over the limit that are given time to hear it, at a time; the rest are told and closed.
pub const TURNED_AWAY_MAX: usize = 64;
/// How long one of them may take to hear it.
pub const TURNED_AWAY_LINGER: Duration = Duration::from_secs(1);

/// How many connections there are, from where, and who waits for the last one to go.
#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    /// One row for each address that has a connection, so no more than there are connections.
    by_origin: Mutex<HashMap<Origin, usize>>,
    changed: Notify,
}

impl Count {
    fn by_origin(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        self.by_origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place. Dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    count: Arc<Count>,
    origin: Origin,
}

/// Why there is no place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnedAway {
    /// The replica has as many as it may.
    Full,
    /// That address has.
    FullForAddress,
}

impl Permit {
    fn take(
        count: &Arc<Count>,
        origin: Origin,
        max: usize,
        max_per_address: Option<NonZeroU32>,
    ) -> Result<Self, TurnedAway> {
        let before = count.open.fetch_add(1, Ordering::AcqRel);
        let from_there = {
            let mut by_origin = count.by_origin();
            let from_there = by_origin.entry(origin).or_insert(0);
            *from_there += 1;
            *from_there
        };
        // From here on dropping it gives all of it back.
        let permit = Self { count: Arc::clone(count), origin };
        if before >= max {
            return Err(TurnedAway::Full);
        }
        match max_per_address {
            Some(max) if from_there > max.get() as usize => Err(TurnedAway::FullForAddress),
            _ => Ok(permit),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut from_there) = self.count.by_origin().entry(self.origin) {
            *from_there.get_mut() -= 1;
            if *from_there.get() == 0 {
                from_there.remove();
            }
        }
        if self.count.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.count.changed.notify_waiters();
        }
    }
}

/// Runs what it is given on a session thread.
pub type Spawn = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send>;

/// The open door of a replica.
pub struct Door {
    count: Arc<Count>,
    stop: Arc<Notify>,
}

/// What the door needs to make a session of a connection.
pub struct Reception {
    /// What every session knows.
    pub config: Arc<SessionConfig>,
    /// Whom every session talks to.
    pub links: Links,
    /// `limits.connections`.
    pub connections_max: usize,
    /// `limits.connections_per_address`.
    pub connections_per_address: Option<NonZeroU32>,
    /// The session threads; connections are dealt to them in turn. Each runs a local set.
    pub threads: Vec<Spawn>,
}

impl Door {
    /// Opens the door on the current thread, which must run a local set.
    pub fn open(listener: TcpListener, reception: Reception) -> Self {
        let door = Self { count: Arc::default(), stop: Arc::default() };
        let (count, stop) = (Arc::clone(&door.count), Arc::clone(&door.stop));
        tokio::task::spawn_local(async move {
            let stopped = stop.notified();
            tokio::select! {
                () = stopped => {}
                () = receive(&listener, &reception, &count) => {}
            }
        });
        door
    }

    /// Takes no more connections. Those that are open stay.
    pub fn close(&self) {
        self.stop.notify_one();
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.count.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub async fn all_gone(&self) {
        loop {
            let changed = self.count.changed.notified();
            if self.connections() == 0 {
                return;
            }
            changed.await;
        }
    }
}

async fn receive(listener: &TcpListener, reception: &Reception, count: &Arc<Count>) {
    let mut next = SessionId(1);
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let mut threads = reception.threads.iter().cycle();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (max, per_address) = (reception.connections_max, reception.connections_per_address);
                let permit = match Permit::take(count, from.ip().into(), max, per_address) {
                    Ok(permit) => permit,
                    Err(why) => {
                        refuse(stream, why, &turned_away);
                        continue;
                    }
                };
                let Some(thread) = threads.next() else { return };
                let peer = Peer { session: next, address: from.ip(), permit: Some(permit) };
                next = SessionId(next.0 + 1);
                if let Err(error) = admit(stream, peer, reception, thread) {
                    log::debug!("a connection from {from} could not be served: {error}");
                }
            }
            // The peer has gone again before it was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                log::warn!("no connection can be taken for now: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn refuse(stream: TcpStream, why: TurnedAway, seats: &Arc<Semaphore>) {
    match Arc::clone(seats).try_acquire_owned() {
        Ok(seat) => {
            tokio::task::spawn_local(async move {
                let _ = tokio::time::timeout(TURNED_AWAY_LINGER, turn_away(stream, why)).await;
                drop(seat);
            });
        }
        // Told, too, but nobody waits until it has heard it: a fresh socket has room for one line. (The reactor does not
        // know that yet, so it is not asked.)
        Err(_) => drop(stream.into_std().and_then(|mut stream| stream.write(&turned_away_line(why)))),
    }
}

fn admit(stream: TcpStream, peer: Peer, reception: &Reception, thread: &Spawn) -> io::Result<()> {
    prepare(&stream)?;
    // Each session thread has its own reactor: the connection leaves this one's.
    let stream = stream.into_std()?;
    let (config, links) = (Arc::clone(&reception.config), reception.links.clone());
    thread(Box::new(move || match TcpStream::from_std(stream) {
        Ok(stream) => {
            let (reader, writer) = stream.into_split();
            Session::start(peer, reader, writer, config, links);
        }
        Err(error) => log::warn!("session {}: the reactor does not take its socket: {error}", peer.session.0),
    }));
    Ok(())
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    socket.set_tcp_keepalive(&keepalive)
}

fn turned_away_line(why: TurnedAway) -> BytesMut {
    let mut line = BytesMut::new();
    let text = match why {
        TurnedAway::Full => "this replica serves as many as it may; try another one",
        TurnedAway::FullForAddress => "your address has as many connections here as it may; close one",
    };
    ServerLine::bye(ByeCode::TooManyConnections, text).write(&mut line);
    line
}

/// One line and the end. Then what the peer has sent already is read, because closing a socket with unread input resets
/// the connection, and the peer would never see the line.
async fn turn_away(mut stream: TcpStream, why: TurnedAway) -> io::Result<()> {
    stream.write_all(&turned_away_line(why)).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 512];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn take(count: &Arc<Count>, address: &str) -> Result<Permit, TurnedAway> {
        let address: IpAddr = address.parse().expect("an address");
        Permit::take(count, address.into(), 4, NonZeroU32::new(2))
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let count = Arc::default();
        let first = take(&count, "10.0.0.1").expect("free");
        let _second = take(&count, "::ffff:10.0.0.1").expect("free");
        assert_eq!(take(&count, "10.0.0.1").expect_err("the third"), TurnedAway::FullForAddress);
        let _others = [take(&count, "2001:db8::1").expect("free"), take(&count, "2001:db8::2").expect("free")];
        assert_eq!(take(&count, "10.0.0.9").expect_err("the fifth"), TurnedAway::Full);
        drop(first);
        assert_eq!(take(&count, "2001:db8::3").expect_err("one network"), TurnedAway::FullForAddress);
        drop(take(&count, "10.0.0.1").expect("free again"));
        assert_eq!((count.open.load(Ordering::Acquire), count.by_origin().len()), (3, 2), "refusals leave nothing");
    }
}
