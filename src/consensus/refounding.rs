//! Founding a cluster anew from the disk of one replica, when the majority of the old one is lost for good.
//!
//! What one disk holds is not what the cluster had promised: entries that only the others held are lost, and entries
//! that only this one held become committed. So nothing here happens by itself; an operator decides it, on a replica
//! that is stopped.
//!
//! The log stays, and gets one entry: this replica is the only voter from there on, in a term that nobody has seen.
//! Every other incarnation that ever voted is removed by it, and so comes back only blank, as after a lost disk.
//!
//! The new cluster has a new id. Were it the old one, then
//!   1. 1 is taken for the only survivor of 1, 2, 3, and recovered: it commits alone;
//!   2. 2 and 3 were only cut off, and are a majority of the old cluster: they commit too, other entries at the same
//!      indexes;
//!   3. the three meet: each entry of one side contradicts what the other side has acknowledged.
//!
//! With it, replicas of the two refuse each other's links. The founding record stays what it was, so the new id stands
//! beside it, durable with the entry; who joins takes the id over from the leader that hands it the record.

use super::{Batch, Body, ClusterId, Entry, FoundingState, HardState, Member, Membership, Mode, Recovered};

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRefounded {
    /// The disk is not one of a cluster that exists.
    #[error("this replica is blank, or its cluster was never founded: there is nothing to recover")]
    NotFounded,
    /// The mode is `primary-backup`: there is no majority to be lost.
    #[error(
        "in the mode primary-backup one replica serves alone, once the others are proven dead: start it; if the last to \
         fail lost its disk, restore all from a backup"
    )]
    Views,
}

/// What to write to the disk of the one replica that is left. `clock` is the time, in Unix milliseconds; `cluster` is
/// random.
pub fn refound(disk: &Recovered, clock: u64, cluster: ClusterId) -> Result<Batch, NotRefounded> {
    let Some((_, before)) = disk.memberships.last().filter(|_| disk.founding == FoundingState::Sealed) else {
        return Err(NotRefounded::NotFounded);
    };
    if disk.record.as_ref().is_some_and(|record| record.mode == Mode::PrimaryBackup) {
        return Err(NotRefounded::Views);
    }
    let me = disk.me;
    let log_term = disk.term_starts.last().map_or_else(Default::default, |(term, _)| *term);
    let term = disk.hard_state.term.max(log_term).next();
    // The others keep their places: who comes back blank is awaited, as after a lost disk.
    let addresses = before.addresses.clone();
    let membership = Membership { voters: vec![me], removed: left_behind(before, me), addresses };
    let entry =
        Entry { index: disk.last.next(), term, time: clock.max(disk.last_time), body: Body::Membership(membership) };
    Ok(Batch {
        hard_state: Some(HardState { term, vote: Some(me) }),
        cluster: Some(cluster),
        append: vec![entry],
        ..Batch::default()
    })
}

/// Everybody else who ever voted.
fn left_behind(before: &Membership, me: Member) -> Vec<Member> {
    let mut left = before.removed.clone();
    left.extend(before.voters.iter().copied().filter(|voter| !before.removed.contains(voter)));
    left.retain(|member| *member != me);
    left
}
