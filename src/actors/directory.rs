//! What the Replicator tells all who make or judge connections between replicas: where everybody is, who was removed,
//! which links stand, and that this process has to end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::sync::watch;

use super::internal::Ending;
use crate::consensus::{Address, Member, ReplicaId, Run};
use crate::wire::handshake::Kind;

/// Where everybody is. Published by the Replicator; by the log, once it has addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// By id, this replica included.
    pub places: BTreeMap<ReplicaId, Address>,
    /// Incarnations that were removed and are not to be replaced.
    pub gone: BTreeSet<Member>,
    /// The higher ids do not know yet where this replica is: it dials them, too.
    pub dials_all: bool,
}

impl Book {
    /// Where that replica's internal port is.
    pub fn internal(&self, id: ReplicaId) -> Option<&str> {
        self.places.get(&id).map(|place| place.replicas.as_str())
    }

    /// Whether this is a replica to be linked to.
    pub fn knows(&self, id: ReplicaId) -> bool {
        self.places.contains_key(&id)
    }
}

/// Which links stand, and with which run: so that nobody dials what stands, and a second process under one id is told
/// from a restart. Written by Peer and Heartbeat. And which run each replica has shown itself as last: a restart that
/// does so is dialed at once.
#[derive(Debug, Default)]
pub struct LinkTable {
    standing: watch::Sender<HashMap<(ReplicaId, Kind), Run>>,
    shown: watch::Sender<BTreeMap<ReplicaId, Run>>,
}

impl LinkTable {
    /// A link is up.
    pub fn up(&self, id: ReplicaId, kind: Kind, run: Run) {
        self.standing.send_if_modified(|links| links.insert((id, kind), run) != Some(run));
    }

    /// It is gone.
    pub fn down(&self, id: ReplicaId, kind: Kind) {
        self.standing.send_if_modified(|links| links.remove(&(id, kind)).is_some());
    }

    /// Whether one of that kind stands.
    pub fn is_up(&self, id: ReplicaId, kind: Kind) -> bool {
        self.standing.borrow().contains_key(&(id, kind))
    }

    /// Waits until none of that kind stands.
    pub async fn ended(&self, id: ReplicaId, kind: Kind) {
        let ended = |links: &HashMap<_, _>| !links.contains_key(&(id, kind));
        self.standing.subscribe().wait_for(ended).await.expect("this holds the sender");
    }

    /// The run that the data link is with.
    pub fn run(&self, id: ReplicaId) -> Option<Run> {
        self.standing.borrow().get(&(id, Kind::Data)).copied()
    }

    /// A replica has proved itself.
    pub fn show(&self, id: ReplicaId, run: Run) {
        self.shown.send_if_modified(|shown| shown.insert(id, run) != Some(run));
    }

    /// To be told of those that do.
    pub fn shown(&self) -> watch::Receiver<BTreeMap<ReplicaId, Run>> {
        self.shown.subscribe()
    }
}

/// Tells the start-up code, once, that this process must not serve on.
#[derive(Clone, Debug)]
pub struct Doom(watch::Sender<Option<Ending>>);

impl Default for Doom {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Doom {
    /// It must end so.
    pub fn speak(&self, ending: Ending) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(ending);
            }
            first
        });
    }

    /// The word was that this replica is no longer one of the cluster.
    pub fn is_removed(&self) -> bool {
        matches!(*self.0.borrow(), Some(Ending::Removed))
    }

    /// Waits for the word.
    pub async fn spoken(&self) -> Ending {
        let mut told = self.0.subscribe();
        let word = told.wait_for(Option::is_some).await.expect("this holds the sender");
        word.clone().expect("waited for")
    }
}
