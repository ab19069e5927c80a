//! The barriers that print as many lines as they find: `history` and `who`. A page at a time, as the socket drains, so that
//! an answer of megabytes to a slow reader costs a page of memory. Nothing comes between their lines: pushes and notes wait,
//! as for `deliver`.
//!
//! **`history`** is one moment's, however long it takes to print. The linearizable read says which messages are meant, by
//! id, and renders the first page; the others are read as they are printed. A message never changes, and a view gains
//! only ids beyond all that it held, so the one thing that could make the pages those of different moments is that a
//! message leaves the view in between:
//!
//! 1. This connection has printed message 5, and has 900 left.
//! 2. Another session of the account erases both. 900 is not to be had any more.
//! 3. Ended with `ok`, the answer would show half of what was erased as one. It ends with `retry`.
//!
//! **`who`** promises no single moment: each page is what this replica knows when it is asked. A page is short, because
//! the regex runs here, on the thread that serves everybody: between two pages others have their turn.

use chat::{AccountId, Answer, Done as Granted, MessageId, Name, Query, Regex, Rendered, Reply, RetryCode, ServerLine};

use super::core::{Barrier, Core, Step};
use super::limits::{OUTPUT_BYTES_LOW, PAGE_BYTES, WHO_PAGE_NAMES};
use crate::actors::messages::What;

/// A `history` under way.
#[derive(Debug)]
pub(super) struct History {
    pub(super) account: AccountId,
    count: u64,
    /// What is still to be printed.
    rest: Vec<MessageId>,
    is_asked: bool,
}

/// A `who` under way.
#[derive(Debug)]
pub(super) struct Who {
    regex: Option<Regex>,
    count: u64,
    /// The last name that was looked at.
    after: Option<Name>,
    is_asked: bool,
}

impl History {
    /// The read is asked.
    pub(super) fn new(account: AccountId) -> Self {
        Self { account, count: 0, rest: Vec::new(), is_asked: true }
    }

    /// Whether lines of it are out.
    pub(super) fn is_begun(&self) -> bool {
        self.count > 0
    }
}

impl Who {
    /// The first page is asked.
    pub(super) fn new(regex: Option<Regex>) -> Self {
        Self { regex, count: 0, after: None, is_asked: true }
    }

    /// Whether lines of it are out.
    pub(super) fn is_begun(&self) -> bool {
        self.count > 0
    }

    /// Asks for the page after `after`.
    pub(super) fn page(after: Option<Name>) -> What {
        What::Who { after, limit: WHO_PAGE_NAMES }
    }
}

impl Core {
    /// Asks for the next page of what is being printed, when there is room for it.
    pub(super) fn continue_printing(&mut self) {
        if self.unsent() > OUTPUT_BYTES_LOW {
            return;
        }
        let what = match self.barrier.as_deref_mut().map(|barrier| &mut barrier.step) {
            Some(Step::History(history)) if !history.is_asked => {
                history.is_asked = true;
                let (account, ids) = (history.account, std::mem::take(&mut history.rest));
                What::ReadLocal(Query::HistoryRest { account, ids, bytes_max: PAGE_BYTES })
            }
            Some(Step::Who(who)) if !who.is_asked => {
                who.is_asked = true;
                Who::page(who.after.clone())
            }
            _ => return,
        };
        let slot = self.ask(self.now, what);
        self.barrier.as_mut().expect("it was looked at").slot = slot;
    }

    pub(super) fn history_answered(&mut self, mut barrier: Box<Barrier>, mut history: History, answer: Answer) {
        let Answer::History { messages, rest } = answer else {
            debug_assert_eq!(answer, Answer::HistoryChanged, "no other answer goes with it");
            let text = "messages left your view while this was printed; ask again";
            self.finish(&barrier, &Reply::retry(RetryCode::Busy, text));
            return;
        };
        for Rendered { line, .. } in &messages {
            self.turn.output.extend_from_slice(line);
        }
        history.count += messages.len() as u64;
        if rest.is_empty() {
            self.finish(&barrier, &Reply::Ok(Granted::History { count: history.count }));
            return;
        }
        (history.rest, history.is_asked) = (rest, false);
        barrier.step = Step::History(history);
        self.barrier = Some(barrier);
    }

    pub(super) fn who_answered(&mut self, mut barrier: Box<Barrier>, mut who: Who, names: &[Name]) {
        for name in names {
            if who.regex.as_ref().is_none_or(|regex| regex.is_match(name.as_str())) {
                self.line(&ServerLine::User(name.as_str()));
                who.count += 1;
            }
        }
        if names.len() < WHO_PAGE_NAMES {
            self.finish(&barrier, &Reply::Ok(Granted::Who { count: who.count }));
            return;
        }
        (who.after, who.is_asked) = (names.last().cloned(), false);
        barrier.step = Step::Who(who);
        self.barrier = Some(barrier);
    }
}
