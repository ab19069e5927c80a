//! What sessions ask, and what they are told when it cannot be done.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Handler};
use chat::{AccountId, Command, IdRange, NoteCode, Query, RetryCode};

use super::requests::{Asked, Expired, Held, Read, Waiter};
use super::{MARK_ACCOUNT_BYTES, MARK_GATHER, MARK_RANGE_BYTES, MARKS_BYTES_MAX, Replicator};
use crate::actors::messages::{
    Ask, Done, News, RetryLater, SessionClosed, SessionId, SessionOpened, Slot, Submit, What,
};
use crate::consensus::Role;

/// Room for a printed command, so that most are printed without growing.
const COMMAND_BYTES_USUAL: usize = 256;

impl Handler<SessionOpened> for Replicator {
    type Result = ();

    fn handle(&mut self, opened: SessionOpened, ctx: &mut Self::Context) {
        self.hub.open(opened.session, opened.to);
        if self.stopping.is_some() {
            self.hub.tell(opened.session, News::Drain(self.farewell()));
        }
        self.stir(ctx);
    }
}

impl Handler<SessionClosed> for Replicator {
    type Result = ();

    fn handle(&mut self, closed: SessionClosed, ctx: &mut Self::Context) {
        if let Some(name) = self.hub.close(closed.session) {
            let news = self.online.leave(&name);
            self.tell_presence(news);
        }
        self.stir(ctx);
    }
}

impl Handler<Submit> for Replicator {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Self::Context) {
        let now = Instant::now();
        for ask in submit.asks {
            self.asked(submit.session, ask, now, ctx);
        }
        self.stir(ctx);
    }
}

impl Replicator {
    fn asked(&mut self, session: SessionId, ask: Ask, now: Instant, ctx: &mut Context<Self>) {
        let Ask { slot, arrived, what } = ask;
        match what {
            What::Write(command) => {
                let waiter = Waiter::Session(session, slot);
                self.hub.await_write(session);
                let mut line = String::with_capacity(COMMAND_BYTES_USUAL);
                write!(line, "{command}").expect("a String takes any text");
                self.write(Held { waiter, arrived, command: line }, now);
            }
            What::Read(query) => self.read(Read { session, slot, arrived, query, enters: None }, now),
            What::ReadLocal(query) => self.query(Asked { session, slot, enters: None }, query),
            What::Enter { name, account } => {
                // The leader hears of it before the read that ends the login: they travel in this order.
                let news = self.online.enter(&name);
                self.tell_presence(news);
                let query = Query::Login(name.clone(), account);
                self.read(Read { session, slot, arrived, query, enters: Some((name, account)) }, now);
            }
            What::Leave => {
                if let Some(name) = self.hub.leave(session) {
                    let news = self.online.leave(&name);
                    self.tell_presence(news);
                }
                self.hub.answer(session, slot, Ok(Done::Left));
            }
            What::Mark { account, ranges } => self.mark(session, slot, account, ranges, ctx),
            What::Status => {
                let status = self.view.status(self.node.applied(), now, self.patience());
                self.hub.answer(session, slot, Ok(Done::Status(Arc::new(status))));
            }
            What::Who { after, limit } => {
                let names = self.online.names(after.as_ref(), limit, |id| self.view.is_silent(id));
                self.hub.answer(session, slot, Ok(Done::Who(names)));
            }
        }
    }

    fn write(&mut self, held: Held, now: Instant) {
        if let Some(why) = self.view.no_room() {
            self.refuse(held.waiter, &retry(RetryCode::DiskFull, why));
        } else if let Some(why) = self.long_out_of_contact(now) {
            self.refuse(held.waiter, &why);
        } else if let Err(waiter) = self.requests.hold(held) {
            self.refuse(waiter, &retry(RetryCode::Busy, "too many requests wait here; nothing was done"));
        }
    }

    fn read(&mut self, read: Read, now: Instant) {
        match self.long_out_of_contact(now) {
            Some(why) => {
                self.never_entered(&read);
                self.hub.answer(read.session, read.slot, Err(why));
            }
            None => self.requests.read(read),
        }
    }

    /// A login that is refused: nobody is online because of it.
    pub(super) fn never_entered(&mut self, read: &Read) {
        if let Some((name, _)) = &read.enters {
            let news = self.online.leave(name);
            self.tell_presence(news);
        }
    }

    // --- delivered marks ----------------------------------------------------------------------------------------

    /// Marks wait a moment for company: many sessions' marks make one entry.
    fn mark(
        &mut self,
        session: SessionId,
        slot: Slot,
        account: AccountId,
        ranges: Vec<IdRange>,
        ctx: &mut Context<Self>,
    ) {
        let bytes = MARK_ACCOUNT_BYTES + ranges.len() * MARK_RANGE_BYTES;
        if self.marks_bytes + bytes > MARKS_BYTES_MAX {
            self.propose_marks();
        }
        self.marks_bytes += bytes;
        self.marks.entry(account).or_default().extend(ranges);
        self.marks_wait.push((session, slot));
        if self.marks_since.is_none() {
            self.marks_since = Some(Instant::now());
            ctx.run_later(MARK_GATHER, |replicator, ctx| {
                replicator.propose_marks();
                replicator.stir(ctx);
            });
        }
    }

    fn propose_marks(&mut self) {
        let Some(arrived) = self.marks_since.take() else { return };
        self.marks_bytes = 0;
        let marks = std::mem::take(&mut self.marks).into_iter().collect();
        let waiter = Waiter::Marks(std::mem::take(&mut self.marks_wait));
        let command = Command::Mark { marks }.to_string();
        self.write(Held { waiter, arrived, command }, Instant::now());
    }

    /// The leader begins a step of the retention, where there is one.
    pub(super) fn expire(&mut self, now: Instant) {
        let leads = self.node.standing().role == Role::Leader;
        if leads && self.settings.quota.retention.is_some() && self.expiry.is_due(now) {
            self.write(Held { waiter: Waiter::Expiry, arrived: now, command: Command::Expire.to_string() }, now);
        }
    }

    // --- refusals -----------------------------------------------------------------------------------------------

    fn refuse(&mut self, waiter: Waiter, why: &RetryLater) {
        match waiter {
            Waiter::Session(session, slot) => self.hub.answer_write(session, slot, Err(why.clone())),
            Waiter::Marks(waiters) => {
                for (session, slot) in waiters {
                    self.hub.answer(session, slot, Err(why.clone()));
                }
            }
            Waiter::Expiry => self.expiry.ended(Instant::now(), None),
        }
    }

    /// Who has been out of contact for longer than a request may wait refuses at once.
    fn long_out_of_contact(&self, now: Instant) -> Option<RetryLater> {
        let lost = self.view.out_of_contact(now)?;
        (lost >= self.settings.request_timeout).then(|| self.no_leader(now, lost))
    }

    /// Without a leader every replica asks the others for votes more often than this: one that is silent for longer is
    /// not in reach.
    fn patience(&self) -> Duration {
        2 * self.settings.election_timeout_max
    }

    fn no_leader(&self, now: Instant, lost: Duration) -> RetryLater {
        let seconds = lost.as_secs_f64();
        if self.view.majority_in_reach(now, self.patience()) {
            let text = format!("no leader for {seconds:.1} s; nothing was done, try again");
            retry(RetryCode::NoLeader, &text)
        } else {
            let text = format!("no majority of the replicas in reach for {seconds:.1} s; nothing was done");
            retry(RetryCode::NoQuorum, &text)
        }
    }

    pub(super) fn refuse_expired(&mut self, now: Instant) {
        for expired in self.requests.expire(now, self.settings.request_timeout) {
            let lost = self.view.out_of_contact(now).unwrap_or(self.settings.request_timeout);
            match expired {
                Expired::NotProposed(waiter) => {
                    let why = self.no_leader(now, lost);
                    self.refuse(waiter, &why);
                }
                Expired::Unknown(n, waiter) => {
                    let nothing = Command::Mark { marks: Vec::new() };
                    self.origin.void(n, self.payload(n, &nothing.to_string()));
                    let text = "proposed, but the outcome is not known; under the same @key it is safe to send again";
                    self.refuse(waiter, &retry(RetryCode::Unknown, text));
                }
                Expired::NotConfirmed(read) => {
                    let why = self.no_leader(now, lost);
                    self.never_entered(&read);
                    self.hub.answer(read.session, read.slot, Err(why));
                }
                Expired::Behind(read) => {
                    let text = "this replica is catching up; try another, or again";
                    self.never_entered(&read);
                    self.hub.answer(read.session, read.slot, Err(retry(RetryCode::NotReady, text)));
                }
            }
        }
    }

    /// Tells connections when there is no majority to be had, and when there is one again.
    pub(super) fn tell_of_quorum(&mut self, now: Instant) {
        let patience = self.patience();
        let lost = self.view.out_of_contact(now).is_some_and(|lost| lost >= patience)
            && !self.view.majority_in_reach(now, patience);
        if lost && !self.told_no_quorum {
            self.told_no_quorum = true;
            self.hub.tell_all(&News::Note(
                NoteCode::NoQuorum,
                "no majority of the replicas is in reach: nothing can be sent or read until it is",
            ));
        } else if self.told_no_quorum && self.view.contact().is_some() {
            self.told_no_quorum = false;
            self.hub.tell_all(&News::Note(NoteCode::QuorumBack, "a majority is in reach again"));
        }
    }
}

fn retry(code: RetryCode, text: &str) -> RetryLater {
    RetryLater { code, text: text.to_owned() }
}
