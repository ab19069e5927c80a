//! The second way to agree: every member of the present *view* holds an entry before it is acknowledged, and views
//! shrink as members die, down to the last one.
//!
//! For places where crashes are the only faults: a process that is cut off is not dead, and blocks all writes until it
//! is heard again (but see `silence`). Three replicas survive any two crashes so, one after the other, where a majority survives one. It
//! speaks the same contract as [`crate::consensus::Node`], and uses its log, its tickets and its founding; like it, it
//! is pure.
//!
//! # How it works
//!
//! A **view** is a set of running processes (a replica, its disk's incarnation, the run) with a name ([`ViewId`]:
//! number, proposer, the proposer's boot) and a *base*: what its proposer had installed when it proposed.
//!
//! 1. **Propose.** The proposer promises the view itself, durably, and asks all its members to.
//! 2. **Accept.** A member that the view names in this very run accepts it if its id exceeds what it has promised, and
//!    its own installed view is not newer than the base. That is durable before it is said. From then on it takes
//!    nothing from an older view. The proposer now replicates its log to it, as it stood when it proposed.
//! 3. **Install.** When *all* members have accepted, and hold that log on their disks, the proposer makes "installed"
//!    durable, and only then tells them. It leads: it appends a no-op, and what *all* hold on their disks is committed.
//!
//! A **warm** replica, one that was told of an installed view that names its running process, proposes everyone in the
//! views that it has installed or promised who is not *proven* dead, and, while it leads, one newcomer that is caught
//! up. A **cold** one, just started, proposes only after it has heard all members of its installed view, in whatever
//! run, none of them warm, none with a newer view. A blank replica is another incarnation, and so is never heard as a
//! member.
//!
//! So the last to fail is the first to lead: its view names nobody else, and all others have to hear it first.
//!
//! # Why each rule is there
//!
//! - *Base.* 1. Replica 1, of a view of 1 and 2, takes 3 in, tells 3 alone, and dies. 2. 2 has promised that view,
//!   knows only the one before to be installed, and proposes 2 and 3 from it, with a higher number. 3. Were 3 to
//!   accept, it would give up a view that it was told of, and may have served in, for a log that need not hold it. It
//!   refuses, and proposes itself.
//! - *Tell after install.* 1. 1, of a view of 1 and 2, proposes to add 3, tells 3 that it is installed, and dies before
//!   its own disk has it; 2 dies. 2. Replica 3 goes on alone, acknowledges, and dies. 3. 1 and 2 start: both know only
//!   the view of 1 and 2, hear each other, and serve without what 3 acknowledged.
//! - *The union.* As with the base; but 2 proposes the living members of its installed view alone: itself. It serves,
//!   and dies; 3, told of a view of all three, of whom nobody else lives, goes on alone, without what 2 acknowledged.
//! - *The cold clause.* 1 dies; 2 serves alone, and dies; 1 starts. Everybody else is dead, and it must still wait.
//!
//! **Terms.** Entries and frames carry the number of their view where the other mode has the term: installed views have
//! different numbers, ascending.
//!
//! **Reads** take the commit index and wait until all members of the view have answered a round of pulses begun
//! afterwards. Whoever has promised a newer view does not answer, and no newer view serves without one who did.
//!
//! # What is left out, and its price
//!
//! - *Silence is no death.* A member that is cut off, hangs, or whose host lost its power without refusing connections
//!   blocks writes and reads until it is back or proven dead. Where it may count as dead, two sides may serve, and one
//!   gives up what it acknowledged: see `silence`.
//! - *A lost disk of the last view* leaves its other members waiting for it after a total stop: nothing here can know
//!   that it acknowledged nothing alone.
//! - *Numbers of views end* at [`crate::consensus::VIEW_NUMBER_MAX`]: eight million changes of who is there.
//!
//! # How to read it
//!
//! [`Node`] (the contract), `propose` (views), `follow` (a member's side), `lead` (replication, commit, reads),
//! `found`, `applying`; `silence`, what is configured with `drop_silent_after_ms`. What no single replica can assert is checked from outside, in `tests/views`.

mod applying;
mod follow;
mod found;
mod lead;
mod node;
mod progress;
mod propose;
mod silence;

pub use node::Node;

use crate::consensus::ViewId;

/// The view that a term's number stands for when `proposer` leads it in that boot.
fn id_of(term: crate::consensus::Term, proposer: crate::consensus::Member, run: crate::consensus::Run) -> ViewId {
    ViewId { number: term.0, proposer, boot: run.boot }
}
