//! How far a follower is, and what may be sent to it now. Links lose nothing while they stand, and begin anew when they
//! do not: so does this.

use crate::consensus::{Index, Inflight, Member, Round, Run};

#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) member: Member,
    pub(super) run: Run,
    /// Its log equals the leader's up to here, on its stable storage.
    pub(super) matched: Index,
    /// The next entry to send.
    pub(super) next: Index,
    pub(super) flow: Flow,
    /// The commit index it was told last.
    commit_told: Index,
    /// The newest round of pulses it answered.
    pub(super) round: Round,
}

#[derive(Clone, Debug)]
pub(super) enum Flow {
    /// Where the logs meet is not known. One append at a time, to find out.
    Probe { sent: bool },
    /// The logs meet: appends follow each other without waiting.
    Stream(Inflight),
    /// Entries older than the window are being read from the disk.
    Load,
}

impl Progress {
    pub(super) fn new(member: Member, run: Run, last: Index) -> Self {
        Self {
            member,
            run,
            matched: Index(0),
            next: last.next(),
            flow: Flow::Probe { sent: false },
            commit_told: Index(0),
            round: Round(0),
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
            Flow::Probe { .. } => {
                self.next = self.matched.next();
                self.flow = Flow::Stream(Inflight::default());
            }
            Flow::Load => {}
        }
        self.next = self.next.max(self.matched.next());
    }

    /// Whether there is something to tell this follower, and it may be told now.
    pub(super) fn is_due(&self, last: Index, commit: Index) -> bool {
        match &self.flow {
            Flow::Probe { sent } => !sent,
            Flow::Stream(inflight) => inflight.has_room() && (self.next <= last || self.commit_told < commit),
            Flow::Load => false,
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
            Flow::Load => {}
        }
    }
}
