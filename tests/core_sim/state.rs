//! The simulated state: one number per replica, by the rule of `Origin`'s header, and the digest of what had effect.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{BufMut, Bytes, BytesMut};
use plainsong::consensus::{Body, Entry, Incarnation, Index, Member, ReplicaId};

/// Which proposal: the member that made it, in which boot, as its how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal {
    pub member: Member,
    pub boot: u64,
    pub n: u64,
}

const HEAD_BYTES: usize = 26;

impl Proposal {
    /// A payload of at least `size` bytes.
    pub fn payload(self, size: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES.max(size));
        bytes.put_u16(self.member.id.0);
        bytes.put_u64(self.member.incarnation.0);
        bytes.put_u64(self.boot);
        bytes.put_u64(self.n);
        bytes.resize(HEAD_BYTES.max(size), b'.');
        bytes.freeze()
    }

    /// Reads a payload.
    pub fn of(entry: &Entry) -> Option<Self> {
        let Body::Command(bytes) = &entry.body else { return None };
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let id = ReplicaId(u16::from_be_bytes([bytes[0], bytes[1]]));
        let member = Member { id, incarnation: Incarnation(number(2)) };
        Some(Self { member, boot: number(10), n: number(18) })
    }
}

/// What applying a proposal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It had its effect.
    Applied,
    /// It, or a later one, or a later boot, had its effect before.
    Old,
    /// One before it is missing.
    Gap { expected: u64 },
}

/// The state of one replica.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub applied: Index,
    pub digest: u64,
    streams: BTreeMap<Member, (u64, u64)>,
}

impl State {
    /// Applies one entry.
    pub fn apply(&mut self, entry: &Entry) -> Option<(Proposal, Verdict)> {
        assert_eq!(entry.index, self.applied.next(), "entries are applied in order");
        self.applied = entry.index;
        let proposal = Proposal::of(entry)?;
        let verdict = self.judge(proposal);
        if verdict == Verdict::Applied {
            self.streams.insert(proposal.member, (proposal.boot, proposal.n));
            let mut hasher = DefaultHasher::new();
            (self.digest, entry.index, proposal).hash(&mut hasher);
            self.digest = hasher.finish();
        }
        Some((proposal, verdict))
    }

    fn judge(&self, proposal: Proposal) -> Verdict {
        let (boot, n) = self.streams.get(&proposal.member).copied().unwrap_or((0, 0));
        let last = if proposal.boot > boot { 0 } else { n };
        match proposal.n {
            _ if proposal.boot < boot => Verdict::Old,
            n if n <= last => Verdict::Old,
            n if n == last + 1 => Verdict::Applied,
            _ => Verdict::Gap { expected: last + 1 },
        }
    }
}
