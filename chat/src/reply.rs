//! Final lines: the one line that ends the answer to a request, in both directions.
//!
//! The first word is all that a script must test. Human text is made safe here, on its way out: whatever it quotes,
//! it never holds a control character and never makes the line longer than the protocol allows.

use std::borrow::Cow;
use std::fmt::{self, Write};

use bytes::BytesMut;

use crate::control::write_escaped;
use crate::limits::HUMAN_TEXT_BYTES_MAX;
use crate::{Code, ErrCode, Key, MessageId, Refusal, RetryCode, number};

/// A final line, without the key that it may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Done.
    Ok(Done<'a>),
    /// Not done, may work later.
    Retry {
        /// What a script tests.
        code: Code<'a, RetryCode>,
        /// What a person reads: also for how long it may take.
        text: Cow<'a, str>,
    },
    /// Refused for good; nothing was changed.
    Err {
        /// What a script tests.
        code: Code<'a, ErrCode>,
        /// What a person reads.
        text: Cow<'a, str>,
    },
}

/// What an `ok` says was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<'a> {
    /// `ok|list|<shown>|<matching>`
    List {
        /// `user` lines before this one.
        shown: u64,
        /// Names that match, shown or not.
        matching: u64,
    },
    /// `ok|create|<name>`
    Create {
        /// Folded.
        name: &'a str,
    },
    /// `ok|login|<name>|<undelivered>`
    Login {
        /// Folded.
        name: &'a str,
        /// Messages that wait.
        undelivered: u64,
    },
    /// `ok|logout|<name>`
    Logout {
        /// Folded.
        name: &'a str,
    },
    /// `ok|delete|<name>`
    Delete {
        /// Folded.
        name: &'a str,
    },
    /// `ok|sent|<name>|<id>` or `ok|queued|<name>|<id>`
    Sent {
        /// The recipient, folded.
        to: &'a str,
        /// The message's.
        id: MessageId,
        /// Whether the recipient was online: `sent`, else `queued`.
        online: bool,
    },
    /// `ok|deliver|<count>|<left>`
    Deliver {
        /// `msg` lines before this one.
        count: u64,
        /// Undelivered messages that this connection has not been shown.
        left: u64,
    },
    /// `ok|history|<count>`
    History {
        /// `past` lines before this one.
        count: u64,
    },
    /// `ok|erase|<count>`
    Erase {
        /// Messages that were removed.
        count: u64,
    },
    /// `ok|ack|<id>`
    Ack {
        /// As the client gave it.
        id: MessageId,
    },
    /// `ok|who|<count>`
    Who {
        /// `user` lines before this one.
        count: u64,
    },
    /// `ok|status|<this id>|<leader id or 0>|<term>|<further failures it survives>`
    Status {
        /// The replica that answers.
        replica: u64,
        /// The leader it knows; printed as 0 where it knows none.
        leader: Option<u64>,
        /// The current term.
        term: u64,
        /// How many more failures the cluster survives.
        survives: u64,
    },
    /// `ok|ping|<text>`
    Ping {
        /// What came with the request; empty where nothing did.
        text: &'a str,
    },
    /// `ok|passwd|<name>`
    Passwd {
        /// Folded.
        name: &'a str,
    },
    /// `ok|help`
    Help,
    /// `ok|quit`
    Quit,
    /// What a later version does, from the word after `ok|` on.
    Later(&'a str),
}

/// What a replica is to its cluster, as `status` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that orders entries.
    Leader,
    /// A voter that follows.
    Follower,
    /// A voter that asks for votes.
    Candidate,
    /// Catches up and has no vote.
    Learner,
}

impl Role {
    /// The exact word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Role::Leader, Role::Follower, Role::Candidate, Role::Learner].into_iter().find(|role| role.as_str() == word)
    }
}

impl<'a> Reply<'a> {
    /// `retry|CODE|text`.
    pub fn retry(code: RetryCode, text: impl Into<Cow<'a, str>>) -> Self {
        Reply::Retry { code: code.into(), text: text.into() }
    }

    /// `err|CODE|text`, with the sentence that goes with the code.
    pub fn err(code: ErrCode) -> Self {
        let Refusal { code, text } = Refusal::of(code);
        Reply::Err { code: code.into(), text }
    }

    /// Appends the line with its LF, carrying the request's key back.
    pub fn write(&self, key: Option<&Key>, out: &mut BytesMut) {
        self.write_keyed(key.map(Key::as_str), out).expect("a buffer grows");
        out.extend_from_slice(b"\n");
    }

    pub(crate) fn write_keyed(&self, key: Option<&str>, out: &mut impl Write) -> fmt::Result {
        match key {
            Some(key) => write!(out, "@{key}|{self}"),
            None => write!(out, "{self}"),
        }
    }

    /// Reads a final line without its key; `None` for a line that is not final.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (word, rest) = line.split_once('|').unwrap_or((line, ""));
        let (code, text) = rest.split_once('|').unwrap_or((rest, ""));
        match word {
            "ok" => Some(Reply::Ok(Done::parse(rest))),
            "retry" => Some(Reply::Retry { code: Code::<RetryCode>::from_token(code), text: text.into() }),
            "err" => Some(Reply::Err { code: Code::<ErrCode>::from_token(code), text: text.into() }),
            _ => None,
        }
    }
}

impl<'a> From<&'a Refusal> for Reply<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Reply::Err { code: refusal.code.into(), text: Cow::Borrowed(&refusal.text) }
    }
}

impl From<Refusal> for Reply<'_> {
    fn from(refusal: Refusal) -> Self {
        Reply::Err { code: refusal.code.into(), text: refusal.text }
    }
}

impl<'a> From<Done<'a>> for Reply<'a> {
    fn from(done: Done<'a>) -> Self {
        Reply::Ok(done)
    }
}

impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, code, text) = match self {
            Reply::Ok(done) => return write!(f, "ok|{done}"),
            Reply::Retry { code, text } => ("retry", code.as_str(), text),
            Reply::Err { code, text } => ("err", code.as_str(), text),
        };
        write!(f, "{word}|{code}|")?;
        write_escaped(f, text, HUMAN_TEXT_BYTES_MAX)
    }
}

impl<'a> Done<'a> {
    /// Reads what follows `ok|`.
    fn parse(words: &'a str) -> Self {
        Self::parse_known(words).unwrap_or(Done::Later(words))
    }

    fn parse_known(words: &'a str) -> Option<Self> {
        let (op, args) = words.split_once('|').map_or((words, None), |(op, args)| (op, Some(args)));
        match (op, args) {
            ("help", None) => return Some(Done::Help),
            ("quit", None) => return Some(Done::Quit),
            ("ping", Some(text)) => return Some(Done::Ping { text }),
            _ => {}
        }
        let fields: Vec<&str> = args?.split('|').collect();
        Some(match (op, fields.as_slice()) {
            ("list", [shown, matching]) => {
                Done::List { shown: number::parse(shown)?, matching: number::parse(matching)? }
            }
            ("create", [name]) => Done::Create { name },
            ("login", [name, undelivered]) => Done::Login { name, undelivered: number::parse(undelivered)? },
            ("logout", [name]) => Done::Logout { name },
            ("delete", [name]) => Done::Delete { name },
            ("sent", [to, id]) => Done::Sent { to, id: MessageId(number::parse(id)?), online: true },
            ("queued", [to, id]) => Done::Sent { to, id: MessageId(number::parse(id)?), online: false },
            ("deliver", [count, left]) => Done::Deliver { count: number::parse(count)?, left: number::parse(left)? },
            ("history", [count]) => Done::History { count: number::parse(count)? },
            ("erase", [count]) => Done::Erase { count: number::parse(count)? },
            ("who", [count]) => Done::Who { count: number::parse(count)? },
            ("passwd", [name]) => Done::Passwd { name },
            ("ack", [id]) => Done::Ack { id: MessageId(number::parse(id)?) },
            ("status", [replica, leader, term, survives]) => Done::Status {
                replica: number::parse(replica)?,
                leader: Some(number::parse(leader)?).filter(|leader| *leader != 0),
                term: number::parse(term)?,
                survives: number::parse(survives)?,
            },
            _ => return None,
        })
    }
}

impl fmt::Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::List { shown, matching } => write!(f, "list|{shown}|{matching}"),
            Done::Create { name } => write!(f, "create|{name}"),
            Done::Login { name, undelivered } => write!(f, "login|{name}|{undelivered}"),
            Done::Logout { name } => write!(f, "logout|{name}"),
            Done::Delete { name } => write!(f, "delete|{name}"),
            Done::Sent { to, id, online: true } => write!(f, "sent|{to}|{id}"),
            Done::Sent { to, id, online: false } => write!(f, "queued|{to}|{id}"),
            Done::Deliver { count, left } => write!(f, "deliver|{count}|{left}"),
            Done::History { count } => write!(f, "history|{count}"),
            Done::Erase { count } => write!(f, "erase|{count}"),
            Done::Who { count } => write!(f, "who|{count}"),
            Done::Passwd { name } => write!(f, "passwd|{name}"),
            Done::Ack { id } => write!(f, "ack|{id}"),
            Done::Status { replica, leader, term, survives } => {
                write!(f, "status|{replica}|{}|{term}|{survives}", leader.unwrap_or(0))
            }
            Done::Ping { text } => write!(f, "ping|{text}"),
            Done::Help => f.write_str("help"),
            Done::Quit => f.write_str("quit"),
            Done::Later(words) => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_final_line_in_both_directions() {
        let id = MessageId(77);
        for (line, reply) in [
            ("ok|list|2|5", Reply::Ok(Done::List { shown: 2, matching: 5 })),
            ("ok|create|bob", Reply::Ok(Done::Create { name: "bob" })),
            ("ok|login|bob|3", Reply::Ok(Done::Login { name: "bob", undelivered: 3 })),
            ("ok|logout|bob", Reply::Ok(Done::Logout { name: "bob" })),
            ("ok|delete|bob", Reply::Ok(Done::Delete { name: "bob" })),
            ("ok|sent|bob|77", Reply::Ok(Done::Sent { to: "bob", id, online: true })),
            ("ok|queued|bob|77", Reply::Ok(Done::Sent { to: "bob", id, online: false })),
            ("ok|deliver|2|0", Reply::Ok(Done::Deliver { count: 2, left: 0 })),
            ("ok|ack|77", Reply::Ok(Done::Ack { id })),
            ("ok|status|1|2|3|2", Reply::Ok(Done::Status { replica: 1, leader: Some(2), term: 3, survives: 2 })),
            ("ok|status|1|0|3|0", Reply::Ok(Done::Status { replica: 1, leader: None, term: 3, survives: 0 })),
            ("ok|ping|a|b", Reply::Ok(Done::Ping { text: "a|b" })),
            ("ok|ping|", Reply::Ok(Done::Ping { text: "" })),
            ("ok|help", Reply::Ok(Done::Help)),
            ("ok|quit", Reply::Ok(Done::Quit)),
            ("ok|history|20", Reply::Ok(Done::History { count: 20 })),
            ("ok|erase|3", Reply::Ok(Done::Erase { count: 3 })),
            ("ok|who|2", Reply::Ok(Done::Who { count: 2 })),
            ("ok|passwd|bob", Reply::Ok(Done::Passwd { name: "bob" })),
            ("ok|typing|3", Reply::Ok(Done::Later("typing|3"))),
            ("retry|BUSY|wait a second", Reply::retry(RetryCode::Busy, "wait a second")),
            ("retry|SOON|x", Reply::Retry { code: Code::Later("SOON"), text: "x".into() }),
            ("err|BAD_NAME|a|b", (&Refusal::new(ErrCode::BadName, "a|b")).into()),
        ] {
            assert_eq!(reply.to_string(), line);
            assert_eq!(Reply::parse(line), Some(reply));
        }
        for line in ["", "msg|1|a|b|c", "okay", "OK|help", "user|bob"] {
            assert_eq!(Reply::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_carries_its_key_back() {
        let key = Key::new("k1").expect("a key");
        let mut out = BytesMut::new();
        Reply::Ok(Done::Quit).write(Some(&key), &mut out);
        Reply::err(ErrCode::NotUtf8).write(None, &mut out);
        assert_eq!(&out[..], b"@k1|ok|quit\nerr|NOT_UTF8|the line is not UTF-8 and was skipped; send it as UTF-8\n");
    }

    #[test]
    fn human_text_never_breaks_a_line() {
        let refusal = Refusal::new(ErrCode::BadRequest, "what is '\r\nok|quit\u{1b}[2J'?");
        assert_eq!(Reply::from(refusal).to_string(), r"err|BAD_REQUEST|what is '\u{d}\u{a}ok|quit\u{1b}[2J'?");
        let long = Reply::retry(RetryCode::Busy, "é".repeat(1000)).to_string();
        assert!(long.len() <= "retry|BUSY|".len() + HUMAN_TEXT_BYTES_MAX && long.ends_with('…'), "{long}");
    }

    proptest! {
        #[test]
        fn reading_never_panics(line in "(ok|err|retry)?\\|?(list|status|login|sent)?[|0-9a-z\\PC]{0,20}") {
            if let Some(reply) = Reply::parse(&line) {
                let printed = reply.to_string();
                prop_assert_eq!(Reply::parse(&printed).expect("final").to_string(), printed);
            }
        }
    }
}
