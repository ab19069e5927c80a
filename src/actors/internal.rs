//! What the actors inside one replica tell each other about the cluster. What sessions say is in
//! [`super::messages`].

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use actix::Message;
use tokio::net::TcpStream;

use super::silence::Found;
use crate::consensus::founding::Introduction;
use crate::consensus::{Entry, Member, Reader, ReplicaId, Run, Snapshot, Standing, Ticket};
use crate::wire::PeerLine;
use crate::wire::handshake::Hello;

/// What several actors may look at, and only the Replicator writes.
#[derive(Debug)]
pub struct Shared {
    /// What this replica shows of itself in handshakes: what is durable, as of the Replicator's last turn.
    pub introduction: Mutex<Introduction>,
    /// The cluster's id in hexadecimal, once it is founded.
    pub cluster: Arc<OnceLock<String>>,
    /// The term, for what a crash prints.
    pub term: AtomicU64,
    /// What is known to be committed, for what a crash prints.
    pub commit: AtomicU64,
}

impl Shared {
    /// The introduction, as of now.
    pub fn introduction(&self) -> Introduction {
        self.introduction.lock().expect("nobody panics while holding it: a panic aborts").clone()
    }
}

/// Listener or dialer → Peer or Heartbeat: a connection whose two ends have proved who they are.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// Who is at the other end.
    pub hello: Hello,
    /// The connection.
    pub stream: TcpStream,
    /// Fires (is dropped) when the link has ended.
    pub alive: tokio::sync::oneshot::Sender<()>,
}

/// A link's own tasks → Peer or Heartbeat: it has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkEnded {
    /// To whom.
    pub id: ReplicaId,
    /// Which of the links that there ever were.
    pub generation: u64,
}

/// Peer → Replicator.
#[derive(Message)]
#[rtype(result = "()")]
pub enum FromPeer {
    /// The data link is up.
    Up(Introduction),
    /// The data link is gone.
    Down(ReplicaId),
    /// Lines that came over it, in order.
    Lines(Member, Vec<PeerLine>),
}

/// Replicator → Peer: lines for the other replica, in order. Dropped if the link is down.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ToPeer(pub Vec<PeerLine>);

/// Store (log) → Replicator.
#[derive(Message)]
#[rtype(result = "()")]
pub enum FromLog {
    /// This batch is durable, and all before it.
    Stored(Ticket),
    /// Entries that were asked for.
    Loaded(Reader, Vec<Entry>),
    /// The disk is full (`true`), or has space again.
    DiskFull(bool),
}

/// Store (state) → Replicator: what became of one batch of jobs, in their order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FromState(pub Vec<super::store::StateNews>);

/// Heartbeat → Replicator.
#[derive(Message)]
#[rtype(result = "()")]
pub enum FromHeartbeat {
    /// It is time for a round of pulses; and what was answered to the last one, as far as that could wait.
    PulseDue(Vec<(Member, Vec<PeerLine>)>),
    /// Lines that came over a pulse link.
    Lines(Member, Vec<PeerLine>),
    /// Who answers pulses, or at least holds a pulse link to this replica. This replica is among them.
    Living(BTreeSet<ReplicaId>),
    /// That run has ended, which is proven: its host refuses connections, or another run answers at its address.
    Dead(Member, Run),
    /// Who is silent, where silence counts.
    Silence(Found),
}

/// Replicator → Heartbeat.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ToHeartbeat {
    /// For pulse links.
    Pulses {
        /// By link.
        lines: Vec<(ReplicaId, Vec<PeerLine>)>,
        /// The last [`FromHeartbeat::PulseDue`] was handled: the next may come.
        ticked: bool,
        /// A read waits for the answers.
        awaited: bool,
    },
    /// Role, term or leader changed.
    Standing(Standing),
    /// Look for proof of the death of each of these that has no pulse link.
    Watch(Vec<(Member, Run)>),
}

/// Replicator or Heartbeat → Election.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub enum ToElection {
    /// A leader was heard of, or a vote was given.
    Heard,
    /// Role, term or leader changed.
    Standing(Standing),
    /// A candidate was refused because this log holds more.
    StandSoon,
    /// Who lives, this replica included.
    Living(BTreeSet<ReplicaId>),
    /// This replica's own pulse link to that run of that replica ended, and nobody there answers for it.
    Gone(ReplicaId, Run),
}

/// Election → Replicator.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub enum FromElection {
    /// Stand for election.
    Campaign,
    /// No leader was heard of for the least election timeout: pre-votes may be granted.
    LeaderQuiet,
    /// The greatest election timeout has passed.
    QuorumCheckDue,
}

/// Start-up code → Replicator: stop in good order. Answered when leadership is handed over (or cannot be), every
/// session is closed, and nothing is on its way to the disk.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Replicator → start-up code: how serving ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Stopped,
    /// Peers know this replica's disk to be an old copy of itself: it must start anew as blank.
    Restored,
    /// A copy of another replica's state is here: it must be installed.
    Install(Box<Snapshot>),
    /// The state is damaged: it must be set aside, and derived again from the log.
    StateDamaged,
    /// The run is over: the replica must start again from what is on its disk.
    Anew,
    /// This replica was removed from the cluster.
    Removed,
    /// Another process runs under this replica's id, and was there first.
    Twin,
}
