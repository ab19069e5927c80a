//! The node's contract: what it is told, and what it hands out to be done, in which order.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::founding::Introduction;
use super::{
    Address, Batch, Change, ClusterId, Entry, Frame, Index, Mark, Member, Membership, ReplicaId, Run, Snapshot, Term,
    Ticket, Verdict, ViewId,
};

/// What the node is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link to a peer is up; both ends have proved who they are.
    LinkUp(Introduction),
    /// The link is gone.
    LinkDown(ReplicaId),
    /// A frame came over a link that is up.
    Frame(Member, Frame),
    /// No leader was heard of for longer than the (randomised) election timeout, or there is evidence that it is gone.
    Campaign,
    /// No leader was heard of for the least election timeout, or this replica has evidence of its own that the leader
    /// is gone: it may grant pre-votes.
    LeaderQuiet,
    /// It is time for a round of pulses.
    PulseDue,
    /// The greatest election timeout has passed since this was said last.
    QuorumCheckDue,
    /// Payloads to append, in order. Ignored unless this replica leads.
    Propose(Vec<Bytes>),
    /// A linearizable read: answered by [`Duty::ReadReady`] with the same number, or never, if the leader or the link
    /// to it changes: then ask again, with the same number.
    Read(u64),
    /// A change of members: answered by [`Duty::ChangeAnswered`] with the same number, or never, if the leader or the
    /// link to it changes: then ask again, with the same number.
    Change(u64, Change),
    /// An operator says that whoever is missing is not to be waited for: found with those who are linked. Ignored where
    /// [`super::Node::may_found`] refuses it.
    Found,
    /// The store has made this batch durable, and all before it.
    Stored(Ticket),
    /// What [`Duty::Load`] asked for: contiguous entries from the index it named, at least one; none, if they were cut
    /// away meanwhile.
    Loaded(Reader, Vec<Entry>),
    /// The state has applied the log up to here.
    Applied(Index),
    /// The state is on stable storage up to here: no crash of the machine takes it back further.
    StateDurable(Index),
    /// Old entries are to be cut away, up to this one. Ignored beyond the durable state.
    Cut(Mark),
    /// [`Duty::MakeSnapshot`] is done: a copy of the state that is not older than the base.
    SnapshotMade(Snapshot),
    /// [`Duty::Fetch`] is done: the copy is here, whole and on stable storage.
    SnapshotFetched(Snapshot),
    /// The own disk, or the own turn, has taken longer than the greatest election timeout: hand over, be quiet.
    Gray,
    /// Hand leadership to whoever is best placed, to stop in good order.
    HandOver,
    /// This run of that replica is proven to have ended: its host refused a connection, or a newer run of it answers.
    Dead(Member, Run),
    /// These runs, and no others, were not heard for so long that they count as dead: of the mode `primary-backup`, where
    /// it is configured.
    Silent(BTreeSet<(Member, Run)>),
    /// This replica has heard nobody of its views for so long that it might soon count as dead itself; or its process
    /// stood still.
    Isolated,
}

/// Who asked for entries that the window no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A follower that is far behind.
    Peer(ReplicaId),
    /// The own state, after a start.
    State,
}

/// What has to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Make this durable, then say [`Input::Stored`]. Batches go to the store in order.
    Persist(Batch),
    /// Send a frame over the link, if it is up. All that it claims is durable already.
    Send(ReplicaId, Frame),
    /// Send a pulse, or the answer to one, over the pulse link.
    Pulse(ReplicaId, Frame),
    /// Apply these committed entries to the state, then say [`Input::Applied`].
    Apply(Vec<Entry>),
    /// Read entries from the log, from the first index to the second at most, and say [`Input::Loaded`].
    Load(Reader, Index, Index),
    /// Make a copy of the state that has applied at least this, or take the one there is, and say
    /// [`Input::SnapshotMade`].
    MakeSnapshot(Index),
    /// Fetch this copy from the replica that offers it, and say [`Input::SnapshotFetched`]. One that is being fetched
    /// already goes on; another is given up.
    Fetch(ReplicaId, Snapshot),
    /// End this node, put the copy in the place of the state and begin the log behind it, in an order that outlasts any
    /// crash, and start again from what is then on the disk. What was handed to the store before is written before. A
    /// log that holds the base by then is left as it is.
    ///
    /// That it is a start, and no step of a running node, makes it one with the start after a crash in the middle of it;
    /// and nothing of the old state is there to be served or acknowledged from.
    Install(Snapshot),
    /// The read of this number is current once the state has applied this far.
    ReadReady(u64, Index),
    /// What the leader says to the change of this number.
    ChangeAnswered(u64, Verdict),
    /// A leader was heard of, or a vote was given: election timers start anew.
    HeardLeader,
    /// Role, leader or term changed.
    Standing(Standing),
    /// A candidate was refused because this log holds more than its own: stand for election soon.
    StandSoon,
    /// The cluster is founded; this is its name for ever. Said once in every run.
    Founded(ClusterId),
    /// The voters changed, or their addresses.
    Voters(Membership),
    /// A committed entry says that this replica is removed: it may end. Said once in every run.
    Dismissed,
    /// Say so to the operator: this replica drops so many entries from this one on, because that view goes on without them.
    /// They may have been acknowledged, and are kept aside.
    GaveUp {
        /// The first of them.
        from: Index,
        /// How many.
        count: u64,
        /// The view that goes on.
        to: ViewId,
    },
    /// End this node, and start again from what is then on the disk. What was handed to the store before is written before.
    StartAnew(WhyAnew),
    /// Tell this run of the peer that its disk is an old copy and that it must start anew as blank; then close the
    /// link. The run is named because by now another one, and a healthy one, may have the link.
    RefuseRestored(Member, Run),
    /// Tell this run of the peer that it was removed from the cluster; then close the link.
    RefuseRemoved(Member, Run),
}

/// Why a run ends, and the next one begins, in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyAnew {
    /// It hears nobody: as after a crash, it waits for those whom it served with.
    Isolated,
    /// It gave up entries that its state may have applied.
    GaveUp,
}

/// A replica's place in the cluster, as it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, if anybody is known to.
    pub leader: Option<ReplicaId>,
}

/// The four roles of PROTOCOL's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Replicates, and decides what is committed.
    Leader,
    /// Follows, and votes.
    Follower,
    /// Asks for votes, or whether it would get them.
    Candidate,
    /// Follows, and does not vote (yet).
    Learner,
}

/// What a node is made with, beside what is found on its disk.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This run of the process.
    pub run: Run,
    /// Every id of the address book, this one included.
    pub ids: Vec<ReplicaId>,
    /// Where those of them are reached: written to the log with the first change of members.
    pub addresses: Vec<Address>,
    /// A digest of the address book and the mode.
    pub book: u64,
    /// Never found a cluster: join one.
    pub joins: bool,
    /// A random id, for the cluster that this replica may found.
    pub fresh_cluster: ClusterId,
}
