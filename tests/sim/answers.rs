//! What people are told, and what the checkers make of it.

use chat::{Answer, MessageId, Outcome, RetryCode, Speaker};
use plainsong::actors::messages::{Done, News, SessionId};
use plainsong::consensus::Index;
use plainsong::machine::Origin;

use super::checkers::{Fate, Law, broken, ensure};
use super::clients::{ALL, Kind, Pending};
use super::replica::Proof;
use super::world::World;

impl World {
    pub fn client_hears(&mut self, client: usize, session: SessionId, (news, proof): (News, Proof)) {
        if self.clients[client].at.is_none_or(|at| at.session != session) {
            return;
        }
        let now = self.now;
        self.trace.note(now, || format!("client {client} hears {news:?}"));
        match news {
            News::Answered(slot, result) => {
                let waits = &mut self.clients[client].pending;
                let Some(at) = waits.iter().position(|p| p.slot == slot) else {
                    broken(Law::ExactlyOnce, format!("client {client} is answered {slot:?} once more"));
                };
                let pending = waits.remove(at).expect("found");
                match result {
                    Ok(done) => self.granted(client, pending, done, proof),
                    Err(later) if later.code == RetryCode::Unknown => self.left_open(client, &pending),
                    Err(later) => self.refused(client, pending, &later.code.to_string()),
                }
            }
            News::Push { account, id, line } => {
                let speaks = self.clients[client].speaker.as_ref().is_some_and(|s| s.id == account);
                if speaks {
                    self.pushed(client, account.0, id, &line);
                }
            }
            News::LoggedOut(account) => {
                let it = &mut self.clients[client];
                it.speaker = it.speaker.take().filter(|s| s.id != account);
            }
            News::Note(..) | News::Drain(_) => {}
        }
    }

    /// Pushes come in order, each once, and none is left out.
    fn pushed(&mut self, client: usize, account: u64, id: MessageId, line: &[u8]) {
        let last = self.clients[client].pushed;
        let side = self.side_of_client(client);
        let Some(next) = self.judge.told[side.0].model.after(account, last) else {
            broken(Law::Mailbox, format!("{id} is pushed to client {client}, and is no message to it"));
        };
        ensure!(Mailbox, next.id == id.0, "client {client} is pushed {id}, but {} comes after {last}", next.id);
        let ends = line.strip_suffix(b"\n").is_some_and(|line| line.ends_with(format!("|{}", next.text).as_bytes()));
        ensure!(Mailbox, ends, "{id} is pushed as {:?}, and is {:?}", String::from_utf8_lossy(line), next.text);
        self.clients[client].pushed = id.0;
    }

    /// Nobody will say what became of it.
    pub fn left_open(&mut self, client: usize, pending: &Pending) {
        match &pending.kind {
            Kind::Send { op, keyed, .. } => {
                self.judge.requests.lose(*op);
                self.clients[client].retry.extend(keyed.clone());
            }
            Kind::Erase { op, keyed } => {
                self.judge.requests.lose(*op);
                self.clients[client].retry.push_back(keyed.clone());
            }
            Kind::Create { op, .. } | Kind::Passwd { op } | Kind::Ack { op, .. } => self.judge.requests.lose(*op),
            Kind::LookUp { .. }
            | Kind::Enter { .. }
            | Kind::Undelivered { .. }
            | Kind::Received { .. }
            | Kind::History { .. }
            | Kind::Mark
            | Kind::List
            | Kind::Delete { .. }
            | Kind::Leave => {}
        }
    }

    /// `retry` other than `UNKNOWN`, or `err`: nothing was done.
    fn refused(&mut self, client: usize, pending: Pending, why: &str) {
        let now = self.now;
        match pending.kind {
            Kind::Send { op, keyed, token } => {
                self.judge.refuses(op, why);
                match (keyed, token) {
                    // An earlier attempt may have been left open.
                    (Some(keyed), _) => self.clients[client].retry.push_back(keyed),
                    (None, Some(token)) => self.judge.history.never(token, now),
                    (None, None) => {}
                }
            }
            Kind::Erase { op, keyed } => {
                self.judge.refuses(op, why);
                self.clients[client].retry.push_back(keyed);
            }
            Kind::Create { op, .. } | Kind::Passwd { op } | Kind::Ack { op, .. } => self.judge.refuses(op, why),
            Kind::LookUp { .. }
            | Kind::Enter { .. }
            | Kind::Undelivered { .. }
            | Kind::Received { .. }
            | Kind::History { .. }
            | Kind::Mark
            | Kind::List
            | Kind::Delete { .. }
            | Kind::Leave => {}
        }
        if self.rng.bool() {
            self.hang_up(client);
        }
    }

    fn granted(&mut self, client: usize, pending: Pending, done: Done, proof: Proof) {
        self.clients[client].served += 1;
        match (done, proof) {
            (Done::Outcome(outcome), Proof::Write(origin)) => self.written(client, pending, &outcome, origin),
            (Done::Answer(answer), Proof::Read(at)) => {
                self.is_current(client, &pending, at);
                self.read(client, pending.kind, answer, at);
            }
            (Done::Entered(entered), Proof::Read(at)) => {
                self.is_current(client, &pending, at);
                let model = &self.judge.told[self.side_of_client(client).0].model;
                let Kind::Enter { name, account } = pending.kind else { panic!("asked to enter") };
                let lives = model.account(name.as_str(), at) == Some(account.0);
                ensure!(Linearizable, entered.is_some() == lives, "{name} enters: {entered:?}; it lives: {lives}");
                let Some(entered) = entered else { return };
                let count = model.undelivered(account.0, at).count() as u64;
                let told = entered.undelivered;
                ensure!(Linearizable, told == count, "{name} is told of {told} messages at {at}, and has {count}");
                self.clients[client].pushed = entered.pushes_after.0;
                self.clients[client].speaker = Some(Speaker { name, id: account });
            }
            (Done::Left, _) => self.clients[client].speaker = None,
            (done, proof) => panic!("{done:?} with {proof:?} is no answer to {pending:?}"),
        }
    }

    /// A read must hold everything that was acknowledged to anybody before it was asked.
    fn is_current(&mut self, client: usize, pending: &Pending, at: Index) {
        let side = self.side_of_client(client);
        self.judge.requests.reads += 1;
        let floor = self.judge.ledger.sides.least(&pending.floor, side);
        ensure!(Linearizable, at >= floor, "{:?} is answered as of {at}, but {floor} was seen before", pending.kind);
        self.judge.ledger.sides.seen(side, at);
    }

    fn read(&mut self, client: usize, kind: Kind, answer: Answer, at: Index) {
        let (now, model) = (self.now, &self.judge.told[self.side_of_client(client).0].model);
        match (kind, answer) {
            (Kind::LookUp { name }, Answer::Account(account)) => {
                let (found, lives) = (account.as_ref().map(|a| a.id.0), model.account(name.as_str(), at));
                ensure!(Linearizable, found == lives, "{name} is found as {found:?} at {at}, and is {lives:?}");
                if let Some(account) = &account {
                    let (found, set) = (&account.password, model.password(account.id.0, at));
                    let same = found.as_ref().map(|p| p.as_str()) == set.map(|tag| format!("$sim${tag}")).as_deref();
                    ensure!(Linearizable, same, "{name} has the password {set:?} at {at}");
                }
                match account {
                    Some(account) => self.enter(client, name, account.id),
                    None => self.create(client, name, false),
                }
            }
            (Kind::Undelivered { account }, Answer::Undelivered { messages, left, .. }) => {
                let all: Vec<u64> = model.undelivered(account.0, at).map(|m| m.id).collect();
                let told: Vec<u64> = messages.iter().map(|m| m.id.0).collect();
                let right = all.starts_with(&told) && told.len() as u64 + left == all.len() as u64;
                ensure!(Mailbox, right, "{account} is shown {told:?} and {left} at {at}, and has {all:?}");
                if let Some(last) = messages.last() {
                    self.clients[client].read_to = last.id;
                }
            }
            (Kind::Received { account, token }, Answer::Received { messages, .. }) => {
                let all: Vec<u64> = model.received(account, at).map(|m| m.id).collect();
                let told: Vec<u64> = messages.iter().map(|m| m.id.0).collect();
                ensure!(Mailbox, told == all, "{account} is shown {told:?} at {at}, and has {all:?}");
                if let Some(token) = token {
                    let number = |line: &[u8]| {
                        let text = std::str::from_utf8(line).expect("text").trim_end();
                        text.rsplit_once("|m").and_then(|(_, op)| op.parse().ok()).expect("a request's number")
                    };
                    let seen = messages.iter().map(|m| number(&m.line)).collect();
                    self.judge.history.read(token, now, seen);
                }
            }
            (kind @ Kind::History { .. }, answer) => self.history_is_right(client, kind, answer, at),
            (Kind::List, Answer::List { names, matching }) => {
                let told: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
                let all = model.names(at);
                let right = told == all[..all.len().min(ALL)] && matching == all.len() as u64;
                ensure!(Linearizable, right, "{matching}, {told:?} are listed at {at}, and there are {all:?}");
            }
            (kind, answer) => panic!("{answer:?} is no answer to {kind:?}"),
        }
    }

    /// An outcome: it must be what the committed log says, safe, and behind all that was known when it was asked for.
    fn written(&mut self, client: usize, pending: Pending, outcome: &Outcome, origin: Origin) {
        let side = self.side_of_client(client);
        let model = &self.judge.told[side.0].model;
        let Some(index) = model.turn_of(&origin.member.to_string(), origin.boot.0, origin.n) else {
            broken(Law::ExactlyOnce, format!("{outcome:?} answers {origin}, which was never applied"));
        };
        let fate = model.fate(index);
        let same = matches!(fate, Some(Fate::Done(res)) if res.is(outcome));
        ensure!(ExactlyOnce, same, "client {client} is told {outcome:?}, but entry {index} came to {fate:?}");
        let floor = self.judge.ledger.sides.least(&pending.floor, side);
        ensure!(Linearizable, index > floor, "{pending:?} has its turn at {index}");
        let host = self.clients[client].at.as_ref().expect("it hears").host;
        self.judge.acknowledges(&self.hosts, (host, side), index);
        let effects = &self.judge.told[side.0].effects;
        let now = self.now;
        if let Outcome::Refused(refusal) = outcome {
            let code = refusal.code.to_string();
            if let Kind::Send { op, token, .. } = pending.kind {
                self.judge.requests.refuse_by_entry(op, effects, &code);
                if let Some(token) = token.filter(|_| code == "NO_SUCH_USER") {
                    self.judge.history.never(token, now);
                }
            } else if let Kind::Create { op, .. }
            | Kind::Erase { op, .. }
            | Kind::Passwd { op }
            | Kind::Ack { op, .. } = pending.kind
            {
                self.judge.requests.refuse_by_entry(op, effects, &code);
            }
            if code == "NOT_LOGGED_IN" {
                self.clients[client].speaker = None;
            }
            return;
        }
        match (pending.kind, outcome) {
            (Kind::Create { op, name, witness }, Outcome::Created(id)) => {
                self.judge.requests.granted(op, effects, index, Some(id.0));
                if witness {
                    self.judge.history.observe(name.as_str(), id.0);
                } else {
                    self.enter(client, name, *id);
                }
            }
            (Kind::Send { op, token, .. }, Outcome::Sent { id, .. }) => {
                self.judge.requests.granted(op, effects, index, Some(id.0));
                if let Some(token) = token {
                    self.judge.history.appended(token, now);
                }
            }
            (Kind::Erase { op, .. }, Outcome::Erased(_)) | (Kind::Passwd { op }, Outcome::PasswordSet) => {
                self.judge.requests.granted(op, effects, index, None);
            }
            (Kind::Ack { op, .. }, Outcome::Acked(_)) => self.judge.requests.granted(op, effects, index, None),
            (Kind::Mark, Outcome::Marked) => {}
            (Kind::Delete { speaker }, Outcome::Deleted) => {
                let it = &mut self.clients[client];
                it.speaker = it.speaker.take().filter(|s| s.id != speaker.id);
            }
            (kind, outcome) => panic!("{outcome:?} is no answer to {kind:?}"),
        }
    }
}
