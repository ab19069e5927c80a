//! A message, and the kinds of number that must never be mixed up: which account, and which message.

use std::fmt;

use crate::{Millis, Name, Text};

/// Which of the accounts that ever existed: the index of the entry that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AccountId(pub u64);

/// Which message: the index of the entry that sent it. 0 is before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MessageId(pub u64);

/// Which messages: at least one, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIds(Box<[MessageId]>);

impl MessageIds {
    /// The set of these; `None` where there are none.
    pub fn new(mut ids: Vec<MessageId>) -> Option<Self> {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { None } else { Some(Self(ids.into())) }
    }

    /// In ascending order.
    pub fn as_slice(&self) -> &[MessageId] {
        &self.0
    }
}

/// What one account sent to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique in the cluster; mailboxes are in its order.
    pub id: MessageId,
    /// The sender's name, also after its account is gone.
    pub from: Name,
    /// The recipient's name.
    pub to: Name,
    /// The leader's clock when it accepted the message.
    pub time: Millis,
    /// What was said.
    pub text: Text,
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MessageIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            write!(f, "{}{id}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
