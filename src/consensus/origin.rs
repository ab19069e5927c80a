//! The stream of what one replica proposes: numbered, in order, sent again after every change of leader.
//!
//! Each proposal is (member, boot, n). The state applies `n` only after `n - 1`, so sending a proposal twice does not do
//! it twice, and sending the whole of what is unresolved after a change of leader neither doubles nor reorders:
//!
//! 1. the old leader took 4, 5 and 6, and died; 4 and 5 reached the new leader's log;
//! 2. this replica has seen 4 applied, and sends 5 and 6 to the new leader;
//! 3. the log reads 4 5 | 5 6: the second 5 has no effect, 6 has.
//!
//! What has left its origin ends only by being applied. It is kept here until then, even after its client was told
//! `UNKNOWN`: were 5 given up, 6 could never be applied. A process that ends takes its stream with it; the next boot
//! begins a new one.

use std::collections::VecDeque;

use bytes::Bytes;

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Proposals that are not known to be applied; the front has number `first`.
    window: VecDeque<Bytes>,
    first: u64,
    /// The next number to send to the present leader.
    unsent: u64,
    /// Numbers below this were sent before the last [`Origin::send_again`].
    resent_before: u64,
    bytes: usize,
}

impl Default for Origin {
    fn default() -> Self {
        Self { window: VecDeque::new(), first: 1, unsent: 1, resent_before: 1, bytes: 0 }
    }
}

impl Origin {
    /// The number that the next proposal gets.
    pub fn next(&self) -> u64 {
        self.first + self.window.len() as u64
    }

    /// Adds the proposal with the number [`Origin::next`].
    pub fn offer(&mut self, payload: Bytes) -> u64 {
        let n = self.next();
        self.bytes += payload.len();
        self.window.push_back(payload);
        n
    }

    /// Whoever waited for `n` was told that its fate is not known: what is sent of it from now on is `payload`, which
    /// should do nothing. It keeps its number, so that those behind it can be applied, and copies that are out already
    /// may still take effect; but a copy that has waited here for an hour does not do then what nobody expects any more.
    ///   1. a client's keyed request goes to a replica that is cut off, and is told `UNKNOWN`;
    ///   2. it is sent again elsewhere, done, and 1,024 newer keys of the account push its key out of memory;
    ///   3. the link returns: the old copy, sent again under a key that nobody remembers, would be done a second time.
    pub fn void(&mut self, n: u64, payload: Bytes) {
        let at = n.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = at.and_then(|at| self.window.get_mut(at)) {
            self.bytes = self.bytes - slot.len() + payload.len();
            *slot = payload;
        }
    }

    /// How many bytes wait to be resolved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many proposals wait to be resolved.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// What the present leader has not been sent, in order; at most about `bytes_max` bytes, at least one proposal if
    /// there is any. Counts as sent.
    pub fn take_unsent(&mut self, bytes_max: usize) -> Vec<Bytes> {
        let from = usize::try_from(self.unsent - self.first).expect("the window fits memory");
        let mut bytes = 0;
        let taken: Vec<Bytes> = self
            .window
            .iter()
            .skip(from)
            .take_while(|p| {
                let fits = bytes == 0 || bytes + p.len() <= bytes_max;
                bytes += p.len();
                fits
            })
            .cloned()
            .collect();
        self.unsent += taken.len() as u64;
        taken
    }

    /// There is a new leader, or a new link to it: it is sent everything that is unresolved.
    pub fn send_again(&mut self) {
        self.resent_before = self.unsent;
        self.unsent = self.first;
    }

    /// `n` was applied, or had been: it and all before it are resolved.
    pub fn resolved(&mut self, n: u64) {
        while self.first <= n {
            let Some(payload) = self.window.pop_front() else { break };
            self.bytes -= payload.len();
            self.first += 1;
        }
        self.unsent = self.unsent.max(self.first);
    }

    /// `n` came to be applied before `expected`: the leader lacks what is between. Goes back to the gap, once for
    /// each time that everything was sent.
    pub fn gap(&mut self, n: u64, expected: u64) {
        if expected == self.first && n >= self.resent_before && n < self.unsent {
            self.send_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(origin: &mut Origin) -> Vec<u8> {
        origin.take_unsent(usize::MAX).iter().map(|p| p[0]).collect()
    }

    fn stream(of: std::ops::RangeInclusive<u8>) -> Origin {
        let mut origin = Origin::default();
        for n in of {
            assert_eq!(origin.offer(Bytes::from(vec![n])), u64::from(n));
        }
        origin
    }

    #[test]
    fn a_new_leader_is_sent_what_is_unresolved_in_order() {
        let mut origin = stream(1..=3);
        assert_eq!(payloads(&mut origin), [1, 2, 3]);
        assert!(payloads(&mut origin).is_empty());
        origin.resolved(1);
        origin.send_again();
        origin.offer(Bytes::from_static(&[4]));
        assert_eq!(payloads(&mut origin), [2, 3, 4]);
        origin.resolved(4);
        assert_eq!((origin.len(), origin.bytes(), origin.next()), (0, 0, 5));
    }

    #[test]
    fn a_gap_sends_again_once() {
        let mut origin = stream(1..=4);
        assert_eq!(payloads(&mut origin), [1, 2, 3, 4]);
        origin.resolved(1);
        origin.gap(3, 2);
        origin.gap(4, 2);
        assert_eq!(payloads(&mut origin), [2, 3, 4]);
        assert!(payloads(&mut origin).is_empty());
    }

    #[test]
    fn what_nobody_waits_for_keeps_its_number_and_does_nothing_when_it_is_sent_again() {
        let mut origin = stream(1..=3);
        assert_eq!(payloads(&mut origin), [1, 2, 3]);
        origin.resolved(1);
        origin.void(1, Bytes::from_static(b"resolved already"));
        origin.void(2, Bytes::from_static(&[0]));
        origin.void(9, Bytes::from_static(b"never offered"));
        origin.send_again();
        assert_eq!(payloads(&mut origin), [0, 3]);
        assert_eq!((origin.len(), origin.bytes(), origin.next()), (2, 2, 4));
    }

    #[test]
    fn what_is_taken_respects_its_budget() {
        let mut origin = stream(1..=4);
        assert_eq!(origin.take_unsent(2).len(), 2);
        assert_eq!(origin.take_unsent(0).len(), 1);
    }
}
