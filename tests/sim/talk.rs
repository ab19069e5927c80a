//! The part of a process that talks to sessions, as `src/actors/replicator/{sessions,duties,hub}.rs` do.

use chat::{AccountId, Answer, Command, Effect, IdRange, MessageId, Name, Query, RetryCode};
use plainsong::actors::messages::{Ask, Done, Entered, News, RetryLater, SessionId, Slot, What};
use plainsong::actors::replicator::requests::{Asked, Expired, Held, Read, Waiter};
use plainsong::actors::store::{Own, StateJob, StateNews};
use plainsong::consensus::{Index, Input, Mark, Role};
use plainsong::machine;

use super::replica::{ELECTION_MAX, Out, Proof, REQUEST_TIMEOUT, Replica};

impl Replica {
    pub fn asked(&mut self, session: SessionId, ask: Ask) {
        let Ask { slot, arrived, what } = ask;
        match what {
            What::Write(command) => {
                let waiter = Waiter::Session(session, slot);
                self.write(Held { waiter, arrived, command: command.to_string() });
            }
            What::Read(query) => self.read(Read { session, slot, arrived, query, enters: None }),
            What::ReadLocal(query) => self.query(Asked { session, slot, enters: None }, query),
            What::Enter { name, account } => {
                let news = self.online.enter(&name);
                self.tell_presence(news);
                let query = Query::Login(name.clone(), account);
                self.read(Read { session, slot, arrived, query, enters: Some((name, account)) });
            }
            What::Leave => {
                if let Some(name) = self.leave(session) {
                    self.gone_offline(&name);
                }
                self.answer(session, slot, Ok(Done::Left), Proof::None);
            }
            What::Mark { account, ranges } => self.mark(session, slot, account, ranges),
            What::Status | What::Who { .. } => {}
        }
    }

    fn write(&mut self, held: Held) {
        if self.view.no_room().is_some() {
            self.refuse(held.waiter, &retry(RetryCode::DiskFull));
        } else if let Some(why) = self.long_out_of_contact() {
            self.refuse(held.waiter, &why);
        } else if let Err(waiter) = self.requests.hold(held) {
            self.refuse(waiter, &retry(RetryCode::Busy));
        }
    }

    fn read(&mut self, read: Read) {
        match self.long_out_of_contact() {
            Some(why) => {
                self.never_entered(&read);
                self.answer(read.session, read.slot, Err(why), Proof::None);
            }
            None => self.requests.read(read),
        }
    }

    fn never_entered(&mut self, read: &Read) {
        if let Some((name, _)) = &read.enters {
            self.gone_offline(name);
        }
    }

    fn mark(&mut self, session: SessionId, slot: Slot, account: AccountId, ranges: Vec<IdRange>) {
        self.marks.entry(account).or_default().extend(ranges);
        self.marks_wait.push((session, slot));
        if self.marks_since.is_none() {
            self.marks_since = Some(self.now);
            self.out.push(Out::GatherMarks);
        }
    }

    pub fn propose_marks(&mut self) {
        let Some(arrived) = self.marks_since.take() else { return };
        let marks = std::mem::take(&mut self.marks).into_iter().collect();
        let waiter = Waiter::Marks(std::mem::take(&mut self.marks_wait));
        self.write(Held { waiter, arrived, command: Command::Mark { marks }.to_string() });
    }

    fn expire_waiter(&mut self, outcome: Option<&chat::Outcome>) -> Vec<(SessionId, Slot)> {
        self.expiry.ended(self.now, outcome);
        Vec::new()
    }

    pub fn expire(&mut self) {
        let leads = self.node.standing().role == Role::Leader;
        if leads && self.quota.retention.is_some() && self.expiry.is_due(self.now) {
            let command = Command::Expire.to_string();
            self.write(Held { waiter: Waiter::Expiry, arrived: self.now, command });
        }
    }

    // --- refusals --------------------------------------------------------------------------------------------

    fn refuse(&mut self, waiter: Waiter, why: &RetryLater) {
        let waiters = match waiter {
            Waiter::Session(session, slot) => vec![(session, slot)],
            Waiter::Marks(waiters) => waiters,
            Waiter::Expiry => self.expire_waiter(None),
        };
        for (session, slot) in waiters {
            self.answer(session, slot, Err(why.clone()), Proof::None);
        }
    }

    fn long_out_of_contact(&self) -> Option<RetryLater> {
        let lost = self.view.out_of_contact(self.now)?;
        (lost >= REQUEST_TIMEOUT).then(|| self.no_leader())
    }

    fn no_leader(&self) -> RetryLater {
        let reached = self.view.majority_in_reach(self.now, 2 * ELECTION_MAX);
        retry(if reached { RetryCode::NoLeader } else { RetryCode::NoQuorum })
    }

    pub fn refuse_expired(&mut self) {
        for expired in self.requests.expire(self.now, REQUEST_TIMEOUT) {
            match expired {
                Expired::NotProposed(waiter) => {
                    let why = self.no_leader();
                    self.refuse(waiter, &why);
                }
                Expired::Unknown(n, waiter) => {
                    let nothing = Command::Mark { marks: Vec::new() };
                    self.origin.void(n, self.payload(n, &nothing.to_string()));
                    self.refuse(waiter, &retry(RetryCode::Unknown));
                }
                Expired::NotConfirmed(read) => {
                    let why = self.no_leader();
                    self.never_entered(&read);
                    self.answer(read.session, read.slot, Err(why), Proof::None);
                }
                Expired::Behind(read) => {
                    self.never_entered(&read);
                    self.answer(read.session, read.slot, Err(retry(RetryCode::NotReady)), Proof::None);
                }
            }
        }
    }

    // --- what the state says -----------------------------------------------------------------------------------

    pub fn query_state(&mut self) {
        while let Some(read) = self.requests.ready(self.handed) {
            if self.sessions.contains_key(&read.session) {
                self.query(Asked { session: read.session, slot: read.slot, enters: read.enters }, read.query);
            } else {
                self.never_entered(&read);
            }
        }
    }

    fn query(&mut self, asked: Asked, query: Query) {
        let number = self.requests.query(asked);
        self.out.push(Out::State(StateJob::Query(number, query)));
    }

    pub fn state_says(&mut self, news: StateNews) {
        match news {
            StateNews::Applied { until, own, effects, checkpoints } => {
                own.into_iter().for_each(|one| self.own_applied(one));
                for effect in effects {
                    self.effect(effect);
                }
                for checkpoint in checkpoints {
                    let mark = Mark { index: checkpoint.index, digest: checkpoint.digest };
                    self.keeper.checkpoint(mark, self.now);
                    let verdict = self.view.checkpoint(checkpoint);
                    self.judge_state(verdict);
                }
                self.step(Input::Applied(until));
            }
            StateNews::Damaged => unreachable!("no state is damaged here: e2e has that"),
            StateNews::Synced(index) => {
                self.keeper.synced(index);
                self.step(Input::StateDurable(index));
            }
            StateNews::Answer(number, answer, applied) => {
                if let Some(asked) = self.requests.answered(number) {
                    self.answered(asked, answer, applied);
                }
            }
        }
    }

    fn own_applied(&mut self, own: Own) {
        let origin = machine::Origin { member: self.me, boot: self.run.boot, n: own.n };
        match own.outcome {
            Ok(outcome) => {
                self.origin.resolved(own.n);
                let waiters = match self.requests.resolve(own.n) {
                    None => Vec::new(),
                    Some(Waiter::Session(session, slot)) => vec![(session, slot)],
                    Some(Waiter::Marks(waiters)) => waiters,
                    Some(Waiter::Expiry) => self.expire_waiter(Some(&outcome)),
                };
                for (session, slot) in waiters {
                    self.answer(session, slot, Ok(Done::Outcome(outcome.clone())), Proof::Write(origin));
                }
            }
            Err(expected) => self.origin.gap(own.n, expected),
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, applied: Index) {
        let Asked { session, slot, enters } = asked;
        let proof = Proof::Read(applied);
        let Some((name, account)) = enters else {
            self.answer(session, slot, Ok(Done::Answer(answer)), proof);
            return;
        };
        let undelivered = match answer {
            Answer::Login(undelivered) => undelivered,
            _ => None,
        };
        let entered = match undelivered {
            Some(undelivered) if self.sessions.contains_key(&session) => {
                if let Some(before) = self.enter(session, name, account) {
                    self.gone_offline(&before);
                }
                Some(Entered { pushes_after: MessageId(self.node.id_at(applied)), undelivered })
            }
            _ => {
                self.gone_offline(&name);
                None
            }
        };
        self.answer(session, slot, Ok(Done::Entered(entered)), proof);
    }

    // --- sessions --------------------------------------------------------------------------------------------

    fn answer(&mut self, session: SessionId, slot: Slot, answer: Result<Done, RetryLater>, proof: Proof) {
        if self.sessions.contains_key(&session) {
            self.out.push(Out::Tell(session, News::Answered(slot, answer), proof));
        }
    }

    fn enter(&mut self, session: SessionId, name: Name, account: AccountId) -> Option<Name> {
        let left = self.leave(session);
        self.sessions.insert(session, Some((name, account)));
        left
    }

    pub fn leave(&mut self, session: SessionId) -> Option<Name> {
        self.sessions.get_mut(&session)?.take().map(|(name, _)| name)
    }

    fn effect(&mut self, effect: Effect) {
        let of = match &effect {
            Effect::Push { to, .. } => *to,
            Effect::Gone { account } => *account,
        };
        let speaks = |s: &Option<(Name, AccountId)>| s.as_ref().is_some_and(|(_, id)| *id == of);
        let sessions: Vec<SessionId> = self.sessions.iter().filter(|(_, s)| speaks(s)).map(|(id, _)| *id).collect();
        for session in sessions {
            match &effect {
                Effect::Push { to, message } => {
                    let push = News::Push { account: *to, id: message.id, line: message.line() };
                    self.out.push(Out::Tell(session, push, Proof::None));
                }
                Effect::Gone { account } => {
                    self.out.push(Out::Tell(session, News::LoggedOut(*account), Proof::None));
                    if let Some(name) = self.leave(session) {
                        self.gone_offline(&name);
                    }
                }
            }
        }
    }
}

fn retry(code: RetryCode) -> RetryLater {
    RetryLater { code, text: String::new() }
}
