//! The messages of the running transaction, not in the table yet: they are written together with the commit, or as soon
//! as anybody reads the table.
//!
//! Most messages are delivered within some 60 ms, sooner than the transaction ends. Such a message is written once, and
//! as delivered, instead of written and then changed; and one prepared statement writes them all. An undone transaction
//! takes them with it, as it takes the table's rows.

use std::collections::VecDeque;

use chat::{AccountId, MessageId, Millis, Text};
use rusqlite::Connection;

use super::rows;
use crate::storage::error::StorageError;

/// More than these are not held: what came first is written.
const HELD_MAX: usize = 8192;
/// So many are written at a time: the longest pause that writing makes between two groups of jobs.
const WRITTEN_AT_ONCE: usize = 512;

/// The first step away from a guess; each next one doubles.
const NEAR: usize = 8;

/// A message as the rules gave it.
#[derive(Debug)]
pub(super) struct Message {
    pub id: MessageId,
    pub from: AccountId,
    pub to: AccountId,
    pub time: Millis,
    pub text: Text,
    pub waiting: bool,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// Ids ascend.
    messages: VecDeque<Message>,
}

impl Fresh {
    /// A message that waits, newer than all before.
    pub fn add(&mut self, conn: &Connection, message: Message) -> Result<(), StorageError> {
        self.messages.push_back(message);
        if self.messages.len() < HELD_MAX {
            return Ok(());
        }
        rows::insert_messages(conn, self.messages.drain(..WRITTEN_AT_ONCE))
    }

    /// The message waits no more. `false`: it is not here, but in the table.
    pub fn stop_waiting(&mut self, id: MessageId) -> bool {
        let Some(at) = self.find(id) else { return false };
        self.messages[at].waiting = false;
        true
    }

    /// Ids come nearly evenly: the place is guessed from the first and the last one, and looked for around the guess.
    fn find(&self, id: MessageId) -> Option<usize> {
        let (first, last) = (self.messages.front()?.id.0, self.messages.back()?.id.0);
        let beyond = id.0.checked_sub(first).filter(|_| id.0 <= last)?;
        let is_before = |at: usize| self.messages[at].id < id;
        let end = self.messages.len() - 1;
        let guess = (u128::from(beyond) * end as u128 / u128::from((last - first).max(1))) as usize;
        let (mut from, mut to, mut step) = (guess, guess, NEAR);
        while from > 0 && !is_before(from) {
            from = from.saturating_sub(step);
            step *= 2;
        }
        while to < end && is_before(to) {
            to = end.min(to + step);
            step *= 2;
        }
        while from < to {
            let middle = from.midpoint(to);
            if is_before(middle) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        (self.messages[from].id == id).then_some(from)
    }

    /// Writes all of them.
    pub fn write(&mut self, conn: &Connection) -> Result<(), StorageError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        rows::insert_messages(conn, self.messages.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    #[test]
    fn a_message_is_found_however_the_ids_are_spread() {
        for seed in 0..500 {
            let mut rng = Rng::with_seed(seed);
            let (mut fresh, mut id, mut ids) = (Fresh::default(), 0_u64, Vec::new());
            let widest = rng.u32(..40);
            for _ in 0..rng.usize(..200) {
                let most = 1 << rng.u32(..=widest);
                id += 1 + rng.u64(..=most);
                ids.push(id);
                let (from, to) = (AccountId(1), AccountId(2));
                let text = Text::from_stored("x");
                fresh.messages.push_back(Message { id: MessageId(id), from, to, time: Millis(0), text, waiting: true });
            }
            for at in ids.iter().flat_map(|id| [id - 1, *id, id + 1]).chain([0, u64::MAX]) {
                assert_eq!(fresh.find(MessageId(at)), ids.binary_search(&at).ok(), "seed {seed}, id {at}");
            }
        }
    }
}
