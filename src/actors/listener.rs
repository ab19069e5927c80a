//! The internal port: accepts connections, shakes hands, and hands each to the actor that owns links of its kind.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Addr, Recipient};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::admin::{self, Asked};
use super::heartbeat::Heartbeat;
use super::internal::Attach;
use super::link::{Accepted, Identity, LinkError};
use super::peer::Peers;
use crate::wire::admin::Question;
use crate::wire::handshake::{Hello, Kind, Refused};

/// Handshakes under way at once. Strangers wait in the kernel's queue behind them.
pub const HANDSHAKES_MAX: usize = 64;
/// Questions about members under way at once: more have to wait, or to give up.
pub const ADMINS_MAX: usize = 8;
/// The pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A replica that is refused dials on: it is warned of at most so often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Whom links are handed to.
#[derive(Clone)]
pub struct Owners {
    /// Data links, by replica.
    pub peers: Peers,
    /// All pulse links.
    pub heartbeat: Addr<Heartbeat>,
    /// Who answers questions about members.
    pub replicator: Recipient<Asked>,
}

/// Accepts for as long as the process serves.
pub async fn listen(listener: TcpListener, identity: Identity, owners: Owners) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let admins = Arc::new(Semaphore::new(ADMINS_MAX));
    let warned = Rc::new(Cell::new(None));
    loop {
        let permit = Arc::clone(&handshakes).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let (identity, owners, warned) = (identity.clone(), owners.clone(), Rc::clone(&warned));
                let admins = Arc::clone(&admins);
                actix_rt::spawn(async move {
                    let welcomed = identity.accept(stream).await;
                    drop(permit);
                    let done = match welcomed {
                        Ok(Accepted::Link(stream, hello)) => {
                            identity.links.show(hello.who.member.id, hello.who.run);
                            attach(stream, hello, &owners)
                        }
                        Ok(Accepted::Admin(stream, question)) => {
                            let _one = admins.acquire_owned().await.expect("the semaphore is never closed");
                            log::info!("{from} asks: {}", question.print());
                            converse(stream, question, &owners).await
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = done {
                        tell(from, &error, &warned);
                    }
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

fn attach(stream: TcpStream, hello: Hello, owners: &Owners) -> Result<(), LinkError> {
    let (alive, _) = oneshot::channel();
    match hello.kind {
        Kind::Data => owners.peers.of(hello.who.member.id).do_send(Attach { hello, stream, alive }),
        Kind::Pulse => owners.heartbeat.do_send(Attach { hello, stream, alive }),
        // Its answer was the handshake itself.
        Kind::Probe => {}
    }
    Ok(())
}

async fn converse(mut stream: TcpStream, question: Question, owners: &Owners) -> Result<(), LinkError> {
    let (answer, answered) = oneshot::channel();
    owners.replicator.do_send(Asked { question, answer });
    // Dropped unanswered only when this replica ends.
    if let Ok(answer) = answered.await {
        admin::reply(&mut stream, &answer).await?;
    }
    Ok(())
}
