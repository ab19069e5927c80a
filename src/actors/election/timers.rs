//! When to stand: pure, told what time it is.
//!
//! - A follower that hears no leader for the least election timeout is *quiet*: it may grant pre-votes.
//! - At a random time between the least and the greatest timeout it stands itself. To the random time comes a rank
//!   delay: a few milliseconds for each living replica with a lower id, so that the lowest living one usually goes
//!   first. That only delays; it forbids nobody.
//! - On evidence that the leader's process is gone (its connection ended and nobody answers for it), there is nothing to
//!   wait for: quiet at once, stand after the rank delay. Other voters have evidence of their own a moment earlier or
//!   later, so the first try may be refused: it is repeated a few times in quick succession.
//! - A learner never stands, but becomes quiet like a follower: a newer log than its own may name it a voter.
//! - A leader checks every greatest timeout whether a quorum still answers.
//! - Every term that nobody won yet doubles the pauses before the next, within bounds: votes have to be on disks, and a disk
//!   may take longer for that than any timeout that was chosen for a healthy one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::actors::internal::FromElection;
use crate::consensus::{ReplicaId, Role, Standing};

/// The delay for each living replica with a lower id.
pub const RANK_STEP: Duration = Duration::from_millis(5);
/// The pause between tries while there is evidence that the leader is gone.
pub const EVIDENCE_RETRY: Duration = Duration::from_millis(15);
/// A candidate with evidence waits so long for votes before it tries again.
pub const VOTING_TIME: Duration = Duration::from_millis(60);
/// So many tries on one piece of evidence; then the random timeouts take over.
pub const EVIDENCE_TRIES: u32 = 10;

/// The time for votes grows to so many times [`VOTING_TIME`]: to that of a few very slow fsyncs.
pub const BACKOFF_MAX: u32 = 16;
/// Random timeouts grow to so many times what they were. They are longer to begin with, and a vote may be lost by a bad link
/// as well as be late: who waits longest should not wait for long.
pub const TIMEOUT_BACKOFF_MAX: u32 = 4;

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Timers {
    me: ReplicaId,
    min: Duration,
    max: Duration,
    living: BTreeSet<ReplicaId>,
    standing: Option<Standing>,
    quiet_at: Option<Instant>,
    stand_at: Option<Instant>,
    check_at: Option<Instant>,
    /// Tries left on the evidence at hand, and whose end it is of.
    evidence: u32,
    gone: Option<ReplicaId>,
    /// What pauses are multiplied by: 1 while there is a leader, doubled with every term without one.
    backoff: u32,
}

impl Timers {
    /// Timers of a replica that has not heard of anybody. `min` and `max` bound the random timeout.
    pub fn new(me: ReplicaId, min: Duration, max: Duration) -> Self {
        Self {
            me,
            min,
            max,
            living: BTreeSet::from([me]),
            standing: None,
            quiet_at: None,
            stand_at: None,
            check_at: None,
            evidence: 0,
            gone: None,
            backoff: 1,
        }
    }

    /// Who lives, this replica included.
    pub fn living(&mut self, living: BTreeSet<ReplicaId>) {
        self.living = living;
    }

    /// A leader was heard of, or a vote was given. `random` is between 0 and 1.
    ///
    /// While there is evidence that the leader is gone, its last words count for nothing:
    ///   1. the leader dies; its pulse link ends, while appends of it still wait in the socket of its data link;
    ///   2. this replica finds the evidence, and is about to stand;
    ///   3. it reads those appends: were they to start the timers anew, the election would be a quarter second late.
    pub fn heard(&mut self, now: Instant, random: f64) {
        // What a candidate hears changes its standing, or nothing. It is told of its own vote behind the standing, which
        // said when to stand again if nobody wins: were the vote to start the timers anew, a tie would last for half a second.
        if self.evidence > 0 || self.standing.is_none_or(|s| matches!(s.role, Role::Leader | Role::Candidate)) {
            return;
        }
        self.start(now, random);
    }

    fn start(&mut self, now: Instant, random: f64) {
        self.quiet_at = Some(now + self.min);
        if self.stands() {
            self.stand_at = Some(now + self.random_timeout(random));
        }
    }

    /// Role, term or leader changed.
    pub fn standing(&mut self, now: Instant, standing: Standing, random: f64) {
        let before = self.standing.replace(standing);
        if matches!(standing.role, Role::Leader | Role::Learner) {
            // The evidence has served, or is of no use. Were it kept, then
            //   1. this replica is elected on evidence at its first try, and leads;
            //   2. it loses its majority, and follows nobody, in the same term;
            //   3. it gives its vote to another, and stands against it a moment later, because "a leader's last words count
            //      for nothing".
            (self.evidence, self.gone) = (0, None);
        }
        if standing.leader.is_some() {
            self.backoff = 1;
        }
        match standing.role {
            Role::Leader => {
                (self.quiet_at, self.stand_at) = (None, None);
                if before.map(|s| s.role) != Some(Role::Leader) {
                    self.check_at = Some(now + self.max);
                }
            }
            Role::Learner => {
                // It never stands, but it may be asked for its vote: a newer log than its own may name it a voter.
                //   1. replica 1 is wiped, and comes back; 2 and 3 remove its old life and commit the new one;
                //   2. before 1 hears of that, its leader, 3, is lost for good: 1 and 2 are a majority of the voters;
                //   3. were 1 never quiet, it would refuse 2 for ever, because it "heard of a leader just now".
                (self.stand_at, self.check_at) = (None, None);
                if self.quiet_at.is_none() {
                    self.start(now, random);
                }
            }
            Role::Follower | Role::Candidate => {
                self.check_at = None;
                let later = before.is_none_or(|before| before.term < standing.term);
                if later && standing.role == Role::Candidate {
                    // Votes are being counted, once they are on disks: standing again at once would void them.
                    //   1. an fsync takes 0.3 s on every replica; a candidate's own vote, and the others', take 0.6 s;
                    //   2. it stands again after 60 ms, as a candidate on evidence does: a new term, and a new vote to write;
                    //   3. no vote is ever counted, and terms climb until the disks are faster.
                    self.stand_at = Some(now + VOTING_TIME * self.backoff + self.rank_delay());
                } else if later || standing.leader.is_some_and(|leader| Some(leader) != self.gone) {
                    self.evidence = 0;
                }
                if self.stand_at.is_none() || self.evidence == 0 && standing.role == Role::Follower {
                    self.start(now, random);
                }
                if later && standing.leader.is_none() {
                    self.backoff = BACKOFF_MAX.min(self.backoff * 2);
                }
                if before.map(|s| s.role) == Some(Role::Learner) && standing.leader.is_none() {
                    // The cluster was founded a moment ago: there is no leader to wait for.
                    self.stand_at = Some(now + EVIDENCE_RETRY + self.rank_delay());
                }
            }
        }
    }

    /// The leader's process is gone.
    pub fn leader_gone(&mut self, now: Instant) {
        if self.stands() && self.evidence == 0 {
            self.evidence = EVIDENCE_TRIES;
            self.gone = self.leader();
            self.quiet_at = Some(now);
            self.stand_at = Some(now + self.rank_delay());
        }
    }

    /// This log holds more than a candidate's that was refused.
    pub fn stand_soon(&mut self, now: Instant) {
        let soon = now + self.rank_delay();
        if self.stands() {
            self.stand_at = Some(self.stand_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// What is due by now. Call again at [`Timers::next`].
    pub fn due(&mut self, now: Instant, random: f64) -> Vec<FromElection> {
        let mut due = Vec::new();
        if self.quiet_at.is_some_and(|at| at <= now) {
            self.quiet_at = None;
            due.push(FromElection::LeaderQuiet);
        }
        if self.stand_at.is_some_and(|at| at <= now) {
            self.evidence = self.evidence.saturating_sub(1);
            let pause =
                if self.evidence > 0 { EVIDENCE_RETRY + self.rank_delay() } else { self.random_timeout(random) };
            self.stand_at = Some(now + pause);
            due.push(FromElection::Campaign);
        }
        if self.check_at.is_some_and(|at| at <= now) {
            self.check_at = Some(now + self.max);
            due.push(FromElection::QuorumCheckDue);
        }
        due
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Instant> {
        [self.quiet_at, self.stand_at, self.check_at].into_iter().flatten().min()
    }

    /// Whom this replica follows.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.standing.and_then(|s| s.leader).filter(|leader| *leader != self.me)
    }

    fn stands(&self) -> bool {
        self.standing.is_some_and(|s| matches!(s.role, Role::Follower | Role::Candidate))
    }

    fn random_timeout(&self, random: f64) -> Duration {
        let pause = self.min + (self.max - self.min).mul_f64(random.clamp(0.0, 1.0));
        pause * self.backoff.min(TIMEOUT_BACKOFF_MAX) + self.rank_delay()
    }

    fn rank_delay(&self) -> Duration {
        let lower = self.living.range(..self.me).count();
        RANK_STEP * u32::try_from(lower).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Term;

    const MIN: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_millis(500);

    fn standing(role: Role, leader: Option<u16>) -> Standing {
        Standing { role, term: Term(3), leader: leader.map(ReplicaId) }
    }

    fn follower(me: u16, now: Instant) -> Timers {
        let mut timers = Timers::new(ReplicaId(me), MIN, MAX);
        timers.living((1..=5).map(ReplicaId).collect());
        timers.standing(now, standing(Role::Follower, Some(1)), 0.5);
        timers
    }

    #[test]
    fn silence_makes_quiet_first_and_stands_later_by_rank() {
        let start = Instant::now();
        let mut timers = follower(3, start);
        timers.heard(start, 0.0);
        assert_eq!(timers.next(), Some(start + MIN));
        assert_eq!(timers.due(start + MIN, 0.5), [FromElection::LeaderQuiet]);
        assert_eq!(timers.next(), Some(start + MIN + 2 * RANK_STEP));
        assert_eq!(timers.due(start + MIN + 2 * RANK_STEP, 0.5), [FromElection::Campaign]);
        assert!(timers.due(start + MIN + 2 * RANK_STEP, 0.5).is_empty(), "once");
    }

    #[test]
    fn a_heard_leader_starts_the_timers_anew() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        for beat in 1..20 {
            let now = start + beat * MIN / 5;
            assert!(timers.due(now, 0.1).is_empty());
            timers.heard(now, 0.0);
        }
    }

    #[test]
    fn evidence_stands_at_once_and_a_few_times_over() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        timers.living((2..=5).map(ReplicaId).collect());
        timers.leader_gone(start);
        timers.leader_gone(start);
        assert_eq!(timers.due(start, 0.5), [FromElection::LeaderQuiet, FromElection::Campaign]);
        let mut now = start;
        for _ in 1..EVIDENCE_TRIES {
            now += EVIDENCE_RETRY;
            assert_eq!(timers.due(now, 0.0), [FromElection::Campaign]);
        }
        assert_eq!(timers.next(), Some(now + MIN), "then the random timeouts");
    }

    #[test]
    fn a_leader_checks_its_quorum_and_does_not_stand() {
        let start = Instant::now();
        let mut timers = follower(1, start);
        timers.standing(start, standing(Role::Leader, Some(1)), 0.5);
        timers.leader_gone(start);
        timers.stand_soon(start);
        assert_eq!(timers.next(), Some(start + MAX));
        assert_eq!(timers.due(start + MAX, 0.5), [FromElection::QuorumCheckDue]);
        timers.standing(start + MAX, standing(Role::Leader, Some(1)), 0.5);
        assert_eq!(timers.next(), Some(start + 2 * MAX));
    }

    #[test]
    fn the_last_words_of_a_leader_that_is_gone_do_not_delay_its_successor() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        timers.leader_gone(start);
        timers.heard(start, 0.5);
        assert_eq!(timers.next(), Some(start));
        timers.standing(start, standing(Role::Candidate, None), 0.5);
        assert_eq!(timers.next(), Some(start), "a pre-vote changes nothing");
        timers.standing(start, standing(Role::Follower, Some(1)), 0.5);
        assert_eq!(timers.next(), Some(start), "nor does a late append");
        let mut next_term = standing(Role::Candidate, None);
        next_term.term = Term(4);
        timers.due(start, 0.5);
        timers.standing(start, next_term, 0.5);
        assert_eq!(timers.next(), Some(start + VOTING_TIME + RANK_STEP), "votes are being counted");
        next_term.role = Role::Follower;
        next_term.leader = Some(ReplicaId(3));
        timers.standing(start, next_term, 0.0);
        timers.due(start + MIN, 0.0);
        assert_eq!(timers.next(), Some(start + MIN + RANK_STEP), "somebody leads");
    }

    #[test]
    fn candidacies_that_nobody_wins_come_at_growing_pauses() {
        let start = Instant::now();
        let mut timers = follower(1, start);
        let (mut now, mut pauses) = (start + MIN, Vec::new());
        timers.due(now, 0.0);
        for term in 4..12 {
            let mut candidate = standing(Role::Candidate, None);
            candidate.term = Term(term);
            timers.standing(now, candidate, 0.0);
            let next = timers.next().expect("it stands again");
            pauses.push(next - now);
            now = next;
            timers.due(now, 0.0);
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8].map(|factor| VOTING_TIME * factor));
        assert_eq!(pauses.last(), Some(&(VOTING_TIME * BACKOFF_MAX)));
        timers.standing(now, standing(Role::Follower, Some(2)), 0.0);
        assert_eq!(timers.next(), Some(now + MIN), "somebody leads");
    }

    #[test]
    fn what_a_candidate_hears_of_its_own_vote_does_not_prolong_a_tie() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        timers.due(start + 2 * MAX, 0.5);
        let mut candidate = standing(Role::Candidate, None);
        candidate.term = Term(4);
        timers.standing(start + 2 * MAX, candidate, 0.5);
        timers.heard(start + 2 * MAX, 0.5);
        assert_eq!(timers.next(), Some(start + 2 * MAX + VOTING_TIME + RANK_STEP));
    }

    #[test]
    fn who_was_elected_on_evidence_and_steps_down_stands_again() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        timers.leader_gone(start);
        timers.standing(start, standing(Role::Leader, Some(2)), 0.5);
        timers.standing(start + MAX, standing(Role::Follower, None), 0.0);
        assert_eq!(timers.next(), Some(start + MAX + MIN), "quiet, and then a candidate");
        timers.heard(start + MAX + MIN / 2, 0.0);
        assert_eq!(timers.next(), Some(start + MAX + MIN / 2 + MIN), "a vote that it gives counts again");
    }

    #[test]
    fn a_new_voter_without_a_leader_stands_soon() {
        let start = Instant::now();
        let mut timers = follower(2, start);
        timers.standing(start, standing(Role::Learner, None), 0.5);
        timers.standing(start, standing(Role::Follower, None), 0.5);
        assert_eq!(timers.next(), Some(start + EVIDENCE_RETRY + RANK_STEP));
    }

    #[test]
    fn a_learner_never_stands_but_is_quiet() {
        let start = Instant::now();
        let mut timers = Timers::new(ReplicaId(2), MIN, MAX);
        timers.standing(start, standing(Role::Learner, Some(1)), 0.5);
        timers.heard(start + MIN, 0.5);
        timers.leader_gone(start + MIN);
        timers.stand_soon(start + MIN);
        assert!(timers.due(start + MIN, 0.5).is_empty());
        assert_eq!(timers.due(start + 2 * MIN, 0.5), [FromElection::LeaderQuiet]);
        assert_eq!(timers.next(), None);
    }
}
