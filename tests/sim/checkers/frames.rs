//! What a replica says, and what is on its disk when it says it.

use plainsong::consensus::founding::Introduction;
use plainsong::consensus::{FoundingState, Frame, Mode, ReplicaId, Round, ViewFrame};
use plainsong::wire::PeerLine;

use super::{Judge, ensure};
use crate::sim::disk::Disk;

impl Judge {
    /// Lines leave a replica.
    pub fn says(&mut self, disk: &Disk, to: ReplicaId, lines: &[PeerLine]) {
        for line in lines {
            if let PeerLine::Frame(frame) = line {
                self.counts_round(disk, frame);
                self.frame(disk, to, frame);
            }
        }
    }

    /// Rounds of pulses are counted within a term: nobody confirms one that was not begun.
    fn counts_round(&mut self, disk: &Disk, frame: &Frame) {
        match frame {
            Frame::Beat { term, round, .. } => {
                let begun = self.rounds.entry(*term).or_default();
                *begun = (*begun).max(*round);
            }
            Frame::BeatReply { term, round, .. } if *round > Round(0) => {
                let begun = self.rounds.get(term).copied().unwrap_or_default();
                let me = disk.me;
                ensure!(NoFalseClaims, *round <= begun, "{me} says {frame:?}, but round {begun} was begun last");
            }
            _ => {}
        }
    }

    fn frame(&self, disk: &Disk, to: ReplicaId, frame: &Frame) {
        match self.mode {
            Mode::Quorum => self.frame_of_terms(disk, to, frame),
            Mode::PrimaryBackup => frame_of_views(disk, frame),
        }
    }

    fn frame_of_terms(&self, disk: &Disk, to: ReplicaId, frame: &Frame) {
        let (me, hard) = (disk.me, disk.hard);
        match frame {
            Frame::PreVote { term, .. } => {
                ensure!(NoFalseClaims, term.prev() <= hard.term, "{me} says {frame:?} with {hard:?} on its disk");
            }
            // The first echoes the question; the second only says whom it is meant for.
            Frame::PreVoteReply { granted: true, .. } | Frame::Forward { .. } => {}
            Frame::VoteReply { term, granted: true } => {
                ensure!(NoFalseClaims, hard.term >= *term, "{me} votes in term {term} with {hard:?} on its disk");
                ensure!(NoFalseClaims, disk.founding == FoundingState::Sealed, "{me} votes, but is not sealed");
                let gave = hard.term > *term || hard.vote.map(|m| m.id) == Some(to);
                ensure!(NoFalseClaims, gave, "{me} tells {to} that it has its vote, but the disk says {hard:?}");
            }
            Frame::AppendOk { term, matched } => {
                ensure!(NoFalseClaims, hard.term >= *term, "{me} says {frame:?} with {hard:?} on its disk");
                let current = hard.term == *term;
                let held = !current || self.ledger.is_leaders_log(disk, *term, matched.index());
                ensure!(NoFalseClaims, held, "{me} says {frame:?}, but its disk ends at {}", disk.last());
            }
            Frame::PreVoteReply { term, granted: false }
            | Frame::Vote { term, .. }
            | Frame::VoteReply { term, granted: false }
            | Frame::Append { term, .. }
            | Frame::Snapshot { term, .. }
            | Frame::AppendReject { term, .. }
            | Frame::TimeoutNow { term }
            | Frame::ReadIndex { term, .. }
            | Frame::ReadIndexReply { term, .. }
            | Frame::Change { term, .. }
            | Frame::ChangeReply { term, .. }
            | Frame::Beat { term, .. }
            | Frame::BeatReply { term, .. } => {
                ensure!(NoFalseClaims, hard.term >= *term, "{me} says {frame:?} with {hard:?} on its disk");
            }
            Frame::Found(record) => {
                ensure!(NoFalseClaims, disk.founding != FoundingState::Blank, "{me} shows {record:?}, but is blank");
            }
            Frame::FoundingNews { state, .. } => founding(disk, *state),
            Frame::View(_) => ensure!(NoFalseClaims, false, "{me} says {frame:?} in a cluster of the other mode"),
        }
    }

    /// A handshake shows a replica.
    pub fn shows(&self, disk: &Disk, shown: &Introduction) {
        let (me, last) = (shown.member, shown.last);
        // What was acknowledged may have been truncated since: then a shorter log is being written.
        ensure!(NoFalseClaims, shown.run.boot <= disk.boot, "{me} shows boot {} before it is durable", shown.run.boot);
        ensure!(
            NoFalseClaims,
            last <= disk.last() || disk.hard.term.0 > 0 || disk.views.is_some(),
            "{me} shows {last}, and holds less"
        );
        founding(disk, shown.founding);
    }
}

/// In the mode with views: what is said of them is durable, and so is what is acknowledged.
fn frame_of_views(disk: &Disk, frame: &Frame) {
    let (me, views) = (disk.me, disk.views.clone().unwrap_or_default());
    let durable = match frame {
        Frame::View(ViewFrame::Propose(view)) => views.promised.id >= view.id && view.has(me),
        Frame::View(ViewFrame::Accepted(id)) => views.promised.id >= *id,
        Frame::View(ViewFrame::Installed(view)) => views.installed.id >= view.id,
        Frame::View(ViewFrame::News { installed, promised, .. }) => {
            views.installed.id >= *installed && views.promised.id >= *promised
        }
        Frame::AppendOk { matched, .. } => matched.index() <= disk.last(),
        Frame::FoundingNews { state, .. } => return founding(disk, *state),
        _ => true,
    };
    ensure!(NoFalseClaims, durable, "{me} says {frame:?} with {views:?} on its disk");
}

/// No more of the founding is shown than is durable.
fn founding(disk: &Disk, state: FoundingState) {
    let rank = |state: FoundingState| match state {
        FoundingState::Blank => 0,
        FoundingState::Copied => 1,
        FoundingState::Sealed => 2,
    };
    ensure!(
        NoFalseClaims,
        rank(state) <= rank(disk.founding),
        "{} shows {state:?}, but holds {:?}",
        disk.me,
        disk.founding
    );
}
