//! How replicas agree: a log that is the same everywhere, whatever crashes.
//!
//! # The problem
//!
//! A message that was answered with `ok` must outlive the disk it was first written to. So every change goes into a
//! log of which each replica keeps a copy, and is answered when a majority of the disks holds it. The rest of this
//! module is about three questions that this raises: who decides the order (elections), what may be called decided
//! (commit), and whose disks count (membership). The answers are those of Raft (Ongaro and Ousterhout, 2014;
//! Ongaro's dissertation for pre-votes, hand-over, reads and membership), except where a sentence below says that
//! they are our own.
//!
//! Everything here is pure. A [`Node`] is told one [`Input`] at a time and hands out [`Duty`]s, in the order in
//! which they have to be done; it reads no clock, throws no die, and touches neither disk nor network. So a whole
//! cluster runs inside one test, from one seed (`tests/core_sim`), and every conversation can be written down
//! (`tests/golden`).
//!
//! # How it works
//!
//! **Founding** ([`founding`]; our own). A blank replica cannot know whether it is new or was wiped, so alone it
//! neither votes nor leads. When *every* replica of the address book is linked and blank, the lowest id writes the
//! founding record, entry 1 of every log; the others copy it; who has seen that all hold it, or somebody who has,
//! is sealed. Only the sealed vote.
//!
//! **Elections** (`election`). Time is cut into terms, each with at most one leader. A follower that hears of no
//! leader asks for pre-votes, which change nothing anywhere; with a majority of them it enters the next term, votes
//! for itself, and asks for votes. A voter gives one vote a term, durably before it says so, and only to a log that
//! holds at least what its own does. So a leader holds all that was ever committed: the majority that committed it
//! and the majority that voted share a replica.
//!
//! **Replication** (`leader`, `follower`). A leader only appends. Each append names the entry before it; a follower
//! whose log differs there refuses, with a hint that skips a whole term, and drops what contradicts the leader. So
//! if two logs have an entry of the same index and term, they agree up to it. While the logs are known to meet,
//! appends follow each other without waiting; the leader's own disk writes at the same time as the followers'.
//!
//! **Commit.** An entry is committed once a majority holds it on stable storage and it is of the leader's own term;
//! earlier entries are committed with it, never by being counted (figure 8 of the paper:
//! `tests/golden/figure_8.txt`). So a leader opens its term with an empty entry. A follower learns of a commit from
//! appends and pulses, and believes it only as far as *this* leader has verified its log. Applying stays behind the
//! own disk.
//!
//! **Tickets** (`ticket`; our own). "Durable" is a claim about a disk that answers late. Every batch carries a
//! ticket, a truncation voids the claims of those that are out, and the frame that acknowledges takes a
//! [`DurableIndex`], which only redeemed tickets make: to acknowledge before the fsync does not compile. Frames
//! that depend on term and vote wait in `unspoken` until those are durable.
//!
//! **Snapshots** (`snapshot`). The log may be cut behind its *base*, an entry that the durable state includes. A
//! follower that lacks entries before it is offered a copy of the state; it fetches it beside the core, and starts anew
//! with a log that begins behind it.
//!
//! **Reads.** A linearizable read takes the commit index, waits for a round of pulses begun *afterwards* to come
//! back from a majority, and then for the state to have applied that far. A leader of the past gets no such round.
//! No promise rests on a clock.
//!
//! **Wiped disks** (our own). A voter is an id in one incarnation of its disk. A replica that lost its disk comes
//! back as another member, learns, and votes after the leader has committed the removal of the old incarnation and
//! then the addition of the new one: one voter at a time, so that any two majorities in a row intersect. A disk
//! that was put back from a copy has forgotten what it said under its old name; the others remember the highest
//! boot count they have seen of each incarnation, and refuse it.
//!
//! **Members** (`members`, `change`; Ongaro's dissertation, section 4, single-server changes). A replica joins as a
//! learner, and votes by an entry once it has caught up; it is removed by an entry, whether it lives or not. One voter
//! at a time, in force when appended, and only after an entry of the leader's own term is committed and no other change
//! is on its way. From the first such entry on the log also says where everybody is reached. Who does not vote is sent
//! only what is committed (our own; `Node::sendable` says why).
//!
//! **Exactly once** ([`Origin`]; our own). What a replica proposes is a numbered stream. The state applies `n` only
//! after `n - 1`, so the whole of what is unresolved is sent again after each change of leader, and nothing
//! doubles.
//!
//! # What always holds
//!
//! | Invariant | Asserted in |
//! |---|---|
//! | one vote a term; terms never fall | `Node::set_hard_state` |
//! | one leader a term | `Node::heard_leader` |
//! | a candidate has voted for itself, durably | `Node::own_vote_is_durable` |
//! | logs have no gaps; terms and times never fall along them | [`Log::append`] |
//! | what is committed is never truncated | `Node::truncate_from` |
//! | nobody commits beyond its own log | `Node::commit_to` |
//! | the state applies what it was handed, and no more | `Node::applied_to`, `Node::new` |
//! | the log begins within what the state has applied | `Node::new`, `Node::cut` |
//! | the founding record is never replaced | `Log::truncate_from`, `Node::join_by` |
//! | a ticket is redeemed only if it was issued | [`Tickets::redeem`] |
//!
//! What no single replica can assert (logs agree, nothing acknowledged is lost, reads are current, and in the end
//! everybody agrees again) is checked from outside, by `tests/core_sim/checkers.rs`.
//!
//! # What is left out, and its price
//!
//! - *Serving down to the last replica*: a majority must live. Where crashes are the only faults, `src/views` does
//!   without one.
//! - *Joint changes of membership*: one voter comes or goes at a time, so that replacing all of five takes ten entries.
//! - *Leases.* Every read costs a round of pulses, shared by all reads that wait for one.
//! - *A disk lost while the cluster is being founded*, after the record was written and before anybody was sealed,
//!   leaves a record that can never be sealed: wipe all and found again; nothing was promised yet.
//! - *Old copies are known by their boot count*: one that was made since the last start, or was itself started as
//!   often as the original, is not recognised (unless it lacks what this leader saw acknowledged). Do not restore a
//!   replica's disk from a copy: wipe it.
//! - *A wiped majority.* What is lost from more than half of the disks may be lost; nothing here repairs that, and
//!   nothing goes on by itself. An operator may leave it behind: `refounding`.
//!
//! # How to read it
//!
//! `types` and [`Frame`] are the vocabulary; [`quorum`], `ticket` and `log` stand alone. Then [`Node`]: what it is
//! told, what it hands out (`contract`), and how a turn ends (`Node::duties`). Then the parts of its conversation:
//! `founding`, `election`, `follower`, `leader` with `progress`, `reads` with `rounds`, `snapshot` and `members`, `applying`. `origin` is for
//! whoever proposes. [`limits`] bounds every loop and queue.

mod applying;
mod change;
mod contract;
mod election;
mod follower;
pub mod founding;
mod frame;
mod leader;
pub mod limits;
mod log;
mod members;
mod node;
mod origin;
#[cfg(test)]
mod paper;
mod progress;
pub mod quorum;
mod reads;
mod refounding;
mod rounds;
mod snapshot;
mod ticket;
mod types;
mod view;

pub use change::{Address, Change, Refusal, Verdict};
pub use contract::{Duty, Input, Reader, Role, Settings, Standing, WhyAnew};
pub use frame::Frame;
pub use log::Log;
pub use node::Node;
pub use origin::Origin;
pub(crate) use progress::Inflight;
pub use refounding::{NotRefounded, refound};
pub(crate) use rounds::{Asker, ConfirmedRead, Rounds};
pub use ticket::{DurableIndex, Tickets};
pub use types::*;
pub use view::{GivenUp, VIEW_NUMBER_MAX, View, ViewFrame, ViewId, Views};
