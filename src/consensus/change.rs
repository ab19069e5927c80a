//! Changes of who belongs to the cluster: what can be asked for, and what the leader says to it. Why a change is
//! admitted or refused stands in `members`.

use std::fmt;

use super::{Index, Member, ReplicaId};

/// Where a replica is reached. To the core two texts that are equal or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Which replica.
    pub id: ReplicaId,
    /// Where clients connect, as `host:port`.
    pub clients: String,
    /// Where replicas connect, as `host:port`.
    pub replicas: String,
}

impl Address {
    /// The longest of the two texts, in bytes: a DNS name and a port.
    pub const BYTES_MAX: usize = 262;

    /// Whether both can stand as words of a line.
    pub fn is_sound(&self) -> bool {
        let word = |text: &str| {
            let clean = !text.chars().any(|c| c == '|' || c.is_whitespace() || c.is_control());
            clean && !text.is_empty() && text.len() <= Self::BYTES_MAX
        };
        word(&self.clients) && word(&self.replicas)
    }

    /// Whether another replica could not listen where this one does.
    pub fn collides(&self, other: &Self) -> bool {
        let mine = [&self.clients, &self.replicas];
        mine.contains(&&other.clients) || mine.contains(&&other.replicas)
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This replica wants to vote, at this address; or votes, and has moved.
    Join(Member, Address),
    /// This replica shall vote no more, whether it lives or not.
    Remove(ReplicaId),
}

/// What the leader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so, by a committed entry.
    Done(Index),
    /// Whoever joins is expected: it votes as soon as it has caught up. A later leader does not know of it: ask again.
    Noted,
    /// Not yet: the leader has just been elected, or is handing over. Ask again.
    Later,
    /// No.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another change is not committed yet.
    UnderWay,
    /// Another replica has that id.
    IdInUse(ReplicaId),
    /// Another replica has that address.
    AddressInUse(ReplicaId),
    /// That life of the replica's disk was taken out.
    Removed,
    /// Nobody has that id.
    Unknown(ReplicaId),
    /// The leader's config does not say where that replica is, and no entry does.
    NoAddress(ReplicaId),
    /// To a founding: the cluster is founded.
    Founded,
    /// To a founding: a record is made, and those who are in it are waited for.
    FoundingUnderWay,
    /// To a founding: that replica belongs to a cluster, or did.
    NotBlank(ReplicaId),
    /// To a founding: that replica was started with another list of replicas, or with `--join`.
    OtherBook(ReplicaId),
    /// To a founding: that replica is here too, and founds.
    AskLower(ReplicaId),
    /// To a founding: those who are here are no majority of the list.
    TooFewToFound {
        /// How many are.
        here: u16,
        /// A majority.
        needed: u16,
    },
    /// Nobody would be left.
    LastVoter,
    /// The mode is `primary-backup`: all of the config are members, from the founding on.
    FixedMembers,
    /// Of those who would be left too few are alive.
    WouldLoseQuorum {
        /// Voters after the change.
        voters: u16,
        /// How many of them are linked and answer.
        alive: u16,
        /// A majority of them.
        needed: u16,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => f.write_str("another change of members is under way: try again in a moment"),
            Self::IdInUse(id) => {
                write!(
                    f,
                    "replica {id} is another one, which belongs to the cluster: choose a free id, or remove it first"
                )
            }
            Self::AddressInUse(id) => {
                write!(f, "replica {id} has that address: choose free ports, or remove that replica first")
            }
            Self::Removed => f.write_str(
                "this data directory belongs to a replica that was removed: set it aside, and join with a fresh one",
            ),
            Self::Unknown(id) => {
                write!(f, "replica {id} is no member of this cluster: `plainsong status` lists the members")
            }
            Self::NoAddress(id) => {
                write!(f, "the leader does not know where replica {id} is: name it in the leader's config.yaml")
            }
            Self::Founded => f.write_str("the cluster is founded: who is missing joins it"),
            Self::FoundingUnderWay => f.write_str(
                "a founding is under way: it goes on as soon as all are linked that it began with. If one of them is lost \
                 for good, set the data directories of all aside, and begin again",
            ),
            Self::NotBlank(id) => {
                write!(f, "replica {id} is not blank: it belongs to a cluster, whose majority must be started instead")
            }
            Self::OtherBook(id) => {
                write!(f, "replica {id} was started with another list of replicas, or with --join: give all the same")
            }
            Self::AskLower(id) => write!(f, "replica {id} is there, and has the lowest id: it founds; ask it"),
            Self::TooFewToFound { here, needed } => write!(
                f,
                "{here} of the replicas in the config are linked, and {needed} are needed: start more of them; or take \
                 those out of `replicas` that there will never be"
            ),
            Self::LastVoter => f.write_str("it is the only voter: without it there is no cluster; to end it, stop it"),
            Self::FixedMembers => f.write_str(
                "in the mode primary-backup the members are those of the founding: a lost disk needs no change, start that \
                 replica blank; for other members found a new cluster",
            ),
            Self::WouldLoseQuorum { voters, alive, needed } => write!(
                f,
                "of the {voters} voters that would be left {alive} are up, and {needed} are needed: start the others first"
            ),
        }
    }
}
