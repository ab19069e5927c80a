//! The codes of the protocol: the exact tokens a script may test after `err`, `retry`, `note` and `bye`.
//!
//! Each code is an enum variant inside the program and becomes its token only at the edge. A token that a later
//! version adds is kept as [`Code::Later`], so that an older client still knows a final line when it sees one.

use std::fmt;

/// Declares one enum of codes with its tokens, so that variant and token cannot drift apart.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $token:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every code, in the order of the protocol page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The exact token on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $token,)+ }
            }

            /// The code of a token; `None` for one that this version does not know.
            pub fn from_token(token: &str) -> Option<Self> {
                match token { $($token => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$name> for Code<'_, $name> {
            fn from(code: $name) -> Self {
                Code::Known(code)
            }
        }

        impl<'a> Code<'a, $name> {
            /// The code of a token, whether this version knows it or not.
            pub fn from_token(token: &'a str) -> Self {
                $name::from_token(token).map_or(Code::Later(token), Code::Known)
            }

            /// The exact token on the wire.
            pub fn as_str(&self) -> &'a str {
                match self {
                    Code::Known(code) => code.as_str(),
                    Code::Later(token) => token,
                }
            }
        }
    };
}

/// A code as it is read from a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code<'a, C> {
    /// One that this version knows.
    Known(C),
    /// The token of a later version.
    Later(&'a str),
}

codes! {
    /// Why a request was refused for good; nothing was changed.
    ErrCode {
        /// Not a request: unknown op, a missing or superfluous argument, a bad number, a malformed key.
        BadRequest = "BAD_REQUEST",
        /// The line was over the limit and was skipped.
        TooLong = "TOO_LONG",
        /// The line was not UTF-8.
        NotUtf8 = "NOT_UTF8",
        /// No account can have this name.
        BadName = "BAD_NAME",
        /// The text holds a control character other than tab.
        BadText = "BAD_TEXT",
        /// The regex does not compile, or is too big.
        BadRegex = "BAD_REGEX",
        /// There is an account of this name.
        NameTaken = "NAME_TAKEN",
        /// There is no account of this name.
        NoSuchUser = "NO_SUCH_USER",
        /// The password is wrong, missing, or given for an account without one.
        WrongPassword = "WRONG_PASSWORD",
        /// The connection speaks for no account.
        NotLoggedIn = "NOT_LOGGED_IN",
        /// No message with this id in one's own view.
        NoSuchMessage = "NO_SUCH_MESSAGE",
        /// The recipient's mailbox is at its limit.
        MailboxFull = "MAILBOX_FULL",
        /// The key already names another request.
        KeyReused = "KEY_REUSED",
        /// Not allowed on this cluster: a password is required, or there are too many accounts.
        Forbidden = "FORBIDDEN",
    }
}

codes! {
    /// Why a request was not done, though it may work later.
    RetryCode {
        /// No majority in reach; nothing was proposed.
        NoQuorum = "NO_QUORUM",
        /// A majority, but no leader yet; nothing was proposed.
        NoLeader = "NO_LEADER",
        /// Proposed, and contact lost: the only code that means "maybe done".
        Unknown = "UNKNOWN",
        /// A queue inside is full.
        Busy = "BUSY",
        /// Too many attempts from here.
        SlowDown = "SLOW_DOWN",
        /// The replica is shutting down.
        Draining = "DRAINING",
        /// The replica's disk is full.
        DiskFull = "DISK_FULL",
        /// A quorum serves, but this replica is catching up or has stopped itself.
        NotReady = "NOT_READY",
    }
}

codes! {
    /// What an unasked `note` tells.
    NoteCode {
        /// The replica lost its quorum.
        NoQuorum = "NO_QUORUM",
        /// The quorum is back.
        QuorumBack = "QUORUM_BACK",
        /// The account was deleted elsewhere; the connection speaks for none now.
        LoggedOut = "LOGGED_OUT",
    }
}

codes! {
    /// Why the server closes a connection.
    ByeCode {
        /// Never logged in, and silent for too long.
        Idle = "IDLE",
        /// The replica is shutting down.
        Draining = "DRAINING",
        /// The replica serves as many connections as it may.
        TooManyConnections = "TOO_MANY_CONNECTIONS",
        /// Requests far over the allowed rate.
        Flood = "FLOOD",
        /// The peer speaks HTTP.
        NotHttp = "NOT_HTTP",
        /// This replica has left the cluster, and ends.
        Removed = "REMOVED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of the protocol page, copied as they stand there.
    const ERR: &str = "BAD_REQUEST TOO_LONG NOT_UTF8 BAD_NAME BAD_TEXT BAD_REGEX NAME_TAKEN NO_SUCH_USER \
        WRONG_PASSWORD NOT_LOGGED_IN NO_SUCH_MESSAGE MAILBOX_FULL KEY_REUSED FORBIDDEN";
    const RETRY: &str = "NO_QUORUM NO_LEADER UNKNOWN BUSY SLOW_DOWN DRAINING DISK_FULL NOT_READY";
    const NOTE: &str = "NO_QUORUM QUORUM_BACK LOGGED_OUT";
    const BYE: &str = "IDLE DRAINING TOO_MANY_CONNECTIONS FLOOD NOT_HTTP REMOVED";

    #[test]
    fn tokens_are_those_of_the_protocol() {
        fn joined<C: Copy>(all: &[C], token: fn(C) -> &'static str) -> String {
            all.iter().map(|code| token(*code)).collect::<Vec<_>>().join(" ")
        }
        assert_eq!(joined(ErrCode::ALL, ErrCode::as_str), ERR);
        assert_eq!(joined(RetryCode::ALL, RetryCode::as_str), RETRY);
        assert_eq!(joined(NoteCode::ALL, NoteCode::as_str), NOTE);
        assert_eq!(joined(ByeCode::ALL, ByeCode::as_str), BYE);
    }

    #[test]
    fn a_token_reads_back_as_its_code() {
        for code in ErrCode::ALL {
            assert_eq!(ErrCode::from_token(code.as_str()), Some(*code));
        }
        assert_eq!(Code::<ErrCode>::from_token("NOT_YET_INVENTED"), Code::Later("NOT_YET_INVENTED"));
        assert_eq!(Code::<RetryCode>::from_token("UNKNOWN"), Code::Known(RetryCode::Unknown));
    }
}
