//! Tickets: what this replica may claim to hold on stable storage.
//!
//! Every batch handed to the store carries a ticket; the store redeems tickets in order. A [`DurableIndex`] of our own
//! can only be made here, from redeemed tickets, and the frames that acknowledge entries take nothing else: that an
//! entry is acknowledged before its fsync does not compile.
//!
//! Invariants:
//! - `durable` never exceeds the log's last index: a truncation lowers it, and voids the claims of tickets that are
//!   still out. Without that, a late "index 10 is synced" would speak for the *new* entry 10:
//!   1. entry 10 of term 2 goes to the store under ticket 7;
//!   2. a leader of term 3 truncates from 9 on, and sends its own 9 and 10 under ticket 8;
//!   3. ticket 7 is redeemed: it must not say that today's entry 10 is durable.

use std::collections::VecDeque;

use super::{Index, Ticket};

/// An index up to which a log is on stable storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurableIndex(Index);

impl DurableIndex {
    /// The index, for arithmetic and for the wire.
    pub fn index(self) -> Index {
        self.0
    }

    /// What a peer claims, read from its frame. Only decoders call this.
    pub fn claimed_by_peer(index: Index) -> Self {
        Self(index)
    }

    /// The same claim for no more than `index`.
    #[must_use]
    pub fn at_most(self, index: Index) -> Self {
        Self(self.0.min(index))
    }
}

/// One batch on its way to the disk.
#[derive(Clone, Debug)]
struct Pending {
    ticket: Ticket,
    /// The log's last index once the batch is durable; lowered by truncations that were ordered after it.
    last: Index,
    /// The batch writes term, vote or the state of the founding.
    hard: bool,
}

/// The batches that are out, and what has come back.
#[derive(Clone, Debug, Default)]
pub struct Tickets {
    issued: Ticket,
    redeemed: Ticket,
    pending: VecDeque<Pending>,
    durable: DurableIndex,
    /// The newest ticket whose batch writes term or vote.
    last_hard: Ticket,
}

impl Tickets {
    /// After a start: everything recovered is durable, because the boot count's own commit synced it.
    pub fn recovered(last: Index) -> Self {
        Self { durable: DurableIndex(last), ..Self::default() }
    }

    /// A ticket for a batch that leaves the log ending at `last`.
    pub fn issue(&mut self, last: Index, hard: bool) -> Ticket {
        self.issued = self.issued.next();
        self.pending.push_back(Pending { ticket: self.issued, last, hard });
        if hard {
            self.last_hard = self.issued;
        }
        self.issued
    }

    /// The entry at `from` and all behind it are dropped: claims end before it.
    pub fn truncate_from(&mut self, from: Index) {
        self.durable = self.durable.at_most(from.prev());
        for pending in &mut self.pending {
            pending.last = pending.last.min(from.prev());
        }
    }

    /// The store has made this batch durable, and all before it.
    pub fn redeem(&mut self, ticket: Ticket) {
        assert!(ticket <= self.issued, "the store redeems ticket {ticket}, but only {} were issued", self.issued);
        while self.pending.front().is_some_and(|p| p.ticket <= ticket) {
            let done = self.pending.pop_front().expect("there is a front");
            self.durable = self.durable.max(DurableIndex(done.last));
        }
        self.redeemed = self.redeemed.max(ticket);
    }

    /// How far this replica's own log is on stable storage.
    pub fn durable(&self) -> DurableIndex {
        self.durable
    }

    /// Whether term and vote, as they stand in memory, are on stable storage: until then they are not spoken.
    pub fn hard_state_is_durable(&self) -> bool {
        self.last_hard <= self.redeemed
    }

    /// Whether any batch is out.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a batch that is out writes term or vote.
    pub fn hard_state_pending(&self) -> bool {
        self.pending.iter().any(|p| p.hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_ticket_does_not_speak_for_a_new_entry_at_its_index() {
        let mut tickets = Tickets::recovered(Index(8));
        let old = tickets.issue(Index(10), false);
        tickets.truncate_from(Index(9));
        let new = tickets.issue(Index(10), false);
        tickets.redeem(old);
        assert_eq!(tickets.durable().index(), Index(8));
        tickets.redeem(new);
        assert_eq!(tickets.durable().index(), Index(10));
    }

    #[test]
    fn truncating_durable_entries_lowers_the_claim() {
        let mut tickets = Tickets::recovered(Index(8));
        tickets.truncate_from(Index(5));
        assert_eq!(tickets.durable().index(), Index(4));
    }

    #[test]
    fn a_vote_is_unspoken_until_its_ticket_is_back() {
        let mut tickets = Tickets::recovered(Index(1));
        let vote = tickets.issue(Index(1), true);
        let _append = tickets.issue(Index(2), false);
        assert!(!tickets.hard_state_is_durable());
        tickets.redeem(vote);
        assert!(tickets.hard_state_is_durable());
        assert!(!tickets.is_idle());
    }
}
