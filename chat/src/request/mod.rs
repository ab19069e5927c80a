//! Requests: one file per op, each with its fields, its reading and printing, its checks and its line of help.
//!
//! The protocol fixes the order of checks: syntax, login, fields, state. Hence two stages, with the caller's question
//! about login between them:
//!
//! ```
//! use chat::{Checked, request};
//!
//! let parsed = request::parse("@k1|5|Alice|hello"); // syntax
//! let request = parsed.request.expect("well-formed");
//! assert!(request.needs_login()); // the session answers NOT_LOGGED_IN here
//! let Ok(Checked::Send { to, .. }) = request.check() else { panic!("the fields are good") }; // fields
//! assert_eq!(to.as_str(), "alice");
//! ```
//!
//! State is checked where it is: by the rules, and by queries.

mod ack;
mod create;
mod delete;
mod deliver;
mod erase;
mod help;
mod history;
mod list;
mod login;
mod logout;
mod passwd;
mod ping;
mod quit;
mod send;
mod status;
mod who;

use std::fmt;
use std::num::NonZeroU32;

use regex::Regex;

use crate::control::Quoted;
use crate::{HistoryPage, Key, MessageId, MessageIds, Name, Password, Refusal, Text, split_field};

pub use crate::password::Typed;
pub use ack::Ack;
pub use create::Create;
pub use delete::Delete;
pub use deliver::Deliver;
pub use erase::Erase;
pub use help::Help;
pub use history::History;
pub use list::List;
pub use login::Login;
pub use logout::Logout;
pub use passwd::Passwd;
pub use ping::Ping;
pub use quit::Quit;
pub use send::Send;
pub use status::Status;
pub use who::Who;

/// What one line asks, as far as its syntax tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The key that the final line carries back. `None` where the line has none, or a malformed one.
    pub key: Option<Key>,
    /// The request, or `BAD_REQUEST`.
    pub request: Result<Request<'a>, Refusal>,
}

/// A request whose syntax is right. Its fields are as they were typed; `Display` prints it back as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its type")]
pub enum Request<'a> {
    List(List<'a>),
    Create(Create<'a>),
    Login(Login<'a>),
    Logout(Logout),
    Delete(Delete),
    Send(Send<'a>),
    Deliver(Deliver),
    History(History<'a>),
    Erase(Erase),
    Ack(Ack),
    Who(Who<'a>),
    Status(Status),
    Ping(Ping<'a>),
    Passwd(Passwd<'a>),
    Help(Help),
    Quit(Quit),
}

/// A request whose fields are right: what the session acts on.
#[derive(Clone, Debug)]
pub enum Checked {
    /// Op 0: becomes [`crate::Query::List`].
    List {
        /// `None` matches every name.
        regex: Option<Regex>,
        /// Only names after this one.
        after: Option<Name>,
    },
    /// Op 1. Whether it may come without a password is for the session to know: [`Refusal::password_required`].
    Create {
        /// The new account.
        name: Name,
        /// To be hashed.
        password: Option<Password>,
    },
    /// Op 2.
    Login {
        /// The account.
        name: Name,
        /// To be compared.
        password: Option<Password>,
    },
    /// Op 3.
    Logout,
    /// Op 4: becomes [`crate::Command::Delete`].
    Delete,
    /// Op 5: becomes [`crate::Command::Send`].
    Send {
        /// The recipient.
        to: Name,
        /// What is sent.
        text: Text,
    },
    /// Op 6.
    Deliver {
        /// At most so many messages; `None` for all.
        limit: Option<NonZeroU32>,
    },
    /// Op 7: becomes [`crate::Query::History`].
    History {
        /// With whom; `None` for everybody.
        with: Option<Name>,
        /// Which part.
        page: HistoryPage,
        /// At most so many messages.
        limit: u32,
    },
    /// Op 8: becomes [`crate::Command::Erase`].
    Erase {
        /// Which messages.
        ids: MessageIds,
    },
    /// Op 9 with id 0: the connection turns to manual mode, and that is all. Answered `ok|ack|0`.
    Manual,
    /// Op 9: the connection turns to manual mode, and this becomes [`crate::Command::Ack`].
    Ack {
        /// Up to which message; never 0.
        id: MessageId,
    },
    /// Op 10. Who is online is for the session to ask.
    Who {
        /// `None` matches every name.
        regex: Option<Regex>,
    },
    /// Op 11.
    Status,
    /// Op 12.
    Ping {
        /// Comes back; `None` comes back as nothing.
        text: Option<Text>,
    },
    /// Op 13.
    Passwd {
        /// To be hashed.
        new: Password,
    },
    /// One line of help for each op: [`help_lines`].
    Help,
    /// Closes once earlier replies are out.
    Quit,
}

/// One op that is served.
struct Op {
    /// How it is called by number; for the words that have none, the word again.
    number: &'static str,
    /// How it is called by name, in lower case.
    name: &'static str,
    /// Its line of help, after `help|<number>|<name>|`.
    help: &'static str,
    /// Reads what follows the op and its `|`.
    parse: for<'a> fn(&'a str) -> Result<Request<'a>, Refusal>,
}

/// Every op that is served, in the order in which `help` lists them.
const OPS: [&Op; 16] = [
    &list::OP,
    &create::OP,
    &login::OP,
    &logout::OP,
    &delete::OP,
    &send::OP,
    &deliver::OP,
    &history::OP,
    &erase::OP,
    &ack::OP,
    &who::OP,
    &status::OP,
    &ping::OP,
    &passwd::OP,
    &help::OP,
    &quit::OP,
];

/// Reads one line, without its end. Never fails: a line that is no request is answered too.
pub fn parse(line: &str) -> Parsed<'_> {
    let Some(keyed) = line.strip_prefix('@') else {
        return Parsed { key: None, request: parse_request(line) };
    };
    let Some((word, rest)) = split_field(keyed) else {
        return Parsed { key: None, request: Err(Refusal::bad_request("a key stands before a request: @key|op")) };
    };
    match Key::new(word) {
        Ok(key) => Parsed { key: Some(key), request: parse_request(rest) },
        Err(bad) => Parsed { key: None, request: Err(bad.into()) },
    }
}

fn parse_request(line: &str) -> Result<Request<'_>, Refusal> {
    let (word, args) = split_field(line).unwrap_or((line, ""));
    let op = OPS
        .into_iter()
        .find(|op| op.number == word || op.name.eq_ignore_ascii_case(word))
        .ok_or_else(|| Refusal::bad_request(format!("no such op: {}; 'help' lists what is served", Quoted(word))))?;
    (op.parse)(args)
}

/// The `help` lines without `help|`: one for each op and word that is served.
pub fn help_lines() -> impl Iterator<Item = String> {
    OPS.into_iter().map(|op| format!("{}|{}|{}", op.number, op.name, op.help))
}

impl Request<'_> {
    /// Whether only a connection that speaks for an account may ask this. Otherwise it is `NOT_LOGGED_IN`, whatever
    /// its fields hold.
    pub fn needs_login(&self) -> bool {
        match self {
            Request::Logout(_)
            | Request::Delete(_)
            | Request::Send(_)
            | Request::Deliver(_)
            | Request::History(_)
            | Request::Erase(_)
            | Request::Passwd(_) => true,
            Request::Ack(ack) => ack.id != MessageId(0),
            Request::List(_)
            | Request::Create(_)
            | Request::Login(_)
            | Request::Who(_)
            | Request::Status(_)
            | Request::Ping(_)
            | Request::Help(_)
            | Request::Quit(_) => false,
        }
    }

    /// Checks the fields: `BAD_NAME`, `BAD_TEXT`, `BAD_REGEX`.
    pub fn check(self) -> Result<Checked, Refusal> {
        match self {
            Request::List(list) => list.check(),
            Request::Create(create) => create.check(),
            Request::Login(login) => login.check(),
            Request::Logout(_) => Ok(Checked::Logout),
            Request::Delete(_) => Ok(Checked::Delete),
            Request::Send(send) => send.check(),
            Request::Deliver(deliver) => Ok(Checked::Deliver { limit: deliver.limit }),
            Request::History(history) => history.check(),
            Request::Erase(erase) => Ok(erase.check()),
            Request::Ack(ack) => Ok(ack.check()),
            Request::Who(who) => who.check(),
            Request::Status(_) => Ok(Checked::Status),
            Request::Ping(ping) => ping.check(),
            Request::Passwd(passwd) => Ok(passwd.check()),
            Request::Help(_) => Ok(Checked::Help),
            Request::Quit(_) => Ok(Checked::Quit),
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::List(list) => list.fmt(f),
            Request::Create(create) => create.fmt(f),
            Request::Login(login) => login.fmt(f),
            Request::Logout(logout) => logout.fmt(f),
            Request::Delete(delete) => delete.fmt(f),
            Request::Send(send) => send.fmt(f),
            Request::Deliver(deliver) => deliver.fmt(f),
            Request::History(history) => history.fmt(f),
            Request::Erase(erase) => erase.fmt(f),
            Request::Ack(ack) => ack.fmt(f),
            Request::Who(who) => who.fmt(f),
            Request::Status(status) => status.fmt(f),
            Request::Ping(ping) => ping.fmt(f),
            Request::Passwd(passwd) => passwd.fmt(f),
            Request::Help(help) => help.fmt(f),
            Request::Quit(quit) => quit.fmt(f),
        }
    }
}

/// For an op without arguments. `3` and `3|` are the same.
fn no_args(args: &str) -> Result<(), Refusal> {
    if args.is_empty() { Ok(()) } else { Err(Refusal::bad_request("this op takes no argument")) }
}

/// The last field, which takes the rest of the line. An empty one is no argument.
fn last(field: &str) -> Option<&str> {
    if field.is_empty() { None } else { Some(field) }
}

/// `name[|password]`.
fn name_and_password<'a>(op: &Op, args: &'a str) -> Result<(&'a str, Option<Typed<'a>>), Refusal> {
    let (name, password) = split_field(args).unwrap_or((args, ""));
    let password = last(password).map(Typed);
    if name.is_empty() && password.is_none() {
        return Err(Refusal::bad_request(format!("the name is missing: {}|name[|password]", op.number)));
    }
    Ok((name, password))
}

#[cfg(test)]
mod tests;
