//! Every line that a server writes: final lines, the data lines before them, and what comes unasked.
//!
//! One type serves both sides: the session prints it, our client and the tests read it. Reading is total: a line that
//! this version does not know is [`ServerLine::Other`], never an error, because later versions add lines.

use std::borrow::Cow;
use std::fmt::{self, Write};

use bytes::{Bytes, BytesMut};

use crate::control::write_escaped;
use crate::limits::{HUMAN_TEXT_BYTES_MAX, MESSAGE_LINE_OVERHEAD_BYTES};
use crate::{ByeCode, Code, Message, MessageId, Millis, NoteCode, Reply, Role, number};

/// The version of the protocol that `hello` names.
pub(crate) const PROTOCOL_VERSION: u64 = 1;

/// A line from a server, without its LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerLine<'a> {
    /// `[@key|]ok|…`, `retry|…` or `err|…`: ends the answer to a request.
    Final {
        /// The request's key.
        key: Option<&'a str>,
        /// What became of it.
        reply: Reply<'a>,
    },
    /// `hello|1|<replica id>|<cluster name>|<cluster id>`: the greeting.
    Hello {
        /// Of the protocol.
        version: u64,
        /// Who serves this connection.
        replica: u64,
        /// The name from the configuration.
        cluster: &'a str,
        /// The random id from the founding.
        cluster_id: &'a str,
    },
    /// `msg|<id>|<from>|<time>|<text>`: a push, or the data of `deliver`.
    Msg {
        /// The message's.
        id: MessageId,
        /// Who sent it.
        from: &'a str,
        /// When the leader accepted it.
        time: Millis,
        /// What it says.
        text: &'a str,
    },
    /// `past|<id>|<from>|<to>|<time>|<text>`: the data of `history`.
    Past {
        /// The message's.
        id: MessageId,
        /// Who sent it.
        from: &'a str,
        /// Who received it.
        to: &'a str,
        /// When the leader accepted it.
        time: Millis,
        /// What it says.
        text: &'a str,
    },
    /// `user|<name>`: the data of `list` and `who`.
    User(&'a str),
    /// `replica|…`: the data of `status`.
    Replica(ReplicaLine<'a>),
    /// `help|…`: the data of `help`.
    Help(&'a str),
    /// `note|CODE|text`: news, unasked.
    Note {
        /// What a script tests.
        code: Code<'a, NoteCode>,
        /// What a person reads.
        text: Cow<'a, str>,
    },
    /// `bye|CODE|text`: the last line before the server closes.
    Bye {
        /// What a script tests.
        code: Code<'a, ByeCode>,
        /// What a person reads.
        text: Cow<'a, str>,
    },
    /// A line of a later version.
    Other(&'a str),
}

/// `replica|<id>|<role>|<host:port>|<up or down>|<applied index>|<lag in entries>`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaLine<'a> {
    /// Its id.
    pub id: u64,
    /// What it is to the cluster.
    pub role: Role,
    /// Where clients reach it, `host:port`.
    pub address: &'a str,
    /// Whether the leader hears it.
    pub up: bool,
    /// How far it has applied the log.
    pub applied: u64,
    /// How many entries it is behind the leader.
    pub lag: u64,
}

impl<'a> ServerLine<'a> {
    /// The greeting of this version.
    pub fn hello(replica: u64, cluster: &'a str, cluster_id: &'a str) -> Self {
        ServerLine::Hello { version: PROTOCOL_VERSION, replica, cluster, cluster_id }
    }

    /// `note|CODE|text`.
    pub fn note(code: NoteCode, text: impl Into<Cow<'a, str>>) -> Self {
        ServerLine::Note { code: code.into(), text: text.into() }
    }

    /// `bye|CODE|text`.
    pub fn bye(code: ByeCode, text: impl Into<Cow<'a, str>>) -> Self {
        ServerLine::Bye { code: code.into(), text: text.into() }
    }

    /// Appends the line with its LF.
    pub fn write(&self, out: &mut BytesMut) {
        // The line of which there are most, in the same words, without the long way through `fmt`.
        if let ServerLine::Msg { id, from, time, text } = self {
            out.extend_from_slice(b"msg|");
            out.extend_from_slice(itoa::Buffer::new().format(id.0).as_bytes());
            out.extend_from_slice(b"|");
            out.extend_from_slice(from.as_bytes());
            write!(out, "|{time}|").expect("a buffer grows");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\n");
        } else {
            writeln!(out, "{self}").expect("a buffer grows");
        }
    }

    /// Reads one line, without its LF.
    pub fn parse(line: &'a str) -> Self {
        Self::parse_final(line).or_else(|| Self::parse_other(line)).unwrap_or(ServerLine::Other(line))
    }

    fn parse_final(line: &'a str) -> Option<Self> {
        let (key, line) = match line.strip_prefix('@') {
            Some(keyed) => keyed.split_once('|').map(|(key, line)| (Some(key), line))?,
            None => (None, line),
        };
        Reply::parse(line).map(|reply| ServerLine::Final { key, reply })
    }

    fn parse_other(line: &'a str) -> Option<Self> {
        let (word, rest) = line.split_once('|')?;
        match word {
            "hello" => Self::parse_hello(rest),
            "msg" => {
                let [id, from, time, text] = fields(rest)?;
                Some(ServerLine::Msg { id: MessageId(number::parse(id)?), from, time: Millis::parse(time)?, text })
            }
            "past" => {
                let [id, from, to, time, text] = fields(rest)?;
                let (id, time) = (MessageId(number::parse(id)?), Millis::parse(time)?);
                Some(ServerLine::Past { id, from, to, time, text })
            }
            "user" => Some(ServerLine::User(rest)),
            "replica" => ReplicaLine::parse(rest).map(ServerLine::Replica),
            "help" => Some(ServerLine::Help(rest)),
            "note" => {
                let (code, text) = rest.split_once('|')?;
                Some(ServerLine::Note { code: Code::<NoteCode>::from_token(code), text: text.into() })
            }
            "bye" => {
                let (code, text) = rest.split_once('|')?;
                Some(ServerLine::Bye { code: Code::<ByeCode>::from_token(code), text: text.into() })
            }
            _ => None,
        }
    }

    /// More fields may follow in later versions: they are skipped.
    fn parse_hello(rest: &'a str) -> Option<Self> {
        let mut words = rest.split('|');
        Some(ServerLine::Hello {
            version: number::parse(words.next()?)?,
            replica: number::parse(words.next()?)?,
            cluster: words.next()?,
            cluster_id: words.next()?,
        })
    }
}

impl<'a> ReplicaLine<'a> {
    fn parse(rest: &'a str) -> Option<Self> {
        let [id, role, address, up, applied, lag] = fields(rest)?;
        let up = match up {
            "up" => true,
            "down" => false,
            _ => return None,
        };
        let (id, applied, lag) = (number::parse(id)?, number::parse(applied)?, number::parse(lag)?);
        Some(Self { id, role: Role::from_word(role)?, address, up, applied, lag })
    }
}

/// Exactly `N` fields, the last of which takes the rest.
fn fields<const N: usize>(rest: &str) -> Option<[&str; N]> {
    let mut words = rest.splitn(N, '|');
    let mut fields = [""; N];
    for field in &mut fields {
        *field = words.next()?;
    }
    Some(fields)
}

impl Message {
    /// Its `msg` line, with its LF.
    pub fn line(&self) -> Bytes {
        let Self { id, from, to: _, time, text } = self;
        let mut line = BytesMut::with_capacity(MESSAGE_LINE_OVERHEAD_BYTES + text.as_str().len());
        ServerLine::Msg { id: *id, from: from.as_str(), time: *time, text: text.as_str() }.write(&mut line);
        line.freeze()
    }
}

/// The `past` line of a message, with its LF.
pub(crate) fn past_line(message: &Message) -> Bytes {
    let Message { id, from, to, time, text } = message;
    let mut line = BytesMut::with_capacity(MESSAGE_LINE_OVERHEAD_BYTES + text.as_str().len());
    let (from, to) = (from.as_str(), to.as_str());
    ServerLine::Past { id: *id, from, to, time: *time, text: text.as_str() }.write(&mut line);
    line.freeze()
}

impl fmt::Display for ServerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerLine::Final { key, reply } => reply.write_keyed(*key, f),
            ServerLine::Hello { version, replica, cluster, cluster_id } => {
                write!(f, "hello|{version}|{replica}|{cluster}|{cluster_id}")
            }
            ServerLine::Msg { id, from, time, text } => write!(f, "msg|{id}|{from}|{time}|{text}"),
            ServerLine::Past { id, from, to, time, text } => write!(f, "past|{id}|{from}|{to}|{time}|{text}"),
            ServerLine::User(name) => write!(f, "user|{name}"),
            ServerLine::Replica(replica) => write!(f, "replica|{replica}"),
            ServerLine::Help(text) => write!(f, "help|{text}"),
            ServerLine::Note { code, text } => {
                write!(f, "note|{}|", code.as_str())?;
                write_escaped(f, text, HUMAN_TEXT_BYTES_MAX)
            }
            ServerLine::Bye { code, text } => {
                write!(f, "bye|{}|", code.as_str())?;
                write_escaped(f, text, HUMAN_TEXT_BYTES_MAX)
            }
            ServerLine::Other(line) => f.write_str(line),
        }
    }
}

impl fmt::Display for ReplicaLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, role, address, up, applied, lag } = self;
        let up = if *up { "up" } else { "down" };
        write!(f, "{id}|{}|{address}|{up}|{applied}|{lag}", role.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Done, Name, Text};

    #[test]
    fn every_line_in_both_directions() {
        let (id, time) = (MessageId(77), Millis(1_767_323_045_678));
        let replica = ReplicaLine { id: 2, role: Role::Learner, address: "[::1]:5002", up: false, applied: 9, lag: 4 };
        for (printed, line) in [
            ("ok|quit", ServerLine::Final { key: None, reply: Done::Quit.into() }),
            ("@k|1|ok|quit", ServerLine::Other("@k|1|ok|quit")),
            ("@k1|ok|quit", ServerLine::Final { key: Some("k1"), reply: Done::Quit.into() }),
            ("hello|1|3|plainsong|c0ffee", ServerLine::hello(3, "plainsong", "c0ffee")),
            ("msg|77|bob|2026-01-02T03:04:05.678Z|a|b", ServerLine::Msg { id, from: "bob", time, text: "a|b" }),
            (
                "past|77|bob|al|2026-01-02T03:04:05.678Z|hi",
                ServerLine::Past { id, from: "bob", to: "al", time, text: "hi" },
            ),
            ("user|bob", ServerLine::User("bob")),
            ("replica|2|learner|[::1]:5002|down|9|4", ServerLine::Replica(replica)),
            ("help|3|logout", ServerLine::Help("3|logout")),
            ("note|QUORUM_BACK|it is back", ServerLine::note(NoteCode::QuorumBack, "it is back")),
            ("bye|IDLE|log in next time", ServerLine::bye(ByeCode::Idle, "log in next time")),
            ("note|NEWS|x", ServerLine::Note { code: Code::Later("NEWS"), text: "x".into() }),
            ("typing|bob", ServerLine::Other("typing|bob")),
            ("", ServerLine::Other("")),
        ] {
            assert_eq!(line.to_string(), printed);
            assert_eq!(ServerLine::parse(printed), line);
        }
    }

    #[test]
    fn a_later_hello_is_still_a_hello() {
        assert_eq!(ServerLine::parse("hello|1|3|plainsong|c0ffee|tls|x"), ServerLine::hello(3, "plainsong", "c0ffee"));
    }

    #[test]
    fn the_longest_message_line_fits_its_allowance() {
        let name = Name::from_stored(&"n".repeat(64));
        let text = Text::new("x").expect("a text");
        let message = Message { id: MessageId(u64::MAX), from: name.clone(), to: name, time: Millis(u64::MAX), text };
        for line in [message.line(), past_line(&message)] {
            assert!(line.ends_with(b"|x\n"));
            assert!(line.len() - 1 <= MESSAGE_LINE_OVERHEAD_BYTES);
        }
    }

    proptest! {
        #[test]
        fn a_message_is_written_as_it_is_printed(id in any::<u64>(), from in "\\PC{1,9}", time in any::<u64>(), text in "\\PC{1,40}") {
            let line = ServerLine::Msg { id: MessageId(id), from: &from, time: Millis(time), text: &text };
            let mut written = BytesMut::new();
            line.write(&mut written);
            prop_assert_eq!(written, format!("{line}\n"));
        }

        #[test]
        fn reading_never_panics(line in "(@k\\|)?(hello|msg|past|replica|note|bye)?[|0-9a-z:.TZ\\-\\PC]{0,40}") {
            let printed = ServerLine::parse(&line).to_string();
            prop_assert_eq!(ServerLine::parse(&printed).to_string(), printed);
        }
    }
}
