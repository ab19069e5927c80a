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
        match self.messages.binary_search_by_key(&id, |message| message.id) {
            Ok(at) => self.messages[at].waiting = false,
            Err(_) => return false,
        }
        true
    }

    /// Writes all of them.
    pub fn write(&mut self, conn: &Connection) -> Result<(), StorageError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        rows::insert_messages(conn, self.messages.drain(..))
    }
}
