//! Reads over the applied state. They change nothing and run where the state is, once it is current enough.

use bytes::Bytes;
use regex::Regex;

use crate::limits::QUERY_PAGE_MESSAGES;
use crate::server_line::past_line;
use crate::{Account, AccountId, HistoryPage, IdRange, Message, MessageId, Name, Storage};

/// What a connection has been shown of its mailbox: the backlog up to one id, and the pushes since its login.
///
/// Two ranges say it exactly, because both grow in id order: whatever was undelivered up to `backlog_to` when it was
/// printed was printed, and whatever came after `pushed.from` was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shown {
    /// `6|` has printed everything undelivered up to this id.
    pub backlog_to: MessageId,
    /// Pushes start after this id: what the state held when the login took effect.
    pub pushes_after: MessageId,
    /// Everything to this account in `(pushes_after, pushed_to]` was pushed or printed.
    pub pushed_to: MessageId,
}

/// A read over the applied state.
#[derive(Clone, Debug)]
pub enum Query {
    /// Nothing is read: asked only to wait until the replica is current (presence is registered this way).
    Barrier,
    /// Op 0: names that the regex finds.
    List {
        /// `None` matches every name.
        regex: Option<Regex>,
        /// Only names greater than this one.
        after: Option<Name>,
        /// At most so many are shown.
        limit: usize,
    },
    /// The living account of a name, with its password hash: the first half of a login.
    Account(Name),
    /// The second half of a login: is the account still this one, and how much awaits it?
    Login(Name, AccountId),
    /// Op 6: the oldest undelivered messages, and how many more there are that the connection has not seen.
    Undelivered {
        /// Whose.
        account: AccountId,
        /// What this connection has been shown. Never counted in `left`; in automatic mode never shown again either.
        shown: Shown,
        /// Manual mode: what was shown but not acked comes again. The messages start after this id: 0 at first,
        /// then the last one printed, where an answer was `cut`. `None` in automatic mode.
        again_after: Option<MessageId>,
        /// At most so many messages.
        limit: usize,
        /// Stops after the message with which the rendered lines reach this size. At least one message is
        /// returned if there is any.
        bytes_max: usize,
    },
    /// Op 7: which messages are meant, and the first of them.
    History {
        /// Whose.
        account: AccountId,
        /// Only those to and from this name, as they show it. A name that nobody ever had has none.
        with: Option<Name>,
        /// Which part.
        page: HistoryPage,
        /// At most so many messages.
        limit: usize,
        /// As above.
        bytes_max: usize,
    },
    /// What a [`Query::History`] left over.
    HistoryRest {
        /// Whose.
        account: AccountId,
        /// The rest, as the answer before gave it.
        ids: Vec<MessageId>,
        /// As above.
        bytes_max: usize,
    },
    /// Messages to the account after an id, for a session that fell behind its pushes.
    Received {
        /// Whose.
        account: AccountId,
        /// Only ids greater than this one.
        after: MessageId,
        /// At most so many messages.
        limit: usize,
        /// As above.
        bytes_max: usize,
    },
}

/// A rendered `msg|…` or `past|…` line with its LF, and the id it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The message's id.
    pub id: MessageId,
    /// The line with its LF.
    pub line: Bytes,
}

/// What a [`Query`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Barrier`].
    Current,
    /// To [`Query::List`].
    List {
        /// In ascending order.
        names: Vec<Name>,
        /// How many names match (after `after`, where given), shown or not.
        matching: u64,
    },
    /// To [`Query::Account`].
    Account(Option<Account>),
    /// To [`Query::Login`]: how many undelivered messages, or `None` when the account is gone or another.
    Login(Option<u64>),
    /// To [`Query::Undelivered`].
    Undelivered {
        /// Oldest first.
        messages: Vec<Rendered>,
        /// Undelivered messages that `shown` does not cover and that are not in `messages`: `<left>` in the reply.
        left: u64,
        /// More would have fitted `limit`, but `bytes_max` was reached: ask again for the rest.
        cut: bool,
    },
    /// To [`Query::History`] and [`Query::HistoryRest`].
    History {
        /// `past|…` lines, oldest first. At least one, if there are any.
        messages: Vec<Rendered>,
        /// What was meant and did not fit `bytes_max`: ask for it. All of it is newer than `messages`.
        rest: Vec<MessageId>,
    },
    /// To [`Query::HistoryRest`]: one of them has left the view since, so that what was printed and what is left were
    /// never the history together.
    HistoryChanged,
    /// To [`Query::Received`].
    Received {
        /// Oldest first.
        messages: Vec<Rendered>,
        /// The account has no message after the last of `messages`.
        exhausted: bool,
    },
}

impl Shown {
    /// The ranges that were shown, up to and including `id`: what an `ack` of `id` marks. Ascending, not touching.
    pub fn ranges_up_to(&self, id: MessageId) -> Vec<IdRange> {
        let backlog = IdRange::new(MessageId(1), self.backlog_to.min(id));
        let pushed = IdRange::new(next(self.pushes_after), self.pushed_to.min(id));
        if backlog.is_empty() || pushed.is_empty() || next(backlog.to) < pushed.from {
            return [backlog, pushed].into_iter().filter(|range| !range.is_empty()).collect();
        }
        vec![IdRange::new(backlog.from, backlog.to.max(pushed.to))]
    }

    /// Whether the message was shown.
    pub fn covers(&self, id: MessageId) -> bool {
        id <= self.backlog_to || (self.pushes_after < id && id <= self.pushed_to)
    }

    /// The ranges that were not shown: what lies before, between and after the others.
    fn gaps(&self) -> Vec<IdRange> {
        let mut gaps = Vec::new();
        let mut from = MessageId(1);
        for shown in self.ranges_up_to(MAX) {
            gaps.push(IdRange::new(from, before(shown.from)));
            from = next(shown.to);
        }
        gaps.push(IdRange::new(from, MAX));
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }
}

/// No id is as high: entries are counted from 1.
const MAX: MessageId = MessageId(u64::MAX);

fn next(id: MessageId) -> MessageId {
    MessageId(id.0.saturating_add(1))
}

fn before(id: MessageId) -> MessageId {
    MessageId(id.0.saturating_sub(1))
}

/// Answers a query from the state as it is. The caller has made sure that it is current enough.
pub fn answer<S: Storage>(storage: &S, query: &Query) -> Result<Answer, S::Error> {
    match query {
        Query::Barrier => Ok(Answer::Current),
        Query::List { regex, after, limit } => list(storage, regex.as_ref(), after.as_ref(), *limit),
        Query::Account(name) => Ok(Answer::Account(storage.account(name)?)),
        Query::Login(name, id) => {
            let same = storage.account(name)?.is_some_and(|account| account.id == *id);
            Ok(Answer::Login(if same { Some(storage.undelivered_count(*id)?) } else { None }))
        }
        Query::Undelivered { account, shown, again_after, limit, bytes_max } => {
            undelivered(storage, *account, shown, *again_after, Room::new(*limit, *bytes_max))
        }
        Query::History { account, with, page, limit, bytes_max } => {
            let ids = storage.history(*account, with.as_ref(), *page, *limit)?;
            history(storage, *account, &ids, *bytes_max)
        }
        Query::HistoryRest { account, ids, bytes_max } => history(storage, *account, ids, *bytes_max),
        Query::Received { account, after, limit, bytes_max } => {
            let mut room = Room::new(*limit, *bytes_max);
            room.fill(IdRange::new(next(*after), MAX), |after, count| storage.received(*account, after, count))?;
            let last = room.messages.last().map_or(*after, |message| message.id);
            let exhausted = storage.received(*account, last, 1)?.is_empty();
            Ok(Answer::Received { messages: room.messages, exhausted })
        }
    }
}

fn list<S: Storage>(
    storage: &S,
    regex: Option<&Regex>,
    after: Option<&Name>,
    limit: usize,
) -> Result<Answer, S::Error> {
    let (mut names, mut matching) = (Vec::new(), 0);
    storage.names(after, &mut |name| {
        if regex.is_none_or(|regex| regex.is_match(name.as_str())) {
            matching += 1;
            if names.len() < limit {
                names.push(name.clone());
            }
        }
        true
    })?;
    Ok(Answer::List { names, matching })
}

fn undelivered<S: Storage>(
    storage: &S,
    account: AccountId,
    shown: &Shown,
    again_after: Option<MessageId>,
    mut room: Room,
) -> Result<Answer, S::Error> {
    let wanted = match again_after {
        Some(after) => vec![IdRange::new(next(after), MAX)],
        None => shown.gaps(),
    };
    for range in &wanted {
        room.fill(*range, |after, count| storage.undelivered(account, after, count))?;
    }

    let mut unseen = storage.undelivered_count(account)?;
    for range in shown.ranges_up_to(MAX) {
        unseen = unseen.saturating_sub(storage.undelivered_in(account, range)?);
    }
    let seen_now = room.messages.iter().filter(|message| !shown.covers(message.id)).count() as u64;
    let left = unseen.saturating_sub(seen_now);

    // Only whether there is more counts here, so the page that follows is one message long.
    let cut = match room.messages.last() {
        Some(last) if room.bytes_left == 0 && room.messages_left > 0 => match again_after {
            Some(_) => !storage.undelivered(account, last.id, 1)?.is_empty(),
            None => left > 0,
        },
        _ => false,
    };
    Ok(Answer::Undelivered { messages: room.messages, left, cut })
}

/// Renders as many of the messages as fit; the first one always does.
fn history<S: Storage>(
    storage: &S,
    account: AccountId,
    ids: &[MessageId],
    bytes_max: usize,
) -> Result<Answer, S::Error> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for (at, id) in ids.iter().enumerate() {
        if at > 0 && bytes >= bytes_max {
            return Ok(Answer::History { messages, rest: ids[at..].to_vec() });
        }
        let Some(message) = storage.in_view(account, *id)? else {
            return Ok(Answer::HistoryChanged);
        };
        let line = past_line(&message);
        bytes += line.len();
        messages.push(Rendered { id: *id, line });
    }
    Ok(Answer::History { messages, rest: Vec::new() })
}

/// Takes rendered messages until a limit is reached.
struct Room {
    messages: Vec<Rendered>,
    messages_left: usize,
    /// 0 once the lines have reached the size at which to stop.
    bytes_left: usize,
}

impl Room {
    /// At least one message goes in, so that whoever asks gets on.
    fn new(limit: usize, bytes_max: usize) -> Self {
        Self { messages: Vec::new(), messages_left: limit, bytes_left: bytes_max.max(1) }
    }

    /// Reads `range` page by page, oldest first: `read` takes the id to go on after, and how many.
    fn fill<E>(
        &mut self,
        range: IdRange,
        mut read: impl FnMut(MessageId, usize) -> Result<Vec<Message>, E>,
    ) -> Result<(), E> {
        let mut after = before(range.from);
        while self.messages_left > 0 && self.bytes_left > 0 {
            let asked = self.messages_left.min(QUERY_PAGE_MESSAGES);
            let page = read(after, asked)?;
            let exhausted = page.len() < asked;
            for message in page {
                if !range.contains(message.id) || self.bytes_left == 0 {
                    return Ok(());
                }
                after = message.id;
                self.take(&message);
            }
            if exhausted {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) {
        let line = message.line();
        self.messages_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(line.len());
        self.messages.push(Rendered { id: message.id, line });
    }
}

#[cfg(test)]
mod tests;
