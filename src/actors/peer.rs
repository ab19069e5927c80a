//! Peer: owns the data link to one replica. It moves lines and knows nothing of what they mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::directory::LinkTable;
use super::internal::{Attach, FromPeer, LinkEnded, ToPeer};
use super::link::{self, Backoff, Identity, LinkError, Outbox, REDIAL_MAX};
use crate::consensus::{ReplicaId, Run};
use crate::wire;
use crate::wire::handshake::Kind;

/// A link that ends sooner than this is dialed again only after a pause.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// How often a replica shows itself to a higher id that does not dial it.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// So many of these in a row are warned of.
const SHORT_LIVED_WARN: u32 = 5;
/// Two processes under one id are warned of at most so often.
const TWINS_INTERVAL: Duration = Duration::from_secs(60);

/// See the module's header.
pub struct Peer {
    id: ReplicaId,
    replicator: Recipient<FromPeer>,
    links: Arc<LinkTable>,
    link: Option<Link>,
    generation: u64,
    twins: Twins,
}

/// Sees that two processes run under one id. A run that ended never comes back, so that one which does has been running
/// beside the one that replaced it:
///   1. replica 3 is linked, as run A;
///   2. somebody starts a second process with `-i 3`: run B, whose link replaces A's;
///   3. A dials again. Were B a restart, A would be gone.
#[derive(Debug, Default)]
struct Twins {
    now: Option<Run>,
    before: Option<Run>,
    warned: Option<Instant>,
}

impl Twins {
    /// A run was linked. Whether to warn.
    fn linked(&mut self, run: Run, now: Instant) -> bool {
        if self.now == Some(run) {
            return false;
        }
        let is_back = self.before == Some(run);
        self.before = self.now.replace(run);
        let warn = is_back && self.warned.is_none_or(|at| now.duration_since(at) >= TWINS_INTERVAL);
        if warn {
            self.warned = Some(now);
        }
        warn
    }
}

/// The peers there are: one for each replica that was ever dialed, or has proved itself. Used on the serving arbiter.
#[derive(Clone)]
pub struct Peers {
    known: Arc<Mutex<BTreeMap<ReplicaId, Addr<Peer>>>>,
    replicator: Recipient<FromPeer>,
    links: Arc<LinkTable>,
}

impl Peers {
    /// None yet.
    pub fn new(replicator: Recipient<FromPeer>, links: Arc<LinkTable>) -> Self {
        Self { known: Arc::default(), replicator, links }
    }

    /// The peer of that id. There are no more than ids.
    pub fn of(&self, id: ReplicaId) -> Addr<Peer> {
        let start = || Peer::new(id, self.replicator.clone(), Arc::clone(&self.links)).start();
        let mut known = self.known.lock().expect("nobody panics while holding it: a panic aborts");
        known.entry(id).or_insert_with(start).clone()
    }
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
    pub fn new(id: ReplicaId, replicator: Recipient<FromPeer>, links: Arc<LinkTable>) -> Self {
        Self { id, replicator, links, link: None, generation: 0, twins: Twins::default() }
    }

    fn end_link(&mut self) {
        if self.link.take().is_some() {
            self.links.down(self.id, Kind::Data);
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
        if self.twins.linked(attach.hello.who.run, Instant::now()) {
            log::warn!(
                "two processes run as replica {}, the one here from {}: neither is of use; stop one of them",
                self.id,
                attach.stream.peer_addr().map_or_else(|_| "an unknown address".to_owned(), |from| from.to_string())
            );
        }
        self.links.up(self.id, Kind::Data, attach.hello.who.run);
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

/// Waits until this replica should dial that one, and says where. One connection a pair: the higher id dials; but as
/// long as the higher ids do not know where this replica is, it dials them too. Where a link stands, nobody dials.
async fn address_to_dial(identity: &mut Identity, me: ReplicaId, id: ReplicaId, kind: Kind) -> String {
    loop {
        let address = {
            let book = identity.book.borrow_and_update();
            book.internal(id).filter(|_| id < me || book.dials_all).map(str::to_owned)
        };
        match address {
            Some(address) if !identity.links.is_up(id, kind) => return address,
            // The other one has dialed, and knows sooner than a dial from here that its link has ended: both at once would
            // replace each other's. Meanwhile the book may change.
            Some(_) => drop(timeout(REDIAL_MAX, identity.book.changed()).await),
            None => {
                if identity.book.changed().await.is_err() {
                    // The Replicator is gone, and this task is ended soon.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Tells the higher ids, which dial this replica, that it is here, as long as they do not: one that waits before its next
/// dial waits no longer ([`Pauses`]). Whoever finds that it was removed meanwhile, or that another process has its id, says
/// so: nobody else would.
pub async fn announce(identity: Identity, id: ReplicaId) {
    loop {
        identity.links.ended(id, Kind::Data).await;
        let address = identity.book.borrow().internal(id).map(str::to_owned);
        if let Some(address) = address {
            // What it says is seen to where it is read.
            let _ = identity.dial(&address, id, Kind::Probe).await;
        }
        tokio::time::sleep(ANNOUNCE_INTERVAL).await;
    }
}

/// The pauses between dials of one replica. One that starts shows itself as soon as it listens ([`announce`]), and is not
/// left waiting:
///   1. replica 2 is down; 5 dials it, with growing pauses;
///   2. 2 starts, and a moment later is elected by 1 and 3, which it dials itself, or whose pauses were over;
///   3. 5 neither hears of that nor can forward a request, until its own pause is over.
struct Pauses {
    id: ReplicaId,
    backoff: Backoff,
    shown: watch::Receiver<BTreeMap<ReplicaId, Run>>,
    known: Option<Run>,
}

impl Pauses {
    fn new(id: ReplicaId, links: &LinkTable) -> Self {
        Self { id, backoff: Backoff::default(), shown: links.shown(), known: None }
    }

    async fn pause(&mut self) {
        let (id, known) = (self.id, self.known);
        let showing = self.shown.wait_for(|shown| shown.get(&id).copied() != known);
        if let Ok(Ok(shown)) = timeout(self.backoff.pause(), showing).await {
            self.known = shown.get(&id).copied();
            self.backoff.reset();
        }
    }
}

/// Keeps a link of one kind to one replica: dials, hands the connection over, waits for its end, dials again.
pub async fn keep_dialed<A>(mut identity: Identity, me: ReplicaId, id: ReplicaId, kind: Kind, to: Addr<A>)
where
    A: Actor + Handler<Attach>,
    A::Context: actix::dev::ToEnvelope<A, Attach>,
{
    let mut pauses = Pauses::new(id, &identity.links);
    let mut last_error = String::new();
    let mut short_lived = 0;
    while to.connected() {
        let address = address_to_dial(&mut identity, me, id, kind).await;
        match identity.dial(&address, id, kind).await {
            Ok((stream, hello)) => {
                last_error.clear();
                let (alive, ended) = oneshot::channel();
                let attached = Instant::now();
                to.do_send(Attach { hello, stream, alive });
                // Never sent: resolves when the link drops its end.
                let _ = ended.await;
                if attached.elapsed() >= SHORT_LIVED {
                    pauses.backoff.reset();
                    short_lived = 0;
                } else {
                    short_lived += 1;
                    if short_lived == SHORT_LIVED_WARN {
                        log::warn!(
                            "replica {id} at {address} takes each link and soon ends it: does another process run under \
                             this replica's id? Stop one of them"
                        );
                    }
                    // 1. Two processes run under one id. 2. The newer connection of a replica replaces the older.
                    // 3. Without a pause they replaced each other's a thousand times a second.
                    pauses.pause().await;
                }
            }
            Err(error) => {
                // Not a replica that is down: config files that differ, which somebody must put right.
                let is_grave = matches!(error, LinkError::Refused(_) | LinkError::RefusedByPeer(_));
                let error = error.to_string();
                // Once each: a replica that is down is refused many times a second.
                if error != last_error {
                    let level = if is_grave { log::Level::Warn } else { log::Level::Info };
                    log::log!(level, "replica {id} at {address}: {error}");
                    last_error = error;
                }
                pauses.pause().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Boot;

    fn run(boot: u64, nonce: u32) -> Run {
        Run { boot: Boot(boot), nonce }
    }

    /// Whether the dialer goes on at once, without a pause.
    async fn goes_on(pauses: &mut Pauses) -> bool {
        tokio::select! {
            biased;
            () = pauses.pause() => true,
            () = tokio::task::yield_now() => false,
        }
    }

    #[actix_rt::test]
    async fn a_new_run_that_shows_itself_is_dialed_at_once_and_each_run_but_once() {
        let links = LinkTable::default();
        let mut pauses = Pauses::new(ReplicaId(2), &links);
        assert!(!goes_on(&mut pauses).await, "nobody has shown himself");
        links.show(ReplicaId(2), run(1, 7));
        links.show(ReplicaId(2), run(2, 8));
        assert!(goes_on(&mut pauses).await, "also when it was shown during a dial");
        links.show(ReplicaId(2), run(2, 8));
        links.show(ReplicaId(3), run(1, 9));
        assert!(!goes_on(&mut pauses).await, "that run was dialed, and the other replica is not meant");
    }

    #[actix_rt::test]
    async fn who_announces_itself_sleeps_as_long_as_the_link_stands() {
        let (links, id) = (LinkTable::default(), ReplicaId(5));
        links.ended(id, Kind::Data).await;
        links.up(id, Kind::Data, run(1, 7));
        links.up(id, Kind::Pulse, run(1, 7));
        let ended = links.ended(id, Kind::Data);
        tokio::pin!(ended);
        links.down(id, Kind::Pulse);
        assert!(timeout(Duration::ZERO, &mut ended).await.is_err(), "the data link stands");
        links.down(id, Kind::Data);
        ended.await;
    }

    #[test]
    fn a_run_that_comes_back_has_a_twin_and_a_restart_has_none() {
        let (mut twins, start) = (Twins::default(), Instant::now());
        for boot in 1..5 {
            assert!(!twins.linked(run(boot, 7), start), "a restart");
            assert!(!twins.linked(run(boot, 7), start), "a link that was lost, and dialed again");
        }
        assert!(!twins.linked(run(1, 9), start), "another disk, or a second process: not known yet");
        assert!(twins.linked(run(4, 7), start), "the first still runs");
        assert!(!twins.linked(run(1, 9), start), "told already");
        assert!(twins.linked(run(4, 7), start + TWINS_INTERVAL));
    }
}
