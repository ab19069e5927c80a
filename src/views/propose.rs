//! Views: who proposes one, of whom, who accepts it, and when it is installed.

use crate::consensus::{
    Body, Duty, Frame, Index, Member, ReplicaId, Run, Term, Ticket, VIEW_NUMBER_MAX, View, ViewFrame, ViewId, Views,
    limits,
};

use super::Node;
use super::lead::Lead;
use super::node::{News, Part, Peer};

impl Node {
    // --- when to propose -------------------------------------------------------------------------------------

    /// No leader was heard of for a while, or it is certainly gone. Silence is no reason: only one that is dead is
    /// replaced.
    pub(super) fn campaign(&mut self) {
        let stands = match self.part {
            Part::Follower { .. } => self.head_is_gone(),
            Part::Proposer(_) => self.is_outbid(),
            Part::Leader(_) => false,
        };
        if stands {
            self.propose(None);
        }
    }

    /// A leader of whose view somebody can take nothing, because it promised a newer one that came to nothing, proposes
    /// above that: now and then, in case that one does come to something.
    pub(super) fn outbid_again(&mut self) {
        if matches!(self.part, Part::Leader(_)) && self.is_outbid() {
            self.propose(None);
        }
    }

    /// What a proposer or leader does by itself: it leaves out who is dead, and takes in who is caught up.
    pub(super) fn change_view(&mut self) {
        let newcomer = match &self.part {
            Part::Leader(lead) if self.commit >= lead.noop => self.newcomer(lead),
            Part::Proposer(lead) if lead.installing.is_some() => return,
            Part::Proposer(_) | Part::Leader(_) => None,
            Part::Follower { .. } => return,
        };
        let somebody_died = self.views.promised.members.iter().any(|(member, run)| self.is_gone(*member, *run));
        if somebody_died || newcomer.is_some() {
            self.propose(newcomer);
        }
    }

    /// A leader that stops says so, so that nobody has to find out: whoever it names proposes a view of all.
    pub(super) fn hand_over(&mut self) {
        let term = Term(self.following.number);
        let Part::Leader(lead) = &self.part else { return };
        let members = self.views.installed.members.iter();
        let successor = members.map(|(m, _)| m.id).find(|id| *id != self.me.id && lead.progress.contains_key(id));
        if let Some(to) = successor {
            self.say(to, Frame::TimeoutNow { term });
        }
    }

    pub(super) fn take_over_now(&mut self, from: Member, term: Term) {
        let follows = matches!(self.part, Part::Follower { leader: Some(leader) } if leader == from.id);
        if follows && self.following.number == term.0 && self.warm {
            self.propose(None);
        }
    }

    /// Whether whoever proposed what this replica promised last can do no more about it.
    fn head_is_gone(&self) -> bool {
        match self.views.promised.leader() {
            None => true,
            // This run would not follow itself: it is the view of an earlier one.
            Some((member, _)) if member == self.me => true,
            Some((member, run)) => {
                let linked = self.peers.get(&member.id).is_some_and(|p| (p.intro.member, p.intro.run) == (member, run));
                self.is_gone(member, run) || !self.warm && !linked
            }
        }
    }

    fn is_outbid(&self) -> bool {
        self.peers.values().filter_map(|peer| peer.news).any(|news| news.promised > self.following)
    }

    /// Whether that run is proven to have ended. A newer run of a disk proves it of the older ones: a disk has one
    /// owner.
    pub(super) fn is_dead(&self, member: Member, run: Run) -> bool {
        self.dead.get(&member).is_some_and(|dead| run.boot <= dead.boot)
            || self.runs.get(&member).is_some_and(|newest| run.boot < newest.boot)
    }

    /// Proof has come that a run ended.
    pub(super) fn died(&mut self, member: Member, run: Run) {
        let newest = self.dead.entry(member).or_insert(run);
        *newest = (*newest).max(run);
        self.look_for_the_head();
    }

    /// If the head is gone, somebody should stand: soon, the lowest id first.
    pub(super) fn look_for_the_head(&mut self) {
        if let Part::Follower { leader } = &self.part {
            let head = self.known.leader().filter(|(member, _)| Some(member.id) == *leader);
            if let Some(head) = head.filter(|(member, run)| self.is_gone(*member, *run)) {
                self.part = Part::Follower { leader: None };
                self.silent_head = Some(head);
            }
            if self.is_sealed() && self.head_is_gone() {
                self.duties.push(Duty::StandSoon);
            }
        }
    }

    // --- of whom ---------------------------------------------------------------------------------------------

    /// Proposes a view, if this replica may.
    pub(super) fn propose(&mut self, newcomer: Option<(Member, Run)>) {
        if self.is_outdone() {
            return;
        }
        let Some(mut members) = self.members_to_propose() else { return };
        members.extend(newcomer);
        members.sort_unstable();
        members.dedup();
        let promised = self.peers.values().filter_map(|peer| peer.news).map(|news| news.promised.number);
        let number = self.number_above(promised.max().unwrap_or(0).max(self.views.promised.id.number));
        if number > VIEW_NUMBER_MAX {
            return;
        }
        let id = ViewId { number, proposer: self.me, boot: self.run.boot };
        let view = View { id, base: self.views.installed.id, members };
        self.promise(view.clone());
        self.part = Part::Proposer(Box::default());
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.meet(id);
        }
    }

    /// Everyone but the dead, if this replica is warm; if it is cold, everyone, in the runs of today. `None` if it may
    /// not propose.
    pub(super) fn members_to_propose(&self) -> Option<Vec<(Member, Run)>> {
        let Views { promised, installed } = &self.views;
        if !self.is_sealed() || !installed.has(self.me) {
            return None;
        }
        if !self.warm {
            return installed.members.iter().map(|(member, _)| self.run_of_cold(*member)).collect();
        }
        // The promised view may have been installed, and its members told: none of them may be left out alive.
        let both = || installed.members.iter().chain(&promised.members).copied();
        // A run is dead, too, if whoever proposed one of these views knew a newer one.
        let is_newest = |(member, run): (Member, Run)| both().all(|(m, r)| m != member || r.boot <= run.boot);
        Some(both().filter(|one| is_newest(*one) && !self.is_gone(one.0, one.1)).collect())
    }

    /// A member's run, if it was heard, and is as cold as this replica, and knows no newer view.
    fn run_of_cold(&self, member: Member) -> Option<(Member, Run)> {
        if member == self.me {
            return Some((self.me, self.run));
        }
        let Peer { intro, news } = self.peers.get(&member.id).filter(|peer| peer.intro.member == member)?;
        // The proof may come before the end of the link: a view with it would be replaced by its like, without an end.
        if self.is_gone(member, intro.run) {
            return None;
        }
        let News { installed, warm, .. } = (*news)?;
        (!warm && installed <= self.views.installed.id).then_some((member, intro.run))
    }

    /// Somebody who is not in the view, is caught up, and has told of its views. One at a time.
    fn newcomer(&self, lead: &Lead) -> Option<(Member, Run)> {
        let view = &self.views.installed;
        let last = self.log.last();
        let caught_up = |matched: Index| matched >= lead.noop && last.0 - matched.0 <= limits::LEARNER_LAG_MAX;
        let is_new = |member: Member| view.members.iter().all(|(m, _)| m.id != member.id);
        let knows_views = |id: ReplicaId| self.peers.get(&id).is_some_and(|peer| peer.news.is_some());
        lead.progress
            .values()
            .find(|p| {
                caught_up(p.matched) && is_new(p.member) && knows_views(p.member.id) && !self.is_gone(p.member, p.run)
            })
            .map(|p| (p.member, p.run))
    }

    // --- accepting -------------------------------------------------------------------------------------------

    fn promise(&mut self, view: View) {
        self.following = view.id;
        self.verified = Index(0);
        self.set_views(Views { promised: view, installed: self.views.installed.clone() });
    }

    pub(super) fn proposed(&mut self, from: Member, run: Run, view: View) {
        if !self.is_sealed() || view.leader() != Some((from, run)) || !view.names(self.me, self.run) {
            return;
        }
        let Views { promised, installed } = &self.views;
        if view.id == promised.id {
            self.say_view(from.id, ViewFrame::Accepted(view.id));
        } else if view.id > promised.id.max(self.following) && installed.id <= view.base {
            let id = view.id;
            self.promise(view);
            self.part = Part::Follower { leader: None };
            self.say_view(from.id, ViewFrame::Accepted(id));
            self.look_for_the_head();
        } else {
            self.say_news(from.id, self.news());
        }
    }

    pub(super) fn heard_news(&mut self, from: Member, news: News) {
        if !self.promises.contains(&news.installed) {
            self.newest_foreign = self.newest_foreign.max(news.installed);
        }
        if let Some(peer) = self.peers.get_mut(&from.id) {
            peer.news = Some(news);
        }
        // A cold replica may have heard all now.
        if !self.warm && matches!(self.part, Part::Follower { leader: None }) {
            self.look_for_the_head();
        }
    }

    // --- installing ------------------------------------------------------------------------------------------

    pub(super) fn accepted(&mut self, from: Member, run: Run, id: ViewId) {
        let named = self.views.promised.names(from, run);
        if let Part::Proposer(lead) = &mut self.part
            && id == self.following
            && named
        {
            lead.accepted.insert(from);
            // Said again over a new link, which has brought it nothing yet.
            if lead.of(from, run).is_none() {
                self.track(from.id);
            }
        }
    }

    /// All have accepted, and hold this log as it stood when the view was proposed: the view is to be installed. That a
    /// newcomer holds it, and not only nearly all, is what makes it safe to go on with the newcomer alone.
    pub(super) fn install(&mut self) {
        let Part::Proposer(lead) = &self.part else { return };
        let last = self.log.last();
        let holds = |(member, run): &(Member, Run)| {
            *member == self.me
                || lead.accepted.contains(member) && lead.of(*member, *run).is_some_and(|p| p.matched == last)
        };
        let is_ready = lead.installing.is_none() && !self.views_pending() && self.tickets.durable().index() == last;
        if is_ready && !self.is_outdone() && self.views.promised.members.iter().all(holds) {
            let promised = self.views.promised.clone();
            self.set_views(Views { installed: promised.clone(), promised });
            let ticket = self.close_batch();
            if let Part::Proposer(lead) = &mut self.part {
                lead.installing = ticket;
            }
        }
    }

    /// Told only now: before, a crash could have made this replica forget a view that others go on from.
    pub(super) fn install_is_durable(&mut self, redeemed: Ticket) {
        let mut lead = match &mut self.part {
            Part::Proposer(lead) if lead.installing.is_some_and(|ticket| ticket <= redeemed) => std::mem::take(lead),
            Part::Proposer(_) | Part::Leader(_) | Part::Follower { .. } => return,
        };
        self.warm = true;
        self.known = self.views.installed.clone();
        lead.noop = self.log.last().next();
        self.part = Part::Leader(lead);
        self.append_own(Body::Noop);
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.meet(id);
        }
        self.duties.push(Duty::HeardLeader);
    }

    /// What a proposer or leader tells a peer when it becomes one, or when their link comes up.
    pub(super) fn meet(&mut self, id: ReplicaId) {
        let Some(Peer { intro, .. }) = self.peers.get(&id) else { return };
        let (member, run) = (intro.member, intro.run);
        let is_ours = intro.cluster.is_none() || intro.cluster == self.cluster();
        match &self.part {
            Part::Proposer(_) if self.views.promised.names(member, run) => {
                let view = self.views.promised.clone();
                self.say_view(id, ViewFrame::Propose(view));
            }
            Part::Leader(lead) if is_ours => {
                let known = lead.progress.contains_key(&id);
                self.say_view(id, ViewFrame::Installed(self.views.installed.clone()));
                if !known {
                    self.track(id);
                }
            }
            Part::Proposer(_) | Part::Leader(_) | Part::Follower { .. } => {}
        }
    }

    /// The proposer of the promised view says that it is installed; or that of another one, which this run is not in:
    /// from that it learns.
    pub(super) fn told_installed(&mut self, from: Member, run: Run, view: View) {
        if view.leader() != Some((from, run)) {
            return;
        }
        self.heard_to_lead((from, run));
        let promised = self.views.promised.id;
        let named = view.names(self.me, self.run);
        // A view that this replica promised in an earlier run is not one that it is in now.
        let learns = !named && view.id >= promised.max(self.following);
        if named && view.id == promised {
            if self.views.installed.id != view.id {
                self.set_views(Views { promised: view.clone(), installed: view.clone() });
            }
            self.warm = true;
        } else if learns {
            self.verified = if self.following == view.id { self.verified } else { Index(0) };
            self.warm = false;
            self.adopt(&view);
        } else {
            self.say_news(from.id, self.news());
            return;
        }
        self.following = view.id;
        self.known = view;
        self.part = Part::Follower { leader: Some(from.id) };
        self.duties.push(Duty::HeardLeader);
        // Its last words, perhaps.
        self.look_for_the_head();
    }
}
