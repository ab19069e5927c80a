//! Outcomes: what applying a command did, and their printed form, which key memory and digests keep.
//!
//! A refusal prints as its code alone, and reads back with the sentence that always goes with it. So a better wording
//! in a later version changes no digest, and no stored key.

use std::fmt;

use crate::{AccountId, Command, Done, ErrCode, MessageId, Refusal, Reply, number};

/// What applying a command did. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The account exists; its id is the entry's index.
    Created(AccountId),
    /// The account is gone.
    Deleted,
    /// The message is stored. A repeat under the same key repeats the first id and the first `online`.
    Sent {
        /// The message's id.
        id: MessageId,
        /// Whether the recipient was online when the leader accepted it: `ok|sent` or `ok|queued`.
        online: bool,
    },
    /// So many messages are out of the view. A repeat under the same key repeats the first count.
    Erased(u64),
    /// The account has the new password.
    PasswordSet,
    /// The ack took effect (or had, under the same key).
    Acked(MessageId),
    /// The marks took effect.
    Marked,
    /// A step of the retention: so many messages are gone, from both views.
    Expired {
        /// How many.
        messages: u64,
        /// The step ended at its bound, not at the cut-off.
        more: bool,
    },
    /// Refused for good; nothing changed. Made by [`Refusal::of`]: the sentence follows from the code.
    Refused(Refusal),
}

/// A printed outcome that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no outcome that this version knows")]
pub struct BadOutcome;

impl Outcome {
    /// Refused, with the sentence of the code.
    pub fn refused(code: ErrCode) -> Self {
        Outcome::Refused(Refusal::of(code))
    }

    /// Reads what `Display` prints.
    pub fn parse(printed: &str) -> Result<Self, BadOutcome> {
        let id = |digits| number::parse(digits).ok_or(BadOutcome);
        let mut words = printed.splitn(3, '|');
        match (words.next(), words.next(), words.next()) {
            (Some("ok"), Some("created"), Some(account)) => Ok(Outcome::Created(AccountId(id(account)?))),
            (Some("ok"), Some("deleted"), None) => Ok(Outcome::Deleted),
            (Some("ok"), Some("sent"), Some(sent)) => Ok(Outcome::Sent { id: MessageId(id(sent)?), online: true }),
            (Some("ok"), Some("queued"), Some(sent)) => Ok(Outcome::Sent { id: MessageId(id(sent)?), online: false }),
            (Some("ok"), Some("erased"), Some(count)) => Ok(Outcome::Erased(id(count)?)),
            (Some("ok"), Some("passwd"), None) => Ok(Outcome::PasswordSet),
            (Some("ok"), Some("acked"), Some(acked)) => Ok(Outcome::Acked(MessageId(id(acked)?))),
            (Some("ok"), Some("marked"), None) => Ok(Outcome::Marked),
            (Some("ok"), Some("expired"), Some(count)) => {
                let (messages, more) = count.strip_suffix("|more").map_or((count, false), |count| (count, true));
                Ok(Outcome::Expired { messages: id(messages)?, more })
            }
            (Some("err"), Some(code), None) => ErrCode::from_token(code).map(Outcome::refused).ok_or(BadOutcome),
            _ => Err(BadOutcome),
        }
    }

    /// The final line for the client whose command this came of. `None` where no client waits: marks, and an outcome
    /// that cannot come of this command.
    pub fn reply<'a>(&'a self, command: &'a Command) -> Option<Reply<'a>> {
        let done = match (self, command) {
            (Outcome::Refused(refusal), _) => return Some(refusal.into()),
            (Outcome::Created(_), Command::Create { name, .. }) => Done::Create { name: name.as_str() },
            (Outcome::Deleted, Command::Delete { speaker }) => Done::Delete { name: speaker.name.as_str() },
            (Outcome::Sent { id, online }, Command::Send { to, .. }) => {
                Done::Sent { to: to.as_str(), id: *id, online: *online }
            }
            (Outcome::Erased(count), Command::Erase { .. }) => Done::Erase { count: *count },
            (Outcome::PasswordSet, Command::Passwd { speaker, .. }) => Done::Passwd { name: speaker.name.as_str() },
            (Outcome::Acked(id), Command::Ack { .. }) => Done::Ack { id: *id },
            (
                Outcome::Created(_)
                | Outcome::Deleted
                | Outcome::Sent { .. }
                | Outcome::Erased(_)
                | Outcome::PasswordSet
                | Outcome::Acked(_)
                | Outcome::Marked
                | Outcome::Expired { .. },
                _,
            ) => return None,
        };
        Some(Reply::Ok(done))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Created(id) => write!(f, "ok|created|{id}"),
            Outcome::Deleted => f.write_str("ok|deleted"),
            Outcome::Sent { id, online: true } => write!(f, "ok|sent|{id}"),
            Outcome::Sent { id, online: false } => write!(f, "ok|queued|{id}"),
            Outcome::Erased(count) => write!(f, "ok|erased|{count}"),
            Outcome::PasswordSet => f.write_str("ok|passwd"),
            Outcome::Acked(id) => write!(f, "ok|acked|{id}"),
            Outcome::Marked => f.write_str("ok|marked"),
            Outcome::Expired { messages, more: false } => write!(f, "ok|expired|{messages}"),
            Outcome::Expired { messages, more: true } => write!(f, "ok|expired|{messages}|more"),
            Outcome::Refused(refusal) => write!(f, "err|{}", refusal.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printed_and_read_back() {
        let mut table = vec![
            (Outcome::Created(AccountId(12)), "ok|created|12".to_owned()),
            (Outcome::Deleted, "ok|deleted".to_owned()),
            (Outcome::Sent { id: MessageId(77), online: true }, "ok|sent|77".to_owned()),
            (Outcome::Sent { id: MessageId(u64::MAX), online: false }, format!("ok|queued|{}", u64::MAX)),
            (Outcome::Erased(3), "ok|erased|3".to_owned()),
            (Outcome::PasswordSet, "ok|passwd".to_owned()),
            (Outcome::Acked(MessageId(0)), "ok|acked|0".to_owned()),
            (Outcome::Marked, "ok|marked".to_owned()),
            (Outcome::Expired { messages: 7, more: false }, "ok|expired|7".to_owned()),
            (Outcome::Expired { messages: 7, more: true }, "ok|expired|7|more".to_owned()),
        ];
        table.extend(ErrCode::ALL.iter().map(|code| (Outcome::refused(*code), format!("err|{code}"))));
        for (outcome, printed) in table {
            assert_eq!(outcome.to_string(), printed);
            assert_eq!(Outcome::parse(&printed), Ok(outcome));
        }
    }

    #[test]
    fn what_is_no_outcome() {
        for printed in [
            "",
            "ok",
            "ok|sent",
            "ok|sent|",
            "ok|sent|x",
            "ok|deleted|1",
            "ok|erased",
            "ok|passwd|x",
            "err",
            "err|NOPE",
            "err|BUSY|x",
        ] {
            assert_eq!(Outcome::parse(printed), Err(BadOutcome), "{printed:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(printed in "(ok|err)?[|a-zA-Z_0-9\\PC]{0,20}") {
            if let Ok(outcome) = Outcome::parse(&printed) {
                prop_assert_eq!(Outcome::parse(&outcome.to_string()), Ok(outcome));
            }
        }
    }
}
