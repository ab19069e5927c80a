//! What the cores of two replicas tell each other. How a frame looks on the wire is not known here.
//!
//! Every frame but those of founding carries the sender's term. A frame of an older term is answered with the newer
//! one (that is how a replica that was cut off learns of it) and has no other effect.

use bytes::Bytes;

use super::{
    Change, ClusterId, DurableIndex, Entry, Founding, FoundingState, Index, Round, Snapshot, Term, Verdict, ViewFrame,
};

/// One frame. `from` is known by the link: its handshake proved id, incarnation and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Would you vote for me in `term`, if I asked? Changes nothing at either end.
    PreVote {
        /// The term the candidate would stand in: its own plus one.
        term: Term,
        /// The last entry of its log.
        last: Index,
        /// That entry's term.
        last_term: Term,
    },
    /// The answer.
    PreVoteReply {
        /// When granted: the term that was asked about. When refused: the voter's own.
        term: Term,
        /// Whether.
        granted: bool,
    },
    /// Vote for me in `term`.
    Vote {
        /// The candidate's term.
        term: Term,
        /// The last entry of its log.
        last: Index,
        /// That entry's term.
        last_term: Term,
    },
    /// The answer, after term and vote are durable.
    VoteReply {
        /// The voter's term.
        term: Term,
        /// Whether.
        granted: bool,
    },
    /// These entries follow `prev`. Without entries: a probe, or news of a commit.
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before the first one here.
        prev: Index,
        /// Its term.
        prev_term: Term,
        /// How far the leader has committed.
        commit: Index,
        /// Contiguous from `prev + 1`.
        entries: Vec<Entry>,
    },
    /// The entries that the follower lacks are not kept: here is what the state was after them. The copy itself is
    /// fetched beside the core. One who needs it not acknowledges what it holds.
    Snapshot {
        /// The leader's term.
        term: Term,
        /// Which copy.
        snapshot: Snapshot,
    },
    /// The follower's log equals the leader's up to here, on stable storage.
    AppendOk {
        /// The follower's term.
        term: Term,
        /// How far.
        matched: DurableIndex,
    },
    /// The follower's log differs from the leader's at `prev`, or does not reach it.
    AppendReject {
        /// The follower's term.
        term: Term,
        /// The `prev` that was refused, so that a late refusal is told from a fresh one.
        prev: Index,
        /// The highest index at which the logs may still agree.
        hint: Index,
        /// The follower's term at `hint`.
        hint_term: Term,
    },
    /// Stand at once: I am handing leadership to you.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// How far have you committed, now that I ask?
    ReadIndex {
        /// The asker's term.
        term: Term,
        /// Comes back.
        id: u64,
    },
    /// The answer, after a quorum confirmed that the leader leads.
    ReadIndexReply {
        /// The leader's term.
        term: Term,
        /// Which question.
        id: u64,
        /// A read that has applied this far is current.
        index: Index,
    },
    /// Somebody asks the sender for a change of members.
    Change {
        /// The asker's term.
        term: Term,
        /// Comes back.
        id: u64,
        /// What is asked for.
        change: Change,
    },
    /// The answer. One that is admitted is answered when it is committed.
    ChangeReply {
        /// The leader's term.
        term: Term,
        /// Which question.
        id: u64,
        /// What it says.
        verdict: Verdict,
    },
    /// Proposals of the sender's stream, in order. The core never sees it: whoever stamps proposals does.
    Forward {
        /// The term of the leader it is meant for: a later leader has been sent everything anew.
        term: Term,
        /// The payloads.
        payloads: Vec<Bytes>,
    },
    /// A pulse: I lead. Travels on a connection of its own, never behind bulk data.
    Beat {
        /// The leader's term.
        term: Term,
        /// Which round of pulses.
        round: Round,
        /// How far the leader has committed, but no further than it knows this follower's log to match its own.
        commit: Index,
    },
    /// The answer to a pulse.
    BeatReply {
        /// The follower's term.
        term: Term,
        /// The pulse's round.
        round: Round,
        /// How far the follower has received this leader's log, durable or not: shows the leader what was lost.
        received: Index,
    },
    /// Copy this founding record.
    Found(Founding),
    /// How far the sender's founding is, after it changed.
    FoundingNews {
        /// The cluster, once there is a record.
        cluster: Option<ClusterId>,
        /// How far.
        state: FoundingState,
    },
    /// Of the mode `primary-backup` alone.
    View(ViewFrame),
}
