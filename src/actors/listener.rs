//! The internal port: accepts connections, shakes hands, and hands each to the actor that owns links of its kind.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::heartbeat::Heartbeat;
use super::internal::Attach;
use super::link::{Identity, LinkError};
use super::peer::Peer;
use crate::consensus::ReplicaId;
use crate::wire::handshake::{Kind, Refused};

/// Handshakes under way at once. Strangers wait in the kernel's queue behind them.
pub const HANDSHAKES_MAX: usize = 64;
/// The pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A replica that is refused dials on: it is warned of at most so often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Whom links are handed to.
#[derive(Clone)]
pub struct Owners {
    /// Data links, by replica.
    pub peers: BTreeMap<ReplicaId, Addr<Peer>>,
    /// All pulse links.
    pub heartbeat: Addr<Heartbeat>,
}

/// Accepts for as long as the process serves.
pub async fn listen(listener: TcpListener, identity: Identity, owners: Owners) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let warned = Rc::new(Cell::new(None));
    loop {
        let permit = Arc::clone(&handshakes).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let (identity, owners, warned) = (identity.clone(), owners.clone(), Rc::clone(&warned));
                actix_rt::spawn(async move {
                    if let Err(error) = welcome(stream, &identity, &owners).await {
                        tell(from, &error, &warned);
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("internal port: cannot accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Who speaks as a replica and is refused wants somebody to look: two config files differ, or somebody tries. Not more
/// often than [`WARN_INTERVAL`]; strangers of other kinds are seen at `debug`.
fn tell(from: SocketAddr, error: &LinkError, warned: &Cell<Option<Instant>>) {
    let is_grave = matches!(error, LinkError::Refused(refused) if *refused != Refused::NotAReplica);
    if is_grave && warned.get().is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
        warned.set(Some(Instant::now()));
        log::warn!("a replica at {from} is refused: {error}");
    } else {
        log::debug!("internal port: {from}: {error}");
    }
}

async fn welcome(stream: TcpStream, identity: &Identity, owners: &Owners) -> Result<(), LinkError> {
    let (stream, hello) = identity.accept(stream).await?;
    let id = hello.who.member.id;
    let (alive, _) = oneshot::channel();
    let peer = owners.peers.get(&id).ok_or(Refused::UnknownReplica(id))?;
    match hello.kind {
        Kind::Data => peer.do_send(Attach { hello, stream, alive }),
        Kind::Pulse => owners.heartbeat.do_send(Attach { hello, stream, alive }),
        // Its answer was the handshake itself.
        Kind::Probe => {}
    }
    Ok(())
}
