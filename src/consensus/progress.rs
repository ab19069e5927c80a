//! How far a follower is, and what may be sent to it now.

use std::collections::VecDeque;

use super::{Index, Member, Round, limits};

/// How far a follower is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) member: Member,
    /// Its log equals the leader's up to here, on its stable storage.
    pub(super) matched: Index,
    /// The next entry to send.
    pub(super) next: Index,
    pub(super) flow: Flow,
    /// The commit index it was told last.
    pub(super) commit_told: Index,
    /// The newest round of pulses it answered.
    pub(super) round: Round,
    /// How many pulses were due since it answered one.
    pub(super) unanswered: u32,
    /// What it had received at its last answer to a pulse, and at how many answers in a row.
    pub(super) received: Index,
    pub(super) stuck: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Flow {
    /// Where the logs meet is not known. One append at a time, to find out.
    Probe { sent: bool },
    /// The logs meet: appends follow each other without waiting.
    Stream(Inflight),
    /// Entries older than the window are being read from the disk.
    Load,
    /// The next entry is not kept: a copy of the state is made, or offered. It ends with a link (the follower starts anew
    /// from the copy), or with an acknowledgement that reaches the base.
    Snapshot,
}

/// The appends that are out to a follower: (last index, bytes) of each, and the sum of the bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inflight {
    pub(super) appends: VecDeque<(Index, usize)>,
    pub(super) bytes: usize,
}

impl Inflight {
    pub(crate) fn has_room(&self) -> bool {
        self.appends.len() < limits::INFLIGHT_APPENDS_MAX && self.bytes < limits::INFLIGHT_BYTES_MAX
    }

    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    pub(crate) fn arrived(&mut self, matched: Index) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|(last, _)| *last <= matched) {
            self.bytes -= bytes;
        }
    }
}

impl Progress {
    pub(super) fn new(member: Member, last: Index) -> Self {
        Self {
            member,
            matched: Index(0),
            next: last.next(),
            flow: Flow::Probe { sent: false },
            commit_told: Index(0),
            round: Round(0),
            unanswered: 0,
            received: Index(0),
            stuck: 0,
        }
    }

    pub(super) fn probe_from(&mut self, next: Index) {
        self.next = next.max(self.matched.next());
        self.flow = Flow::Probe { sent: false };
    }

    pub(super) fn matched_to(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
        match &mut self.flow {
            Flow::Stream(inflight) => inflight.arrived(matched),
            Flow::Probe { .. } | Flow::Snapshot => {
                self.next = self.matched.next();
                self.flow = Flow::Stream(Inflight::default());
            }
            Flow::Load => {}
        }
        self.next = self.next.max(self.matched.next());
    }

    /// Whether there is something to tell this follower, and it may be told now.
    pub(super) fn is_due(&self, last: Index, commit: Index) -> bool {
        let news = self.next <= last || self.commit_told < commit;
        self.may_send() && (news || matches!(self.flow, Flow::Probe { .. }))
    }

    pub(super) fn may_send(&self) -> bool {
        match &self.flow {
            Flow::Probe { sent } => !sent,
            Flow::Stream(inflight) => inflight.has_room(),
            Flow::Load | Flow::Snapshot => false,
        }
    }

    pub(super) fn sent(&mut self, last: Index, bytes: usize, commit: Index) {
        self.commit_told = commit;
        match &mut self.flow {
            Flow::Probe { sent } => *sent = true,
            Flow::Stream(inflight) => {
                if bytes > 0 {
                    inflight.sent(last, bytes);
                }
                self.next = last.next();
            }
            Flow::Load | Flow::Snapshot => {}
        }
    }

    /// Appends travel on a connection that loses nothing while it stands; but what was sent into one that broke is
    /// gone. A follower that received no more at several answers in a row, although more is out, is sent it again.
    pub(super) fn notice_received(&mut self, received: Index) {
        if received >= self.next && matches!(self.flow, Flow::Probe { sent: true }) {
            // The probe fitted; its answer waits for the follower's disk, but what follows need not.
            self.next = received.next();
            self.flow = Flow::Stream(Inflight::default());
        }
        let lacks = received < self.next.prev() || matches!(self.flow, Flow::Probe { sent: true });
        self.stuck = if lacks && received == self.received { self.stuck + 1 } else { 0 };
        self.received = received;
        if self.stuck >= limits::BEATS_WITHOUT_PROGRESS_MAX && !matches!(self.flow, Flow::Load | Flow::Snapshot) {
            self.stuck = 0;
            self.probe_from(self.matched.max(received.min(self.next.prev())).next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Incarnation, ReplicaId};
    use super::*;

    /// A follower that streams, and is sent appends of so many bytes until nothing more may be sent. How many went out.
    fn fill(follower: &mut Progress, bytes: usize) -> usize {
        let before = follower.next;
        while follower.is_due(Index(u64::MAX), Index(0)) {
            follower.sent(follower.next, bytes, Index(0));
        }
        (follower.next.0 - before.0) as usize
    }

    #[test]
    fn a_follower_that_does_not_acknowledge_is_sent_no_more_than_the_window() {
        let member = Member { id: ReplicaId(3), incarnation: Incarnation(3) };
        let mut follower = Progress::new(member, Index(0));
        follower.sent(Index(1), 100, Index(0));
        assert!(!follower.may_send(), "one append at a time, until it is known where the logs meet");
        follower.matched_to(Index(1));
        assert_eq!(fill(&mut follower, 1), limits::INFLIGHT_APPENDS_MAX, "many small ones");
        follower.matched_to(Index(11));
        assert_eq!(fill(&mut follower, 1), 10, "as many as it acknowledged");
        follower.matched_to(follower.next.prev());
        assert_eq!(
            fill(&mut follower, limits::APPEND_BYTES_MAX),
            limits::INFLIGHT_BYTES_MAX / limits::APPEND_BYTES_MAX
        );
    }
}
