//! The conversation of one connection, without socket, clock or actor: told what happens, it says what to do.
//!
//! Every input ends with [`Core::take_turn`]: what to write, what to ask, and whether the connection is over. The rules
//! for requests stand in `requests.rs` and `barriers.rs`, those for messages in `delivery.rs`; here is what both stand on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chat::{AccountId, ByeCode, Key, LineItem, Name, NoteCode, Password, PasswordHash, Reply, ServerLine, Speaker};

use super::SessionConfig;
use super::delivery::{Deliver, Mailbox, Marking};
use super::limits::{OUTPUT_BYTES_LOW, OUTPUT_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_OVERHEAD_BYTES, REQUESTS_MAX};
use super::marks::Marks;
use super::pace::Pace;
use super::printing::{History, Who};
use super::writer::Watch;
use crate::actors::messages::{Ask, Done, News, RetryLater, Slot, What};

/// What to do after an input, in this order.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be written.
    pub output: BytesMut,
    /// To be submitted, in order.
    pub asks: Vec<Ask>,
    /// For the hasher.
    pub jobs: Vec<(Slot, Job)>,
    /// All is written and marked: close.
    pub closed: bool,
}

/// Work with a password. It is answered by [`Core::job_done`].
#[derive(Debug)]
pub enum Job {
    /// Make a hash.
    Hash(Password),
    /// Compare what was given with what the account has, one of which is there.
    Check {
        /// Whose.
        account: AccountId,
        /// As typed.
        given: Option<Password>,
        /// As stored.
        stored: Option<PasswordHash>,
    },
}

/// What came of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobDone {
    /// The hash.
    Hash(PasswordHash),
    /// The password is right.
    Right,
    /// It is not.
    Wrong,
    /// Too many attempts: try again after this.
    SlowDown(Duration),
    /// Too much to hash.
    Busy,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests are begun.
    Serving,
    /// `quit` was begun: nothing after it counts.
    Quitting,
    /// The replica stops: what was begun is finished, the rest refused.
    Draining,
    /// All is answered; output and marks are on their way.
    Ending,
    /// Over.
    Closed,
}

/// A request that was begun, beside others: its reply, or what its reply needs.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) slot: Slot,
    pub(super) key: Option<Key>,
    pub(super) cost: usize,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// Answered; waits for those before it.
    Answered(Bytes),
    /// A `send` to this name.
    Send(Name),
    Erase,
    Ack,
    Status,
}

/// The one request that is begun alone, after all before it were answered and before any after it is begun.
#[derive(Debug)]
pub(super) struct Barrier {
    pub(super) slot: Slot,
    pub(super) key: Option<Key>,
    pub(super) arrived: Instant,
    pub(super) cost: usize,
    pub(super) step: Step,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Step {
    List,
    /// `create`: the password is being hashed.
    Hash(Name),
    Create(Name),
    /// `login`: the account is looked up.
    LookUp(Option<Password>),
    /// `login`: the password is being checked.
    Check(Speaker),
    Enter {
        speaker: Speaker,
        created: bool,
    },
    Leave(Name),
    Delete {
        name: Name,
        /// The news of a deletion came; whether it is ours is not known yet.
        gone: bool,
    },
    Deliver(Deliver),
    History(History),
    Who(Who),
    /// `passwd`: the new password is being hashed.
    HashNew(Speaker),
    Passwd(Name),
}

/// One connection.
#[derive(Debug)]
pub struct Core {
    pub(super) config: Arc<SessionConfig>,
    pub(super) now: Instant,
    pub(super) turn: Turn,
    pub(super) phase: Phase,
    eof: bool,
    /// Bytes of output before this turn's, and how many of them the kernel took and the peer's kernel acknowledged.
    produced: u64,
    written: u64,
    pub(super) acknowledged: u64,
    last_slot: Slot,
    /// Lines that were not begun, with the time of their arrival.
    pub(super) lines: VecDeque<(Instant, LineItem)>,
    /// The first of them waits until `begun` is empty.
    pub(super) front_waits: bool,
    pub(super) begun: VecDeque<Begun>,
    pub(super) barrier: Option<Box<Barrier>>,
    /// What all of these cost of the byte budget.
    pub(super) cost: usize,
    pub(super) speaker: Option<Speaker>,
    pub(super) manual: bool,
    pub(super) mailbox: Mailbox,
    pub(super) marks: Marks,
    pub(super) marking: Option<Box<Marking>>,
    /// Something was refused for now: it waits for the next tick.
    pub(super) paused: bool,
    pub(super) pace: Option<Pace>,
    /// The first line waits for its token until then.
    pub(super) paced_until: Option<Instant>,
    /// How the peer is parted from once all that was begun is answered.
    pub(super) parting: Option<(ByeCode, &'static str)>,
    /// It has spoken for an account: it may be silent.
    pub(super) has_logged_in: bool,
    /// When a line came last, or the peer's kernel took something.
    active: Instant,
    /// News that came where they may not be printed. At most one of each code.
    notes: Vec<(NoteCode, &'static str)>,
}

impl Core {
    /// A new connection, greeted.
    pub fn new(config: Arc<SessionConfig>, now: Instant) -> Self {
        let pace = config.requests_per_second.map(|rate| Pace::new(rate, now));
        let mut core = Self {
            config,
            now,
            turn: Turn::default(),
            phase: Phase::Serving,
            eof: false,
            produced: 0,
            written: 0,
            acknowledged: 0,
            last_slot: Slot(0),
            lines: VecDeque::new(),
            front_waits: false,
            begun: VecDeque::new(),
            barrier: None,
            cost: 0,
            speaker: None,
            manual: false,
            mailbox: Mailbox::default(),
            marks: Marks::default(),
            marking: None,
            paused: false,
            pace,
            paced_until: None,
            parting: None,
            has_logged_in: false,
            active: now,
            notes: Vec::new(),
        };
        core.greet();
        core
    }

    fn greet(&mut self) {
        let config = Arc::clone(&self.config);
        let cluster_id = config.cluster_id.get().map_or("-", String::as_str);
        self.line(&ServerLine::hello(config.replica.into(), &config.cluster, cluster_id));
    }

    // ---- inputs

    /// The time, before any other input.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Lines came.
    pub fn lines(&mut self, items: impl IntoIterator<Item = LineItem>) {
        self.active = self.now;
        let are_served = matches!(self.phase, Phase::Serving | Phase::Draining);
        for item in items.into_iter().filter(|_| are_served) {
            self.cost += cost(&item);
            self.lines.push_back((self.now, item));
        }
        self.settle();
    }

    /// The peer has closed its sending side.
    pub fn eof(&mut self) {
        self.eof = true;
        self.settle();
    }

    /// The kernel took so many bytes in all, and the peer's kernel acknowledged so many of them.
    pub fn progress(&mut self, written: u64, acknowledged: u64) {
        debug_assert!(acknowledged <= written && written <= self.produced);
        if (written, acknowledged) != (self.written, self.acknowledged) {
            (self.written, self.acknowledged) = (written, acknowledged);
            self.active = self.now;
            self.marks.acknowledged(acknowledged);
            self.settle();
        }
    }

    /// News from the Replicator.
    pub fn news(&mut self, news: Vec<News>) {
        for piece in news {
            match piece {
                News::Answered(slot, result) => self.answered(slot, result),
                News::Push { account, id, line } => self.push(account, id, &line),
                News::LoggedOut(account) => self.logged_out(account),
                News::Note(code, text) => self.note(code, text),
                News::Drain(why) => self.drain(why),
            }
        }
        self.settle();
    }

    /// A job is done.
    pub fn job_done(&mut self, slot: Slot, done: JobDone) {
        if self.barrier.as_ref().is_some_and(|barrier| barrier.slot == slot) {
            self.barrier_job_done(done);
        }
        self.settle();
    }

    /// What was refused for now may be tried again.
    pub fn tick(&mut self) {
        self.paused = false;
        self.settle();
    }

    /// The time of [`Core::wakes_at`] has come, or some other.
    pub fn wake(&mut self) {
        self.settle();
        if self.idle_until().is_some_and(|until| until <= self.now) {
            self.end(Some((ByeCode::Idle, "nobody logged in here, and nothing was said for a while")));
            self.settle();
        }
    }

    /// The connection broke. What the peer's kernel has acknowledged so far is still marked.
    pub fn gone(&mut self) {
        if self.phase != Phase::Closed {
            self.end(None);
            self.submit_last_marks();
            self.phase = Phase::Closed;
            self.turn.closed = true;
        }
    }

    // ---- what the shell needs to know

    /// What to do now. Empties it.
    pub fn take_turn(&mut self) -> Turn {
        self.produced += self.turn.output.len() as u64;
        std::mem::take(&mut self.turn)
    }

    /// Whether more lines may come.
    pub fn may_read(&self) -> bool {
        self.phase == Phase::Serving
            && self.lines.len() + self.begun.len() < REQUESTS_MAX
            && self.cost < REQUEST_BYTES_MAX
            && self.unsent() < OUTPUT_BYTES_MAX
    }

    /// How closely the acknowledgements must be watched.
    pub(super) fn watch(&self) -> Watch {
        if self.marks.wait() && self.hurries() {
            Watch::Close
        } else if self.marks.wait() {
            Watch::Lazy
        } else {
            Watch::No
        }
    }

    /// The amount of unsent output at which the connection can go on, where that is what it waits for.
    pub fn waits_for_unsent(&self) -> Option<u64> {
        match self.phase {
            Phase::Ending => (self.unsent() > 0).then_some(0),
            _ => (self.unsent() > OUTPUT_BYTES_LOW).then_some(OUTPUT_BYTES_LOW),
        }
    }

    /// Whether [`Core::tick`] is wanted after [`super::limits::RETRY_PAUSE`].
    pub fn wants_tick(&self) -> bool {
        self.paused
    }

    /// When [`Core::wake`] is wanted.
    pub fn wakes_at(&self) -> Option<Instant> {
        match (self.paced_until, self.idle_until()) {
            (Some(paced), Some(idle)) => Some(paced.min(idle)),
            (paced, idle) => paced.or(idle),
        }
    }

    /// When the connection has been silent for too long. Nothing is owed to it, and it never spoke for anybody.
    fn idle_until(&self) -> Option<Instant> {
        let waits = self.phase == Phase::Serving && !self.has_logged_in;
        let owed = self.barrier.is_some() || !self.begun.is_empty() || !self.lines.is_empty();
        if waits && !owed { self.config.idle.and_then(|idle| self.active.checked_add(idle)) } else { None }
    }

    // ---- what requests and delivery stand on

    /// Offset after all output so far.
    pub(super) fn end_of_output(&self) -> u64 {
        self.produced + self.turn.output.len() as u64
    }

    /// Output that the kernel has not taken.
    pub(super) fn unsent(&self) -> u64 {
        self.end_of_output() - self.written
    }

    pub(super) fn line(&mut self, line: &ServerLine<'_>) {
        line.write(&mut self.turn.output);
    }

    pub(super) fn next_slot(&mut self) -> Slot {
        self.last_slot = Slot(self.last_slot.0 + 1);
        self.last_slot
    }

    /// Asks the Replicator.
    pub(super) fn ask(&mut self, arrived: Instant, what: What) -> Slot {
        let slot = self.next_slot();
        self.turn.asks.push(Ask { slot, arrived, what });
        slot
    }

    /// Goes on with whatever can go on.
    fn settle(&mut self) {
        loop {
            self.begin_requests();
            if !self.continue_deliver() {
                break;
            }
        }
        self.continue_printing();
        self.print_notes();
        self.continue_feed();
        self.end_if_answered();
        self.submit_marks();
        self.close_if_flushed();
        self.release_memory();
    }

    fn answered(&mut self, slot: Slot, result: Result<Done, RetryLater>) {
        if self.barrier.as_ref().is_some_and(|barrier| barrier.slot == slot) {
            self.barrier_answered(result);
        } else if let Ok(at) = self.begun.binary_search_by_key(&slot, |begun| begun.slot) {
            self.begun_answered(at, result);
        } else if self.mailbox.is_fed_by(slot) {
            self.fed(result);
        } else if self.marking.as_ref().is_some_and(|marking| marking.slot == slot) {
            self.marked(result);
        }
        // Else: to a request whose connection was logged out meanwhile, or to the last `Leave`.
    }

    /// Something everybody should know. Held while it could come between the lines of a reply, or would not fit.
    fn note(&mut self, code: NoteCode, text: &'static str) {
        self.notes.retain(|(held, _)| *held != code);
        self.notes.push((code, text));
        self.print_notes();
    }

    pub(super) fn print_notes(&mut self) {
        if self.notes.is_empty() || self.is_printing() || self.unsent() >= OUTPUT_BYTES_MAX {
            return;
        }
        for (code, text) in std::mem::take(&mut self.notes) {
            if matches!(self.phase, Phase::Serving | Phase::Quitting | Phase::Draining) {
                self.line(&ServerLine::note(code, text));
            }
        }
    }

    fn logged_out(&mut self, account: AccountId) {
        if self.speaker.as_ref().is_none_or(|speaker| speaker.id != account) {
            return;
        }
        self.speaker = None;
        self.leave_mailbox();
        match self.barrier.as_deref_mut().map(|barrier| &mut barrier.step) {
            Some(Step::Delete { gone, .. }) => *gone = true,
            Some(Step::Deliver(_) | Step::History(_)) => {
                self.finish_barrier(&Reply::err(chat::ErrCode::NotLoggedIn));
                self.note_logged_out();
            }
            _ => self.note_logged_out(),
        }
    }

    pub(super) fn note_logged_out(&mut self) {
        self.note(NoteCode::LoggedOut, "the account was deleted; this connection speaks for none now");
    }

    // ---- the end

    fn drain(&mut self, why: ByeCode) {
        if self.phase == Phase::Serving {
            let text = match why {
                ByeCode::Removed => "this replica has left the cluster; the others serve you",
                _ => "this replica stops; another one serves you",
            };
            (self.phase, self.parting) = (Phase::Draining, Some((why, text)));
        }
    }

    fn end_if_answered(&mut self) {
        if !self.begun.is_empty() || self.barrier.is_some() {
            return;
        }
        match self.phase {
            Phase::Serving if self.eof && self.lines.is_empty() => self.end(None),
            Phase::Quitting => {
                let bye = self.parting.take();
                self.end(bye);
            }
            Phase::Draining => {
                self.refuse_lines();
                let bye = self.parting.take();
                self.end(bye);
            }
            Phase::Serving | Phase::Ending | Phase::Closed => {}
        }
    }

    /// All is answered: presence and pushes end now, however long the peer takes to read the rest.
    pub(super) fn end(&mut self, bye: Option<(ByeCode, &'static str)>) {
        if let Some((code, text)) = bye {
            self.line(&ServerLine::bye(code, text));
        }
        if self.speaker.take().is_some() {
            self.ask(self.now, What::Leave);
            self.leave_mailbox();
        }
        self.phase = Phase::Ending;
        self.paced_until = None;
        self.lines = VecDeque::new();
        self.begun = VecDeque::new();
        self.barrier = None;
        self.cost = 0;
    }

    fn close_if_flushed(&mut self) {
        if self.phase == Phase::Ending && self.unsent() == 0 && !self.marks.wait() {
            self.submit_last_marks();
            self.phase = Phase::Closed;
            self.turn.closed = true;
        }
    }

    /// Gives back what an idle connection does not need.
    fn release_memory(&mut self) {
        const KEPT: usize = 8;
        if self.lines.is_empty() && self.lines.capacity() > KEPT {
            self.lines = VecDeque::new();
        }
        if self.begun.is_empty() && self.begun.capacity() > KEPT {
            self.begun = VecDeque::new();
        }
    }
}

/// What a line costs of [`REQUEST_BYTES_MAX`].
pub(super) fn cost(item: &LineItem) -> usize {
    REQUEST_OVERHEAD_BYTES
        + match item {
            LineItem::Line(line) => line.len(),
            LineItem::TooLong | LineItem::NotUtf8 | LineItem::Http => 0,
        }
}
