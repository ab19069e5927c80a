//! The line grammar between replicas: how frames look on the internal port.
//!
//! It is the same kind of lines that clients speak, so that a whole cluster can be read with tcpdump, and there is one
//! sort of grammar to fuzz. Pure: bytes in, frames out, and back. Total: no bytes make it panic.
//!
//! ```text
//! append|3|41|3|40|2                 term, prev, its term, commit, how many entries follow
//! entry|42|3|1795185601123|1|+1.a0.7.41|bob#12|5|alice|hi
//! entry|43|3|1795185601123|0|noop
//! appended|3|43
//! snapshot|3|41|3|1795185601123|9f0c|81920|5d2e|-|1   a copy of the state after 41: term, time, digest, bytes, name;
//!                                                     its cluster, if that is not the record's; entries that follow
//! fetch|5d2e|0                                        from the first byte on
//! chunk|5d2e|0|81920|3735928559                       then so many bytes as they are, and LF; their crc
//! ```
//!
//! A frame with entries or proposals spans its head line and the counted lines behind it. What a peer sends is checked
//! for form here and for sense by the core; a line that is not of this grammar ends the link, because what follows it
//! cannot be trusted to be framed right.

pub mod admin;
mod decode;
mod encode;
pub mod handshake;
pub mod members;

use bytes::Bytes;
use chat::Name;

pub use decode::{BadLine, Decoder};
pub use encode::encode;

use crate::consensus::{Frame, Index, Member, Run, ViewFrame};
use crate::machine::audit::Checkpoint;

/// What one replica says to another once their link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerLine {
    /// The core's own.
    Frame(Frame),
    /// Who has live sessions at the sender. Every link begins with a full list.
    Presence(Presence),
    /// This run of this replica works on an old copy of its disk: it must start anew as blank. The run is named because
    /// by now another one, and a healthy one, may read this.
    Restored(Member, Run),
    /// This run of this replica was removed from the cluster.
    Removed(Member, Run),
    /// Send me so many chunks of that copy of your state, from this offset on. So the receiver's disk sets the pace, and
    /// what is on its way has a bound.
    Fetch(Fetch),
    /// A piece of a copy.
    Chunk(Chunk),
    /// What the leader spreads with its pulses, and a follower reports with its answers.
    News(Vec<PeerNews>),
    /// What the sender's wall clock shows, in Unix milliseconds.
    Clock(u64),
}

/// Which piece of a copy of the state is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The copy's checksum: its name.
    pub copy: u64,
    /// From which byte on.
    pub offset: u64,
}

/// A piece of a copy of the state: counted bytes, no lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Of which copy.
    pub copy: u64,
    /// Its first byte's place.
    pub offset: u64,
    /// The bytes, at most [`limits::CHUNK_BYTES_MAX`].
    pub bytes: Bytes,
}

impl PeerLine {
    fn view(frame: ViewFrame) -> Self {
        Self::Frame(Frame::View(frame))
    }
}

/// A change of who is online at the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// What was known of the sender before is void.
    pub full: bool,
    /// These have a live session now.
    pub online: Vec<Name>,
    /// These have none any more.
    pub offline: Vec<Name>,
}

/// One replica's condition, as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerNews {
    /// Which replica.
    pub id: crate::consensus::ReplicaId,
    /// Whether it answers pulses.
    pub up: bool,
    /// Whether it votes.
    pub votes: bool,
    /// Whether its disk is full: it acknowledges nothing.
    pub full: bool,
    /// How far it has applied the log.
    pub applied: Index,
    /// The digest of its state, at the newest index at which all take it.
    pub checkpoint: Checkpoint,
}

/// Bounds of the grammar.
pub mod limits {
    /// At most so many entries, proposals or names in one frame: what a head line may announce.
    pub const COUNT_MAX: u64 = 1 << 20;
    /// What replicas add to a client's line when they pass it on, at most.
    pub const LINE_OVERHEAD_BYTES: usize = 1024;
    /// The longest line. No part of any config: two replicas with different `limits.line_bytes` must still read each
    /// other, and a log keeps what an earlier config allowed.
    pub const LINE_BYTES_MAX: usize = 2 << 20;
    /// A handshake line, which a stranger may send, is no longer than this.
    pub const HANDSHAKE_LINE_BYTES: usize = 1024;
    /// The longest piece of a copy of the state.
    pub const CHUNK_BYTES_MAX: usize = 256 << 10;
    /// At most so many entries name the voters of a copy.
    pub const NAMED_MAX: u64 = 2;
    /// Names in one presence line.
    pub const PRESENCE_NAMES_PER_LINE: usize = 64;
}

#[cfg(test)]
mod tests;
