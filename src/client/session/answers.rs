//! What a final line means, for each thing that was asked.

use chat::{Done, ErrCode};

use super::slot::{Slot, State, Ticket};
use super::{Flight, Output, Phase, Session};
use crate::client::line::{FinalLine, Verdict};
use crate::client::mailbox::CatchUp;
use crate::client::request::{Class, Credentials, Kind};

impl Session {
    /// The oldest unanswered request is answered.
    pub(super) fn final_line(&mut self, echo: Option<&str>, last: FinalLine) {
        let Some(flight) = self.flights.pop_front() else {
            return self.leave("it answered what nobody asked");
        };
        if let Flight::Request(ticket) = flight
            && self.slot(ticket).is_some_and(|slot| !slot.fits(echo))
        {
            self.flights.push_front(flight);
            return self.leave("it answered another request than was asked");
        }
        let is_local = matches!(flight, Flight::Manual | Flight::Ping | Flight::Learn);
        if !is_local && !matches!(last.verdict(), Verdict::Retry(_)) {
            self.progress += 1;
        }
        match flight {
            Flight::Ping => {}
            Flight::Learn => self.outputs.push_back(Output::Servers(std::mem::take(&mut self.learned))),
            Flight::Manual if self.credentials.is_none() => self.ready(),
            Flight::Manual => {}
            Flight::Restore => self.restored(last),
            Flight::Page => self.page_answered(&last),
            Flight::Ack => self.ack_answered(&last),
            Flight::Request(ticket) => self.answered(ticket, echo, last),
            Flight::Probe(ticket) => self.probed(ticket, last),
        }
        self.pump();
    }

    fn restored(&mut self, last: FinalLine) {
        match last.verdict() {
            Verdict::Ok => {
                if let Some(Done::Login { undelivered: 0, .. }) = last.done() {
                    self.mailbox.catch_up = CatchUp::Done;
                    self.mailbox.forget_marked();
                } else {
                    self.mailbox.catch_up = CatchUp::Wanted;
                }
            }
            Verdict::Retry(code) => return self.trouble(code),
            // The account is gone, or its password another, because we asked for it: a probe will tell.
            Verdict::Err(_) if self.slots.iter().any(|slot| slot.probe(self.credentials.as_ref()).is_some()) => {}
            Verdict::Err(_) => {
                self.speak_for(None);
                self.outputs.push_back(Output::LoginLost(last));
                self.disown();
            }
        }
        self.ready();
    }

    /// Nobody can ask any more whether these were done.
    fn disown(&mut self) {
        self.settle_where(|slot| slot.maybe_done && slot.kind.class() == Class::Keyed);
    }

    fn page_answered(&mut self, last: &FinalLine) {
        match (last.verdict(), last.done()) {
            (_, Some(Done::Deliver { count, .. })) => {
                let page = self.mailbox.page(count);
                self.outputs.extend(page.into_iter().map(Output::Message));
            }
            (Verdict::Retry(code), _) => {
                self.mailbox.catch_up = CatchUp::Wanted;
                self.trouble(code);
            }
            (Verdict::Ok | Verdict::Err(_), _) => self.mailbox.catch_up = CatchUp::Done,
        }
    }

    fn ack_answered(&mut self, last: &FinalLine) {
        match last.verdict() {
            Verdict::Ok => self.mailbox.acked(),
            Verdict::Retry(code) => {
                self.mailbox.ack_failed(false);
                self.trouble(code);
            }
            Verdict::Err(_) => self.mailbox.ack_failed(true),
        }
    }

    fn answered(&mut self, ticket: Ticket, echo: Option<&str>, last: FinalLine) {
        let handed_out = self.mailbox.places();
        let Some(slot) = self.slot(ticket) else { return };
        if let Verdict::Retry(code) = last.verdict() {
            slot.refuse(last);
            return self.trouble(code);
        }
        let (kind, key) = (slot.kind.clone(), echo.and(slot.shown_key()));
        let last = match last.done() {
            Some(Done::Deliver { count, left }) => {
                FinalLine::new(Done::Deliver { count: slot.delivered(count, handed_out), left })
            }
            _ => last,
        };
        if let Some(done) = last.done() {
            self.took_effect(&kind, done);
        }
        self.careful = false;
        self.finish(ticket, key, last);
    }

    /// A login was answered that had been sent in place of a request which may have been done.
    fn probed(&mut self, ticket: Ticket, last: FinalLine) {
        let name = self.credentials.as_ref().map_or(String::new(), |who| who.name.clone());
        let Some(slot) = self.slot(ticket) else { return };
        let (kind, key) = (slot.kind.clone(), slot.shown_key());
        let done = match (&kind, last.verdict(), last.done()) {
            (_, Verdict::Retry(code), _) => {
                slot.refuse(last);
                return self.trouble(code);
            }
            (Kind::Create(_), _, Some(Done::Login { name, .. })) => Some(Done::Create { name }),
            (Kind::Passwd(_), Verdict::Ok, _) => Some(Done::Passwd { name: &name }),
            (Kind::Delete, Verdict::Err(Some(ErrCode::NoSuchUser)), _) => Some(Done::Delete { name: &name }),
            _ => None,
        };
        if done.is_none() {
            // It was not done, so it is sent as it is.
            slot.maybe_done = false;
            slot.state = State::Waiting;
        }
        self.careful = false;
        if let Some(done) = done {
            self.took_effect(&kind, done);
            return self.finish(ticket, key, FinalLine::new(done));
        }
        if last.verdict() == Verdict::Ok {
            self.mailbox.new_era(&name);
        }
    }

    /// Who the client speaks for, after a request that was done. The reply has the folded name.
    fn took_effect(&mut self, kind: &Kind, done: Done<'_>) {
        match (kind, done) {
            (Kind::Create(who) | Kind::Login(who), Done::Create { name } | Done::Login { name, .. }) => {
                self.speak_for(Some(Credentials { name: name.to_owned(), password: who.password.clone() }));
            }
            (Kind::Logout | Kind::Delete, _) => self.speak_for(None),
            (Kind::Passwd(new), _) => {
                if let Some(who) = &mut self.credentials {
                    who.password = Some(new.clone());
                }
            }
            (Kind::Quit, _) => self.phase = Phase::Down,
            _ => {}
        }
    }

    /// A connection that ended while `quit` was on its way has done what was asked.
    pub(super) fn quit_is_done(&mut self) {
        if let Some(slot) = self.slots.front()
            && slot.kind == Kind::Quit
            && slot.was_lost
        {
            let key = slot.shown_key();
            self.finish(Ticket(self.first), key, FinalLine::new(Done::Quit));
        }
    }

    /// The request has its reply.
    pub(super) fn finish(&mut self, ticket: Ticket, key: Option<String>, final_line: FinalLine) {
        if let Some(slot) = self.slot(ticket) {
            slot.settle(key, final_line);
        }
        self.release();
    }

    /// Ends the waiting requests of this kind: there is nothing more that can be done for them.
    pub(super) fn settle_where(&mut self, is_meant: impl Fn(&Slot) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| slot.state == State::Waiting && is_meant(slot)) {
            let (key, last) = (slot.shown_key(), slot.gave_up());
            slot.settle(key, last);
        }
        self.release();
    }

    /// Hands out the replies that no earlier request holds back.
    fn release(&mut self) {
        while let Some(slot) = self.slots.pop_front_if(|slot| matches!(slot.state, State::Done(_))) {
            let ticket = Ticket(self.first);
            self.first += 1;
            if let State::Done(reply) = slot.state {
                let is_over = slot.kind == Kind::Quit && reply.final_line.verdict() == Verdict::Ok;
                self.outputs.push_back(Output::Reply(ticket, reply));
                if is_over {
                    self.outputs.push_back(Output::Over);
                }
            }
        }
    }
}
