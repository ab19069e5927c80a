//! The plain types of the other mode, `primary-backup` (`src/views` decides by them): they stand here because frames
//! and batches carry them.

use std::fmt;

use super::{Boot, Index, Member, Mode, Run, Term};

/// The highest number of a view: ids of messages keep 23 bits for it.
pub const VIEW_NUMBER_MAX: u64 = (1 << 23) - 1;

/// Bits of an id that the index keeps, in the mode that has views.
const INDEX_BITS: u32 = 40;

impl Mode {
    /// The id of what an entry creates. It ascends along the log. With views it has the view's number in front, so that
    /// two entries of one index, of which one was never acknowledged, or should not have been, never share an id.
    pub fn id(self, term: Term, index: Index) -> u64 {
        match self {
            Self::Quorum => index.0,
            Self::PrimaryBackup => (term.0 << INDEX_BITS) + index.0,
        }
    }
}

/// Names one view for ever. Ordered: by number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId {
    /// Higher than any that its proposer had promised.
    pub number: u64,
    /// Who proposed it, and leads it once it is installed.
    pub proposer: Member,
    /// In which start.
    pub boot: Boot,
}

impl ViewId {
    /// Before every view, and that of the founding: nobody proposed it, and nobody leads it.
    pub const NONE: Self = Self {
        number: 0,
        proposer: Member { id: super::ReplicaId(0), incarnation: super::Incarnation(0) },
        boot: Boot(0),
    };
}

impl Default for ViewId {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.number, self.proposer, self.boot)
    }
}

/// A set of running processes, each of which must hold an entry before it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Its name.
    pub id: ViewId,
    /// What its proposer had installed when it proposed.
    pub base: ViewId,
    /// Who, and in which run; sorted. In the view of the founding no run is known.
    pub members: Vec<(Member, Run)>,
}

impl View {
    /// Whether this very run is a member.
    pub fn names(&self, member: Member, run: Run) -> bool {
        self.members.contains(&(member, run))
    }

    /// Whether this incarnation is a member, in whichever run.
    pub fn has(&self, member: Member) -> bool {
        self.members.iter().any(|(m, _)| *m == member)
    }

    /// The run in which its proposer leads it; `None` in the view of the founding.
    pub fn leader(&self) -> Option<(Member, Run)> {
        self.members.iter().copied().find(|(m, run)| *m == self.id.proposer && run.boot == self.id.boot)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|", self.id, self.base)?;
        for (at, (member, run)) in self.members.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{member}.{}.{:x}", run.boot, run.nonce)?;
        }
        Ok(())
    }
}

/// Why entries are dropped that may have been acknowledged: two sides served, and this replica is of the one that yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GivenUp {
    /// The view whose log they contradict.
    pub to: ViewId,
    /// By the clock of this replica, in Unix milliseconds.
    pub at: u64,
    /// The state may have applied some of them: it is void, and to be derived again.
    pub applied: bool,
}

/// What a replica keeps about views: durable before it is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Views {
    /// The newest view it accepted: from then on it takes nothing from an older one.
    pub promised: View,
    /// The newest view it knows to be accepted by all its members, itself among them.
    pub installed: View,
}

/// What the cores of two replicas tell each other about views. The log itself goes by the frames of the other mode,
/// with the number of the view for a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewFrame {
    /// Accept this view, in which I am to lead.
    Propose(View),
    /// I have, durably: I take nothing from an older one any more.
    Accepted(ViewId),
    /// All its members have accepted it and hold my log; that is durable. I lead it. Who is no member may follow.
    Installed(View),
    /// How far the sender is: when a link comes up, when it changes, and in place of an acceptance.
    News {
        /// The view it has installed.
        installed: ViewId,
        /// The view it has promised.
        promised: ViewId,
        /// Whether it was told, in this run, of an installed view that names this run.
        warm: bool,
    },
}
