//! The messages that actors exchange, and which way they travel. The table of edges with their bounds stands in
//! [`crate::actors`].

use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};
use bytes::Bytes;
use chat::{AccountId, Answer, ByeCode, Command, IdRange, MessageId, Name, NoteCode, Outcome, Query, RetryCode};

/// One client connection of this replica. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A session's own number for a request, so that it knows what an answer is to. Ascending within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// Session → Replicator: a new connection, and where its news go. The first message of every session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionOpened {
    /// Who.
    pub session: SessionId,
    /// Takes answers, pushes and notes.
    pub to: Recipient<SessionNews>,
}

/// Session → Replicator: the connection is gone. Its registration and presence end; answers to it are dropped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionClosed {
    /// Who.
    pub session: SessionId,
}

/// Session → Replicator: requests of one connection, in line order. Bounded by the session's window of unanswered
/// requests.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    /// Who asks.
    pub session: SessionId,
    /// In line order. Writes of one `Submit`, and of successive ones, take effect in this order.
    pub asks: Vec<Ask>,
}

/// One request on its way.
#[derive(Debug)]
pub struct Ask {
    /// Comes back with the answer.
    pub slot: Slot,
    /// When its line arrived: `request_timeout_ms` counts from here.
    pub arrived: Instant,
    /// What is asked.
    pub what: What,
}

/// What a session can ask. Every ask is answered exactly once, by [`News::Answered`], unless the session closes first.
#[derive(Debug)]
pub enum What {
    /// A change of state: replicated, applied, answered with [`Done::Outcome`].
    Write(Command),
    /// A linearizable read: answered with [`Done::Answer`], as current as the moment it was asked.
    Read(Query),
    /// A read of this replica's state as it is: to feed a session that fell behind. Answered with [`Done::Answer`].
    ReadLocal(Query),
    /// From now on this connection speaks for the account: the leader learns that it is online, then the state is read
    /// (linearizably), then pushes start. Answered with [`Done::Entered`]. An account entered before is left only
    /// when this succeeds.
    Enter {
        /// The account's name.
        name: Name,
        /// Which account of that name.
        account: AccountId,
    },
    /// This connection no longer speaks for its account: pushes and presence end. Local and immediate; answered with
    /// [`Done::Left`].
    Leave,
    /// These messages have reached the recipient's kernel. Answered with [`Done::Outcome`] once the marks have taken
    /// effect. Waits for at most a few milliseconds for company.
    Mark {
        /// Whose.
        account: AccountId,
        /// Which.
        ranges: Vec<IdRange>,
    },
    /// What `status` prints. Local and immediate; answered with [`Done::Status`].
    Status,
    /// Who is online, as far as this replica knows. Local and immediate; answered with [`Done::Who`].
    Who {
        /// Only names greater than this one.
        after: Option<Name>,
        /// At most so many.
        limit: usize,
    },
}

/// What became of an ask that was not refused with `retry`.
#[derive(Clone, Debug)]
pub enum Done {
    /// To [`What::Write`] and [`What::Mark`].
    Outcome(Outcome),
    /// To [`What::Read`] and [`What::ReadLocal`].
    Answer(Answer),
    /// To [`What::Enter`]; `None` when the account is gone or another by now.
    Entered(Option<Entered>),
    /// To [`What::Leave`].
    Left,
    /// To [`What::Status`].
    Status(Arc<ClusterStatus>),
    /// To [`What::Who`]: in ascending order. Fewer than asked for are the last.
    Who(Vec<Name>),
}

/// A session now speaks for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Messages with a higher id are pushed from now on, every one, in id order.
    pub pushes_after: MessageId,
    /// How many undelivered messages await it at this moment.
    pub undelivered: u64,
}

/// Why an ask ended without an outcome: the code and the human text of a `retry` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryLater {
    /// `NO_QUORUM`, `NO_LEADER`, `UNKNOWN`, `BUSY`, …
    pub code: RetryCode,
    /// What to tell the user.
    pub text: String,
}

/// Replicator → Session: what happened since the last turn, in order. One message a session and turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionNews(pub Vec<News>);

/// One piece of news.
#[derive(Clone, Debug)]
pub enum News {
    /// The answer to an ask. Answers can overtake each other where the asks were of different kinds.
    Answered(Slot, Result<Done, RetryLater>),
    /// A message for the account the session speaks for (or spoke for a moment ago: compare). In id order an account.
    Push {
        /// The recipient.
        account: AccountId,
        /// The message's id.
        id: MessageId,
        /// The rendered line with its LF; shared between the sessions that show it.
        line: Bytes,
    },
    /// The account was deleted: the session speaks for nobody now.
    LoggedOut(AccountId),
    /// Something every connection should know (`NO_QUORUM`, `QUORUM_BACK`).
    Note(NoteCode, &'static str),
    /// The replica stops: finish what is in flight, take no new request, say `bye` for this reason, close.
    Drain(ByeCode),
}

/// What `status` prints, as this replica knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Leader first, then by id.
    pub replicas: Vec<ReplicaStatus>,
    /// This replica's id.
    pub this: u16,
    /// The leader's id, or 0.
    pub leader: u16,
    /// The term.
    pub term: u64,
    /// How many more replicas may fail before a quorum is lost.
    pub spare: u16,
}

/// One row of `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which replica.
    pub id: u16,
    /// `leader`, `follower`, `candidate`, `learner`.
    pub role: &'static str,
    /// Where clients reach it.
    pub address: String,
    /// Whether it answers pulses.
    pub up: bool,
    /// How far it has applied the log.
    pub applied: u64,
    /// How many entries it is behind the leader.
    pub lag: u64,
}
