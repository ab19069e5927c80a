//! One core or the other: what a replica's mode makes of the one contract that both speak.
//!
//! The mode stands in the founding record and is no toggle; whoever holds a [`Core`] need not know which it is.

use crate::consensus::founding::Introduction;
use crate::consensus::{
    self, Address, ClusterId, Duty, Index, Input, Log, Member, Membership, Mode, Recovered, Refusal, ReplicaId, Run,
    Settings, Snapshot, Standing, Verdict,
};
use crate::views;

/// See the module's header.
#[derive(Clone, Debug)]
pub enum Core {
    /// A majority of the voters.
    Quorum(Box<consensus::Node>),
    /// Every member of the present view.
    PrimaryBackup(Box<views::Node>),
}

/// Calls the same method of whichever core it is.
macro_rules! either {
    ($core:expr, $node:ident => $call:expr) => {
        match $core {
            Core::Quorum($node) => $call,
            Core::PrimaryBackup($node) => $call,
        }
    };
}

impl Core {
    /// The core of that mode, as its disk remembers it.
    pub fn new(mode: Mode, recovered: &Recovered, settings: Settings) -> Self {
        match mode {
            Mode::Quorum => Self::Quorum(Box::new(consensus::Node::new(recovered, settings))),
            Mode::PrimaryBackup => Self::PrimaryBackup(Box::new(views::Node::new(recovered, settings))),
        }
    }

    /// Whether silence counts as death: in the mode that has views.
    #[must_use]
    pub fn dropping_silent(self, counts: bool) -> Self {
        match self {
            Self::PrimaryBackup(node) if counts => Self::PrimaryBackup(Box::new(node.dropping_silent())),
            Self::Quorum(_) | Self::PrimaryBackup(_) => self,
        }
    }

    /// Which it is.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Quorum(_) => Mode::Quorum,
            Self::PrimaryBackup(_) => Mode::PrimaryBackup,
        }
    }

    /// Tells the core one thing; see [`consensus::Node::step`].
    pub fn step(&mut self, clock: u64, input: Input) {
        either!(self, node => node.step(clock, input));
    }

    /// What has to be done about it, in order.
    pub fn duties(&mut self) -> Vec<Duty> {
        either!(self, node => node.duties())
    }

    /// Its place in the cluster.
    pub fn standing(&self) -> Standing {
        either!(self, node => node.standing())
    }

    /// Who this is.
    pub fn me(&self) -> Member {
        either!(self, node => node.me())
    }

    /// The highest index known to be committed.
    pub fn commit(&self) -> Index {
        either!(self, node => node.commit())
    }

    /// The state's position in the log.
    pub fn applied(&self) -> Index {
        either!(self, node => node.applied())
    }

    /// Its log's summary.
    pub fn log(&self) -> &Log {
        either!(self, node => node.log())
    }

    /// The end of its log, durable or not.
    pub fn last(&self) -> Index {
        self.log().last()
    }

    /// The oldest time that a new entry may carry.
    pub fn last_time(&self) -> u64 {
        self.log().last_time()
    }

    /// The id that the entry at `index` gave to what it created, if it did: no older entry's is higher.
    pub fn id_at(&self, index: Index) -> u64 {
        let term = self.log().term_at(index).unwrap_or_default();
        self.mode().id(term, index)
    }

    /// The cluster's name, once there is a founding record.
    pub fn cluster(&self) -> Option<ClusterId> {
        either!(self, node => node.cluster())
    }

    /// Whether a batch is on its way to the disk.
    pub fn is_storing(&self) -> bool {
        either!(self, node => node.is_storing())
    }

    /// What this replica shows of itself when a link comes up.
    pub fn introduction(&self) -> Introduction {
        either!(self, node => node.introduction())
    }

    /// Where everybody is reached, by the log or by the config.
    pub fn book(&self) -> &[Address] {
        either!(self, node => node.book())
    }

    /// The membership in the log, and the entry that says so. With views it is that of the founding.
    pub fn membership_at(&self) -> Option<(Index, &Membership)> {
        self.log().membership()
    }

    /// Who belongs to the cluster by what is committed.
    pub fn committed_membership(&self) -> Option<&Membership> {
        self.log().committed_membership(self.commit())
    }

    /// What [`Input::Found`] would come to. A view has all of the config from the start: who is missing could never join.
    pub fn may_found(&self) -> Verdict {
        match self {
            Self::Quorum(node) => node.may_found(),
            Self::PrimaryBackup(_) => Verdict::Refused(Refusal::FixedMembers),
        }
    }

    /// Whether a change of members needs a leader to be answered.
    pub fn asks_for_changes(&self) -> bool {
        self.mode() == Mode::Quorum
    }

    /// How far a leader knows a peer's log to match its own.
    pub fn matched(&self, id: ReplicaId) -> Option<Index> {
        either!(self, node => node.matched(id))
    }

    /// Whether anybody is offered a copy of the state. With views the log is kept whole.
    pub fn is_offering(&self) -> bool {
        match self {
            Self::Quorum(node) => node.is_offering(),
            Self::PrimaryBackup(_) => false,
        }
    }

    /// How far the slowest follower that a leader feeds has come, for the sake of a log that is cut.
    pub fn slowest_followed(&self) -> Option<Index> {
        match self {
            Self::Quorum(node) => node.slowest_followed(),
            Self::PrimaryBackup(_) => None,
        }
    }

    /// Whether a copy of the state holds what this log lacks.
    pub fn wants(&self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Quorum(node) => node.wants(snapshot),
            Self::PrimaryBackup(_) => false,
        }
    }

    /// Who has to hold an entry: most of the voters, or all members of the view that is known to be installed.
    pub fn voters(&self) -> Vec<Member> {
        match self {
            Self::Quorum(node) => node.voters().to_vec(),
            Self::PrimaryBackup(node) => node.views().installed.members.iter().map(|(member, _)| *member).collect(),
        }
    }

    /// Whether the log, and with it the state, may be that of another side than the one that is followed.
    pub fn may_have_to_yield(&self) -> bool {
        match self {
            Self::Quorum(_) => false,
            Self::PrimaryBackup(node) => node.may_have_to_yield(),
        }
    }

    /// Whether a read waits for the answers to a round of pulses.
    pub fn awaits_a_round(&self) -> bool {
        either!(self, node => node.awaits_a_round())
    }

    /// Whose deaths matter: somebody should look for proof while they are silent.
    pub fn watched(&self) -> Vec<(Member, Run)> {
        match self {
            Self::Quorum(_) => Vec::new(),
            Self::PrimaryBackup(node) => node.watched(),
        }
    }
}
