//! Requests: when each is begun, what it asks, and what it is answered.
//!
//! Two kinds. *Writes* (`send`, `erase`, `ack`) and what touches nothing (`ping`, `help`, `status`) are begun as they come, many
//! at once; their replies wait in [`Core::begun`] for those before them. Everything else reads or changes what the
//! connection is, and is a *barrier*: begun when all before it are answered, and nothing is begun beside it. So requests
//! take effect in line order, whatever the Replicator does with reads and writes.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use chat::{
    ByeCode, Checked, Command, Done as Granted, ErrCode, Key, LineItem, MessageId, Outcome, Parsed, Refusal,
    ReplicaLine, Reply, Request, RetryCode, Role, ServerLine, request,
};

use super::barriers::is_barrier;
use super::core::{Begun, Core, Phase, State, cost};
use super::limits::{OUTPUT_BYTES_MAX, REQUESTS_MAX};
use super::pace::Verdict;
use crate::actors::messages::{ClusterStatus, Done, RetryLater, What};

/// The data lines of `help`: the same for everyone.
static HELP: LazyLock<Bytes> = LazyLock::new(|| {
    let mut lines = BytesMut::new();
    for text in request::help_lines() {
        ServerLine::Help(&text).write(&mut lines);
    }
    lines.freeze()
});

impl Core {
    /// Begins what may be begun.
    pub(super) fn begin_requests(&mut self) {
        self.paced_until = None;
        while self.may_begin() && self.keeps_pace() {
            let Some((arrived, item)) = self.lines.pop_front() else {
                return;
            };
            let cost = cost(&item);
            self.cost -= cost;
            self.front_waits = !self.begin(arrived, cost, &item);
            if self.front_waits {
                self.cost += cost;
                self.lines.push_front((arrived, item));
            } else if let Some(pace) = &mut self.pace {
                pace.begun(self.now);
            }
        }
    }

    /// Whether the first line may be begun now, as far as the rate of requests goes. Those that came too fast are refused
    /// here, in their turn.
    fn keeps_pace(&mut self) -> bool {
        while let (Some(pace), Some((arrived, _))) = (&mut self.pace, self.lines.front()) {
            let rate = pace.rate();
            match pace.verdict(self.now, *arrived) {
                Verdict::Begin => return true,
                Verdict::Wait(until) => {
                    self.paced_until = Some(until);
                    return false;
                }
                Verdict::SlowDown => self.refuse_first(rate),
                Verdict::Flood => {
                    self.parting = Some((ByeCode::Flood, "far too many requests, for too long"));
                    self.quit();
                    return false;
                }
            }
            if !self.may_begin() {
                return false;
            }
        }
        self.pace.is_none()
    }

    fn refuse_first(&mut self, rate: u32) {
        if let Some((_, item)) = self.lines.pop_front() {
            self.cost -= cost(&item);
            let text = format!("more than {rate} requests a second; nothing was done, wait a second");
            self.answer_now(key_of(&item), 0, &Reply::retry(RetryCode::SlowDown, text));
        }
    }

    /// What was begun is finished, and nothing more is begun.
    fn quit(&mut self) {
        self.phase = Phase::Quitting;
        self.cost -= self.lines.drain(..).map(|(_, item)| super::core::cost(&item)).sum::<usize>();
    }

    fn may_begin(&self) -> bool {
        self.phase == Phase::Serving
            && self.barrier.is_none()
            && (self.begun.is_empty() || !self.front_waits)
            && self.begun.len() < REQUESTS_MAX
            && self.unsent() < OUTPUT_BYTES_MAX
    }

    /// Begins one request. `false`: it is a barrier, and others before it are not answered yet.
    fn begin(&mut self, arrived: Instant, cost: usize, item: &LineItem) -> bool {
        let line = match item {
            LineItem::Line(line) => line,
            LineItem::TooLong => return self.answer_now(None, cost, &Reply::err(ErrCode::TooLong)),
            LineItem::NotUtf8 => return self.answer_now(None, cost, &Reply::err(ErrCode::NotUtf8)),
            LineItem::Http => {
                self.end(Some((ByeCode::NotHttp, "this is a chat server; speak to it with nc")));
                return true;
            }
        };
        let Parsed { key, request } = request::parse(line);
        match request.and_then(|request| self.check(request)) {
            Err(refusal) => self.answer_now(key, cost, &refusal.into()),
            Ok(checked) if is_barrier(&checked) => {
                let alone = self.begun.is_empty();
                if alone {
                    self.begin_barrier(arrived, key, cost, checked);
                }
                alone
            }
            Ok(checked) => {
                self.begin_beside(arrived, key, cost, checked);
                true
            }
        }
    }

    /// Login, then fields. No barrier is under way, so the account is what all earlier requests made it.
    fn check(&self, request: Request<'_>) -> Result<Checked, Refusal> {
        if request.needs_login() && self.speaker.is_none() {
            return Err(Refusal::of(ErrCode::NotLoggedIn));
        }
        request.check()
    }

    // ---- beside others

    fn begin_beside(&mut self, arrived: Instant, key: Option<Key>, cost: usize, checked: Checked) {
        let speaker = self.speaker.clone();
        let (what, state) = match (checked, speaker) {
            (Checked::Send { to, text }, Some(speaker)) => {
                let state = State::Send(to.clone());
                (What::Write(Command::Send { speaker, key: key.clone(), to, text }), state)
            }
            (Checked::Erase { ids }, Some(speaker)) => {
                (What::Write(Command::Erase { speaker, key: key.clone(), ids }), State::Erase)
            }
            (Checked::Ack { id }, Some(speaker)) => {
                self.turn_manual();
                let ranges = self.mailbox.shown.ranges_up_to(id);
                (What::Write(Command::Ack { speaker, key: key.clone(), id, ranges }), State::Ack)
            }
            (Checked::Manual, _) => {
                self.turn_manual();
                self.answer_now(key, cost, &Reply::Ok(Granted::Ack { id: MessageId(0) }));
                return;
            }
            (Checked::Status, _) => (What::Status, State::Status),
            (Checked::Ping { text }, _) => {
                let text = text.as_ref().map_or("", |text| text.as_str());
                self.answer_now(key, cost, &Reply::Ok(Granted::Ping { text }));
                return;
            }
            (Checked::Help, _) => {
                self.answer_group(key, cost, &Reply::Ok(Granted::Help), |out| out.extend_from_slice(&HELP));
                return;
            }
            (Checked::Quit, _) => {
                self.answer_now(key, cost, &Reply::Ok(Granted::Quit));
                self.quit();
                return;
            }
            (checked, _) => unreachable!("{checked:?} is a barrier, or was checked to need a login"),
        };
        let slot = self.ask(arrived, what);
        self.cost += cost;
        self.begun.push_back(Begun { slot, key, cost, state });
    }

    /// Answers a request that asks nothing; the line waits for those before it. Always `true`.
    pub(super) fn answer_now(&mut self, key: Option<Key>, cost: usize, reply: &Reply<'_>) -> bool {
        self.answer_group(key, cost, reply, |_| ());
        true
    }

    /// The same with data lines.
    fn answer_group(&mut self, key: Option<Key>, cost: usize, reply: &Reply<'_>, data: impl FnOnce(&mut BytesMut)) {
        if self.begun.is_empty() {
            data(&mut self.turn.output);
            reply.write(key.as_ref(), &mut self.turn.output);
            return;
        }
        let mut group = BytesMut::new();
        data(&mut group);
        reply.write(key.as_ref(), &mut group);
        let slot = self.next_slot();
        self.cost += cost;
        self.begun.push_back(Begun { slot, key: None, cost, state: State::Answered(group.freeze()) });
    }

    pub(super) fn begun_answered(&mut self, at: usize, result: Result<Done, RetryLater>) {
        let begun = &mut self.begun[at];
        let mut aside = BytesMut::new();
        let out = if at == 0 { &mut self.turn.output } else { &mut aside };
        write_begun(out, begun.key.as_ref(), &begun.state, result);
        begun.state = State::Answered(aside.freeze());
        while let Some(Begun { state: State::Answered(line), cost, .. }) = self.begun.front() {
            self.turn.output.extend_from_slice(line);
            self.cost -= cost;
            self.begun.pop_front();
        }
    }

    // ---- the end

    /// The replica stops: what was not begun never will be.
    pub(super) fn refuse_lines(&mut self) {
        for (_, item) in std::mem::take(&mut self.lines) {
            self.cost -= cost(&item);
            let text = "this replica stops; ask another one";
            self.answer_now(key_of(&item), 0, &Reply::retry(RetryCode::Draining, text));
        }
    }
}

/// The key that the reply to a line carries back.
fn key_of(item: &LineItem) -> Option<Key> {
    match item {
        LineItem::Line(line) => request::parse(line).key,
        LineItem::TooLong | LineItem::NotUtf8 | LineItem::Http => None,
    }
}

fn write_begun(out: &mut BytesMut, key: Option<&Key>, state: &State, result: Result<Done, RetryLater>) {
    let reply = match (state, &result) {
        (_, Err(later)) => Reply::retry(later.code, later.text.as_str()),
        (_, Ok(Done::Outcome(Outcome::Refused(refusal)))) => refusal.into(),
        (State::Send(to), Ok(Done::Outcome(Outcome::Sent { id, online }))) => {
            Reply::Ok(Granted::Sent { to: to.as_str(), id: *id, online: *online })
        }
        (State::Erase, Ok(Done::Outcome(Outcome::Erased(count)))) => Reply::Ok(Granted::Erase { count: *count }),
        (State::Ack, Ok(Done::Outcome(Outcome::Acked(id)))) => Reply::Ok(Granted::Ack { id: *id }),
        (State::Status, Ok(Done::Status(status))) => {
            write_replicas(out, status);
            Reply::Ok(Granted::Status {
                replica: status.this.into(),
                leader: Some(status.leader.into()).filter(|leader| *leader != 0),
                term: status.term,
                survives: status.spare.into(),
            })
        }
        (state, done) => {
            debug_assert!(false, "{done:?} is no answer to {state:?}");
            unknown()
        }
    };
    reply.write(key, out);
}

fn write_replicas(out: &mut BytesMut, status: &Arc<ClusterStatus>) {
    for replica in &status.replicas {
        let line = ReplicaLine {
            id: replica.id.into(),
            role: Role::from_word(replica.role).expect("the Replicator knows the four roles"),
            address: &replica.address,
            up: replica.up,
            applied: replica.applied,
            lag: replica.lag,
        };
        ServerLine::Replica(line).write(out);
    }
}

pub(super) fn unknown() -> Reply<'static> {
    Reply::retry(RetryCode::Unknown, "what became of it is not known; look, or send it again under a key")
}
