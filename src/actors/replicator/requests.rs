//! What waits, and for what: the rows that stand in place of parked futures. Pure: told what time it is.
//!
//! A write is *held* until there is a leader to send it to, then *sent* under a number of this replica's stream; from
//! then on it ends only with its outcome, or with `UNKNOWN`. A read *waits* for a round that begins after it, is *asked*
//! for together with all that waited, and once confirmed waits until the state has been handed enough of the log.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chat::{AccountId, Name, Query};

use crate::actors::messages::{SessionId, Slot};
use crate::consensus::Index;

/// Writes held at once, in bytes: behind that, `BUSY`.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Who is told what became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// One request.
    Session(SessionId, Slot),
    /// Marks that were gathered into one command.
    Marks(Vec<(SessionId, Slot)>),
    /// Nobody but the clock of the retention.
    Expiry,
}

/// A write for which there was no leader yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who waits for it.
    pub waiter: Waiter,
    /// When its line arrived.
    pub arrived: Instant,
    /// The printed command.
    pub command: String,
}

/// A linearizable read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Who asked.
    pub session: SessionId,
    /// As which request.
    pub slot: Slot,
    /// When its line arrived.
    pub arrived: Instant,
    /// What is read.
    pub query: Query,
    /// The read ends a login: this is whom the session will speak for.
    pub enters: Option<(Name, AccountId)>,
}

/// A query on its way to the state, or in it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asked.
    pub session: SessionId,
    /// As which request.
    pub slot: Slot,
    /// See [`Read::enters`].
    pub enters: Option<(Name, AccountId)>,
}

/// Something that waited too long.
#[derive(Clone, Debug)]
pub enum Expired {
    /// It never left this replica: nothing was done.
    NotProposed(Waiter),
    /// It left under this number, and nobody knows.
    Unknown(u64, Waiter),
    /// A read that no leader confirmed.
    NotConfirmed(Read),
    /// A read that was confirmed, but this replica's state is too far behind.
    Behind(Read),
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct Requests {
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Who waits for each number of the stream, from `first_sent` on; `None` once told.
    sent: VecDeque<Option<(Waiter, Instant)>>,
    first_sent: u64,
    waiting: Vec<Read>,
    asked: Option<(u64, Vec<Read>)>,
    confirmed: VecDeque<(Index, Read)>,
    next_read: u64,
    queries: HashMap<u64, Asked>,
    next_query: u64,
}

impl Requests {
    /// Nothing waits; the stream begins at 1.
    pub fn new() -> Self {
        Self { first_sent: 1, ..Self::default() }
    }

    // --- writes ----------------------------------------------------------------------------------------------

    /// Holds a write. `Err` gives it back when too much is held.
    pub fn hold(&mut self, held: Held) -> Result<(), Waiter> {
        if self.held_bytes + held.command.len() > HELD_BYTES_MAX {
            return Err(held.waiter);
        }
        self.held_bytes += held.command.len();
        self.held.push_back(held);
        Ok(())
    }

    /// The oldest held write, to be sent under number `n`, the next of the stream.
    pub fn send_next(&mut self, n: u64) -> Option<String> {
        let held = self.held.pop_front()?;
        self.held_bytes -= held.command.len();
        assert_eq!(n, self.first_sent + self.sent.len() as u64, "the stream and its waiters are out of step");
        self.sent.push_back(Some((held.waiter, held.arrived)));
        Some(held.command)
    }

    /// Number `n` is resolved: gives whom to tell, unless it was told `UNKNOWN` before. Numbers below are resolved too.
    pub fn resolve(&mut self, n: u64) -> Option<Waiter> {
        let mut waiter = None;
        while self.first_sent <= n {
            waiter = self.sent.pop_front().flatten().map(|(waiter, _)| waiter);
            self.first_sent += 1;
        }
        waiter
    }

    // --- reads -----------------------------------------------------------------------------------------------

    /// Queues a read.
    pub fn read(&mut self, read: Read) {
        self.waiting.push(read);
    }

    /// If reads wait and none are asked for: the number to ask for all of them.
    pub fn ask_reads(&mut self) -> Option<u64> {
        if self.asked.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.next_read += 1;
        self.asked = Some((self.next_read, std::mem::take(&mut self.waiting)));
        Some(self.next_read)
    }

    /// The leader changed, or the link to it: what was asked is asked anew.
    pub fn ask_again(&mut self) {
        if let Some((_, mut reads)) = self.asked.take() {
            reads.append(&mut self.waiting);
            self.waiting = reads;
        }
    }

    /// The reads of that number are current once the state has applied `index`.
    pub fn confirm(&mut self, number: u64, index: Index) {
        if let Some((_, reads)) = self.asked.take_if(|(asked, _)| *asked == number) {
            self.confirmed.extend(reads.into_iter().map(|read| (index, read)));
        }
    }

    /// The next confirmed read that may go to the state, which has been handed the log up to `handed`. Confirmed
    /// indexes never fall along the queue.
    pub fn ready(&mut self, handed: Index) -> Option<Read> {
        let (index, _) = self.confirmed.front()?;
        if *index > handed {
            return None;
        }
        self.confirmed.pop_front().map(|(_, read)| read)
    }

    /// A query goes to the state under this number.
    pub fn query(&mut self, asked: Asked) -> u64 {
        self.next_query += 1;
        self.queries.insert(self.next_query, asked);
        self.next_query
    }

    /// The state answered.
    pub fn answered(&mut self, number: u64) -> Option<Asked> {
        self.queries.remove(&number)
    }

    // --- time ------------------------------------------------------------------------------------------------

    /// Takes out everything that has waited for longer than `timeout` by now. Writes that were sent keep their
    /// number: only whoever waited is told.
    pub fn expire(&mut self, now: Instant, timeout: Duration) -> Vec<Expired> {
        let late = |arrived: Instant| now.duration_since(arrived) >= timeout;
        let mut expired = Vec::new();
        // Not in the order of their arrival: a request behind a `list` of its connection is told of only when that is
        // answered, and then stands behind younger ones of others.
        for held in take_out(&mut self.held, |held| late(held.arrived)) {
            self.held_bytes -= held.command.len();
            expired.push(Expired::NotProposed(held.waiter));
        }
        for (n, slot) in (self.first_sent..).zip(&mut self.sent) {
            let sent = slot.take_if(|(_, arrived)| late(*arrived));
            expired.extend(sent.map(|(waiter, _)| Expired::Unknown(n, waiter)));
        }
        let asked = self.asked.iter_mut().flat_map(|(_, reads)| reads.extract_if(.., |read| late(read.arrived)));
        expired.extend(asked.map(Expired::NotConfirmed));
        // Nobody waits for the answer to that question: it need not keep others from being asked.
        self.asked.take_if(|(_, reads)| reads.is_empty());
        let waiting = self.waiting.extract_if(.., |read| late(read.arrived));
        expired.extend(waiting.map(Expired::NotConfirmed));
        let confirmed = take_out(&mut self.confirmed, |(_, read)| late(read.arrived));
        expired.extend(confirmed.into_iter().map(|(_, read)| Expired::Behind(read)));
        expired
    }

    /// Whether nothing waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.sent.iter().all(Option::is_none)
            && self.waiting.is_empty()
            && self.asked.is_none()
            && self.confirmed.is_empty()
            && self.queries.is_empty()
    }
}

/// Takes some out of a queue; both parts keep their order.
fn take_out<T>(queue: &mut VecDeque<T>, is_out: impl Fn(&T) -> bool) -> VecDeque<T> {
    if !queue.iter().any(&is_out) {
        return VecDeque::new();
    }
    let (out, rest) = std::mem::take(queue).into_iter().partition(is_out);
    *queue = rest;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(slot: u64) -> Waiter {
        Waiter::Session(SessionId(1), Slot(slot))
    }

    fn held(slot: u64, arrived: Instant) -> Held {
        Held { waiter: waiter(slot), arrived, command: "x".into() }
    }

    fn read(slot: u64, arrived: Instant) -> Read {
        Read { session: SessionId(1), slot: Slot(slot), arrived, query: Query::Barrier, enters: None }
    }

    #[test]
    fn what_was_not_sent_ends_otherwise_than_what_was() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut requests = Requests::new();
        requests.hold(held(1, start)).expect("room");
        requests.hold(held(2, start)).expect("room");
        requests.hold(held(3, start + second)).expect("room");
        assert!(requests.send_next(1).is_some());
        let expired = requests.expire(start + second, second);
        assert!(matches!(&expired[..], [Expired::NotProposed(w2), Expired::Unknown(1, w1)]
            if *w2 == waiter(2) && *w1 == waiter(1)));
        assert!(requests.expire(start + second, second).is_empty(), "each is told once");
        assert_eq!(requests.resolve(1), None, "it was told UNKNOWN before");
        assert!(requests.send_next(2).is_some());
        assert_eq!(requests.resolve(2), Some(waiter(3)));
        assert!(requests.is_empty());
    }

    #[test]
    fn an_old_request_behind_a_younger_one_is_refused_in_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut requests = Requests::new();
        requests.hold(held(1, start + second)).expect("room");
        requests.hold(held(2, start)).expect("room");
        let expired = requests.expire(start + second, second);
        assert!(matches!(&expired[..], [Expired::NotProposed(two)] if *two == waiter(2)), "{expired:?}");
        requests.hold(held(3, start)).expect("room");
        assert!(requests.send_next(1).is_some() && requests.send_next(2).is_some());
        let expired = requests.expire(start + second, second);
        assert!(matches!(&expired[..], [Expired::Unknown(2, three)] if *three == waiter(3)), "{expired:?}");
    }

    #[test]
    fn one_question_serves_all_reads_that_wait_and_is_asked_again_after_a_change_of_leader() {
        let start = Instant::now();
        let mut requests = Requests::new();
        requests.read(read(1, start));
        requests.read(read(2, start));
        let first = requests.ask_reads().expect("reads wait");
        requests.read(read(3, start));
        assert_eq!(requests.ask_reads(), None, "one at a time");
        requests.ask_again();
        let second = requests.ask_reads().expect("asked again");
        requests.confirm(first, Index(5));
        assert!(requests.ready(Index(9)).is_none(), "an answer to the old question counts for nothing");
        requests.confirm(second, Index(7));
        assert!(requests.ready(Index(6)).is_none(), "the state is not that far");
        let slots: Vec<_> = std::iter::from_fn(|| requests.ready(Index(7))).map(|r| r.slot.0).collect();
        assert_eq!(slots, [1, 2, 3]);
    }

    #[test]
    fn too_much_that_is_held_is_given_back() {
        let mut requests = Requests::new();
        let big = Held { waiter: waiter(1), arrived: Instant::now(), command: "x".repeat(HELD_BYTES_MAX) };
        requests.hold(big).expect("just fits");
        assert_eq!(requests.hold(held(2, Instant::now())), Err(waiter(2)));
    }
}
