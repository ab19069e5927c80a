//! Silence that counts as death (`drop_silent_after_ms`), and what that costs: two sides may serve at once, and one of them
//! gives up what it acknowledged. Off, nothing here does anything.
//!
//! # Rules
//!
//! 1. A run that is *silent*, by [`Input::Silent`], counts as dead for whoever proposes a view, until it is heard again: it
//!    comes back as a newcomer.
//! 2. A warm replica that is *isolated*, that hears nobody of its views, ends its run, and starts anew as a cold one, before
//!    anybody may count it as dead. So a replica that was cut off alone never serves alone, and three replicas that are cut
//!    apart cleanly are never two sides that serve.
//! 3. Of two sides the one with the older view yields, when it is told of the newer one: ids of views are ordered, so that
//!    all decide alike. What its logs hold beyond the fork is kept aside (`orphans`) when it is cut off, in one transaction.
//!    A state that has applied any of it is void: the run ends, and the next one derives the state again.
//! 4. Numbers of views, taken modulo the founders, name their proposer.
//!
//! # Why
//!
//! - *Anew, and not only "cold".* 1. Replica 1 heard from 2 and 3 that they are cold, a moment after a start of all; both
//!   became warm, and went on. 2. 1 is cut off, and turns cold: what it remembers of them is older than its own coldness.
//!   3. It takes them for cold, and proposes from a view that they have left behind. A new run remembers nothing, and all
//!   that is proven of a crash holds for it.
//! - *Whatever is cut off is kept,* not only what is known to be committed. 1. 1 leads 1 and 2, acknowledges an entry, and
//!   its disk is lost. 2. 2 holds the entry, but was not told that it is committed; the other side makes it drop it. 3. The
//!   entry would be nowhere.
//! - *Numbers name proposers.* 1. 1 and 2 go on in a view of number 8, and so do 3, 4 and 5. 2. The links are back: entry 20
//!   of term 8 stands in both logs, and is not the same. Nothing would ever compare them again.
//! - *Who is told of a newer installed view takes it for its own,* though it is not in it. 1. 1 and 2 have served without the
//!   others; both are told of the others' view, and learn from it. 2. Each hears the other to be cold, and to know no newer
//!   view; 1 proposes a view of both, with a higher number. 3. The newer side is the older one now.
//! - *Who hears of one does not propose,* and who yields says so before its run ends. 1. 1 is told, and starts anew; nobody has
//!   told 2. 2. 2 finds that the run it served with is over, and goes on alone, with a higher number: likewise.
//! - *Nor does it install,* and a still newer view that it has promised itself changes nothing. 1. 3, 4 and 5 serve in view 9,
//!   1 and 2 in view 10. The links are back; 2 has said that it promised view 10, and not yet that this is installed. 2. The
//!   leader of view 9 takes that for a promise that came to nothing, and proposes view 14. 3. 4 is told of view 10, and gives
//!   up what view 9 acknowledged. 4. Were view 14 to serve, 1 and 2 would yield to it: both sides would give something up.
//! - *Whoever holds more stands itself,* and does not accept a proposer that comes from the same view with less of its log. 1. An
//!   entry of 1 is on its way when 1 and 2 are cut off from 3, 4 and 5; it has reached 5. 2. 3 proposes a view, and leads; 5 drops
//!   the entry, and keeps it aside, as above. 3. It was acknowledged by nobody, or by 1, whose log has it, or it was sent again:
//!   whoever sends again what 5 has kept doubles it. (Each that stands so has a longer log than the last.)
//! - *Reads wait* until the log up to the commit index is known to be the leader's. 1. 1 has applied 30 entries, of which
//!   the newer view lacks ten, and is told of that view. 2. A client of 1 reads; the new leader says "current at 25". 3. 1
//!   is beyond 25, and would answer from what is about to be given up.
//!
//! # What is left out
//!
//! - A replica that loses its disk while two sides serve may number a later view as one of its former life did.
//! - What is kept aside is what *this* log was made to drop. Somebody who crashed and comes back may hold what was never
//!   acknowledged, or was sent again to the others.
//! - Both sides may give something up if a link breaks while they meet. 1. 1 and 2 serve, and so do 3, 4 and 5, in a newer
//!   view. 2. 2 is told, says so to 1, gives up what it holds, and starts anew. Its words are lost with the link. 3. 1 finds
//!   that the run of 2 is over, and goes on alone, with a number higher still. The others yield. (2 could not wait until 1 has
//!   heard it: 1 may be cut off from 2 for ever.)

use std::collections::BTreeSet;

use crate::consensus::{Duty, Entry, GivenUp, Index, Member, ReplicaId, Run, View, Views, WhyAnew};

use super::Node;
use super::node::Part;

impl Node {
    /// Silence counts as death, and what is given up is kept aside.
    #[must_use]
    pub fn dropping_silent(mut self) -> Self {
        self.drops_silent = true;
        self
    }

    /// Who is silent now.
    pub(super) fn are_silent(&mut self, mut silent: BTreeSet<(Member, Run)>) {
        if self.drops_silent {
            silent.retain(|(member, _)| *member != self.me);
            self.silent = silent;
            self.heard_though_silent = None;
            self.look_for_the_head();
            self.follow_again();
        }
    }

    /// Who led, was silent and is heard again, leads still, if nothing came of it. It does not tell of its view over a link
    /// that it told it over before:
    ///   1. Links are mended after as long as makes silent. Replica 2 is told by 1 that its view is installed; the pulses
    ///      come a moment later, and until then 1 counts as dead.
    ///   2. 2 follows nobody, and answers no pulse. 1 is heard, and so nobody replaces it.
    ///   3. Every write and every read waits for 2, for ever.
    fn follow_again(&mut self) {
        let Some((member, run)) = self.silent_head.filter(|(member, run)| !self.is_gone(*member, *run)) else { return };
        self.silent_head = None;
        let leads = self.known.id == self.following && self.known.leader() == Some((member, run));
        if let Part::Follower { leader: leader @ None } = &mut self.part
            && leads
        {
            *leader = Some(member.id);
        }
    }

    /// Who leads is heard, whatever the pulse links say by now.
    pub(super) fn heard_to_lead(&mut self, leader: (Member, Run)) {
        if self.silent.remove(&leader) {
            self.heard_though_silent = Some(leader);
        }
    }

    /// The link is gone over which a silent one was heard to lead:
    ///   1. A leader was silent. Its data link is mended, and not yet its pulse link; it tells of its view, and all links break
    ///      again.
    ///   2. It was silent all the time, and is said to be so only once.
    ///   3. Were that forgotten, it would count as alive, and nobody would go on without it, for ever.
    pub(super) fn word_is_over(&mut self, id: ReplicaId) {
        if let Some(leader) = self.heard_though_silent.take_if(|(member, _)| member.id == id) {
            self.silent.insert(leader);
            self.look_for_the_head();
        }
    }

    /// Whether that run is dead, or counts as dead.
    pub(super) fn is_gone(&self, member: Member, run: Run) -> bool {
        self.is_dead(member, run) || self.silent.contains(&(member, run))
    }

    /// Nobody of the views is heard. Only who is warm could go on without them.
    pub(super) fn is_isolated(&mut self) {
        if self.drops_silent && self.warm {
            self.start_anew(WhyAnew::Isolated);
        }
    }

    /// Hands out what is begun, and ends the run.
    fn start_anew(&mut self, why: WhyAnew) {
        self.close_batch();
        self.duties.push(Duty::StartAnew(why));
        self.has_ended = true;
    }

    /// The lowest number above this one that is this replica's to give.
    pub(super) fn number_above(&self, number: u64) -> u64 {
        let next = number + 1;
        let Some(record) = self.record.as_ref().filter(|_| self.drops_silent) else { return next };
        let founders = record.members.len() as u64;
        let rank = record.members.iter().filter(|member| member.id < self.me.id).count() as u64;
        next + (rank + founders - next % founders) % founders
    }

    /// Whether somebody has installed a newer view that this replica is not in.
    pub(super) fn is_outdone(&self) -> bool {
        self.drops_silent && self.newest_foreign > self.views.installed.id
    }

    /// Takes the installed view that it learns from for its own.
    pub(super) fn adopt(&mut self, view: &View) {
        if self.drops_silent && self.is_sealed() && self.views.installed.id < view.id {
            self.set_views(Views { promised: view.clone(), installed: view.clone() });
        }
    }

    /// Whether the log up to the commit index may be another than that of the one who is followed.
    #[must_use]
    pub fn may_have_to_yield(&self) -> bool {
        let follows = matches!(self.part, Part::Follower { leader: Some(_) });
        self.drops_silent && follows && self.verified < self.commit
    }

    /// Whether to take these over would end the run. It waits, by asking for them again, until the view that it yields to is
    /// durable, and said to everybody.
    pub(super) fn would_end(&self, entries: &[Entry]) -> bool {
        let contradicts =
            |entry: &Entry| entry.index <= self.commit && self.log.term_at(entry.index) != Some(entry.term);
        self.drops_silent && entries.iter().any(contradicts)
    }

    /// Whether this log goes on where that of the proposer ends, whose view it has accepted, and this replica could propose as
    /// well as that one: both come from one view.
    pub(super) fn holds_more(&self, end: Index) -> bool {
        let Views { promised, installed } = &self.views;
        let is_proposed = matches!(self.part, Part::Follower { leader: None }) && self.following == promised.id;
        let is_theirs = promised.base == installed.id && end < self.log.last();
        self.drops_silent && is_proposed && is_theirs && self.members_to_propose().is_some()
    }

    /// Drops what contradicts the log of the one who is followed. Without silence that was never held by all; with it, it
    /// may have been acknowledged. Returns whether this run goes on.
    pub(super) fn yield_from(&mut self, from: Index) -> bool {
        if !self.drops_silent {
            self.truncate_from(from);
            return true;
        }
        let (to, count) = (self.following, self.log.last().0 + 1 - from.0);
        let applied = from <= self.commit;
        self.commit = self.commit.min(from.prev());
        self.truncate_from(from);
        self.batch.given_up = Some(GivenUp { to, at: self.clock, applied });
        self.duties.push(Duty::GaveUp { from, count, to });
        if applied {
            self.start_anew(WhyAnew::GaveUp);
        }
        !applied
    }
}
