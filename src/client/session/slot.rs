//! One request of a caller, from its asking to its reply.
//!
//! Promises: [`Slot::line`] is the same bytes each time it is sent, key included.

use chat::RetryCode;

use super::Reply;
use crate::client::line::{FinalLine, Verdict};
use crate::client::request::{self, Class, Credentials, Kind};

/// Names a request of this client; tickets ascend by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(super) u64);

/// Where a request is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not on its way on this connection.
    Waiting,
    /// The replica owes its answer.
    Flying,
    /// Answered; the reply waits for those of earlier requests.
    Done(Reply),
}

fn own_retry(code: RetryCode, text: &'static str) -> FinalLine {
    FinalLine::new(chat::Reply::retry(code, text))
}

/// One request.
#[derive(Debug)]
pub(super) struct Slot {
    /// What is sent.
    pub(super) line: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// It was sent, and it is not known whether it was done.
    pub(super) maybe_done: bool,
    /// It was on its way on a connection that was lost.
    pub(super) was_lost: bool,
    /// Data lines so far.
    pub(super) data: Vec<String>,
    /// Of a deliver: the places of the messages that came since it is the one being answered.
    pub(super) shown: Vec<u64>,
    /// How many messages had been handed out when it was first sent.
    pub(super) begun_at: Option<u64>,
    /// Why it was last refused for now.
    refusal: Option<FinalLine>,
    key: Option<String>,
    key_is_ours: bool,
}

impl Slot {
    /// A request as the caller wrote it. `make_key` is asked for a key where the request needs one and has none.
    pub(super) fn new(line: &[u8], make_key: impl FnOnce() -> String) -> Slot {
        let text = String::from_utf8_lossy(line);
        let (key, kind) = request::read(&text);
        let key_is_ours = key.is_none() && kind.class() == Class::Keyed;
        let key = if key_is_ours { Some(make_key()) } else { key.map(str::to_owned) };
        let mut sent = Vec::with_capacity(line.len());
        if let (true, Some(key)) = (key_is_ours, &key) {
            sent.extend_from_slice(format!("@{key}|").as_bytes());
        }
        sent.extend_from_slice(line);
        Slot {
            line: sent,
            kind,
            state: State::Waiting,
            maybe_done: false,
            was_lost: false,
            data: Vec::new(),
            shown: Vec::new(),
            begun_at: None,
            refusal: None,
            key,
            key_is_ours,
        }
    }

    /// Back to waiting, because the connection is gone (`lost`) or the replica refused for now.
    pub(super) fn land(&mut self, lost: bool) {
        self.state = State::Waiting;
        self.maybe_done |= lost;
        self.was_lost |= lost;
        self.data.clear();
        self.shown.clear();
    }

    /// Refused for now.
    pub(super) fn refuse(&mut self, last: FinalLine) {
        self.land(false);
        self.maybe_done |= last.verdict() == Verdict::Retry(Some(RetryCode::Unknown));
        self.refusal = Some(last);
    }

    /// Answered.
    pub(super) fn settle(&mut self, key: Option<String>, final_line: FinalLine) {
        let data = std::mem::take(&mut self.data);
        self.state = State::Done(Reply { data, key, final_line });
    }

    /// Whether a reply under `echo` can be the reply to this. A refusal of the line itself comes without the key.
    pub(super) fn fits(&self, echo: Option<&str>) -> bool {
        echo.is_none() || echo == self.key.as_deref()
    }

    /// The key, if it is the caller's own.
    pub(super) fn shown_key(&self) -> Option<String> {
        if self.key_is_ours { None } else { self.key.clone() }
    }

    /// The login that tells whether an unkeyed change was done, if this is one that may have been.
    pub(super) fn probe(&self, now: Option<&Credentials>) -> Option<Credentials> {
        if !self.maybe_done {
            return None;
        }
        match &self.kind {
            Kind::Create(who) => Some(who.clone()),
            Kind::Delete => now.cloned(),
            Kind::Passwd(new) => now.map(|who| Credentials { name: who.name.clone(), password: Some(new.clone()) }),
            _ => None,
        }
    }

    /// What the caller is told when the time is up.
    pub(super) fn gave_up(&self) -> FinalLine {
        let is_change = !matches!(self.kind.class(), Class::Read) && self.kind != Kind::Deliver;
        match &self.refusal {
            _ if self.maybe_done && is_change => {
                own_retry(RetryCode::Unknown, "no replica told in time if it was done")
            }
            Some(last) => last.clone(),
            None => own_retry(RetryCode::NoQuorum, "not done: no replica served in time"),
        }
    }

    /// How many messages a deliver has shown, where the replica counts `count`: what the user had before it was asked
    /// does not count, and what came from an earlier attempt does.
    pub(super) fn delivered(&self, count: u64, handed_out: u64) -> u64 {
        let begun_at = self.begun_at.unwrap_or(handed_out);
        if self.was_lost {
            return handed_out.saturating_sub(begun_at);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let answer = &self.shown[self.shown.len().saturating_sub(count)..];
        answer.iter().filter(|&&place| place > begun_at).count() as u64
    }
}
