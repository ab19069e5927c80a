//! Barriers: the requests that read or change what the connection is, each begun alone.
//!
//! Each is a few steps, one ask or one job at a time ([`Step`]), and ends with its final line. A `retry` in any step ends
//! it; what it had not yet changed stays as it was.

use std::time::{Duration, Instant};

use chat::{
    Account, Answer, Checked, Command, Done as Granted, ErrCode, Key, Name, Outcome, Password, PasswordHash, Query,
    Refusal, Reply, RetryCode, ServerLine, Speaker,
};

use super::core::{Barrier, Core, Job, JobDone, Step};
use super::delivery::Deliver;
use super::limits::PAGE_BYTES;
use super::printing::{History, Who};
use super::requests::unknown;
use crate::actors::messages::{Done, Entered, RetryLater, What};

impl Core {
    pub(super) fn begin_barrier(&mut self, arrived: Instant, key: Option<Key>, cost: usize, checked: Checked) {
        self.cost += cost;
        match (checked, self.speaker.clone()) {
            (Checked::List { regex, after }, _) => {
                let limit = self.config.list;
                let slot = self.ask(arrived, What::Read(Query::List { regex, after, limit }));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::List });
            }
            (Checked::Create { name, password: Some(password) }, _) => {
                let slot = self.next_slot();
                self.turn.jobs.push((slot, Job::Hash(password)));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::Hash(name) });
            }
            (Checked::Create { .. }, _) if self.config.require_password => {
                self.cost -= cost;
                self.answer_now(key, cost, &Refusal::password_required().into());
            }
            (Checked::Create { name, password: None }, _) => {
                let create = Command::Create { name: name.clone(), password: None };
                let slot = self.ask(arrived, What::Write(create));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::Create(name) });
            }
            (Checked::Login { name, password }, _) => {
                let slot = self.ask(arrived, What::Read(Query::Account(name.clone())));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::LookUp(password) });
            }
            (Checked::Logout, Some(speaker)) => {
                let slot = self.ask(arrived, What::Leave);
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::Leave(speaker.name) });
            }
            (Checked::Delete, Some(speaker)) => {
                let name = speaker.name.clone();
                let slot = self.ask(arrived, What::Write(Command::Delete { speaker }));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::Delete { name, gone: false } });
            }
            (Checked::Deliver { limit }, Some(speaker)) => {
                let slot = self.ask_sync(arrived, speaker.id);
                let step = Step::Deliver(Deliver::new(limit));
                self.set_barrier(Barrier { slot, key, arrived, cost, step });
            }
            (Checked::History { with, page, limit }, Some(Speaker { id: account, .. })) => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let query = Query::History { account, with, page, limit, bytes_max: PAGE_BYTES };
                let slot = self.ask(arrived, What::Read(query));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::History(History::new(account)) });
            }
            (Checked::Who { regex }, _) => {
                let slot = self.ask(arrived, Who::page(None));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::Who(Who::new(regex)) });
            }
            (Checked::Passwd { new }, Some(speaker)) => {
                let slot = self.next_slot();
                self.turn.jobs.push((slot, Job::Hash(new)));
                self.set_barrier(Barrier { slot, key, arrived, cost, step: Step::HashNew(speaker) });
            }
            (checked, _) => unreachable!("{checked:?} is no barrier, or was checked to need a login"),
        }
    }

    fn set_barrier(&mut self, barrier: Barrier) {
        self.barrier = Some(Box::new(barrier));
    }

    /// The barrier's next step, with a new ask.
    fn step(&mut self, mut barrier: Box<Barrier>, what: What, step: Step) {
        barrier.slot = self.ask(barrier.arrived, what);
        barrier.step = step;
        self.barrier = Some(barrier);
    }

    /// Ends the barrier with its final line.
    pub(super) fn finish_barrier(&mut self, reply: &Reply<'_>) {
        if let Some(barrier) = self.barrier.take() {
            self.finish(&barrier, reply);
        }
    }

    pub(super) fn finish(&mut self, barrier: &Barrier, reply: &Reply<'_>) {
        self.cost -= barrier.cost;
        reply.write(barrier.key.as_ref(), &mut self.turn.output);
    }

    pub(super) fn barrier_answered(&mut self, result: Result<Done, RetryLater>) {
        let mut barrier = self.barrier.take().expect("the caller looked at it");
        let step = std::mem::replace(&mut barrier.step, Step::List);
        match (step, result) {
            (Step::Enter { speaker, created: true }, Err(_) | Ok(Done::Entered(None))) => {
                // The account is there: only `UNKNOWN` allows for that.
                let text = format!("{} was created, but this connection does not speak for it; log in", speaker.name);
                self.finish(&barrier, &Reply::retry(RetryCode::Unknown, text));
            }
            (Step::Delete { gone, .. }, Err(later)) => {
                self.finish(&barrier, &Reply::retry(later.code, later.text));
                self.note_if(gone);
            }
            (_, Err(later)) => self.finish(&barrier, &Reply::retry(later.code, later.text)),
            (Step::Delete { name, .. }, Ok(Done::Outcome(Outcome::Deleted))) => {
                self.speaker = None;
                self.leave_mailbox();
                self.finish(&barrier, &Reply::Ok(Granted::Delete { name: name.as_str() }));
            }
            (Step::Delete { gone, .. }, Ok(Done::Outcome(Outcome::Refused(refusal)))) => {
                self.finish(&barrier, &refusal.into());
                self.note_if(gone);
            }
            (_, Ok(Done::Outcome(Outcome::Refused(refusal)))) => self.finish(&barrier, &refusal.into()),
            (Step::List, Ok(Done::Answer(Answer::List { names, matching }))) => {
                self.finish_list(&barrier, &names, matching);
            }
            (Step::Create(name), Ok(Done::Outcome(Outcome::Created(id)))) => {
                self.enter(barrier, Speaker { name, id }, true);
            }
            (Step::LookUp(password), Ok(Done::Answer(Answer::Account(account)))) => {
                self.looked_up(barrier, account, password);
            }
            (Step::Enter { speaker, created }, Ok(Done::Entered(Some(entered)))) => {
                self.entered(&barrier, speaker, entered, created);
            }
            (Step::Enter { .. }, Ok(Done::Entered(None))) => {
                self.finish(&barrier, &Reply::err(ErrCode::NoSuchUser));
            }
            (Step::Leave(name), Ok(Done::Left)) => {
                self.speaker = None;
                self.leave_mailbox();
                self.finish(&barrier, &Reply::Ok(Granted::Logout { name: name.as_str() }));
            }
            (Step::Deliver(deliver), Ok(Done::Answer(answer))) => {
                barrier.step = Step::Deliver(deliver);
                self.barrier = Some(barrier);
                self.deliver_answered(answer);
            }
            (Step::History(history), Ok(Done::Answer(answer))) => self.history_answered(barrier, history, answer),
            (Step::Who(who), Ok(Done::Who(names))) => self.who_answered(barrier, who, &names),
            (Step::Passwd(name), Ok(Done::Outcome(Outcome::PasswordSet))) => {
                self.finish(&barrier, &Reply::Ok(Granted::Passwd { name: name.as_str() }));
            }
            (step, done) => {
                // Only a bug in this process can bring this about; the client is told what is true in any case.
                debug_assert!(false, "{done:?} is no answer to {step:?}");
                self.finish(&barrier, &unknown());
            }
        }
    }

    fn note_if(&mut self, gone: bool) {
        if gone {
            self.note_logged_out();
        }
    }

    pub(super) fn barrier_job_done(&mut self, done: JobDone) {
        let mut barrier = self.barrier.take().expect("the caller looked at it");
        match (std::mem::replace(&mut barrier.step, Step::List), done) {
            (Step::Hash(name), JobDone::Hash(hash)) => self.create(barrier, name, hash),
            (Step::HashNew(speaker), JobDone::Hash(hash)) => {
                let step = Step::Passwd(speaker.name.clone());
                self.step(barrier, What::Write(Command::Passwd { speaker, password: hash }), step);
            }
            (Step::Check(speaker), JobDone::Right) => self.enter(barrier, speaker, false),
            (Step::Check(_), JobDone::Wrong) => self.finish(&barrier, &Reply::err(ErrCode::WrongPassword)),
            (_, JobDone::SlowDown(pause)) => self.finish(&barrier, &slow_down(pause)),
            (_, JobDone::Busy) => {
                let text = "too many passwords are being checked; try again in a moment";
                self.finish(&barrier, &Reply::retry(RetryCode::Busy, text));
            }
            (step, done) => {
                debug_assert!(false, "{done:?} is nothing that {step:?} waits for");
                self.finish(&barrier, &Reply::retry(RetryCode::Busy, "try again"));
            }
        }
    }

    fn create(&mut self, barrier: Box<Barrier>, name: Name, hash: PasswordHash) {
        let create = Command::Create { name: name.clone(), password: Some(hash) };
        self.step(barrier, What::Write(create), Step::Create(name));
    }

    fn looked_up(&mut self, mut barrier: Box<Barrier>, account: Option<Account>, given: Option<Password>) {
        let Some(Account { id, name, password: stored }) = account else {
            self.finish(&barrier, &Reply::err(ErrCode::NoSuchUser));
            return;
        };
        let speaker = Speaker { name, id };
        if stored.is_none() && given.is_none() {
            self.enter(barrier, speaker, false);
            return;
        }
        barrier.slot = self.next_slot();
        self.turn.jobs.push((barrier.slot, Job::Check { account: id, given, stored }));
        barrier.step = Step::Check(speaker);
        self.barrier = Some(barrier);
    }

    fn enter(&mut self, barrier: Box<Barrier>, speaker: Speaker, created: bool) {
        let what = What::Enter { name: speaker.name.clone(), account: speaker.id };
        self.step(barrier, what, Step::Enter { speaker, created });
    }

    fn entered(&mut self, barrier: &Barrier, speaker: Speaker, entered: Entered, created: bool) {
        self.enter_mailbox(speaker.id, entered.pushes_after);
        let name = speaker.name.clone();
        self.speaker = Some(speaker);
        self.has_logged_in = true;
        let done = if created {
            Granted::Create { name: name.as_str() }
        } else {
            Granted::Login { name: name.as_str(), undelivered: entered.undelivered }
        };
        self.finish(barrier, &Reply::Ok(done));
    }

    fn finish_list(&mut self, barrier: &Barrier, names: &[Name], matching: u64) {
        for name in names {
            self.line(&ServerLine::User(name.as_str()));
        }
        self.finish(barrier, &Reply::Ok(Granted::List { shown: names.len() as u64, matching }));
    }
}

pub(super) fn is_barrier(checked: &Checked) -> bool {
    match checked {
        Checked::List { .. }
        | Checked::Create { .. }
        | Checked::Login { .. }
        | Checked::Logout
        | Checked::Delete
        | Checked::Deliver { .. }
        | Checked::History { .. }
        | Checked::Who { .. }
        | Checked::Passwd { .. } => true,
        Checked::Send { .. }
        | Checked::Erase { .. }
        | Checked::Manual
        | Checked::Ack { .. }
        | Checked::Status
        | Checked::Ping { .. }
        | Checked::Help
        | Checked::Quit => false,
    }
}

fn slow_down(pause: Duration) -> Reply<'static> {
    let seconds = pause.as_millis().div_ceil(1000);
    Reply::retry(RetryCode::SlowDown, format!("too many failed logins from your address; try again in {seconds} s"))
}
