//! The internal port: accepts connections, shakes hands, and hands each to the actor that owns links of its kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
    loop {
        let permit = Arc::clone(&handshakes).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let (identity, owners) = (identity.clone(), owners.clone());
                actix_rt::spawn(async move {
                    if let Err(error) = welcome(stream, &identity, &owners).await {
                        log::debug!("internal port: {from}: {error}");
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
