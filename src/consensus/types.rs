//! The plain types of the core. Every number that could be swapped for another is a type of its own.

use std::fmt;

use bytes::Bytes;

use super::Address;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this. Overflow is a broken invariant: 2^63 of anything here outlasts the hardware.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before this, or zero.
            #[must_use]
            pub fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A term of office: at most one leader each.
    Term
);
number!(
    /// A position in the replicated log. The first entry, the founding record, is 1; 0 is "before the log".
    Index
);
number!(
    /// How often this incarnation has started. Durable before the first word to a peer.
    Boot
);
number!(
    /// Names one batch handed to the store; see [`crate::consensus::Duty::Persist`].
    Ticket
);
number!(
    /// A round of pulses; reads wait for one begun after them.
    Round
);

/// Which replica of the address book. Stable for the life of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u16);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of a replica's disk: drawn at random when a data directory is made. A replica whose disk was wiped
/// comes back with the same id and another incarnation, and so cannot speak for what it has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Names one cluster for ever: drawn at random when it is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A replica in one of its incarnations: what votes and acknowledgements are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Which replica.
    pub id: ReplicaId,
    /// In which life.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.incarnation)
    }
}

/// How changes are replicated. Stands in the founding record; it is no toggle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Raft: a majority of the voters.
    #[default]
    Quorum,
    /// Every member of the present view: down to the last one, where crashes are the only faults.
    PrimaryBackup,
}

/// Who votes, and who never may again. Carried by log entries; the newest in the log is in force, committed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Sorted by id; at most one incarnation of an id.
    pub voters: Vec<Member>,
    /// Incarnations that were taken out of the voters: they are refused for ever.
    pub removed: Vec<Member>,
    /// Where who belongs to the cluster is reached, sorted by id. Empty until the first change of members: until then
    /// the address book is that of the config.
    pub addresses: Vec<Address>,
}

impl Membership {
    /// Whether this very incarnation votes.
    pub fn votes(&self, member: Member) -> bool {
        self.voters.contains(&member)
    }

    /// The voting incarnation of an id.
    pub fn voter(&self, id: ReplicaId) -> Option<Member> {
        self.voters.iter().copied().find(|m| m.id == id)
    }

    /// Whether the cluster counts on a replica of that id: it votes, or was wiped and will vote again. (In entries of
    /// releases without addresses nobody was removed but to be replaced.)
    pub fn belongs(&self, id: ReplicaId) -> bool {
        let awaited = match &self.addresses[..] {
            [] => self.removed.iter().any(|m| m.id == id),
            addresses => addresses.iter().any(|a| a.id == id),
        };
        awaited || self.voter(id).is_some()
    }

    /// Whether that incarnation was removed, and not to be replaced.
    pub fn is_dismissed(&self, member: Member) -> bool {
        self.removed.contains(&member) && !self.belongs(member.id)
    }
}

/// What founds a cluster: entry 1 of every log, in term 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The cluster's name for ever.
    pub cluster: ClusterId,
    /// How it replicates.
    pub mode: Mode,
    /// Its first voters, sorted by id.
    pub members: Vec<Member>,
}

/// What an entry says. To the core a command is opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The start of a term: commits what earlier terms left.
    Noop,
    /// Entry 1.
    Founding(Founding),
    /// A change of the voters.
    Membership(Membership),
    /// Something for the state machine: one line of text, without LF.
    Command(Bytes),
}

/// One row of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position; contiguous.
    pub index: Index,
    /// The term in which a leader appended it; never falls along the log.
    pub term: Term,
    /// The leader's clock when it was appended, in Unix milliseconds; never falls along the log.
    pub time: u64,
    /// What it says.
    pub body: Body,
}

impl Entry {
    /// A command entry's fixed cost in memory, beside its bytes; for budgets.
    pub const OVERHEAD_BYTES: usize = 96;

    /// What the entry costs of a byte budget.
    pub fn size(&self) -> usize {
        Self::OVERHEAD_BYTES
            + match &self.body {
                Body::Noop => 0,
                Body::Founding(f) => f.members.len() * size_of::<Member>(),
                Body::Membership(m) => {
                    let texts: usize = m.addresses.iter().map(|a| a.clients.len() + a.replicas.len()).sum();
                    (m.voters.len() + m.removed.len()) * size_of::<Member>()
                        + m.addresses.len() * size_of::<Address>()
                        + texts
                }
                Body::Command(bytes) => bytes.len(),
            }
    }
}

/// Term and vote: durable before they are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The highest term this replica has taken part in.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<Member>,
}

/// How far this replica is in the founding of its cluster. Only a sealed one votes or leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FoundingState {
    /// Holds nothing: new, or wiped. It cannot know which.
    #[default]
    Blank,
    /// Holds the founding record, but has not yet seen that everybody does.
    Copied,
    /// Everybody held the record once: the cluster exists.
    Sealed,
}

/// One run of a process: its boot count, and a number drawn at random when it started. A reconnecting process shows the
/// same run; a copy of its disk, started elsewhere or later, can repeat the count but not the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// How often this incarnation has started.
    pub boot: Boot,
    /// Tells two starts with the same count apart.
    pub nonce: u32,
}

/// What must become durable together: one transaction, one fsync. Fields are applied in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Answered by [`crate::consensus::Input::Stored`] once all of the batch, and every batch before it, is durable.
    pub ticket: Ticket,
    /// New term and vote.
    pub hard_state: Option<HardState>,
    /// New state of the founding.
    pub founding: Option<FoundingState>,
    /// New views: of the mode `primary-backup` alone.
    pub views: Option<Box<super::Views>>,
    /// The cluster's id, where it is no longer the one of the founding record: see `refounding`.
    pub cluster: Option<ClusterId>,
    /// Drop this entry and all behind it.
    pub truncate_from: Option<Index>,
    /// What is dropped so is kept aside.
    pub given_up: Option<super::GivenUp>,
    /// Append these; they follow what is left without a gap.
    pub append: Vec<Entry>,
    /// Keep nothing up to this entry, but those that name voters. It is in the log, and in the durable state.
    pub cut: Option<Mark>,
    /// The newest run heard of each peer's incarnation: an older one later is a restored copy.
    pub peer_runs: Vec<(Member, Run)>,
}

/// An entry, and the digest of the state after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The entry.
    pub index: Index,
    /// Opaque to the core.
    pub digest: u64,
}

/// The last entry that a log no longer keeps, and what must stay known of it. Everything up to it is committed, and in the
/// durable state. All zero: the log is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Its position.
    pub index: Index,
    /// Its term: what the first append is compared with.
    pub term: Term,
    /// Its time: no entry after it is older.
    pub time: u64,
    /// The state's digest after it.
    pub digest: u64,
}

/// A copy of the state as it was after one entry, and all that a log must know to go on behind that entry: what a follower
/// is sent when the entries that it lacks are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The entry: the base of the log that is built on this.
    pub base: Base,
    /// The founding record, and the newest entry up to the base that changed the voters after it.
    pub named: Vec<Entry>,
    /// The cluster's id, where it is no longer that of the founding record.
    pub cluster: Option<ClusterId>,
    /// The length of the copy.
    pub bytes: u64,
    /// The checksum of the copy, and its name: equal names are equal bytes, whoever offers them.
    pub checksum: u64,
}

impl Snapshot {
    /// The founding record of the cluster it is of.
    pub fn record(&self) -> Option<&Founding> {
        self.named.first().and_then(|entry| match &entry.body {
            Body::Founding(record) => Some(record),
            Body::Noop | Body::Membership(_) | Body::Command(_) => None,
        })
    }

    /// The cluster it is of. Two that were founded anew from one have the same record.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster.or(self.record().map(|record| record.cluster))
    }
}

/// What a replica finds on its disk when it starts: enough to build the core, and no larger for a long history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who this is. The incarnation was drawn now if the directory is new.
    pub me: Member,
    /// The boot count, already incremented and synced: so is everything else reported here.
    pub boot: Boot,
    /// Term and vote.
    pub hard_state: HardState,
    /// How far the founding got.
    pub founding: FoundingState,
    /// Where the log begins: behind this entry.
    pub base: Base,
    /// The first index of every term in the log, ascending. What is of terms before the base's may be left out.
    pub term_starts: Vec<(Term, Index)>,
    /// The last entry's index; the base's, if none is kept; 0 for an empty log.
    pub last: Index,
    /// The last entry's time.
    pub last_time: u64,
    /// The entries that changed the voters, the founding record first, ascending. Up to the base, some may be missing, but
    /// not the newest.
    pub memberships: Vec<(Index, Membership)>,
    /// The founding record, if it is here: entry 1.
    pub record: Option<Founding>,
    /// The cluster's id, where it is no longer the record's.
    pub cluster: Option<ClusterId>,
    /// How far the state has applied the log.
    pub applied: Index,
    /// The newest run heard of each peer.
    pub peer_runs: Vec<(Member, Run)>,
    /// The views it has promised and installed, if it ever did.
    pub views: Option<super::Views>,
}
