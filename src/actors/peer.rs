//! Peer: owns the data link to one replica. It moves lines and knows nothing of what they mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::internal::{Attach, FromPeer, LinkEnded, ToPeer};
use super::link::{self, Backoff, Identity, Outbox};
use crate::consensus::ReplicaId;
use crate::wire;
use crate::wire::handshake::Kind;

/// A link that ends sooner than this is dialed again only after a pause.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// See the module's header.
pub struct Peer {
    id: ReplicaId,
    replicator: Recipient<FromPeer>,
    link: Option<Link>,
    generation: u64,
}

struct Link {
    outbox: Arc<Outbox>,
    tasks: [JoinHandle<()>; 2],
    /// Tells the dialer, if there is one, that the link has ended: by being dropped.
    _alive: oneshot::Sender<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Peer {
    /// A peer without a link.
    pub fn new(id: ReplicaId, replicator: Recipient<FromPeer>) -> Self {
        Self { id, replicator, link: None, generation: 0 }
    }

    fn end_link(&mut self) {
        if self.link.take().is_some() {
            self.replicator.do_send(FromPeer::Down(self.id));
        }
    }
}

impl Actor for Peer {
    type Context = Context<Self>;
}

impl Handler<Attach> for Peer {
    type Result = ();

    fn handle(&mut self, attach: Attach, ctx: &mut Self::Context) {
        // A newer connection speaks for the other side: the older one is dead, whether it knows or not.
        self.end_link();
        self.generation += 1;
        let member = attach.hello.who.member;
        log::info!("data link to replica {} (boot {}) is up", self.id, attach.hello.who.run.boot);
        self.replicator.do_send(FromPeer::Up(attach.hello.who));

        let (read, write) = attach.stream.into_split();
        let outbox = Arc::new(Outbox::default());
        let ended = LinkEnded { id: self.id, generation: self.generation };
        let writer = {
            let (outbox, addr, ended) = (Arc::clone(&outbox), ctx.address(), LinkEnded { ..ended });
            actix_rt::spawn(async move {
                if let Err(error) = outbox.write_to(write).await {
                    log::debug!("data link to replica {}: {error}", ended.id);
                }
                addr.do_send(ended);
            })
        };
        let reader = {
            let (replicator, addr) = (self.replicator.clone(), ctx.address());
            actix_rt::spawn(async move {
                let hand_over = |lines| {
                    let sent = replicator.send(FromPeer::Lines(member, lines));
                    async move { sent.await.is_ok() }
                };
                if let Err(error) = link::read_from(read, wire::limits::LINE_BYTES_MAX, hand_over).await {
                    log::warn!("data link to replica {}: {error}", ended.id);
                }
                addr.do_send(ended);
            })
        };
        self.link = Some(Link { outbox, tasks: [reader, writer], _alive: attach.alive });
    }
}

impl Handler<LinkEnded> for Peer {
    type Result = ();

    fn handle(&mut self, ended: LinkEnded, _: &mut Self::Context) {
        if ended.generation == self.generation && self.link.is_some() {
            log::info!("data link to replica {} is down", self.id);
            self.end_link();
        }
    }
}

impl Handler<ToPeer> for Peer {
    type Result = ();

    fn handle(&mut self, lines: ToPeer, _: &mut Self::Context) {
        let Some(link) = &self.link else { return };
        if link.outbox.put(&lines.0) > link::LINK_OUT_BYTES_MAX {
            log::warn!("replica {} does not read what it is sent: its data link is cut", self.id);
            self.end_link();
        }
    }
}

/// Keeps a link of one kind to one replica: dials, hands the connection over, waits for its end, dials again.
pub async fn keep_dialed<A>(identity: Identity, address: String, id: ReplicaId, kind: Kind, to: Addr<A>)
where
    A: Actor + Handler<Attach>,
    A::Context: actix::dev::ToEnvelope<A, Attach>,
{
    let mut backoff = Backoff::default();
    let mut last_error = String::new();
    while to.connected() {
        match identity.dial(&address, id, kind).await {
            Ok((stream, hello)) => {
                last_error.clear();
                let (alive, ended) = oneshot::channel();
                let attached = Instant::now();
                to.do_send(Attach { hello, stream, alive });
                // Never sent: resolves when the link drops its end.
                let _ = ended.await;
                if attached.elapsed() >= SHORT_LIVED {
                    backoff.reset();
                } else {
                    // 1. Two processes run under one id. 2. The newer connection of a replica replaces the older.
                    // 3. Without a pause they replaced each other's a thousand times a second.
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
            Err(error) => {
                let error = error.to_string();
                // Once each: a replica that is down is refused many times a second.
                if error != last_error {
                    log::info!("replica {id} at {address}: {error}");
                    last_error = error;
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}
