//! How much accounts and mailboxes may grow: the limits of the state itself.
//!
//! `apply` must not read a limit from a config file, because each replica has a file of its own:
//!   1. replica 1 allows 100 undelivered messages, replica 2, after an edit, 200; bob has 100;
//!   2. an entry sends bob one more. Replica 1 refuses it, replica 2 stores it, and from here on their states differ.
//!
//! So the limits of whoever leads are stamped on the entry, like the time, and every replica applies what stands there.
//! With files that differ, what is refused depends on who leads; the states never do. Only what a command needs is
//! stamped, and nothing where nothing is limited, so that an entry costs no byte for limits that are off.

use std::fmt::{self, Write as _};

use crate::{command, number};

/// The limits in force for a command. `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Undelivered messages of one account.
    pub mailbox_messages: Option<u64>,
    /// Bytes of the texts of these.
    pub mailbox_bytes: Option<u64>,
    /// Accounts in all.
    pub accounts: Option<u64>,
    /// Seconds for which a message is kept after its delivery.
    pub retention: Option<u64>,
}

impl Quota {
    /// The longest that one prints as.
    pub const TEXT_BYTES_MAX: usize =
        "m18446744073709551615b18446744073709551615a18446744073709551615r18446744073709551615".len();

    /// Nothing is limited.
    pub const NONE: Self = Self { mailbox_messages: None, mailbox_bytes: None, accounts: None, retention: None };

    /// How much it can add to a payload, with the `;` before it.
    pub fn text_bytes(self) -> usize {
        if self == Self::NONE { 0 } else { 1 + Self::TEXT_BYTES_MAX }
    }

    /// What of it a printed command needs, found without reading the rest.
    pub fn for_command(self, command_line: &str) -> Self {
        if self == Self::NONE {
            self
        } else if command_line.starts_with("|1|") {
            Self { accounts: self.accounts, ..Self::NONE }
        } else if super::recipient(command_line).is_some() {
            Self { accounts: None, retention: None, ..self }
        } else if command::counts_delivery(command_line) {
            Self { retention: self.retention, ..Self::NONE }
        } else {
            Self::NONE
        }
    }

    /// Reads what `Display` prints: each limit at most once, in that order.
    pub fn parse(printed: &str) -> Option<Self> {
        let mut rest = printed;
        let mut field = |letter: char| -> Option<Option<u64>> {
            let Some(tail) = rest.strip_prefix(letter) else { return Some(None) };
            let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
            rest = &tail[end..];
            number::parse(&tail[..end]).map(Some)
        };
        let (mailbox_messages, mailbox_bytes) = (field('m')?, field('b')?);
        let quota = Self { mailbox_messages, mailbox_bytes, accounts: field('a')?, retention: field('r')? };
        rest.is_empty().then_some(quota)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits =
            [('m', self.mailbox_messages), ('b', self.mailbox_bytes), ('a', self.accounts), ('r', self.retention)];
        for (letter, limit) in limits {
            if let Some(limit) = limit {
                f.write_char(letter)?;
                write!(f, "{limit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn printed_and_read_back(
            mailbox_messages in any::<Option<u64>>(),
            mailbox_bytes in any::<Option<u64>>(),
            accounts in any::<Option<u64>>(),
            retention in any::<Option<u64>>(),
        ) {
            let quota = Quota { mailbox_messages, mailbox_bytes, accounts, retention };
            prop_assert!(quota.to_string().len() <= Quota::TEXT_BYTES_MAX);
            prop_assert_eq!(Quota::parse(&quota.to_string()), Some(quota));
        }

        #[test]
        fn reading_never_panics(text in "[mbar0-9é|]{0,30}") {
            let _ = Quota::parse(&text);
        }
    }

    #[test]
    fn what_is_no_quota() {
        for text in ["m", "mm1", "a1m1", "m1 ", "x1", "m-1", "m18446744073709551616"] {
            assert_eq!(Quota::parse(text), None, "{text:?}");
        }
        assert_eq!(Quota::parse(""), Some(Quota::NONE));
    }

    #[test]
    fn a_command_gets_what_it_needs() {
        let all = Quota { mailbox_messages: Some(1), mailbox_bytes: Some(2), accounts: Some(3), retention: Some(4) };
        let printed = |line| all.for_command(line).to_string();
        assert_eq!(printed("|1|bob"), "a3");
        assert_eq!(printed("bob#1|@k|5|ann|hi"), "m1b2");
        for line in ["|mark|1:1-2", "bob#1|9|7|1-2", "bob#1|@k|9|7|1-2", "|expire"] {
            assert_eq!(printed(line), "r4", "{line}");
        }
        for line in ["bob#1|4", "|9|7|1-2", "bob#1|mark|1:1-2", "|expired", "nonsense"] {
            assert_eq!(printed(line), "", "{line}");
        }
    }
}
