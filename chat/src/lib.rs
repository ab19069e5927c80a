//! What is said in Plainsong: lines, requests, replies, accounts, mailboxes, and the rules that bind them.
//!
//! This crate is pure. It knows no socket, no clock, no random number, no replication and no actor: it is handed
//! bytes and facts, and hands back bytes and facts. That is what lets one seed replay a whole cluster, and what
//! makes every replica that applies the same commands hold the same state.
//!
//! The way of a request, and who owns each step:
//!
//! ```text
//! bytes -> Framer -> line -> request::parse -> Request -> check -> Checked      the session's side
//!                                                                    |
//!              Command (printed as one line of the log)  <-----------+------>  Query
//!                 |                                                              |
//!               apply(storage) -> Outcome + Effects                            answer(storage) -> Answer
//!                 |                                                              |
//!               Reply / ServerLine -> bytes  <-----------------------------------+
//! ```
//!
//! Glossary, used everywhere in the project and never loosely:
//!
//! | word | means |
//! |---|---|
//! | *line* | bytes between two LFs on a client's connection |
//! | *request*, *reply* | what a client asks in one line; the lines that answer it, the last of them *final* |
//! | *message* | what one account sends to another |
//! | *command* | a checked request that changes state, on its way through the replicated log |
//! | *entry* | one row of the replicated log; most carry a command |
//! | *frame* | what one replica tells another |
//! | *outcome* | what applying a command did: the same on every replica |
//! | *effect* | what an outcome means for connections of this replica: a push, a log-out |

mod code;
mod command;
mod control;
mod field;
mod key;
mod line;
mod map_storage;
mod message;
mod name;
mod number;
mod outcome;
mod password;
mod query;
mod quota;
mod refusal;
mod reply;
mod retention;
mod rules;
mod server_line;
mod storage;
mod text;
mod time;

#[doc(hidden)]
pub mod conformance;
pub mod limits;
pub mod request;

pub use code::{ByeCode, Code, ErrCode, NoteCode, RetryCode};
pub use command::{BadCommand, Command, Speaker, recipient};
pub use field::split_field;
pub use key::{BadKey, Key};
pub use line::{Framer, Line, LineItem};
pub use map_storage::MapStorage;
pub use message::{AccountId, Message, MessageId, MessageIds};
pub use name::{BadName, Name};
pub use outcome::{BadOutcome, Outcome};
pub use password::{BadPasswordHash, Password, PasswordHash};
pub use query::{Answer, Query, Rendered, Shown, answer};
pub use quota::Quota;
pub use refusal::Refusal;
/// What `list` and `who` compile their argument to.
pub use regex::Regex;
pub use reply::{Done, Reply, Role};
pub use request::{Checked, Parsed, Request};
pub use rules::{Effect, apply, apply_within};
pub use server_line::{ReplicaLine, ServerLine};
pub use storage::{Account, Delivery, HistoryPage, IdRange, KeyMemory, Storage};
pub use text::{BadText, Text};
pub use time::Millis;
