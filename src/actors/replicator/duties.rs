//! Carrying out the node's duties, in order.

use std::time::{Duration, Instant};

use crate::actors::courier::CourierJob;
use crate::actors::internal::{Ending, ToElection, ToHeartbeat};
use crate::actors::messages::{Done, Entered, News};
use crate::actors::store::{LogJob, Own, StateJob, StateNews};
use crate::consensus::{Duty, Entry, Index, Input, Mark, Standing};
use crate::machine::audit::Verdict;
use crate::wire::PeerLine;
use chat::{Answer, MessageId};

use super::Replicator;
use super::requests::{Asked, Waiter};

/// While the state is this many entries behind the log, it is told how far it is,
const REBUILD_ENTRIES_MIN: u64 = 10_000;
/// not more often than this.
const REBUILD_TOLD_INTERVAL: Duration = Duration::from_secs(5);

impl Replicator {
    pub(super) fn carry_out(&mut self, duties: Vec<Duty>) {
        for duty in duties {
            match duty {
                Duty::Persist(batch) => {
                    self.storing.hand(batch.ticket, Instant::now());
                    self.to_log(LogJob::Persist(batch));
                }
                Duty::Load(reader, from, to) => self.to_log(LogJob::Load(reader, from, to)),
                Duty::Apply(entries) => {
                    self.handed = entries.last().map_or(self.handed, |entry| entry.index);
                    self.apply(entries);
                }
                Duty::Send(to, frame) => self.say(to, PeerLine::Frame(frame)),
                Duty::Pulse(to, frame) => self.pulse(to, frame),
                Duty::MakeSnapshot(at_least) => self.tell_courier(CourierJob::Make(at_least)),
                // While the sessions end, the one that is to be installed must stay.
                Duty::Fetch(..) if self.install.is_some() => {}
                Duty::Fetch(from, snapshot) => self.tell_courier(CourierJob::Fetch(from, snapshot)),
                Duty::Install(snapshot) => self.install(snapshot),
                Duty::GaveUp { from, count, to } => self.gave_up(from, count, to),
                Duty::StartAnew(why) => self.starts_anew(why),
                Duty::ReadReady(number, index) => self.requests.confirm(number, index),
                Duty::HeardLeader => self.heard_leader = true,
                Duty::Standing(standing) => self.stands(standing),
                Duty::StandSoon => self.stand_soon(),
                Duty::Founded(cluster) => {
                    // Set once; the node says it again after a start.
                    let _ = self.settings.shared.cluster.set(cluster.to_string());
                    log::info!("the cluster is founded: {cluster}");
                }
                Duty::Voters(membership) => {
                    let voters: Vec<String> = membership.voters.iter().map(|m| m.id.to_string()).collect();
                    if !voters.is_empty() {
                        log::info!("voters: {}", voters.join(", "));
                    }
                    self.view.voters(&membership.voters);
                    self.publish_book();
                }
                Duty::ChangeAnswered(number, verdict) => self.change_answered(number, verdict),
                Duty::Dismissed => self.dismissed(),
                Duty::RefuseRemoved(member, run) => {
                    log::warn!("replica {member} was removed from the cluster: it is told so");
                    self.say(member.id, PeerLine::Removed(member, run));
                }
                Duty::RefuseRestored(member, run) => {
                    log::warn!("replica {member} shows an old copy of its disk: it is told to start anew as blank");
                    self.say(member.id, PeerLine::Restored(member, run));
                }
            }
        }
    }

    fn to_log(&self, job: LogJob) {
        if let Some(outlets) = &self.outlets {
            outlets.log.send(job).expect("the log's thread lives as long as its queue");
        }
    }

    /// At once, if that is quick and in order: the state's thread has told of all that it was sent.
    fn apply(&mut self, entries: Vec<Entry>) {
        let at_once = match &self.outlets {
            Some(outlets) if self.state_owes == 0 => outlets.state.apply_at_once(&entries),
            _ => None,
        };
        match at_once {
            Some(news) => self.applied_at_once.push(news),
            None => self.hand_to_state(StateJob::Apply(entries)),
        }
    }

    pub(super) fn hand_to_state(&mut self, job: StateJob) {
        if let Some(outlets) = &self.outlets {
            self.state_owes += 1;
            outlets.state.send(job).expect("the state's thread lives as long as its queue");
        }
    }

    pub(super) fn to_election(&self, news: ToElection) {
        if let Some(outlets) = &self.outlets {
            outlets.election.do_send(news);
        }
    }

    fn stands(&mut self, standing: Standing) {
        let leader = standing.leader.map_or_else(|| "nobody".to_owned(), |id| format!("replica {id}"));
        log::info!("term {}: {:?}, led by {leader}", standing.term, standing.role);
        self.view.standing(standing, Instant::now());
        self.to_election(ToElection::Standing(standing));
        if let Some(outlets) = &self.outlets {
            outlets.heartbeat.do_send(ToHeartbeat::Standing(standing));
        }
    }

    /// Confirmed reads go to the state once it has been handed enough of the log: its queue keeps the order.
    pub(super) fn query_state(&mut self) {
        while let Some(read) = self.requests.ready(self.handed) {
            if self.hub.knows(read.session) {
                self.query(Asked { session: read.session, slot: read.slot, enters: read.enters }, read.query);
            } else {
                // 1. A login tells the leader that the account is online, and asks. 2. Its connection ends: it spoke for
                // nobody yet, so nobody leaves. 3. The read comes back: without this the account stayed online for ever.
                self.never_entered(&read);
            }
        }
    }

    /// Equal logs make equal states. Where they do not, who differs from a majority serves no more, and derives its state
    /// again; its log is the same as the others', row by row.
    pub(super) fn judge_state(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Agrees => {}
            // It differs from those whom it is about to yield to.
            _ if self.node.may_have_to_yield() => {}
            Verdict::Differs(id, index) => log::error!(
                "the states of this replica and of replica {id} differ after entry {index}, and no majority says which is \
                 wrong: stop the one whose disk or memory you trust less, and start it again without its state.db"
            ),
            Verdict::Outvoted(index) => {
                log::error!("a majority has another state than this replica after entry {index}");
                self.end(Ending::StateDamaged);
            }
        }
    }

    pub(super) fn query(&mut self, asked: Asked, query: chat::Query) {
        let number = self.requests.query(asked);
        self.hand_to_state(StateJob::Query(number, query));
    }

    // --- what the state says -----------------------------------------------------------------------------------

    pub(super) fn state_says(&mut self, news: StateNews) {
        match news {
            StateNews::Applied { until, own, effects, checkpoints } => {
                for one in own {
                    self.own_applied(one);
                }
                for effect in effects {
                    for name in self.hub.effect(effect) {
                        let news = self.online.leave(&name);
                        self.tell_presence(news);
                    }
                }
                for checkpoint in checkpoints {
                    let mark = Mark { index: checkpoint.index, digest: checkpoint.digest };
                    self.keeper.checkpoint(mark, Instant::now());
                    let verdict = self.view.checkpoint(checkpoint);
                    self.judge_state(verdict);
                }
                self.step(Input::Applied(until));
                self.tell_of_rebuild(until);
            }
            StateNews::Synced(index) => {
                self.keeper.synced(index);
                self.step(Input::StateDurable(index));
            }
            StateNews::Damaged => self.end(Ending::StateDamaged),
            StateNews::Answer(number, answer, applied) => {
                if let Some(asked) = self.requests.answered(number) {
                    self.answered(asked, answer, applied);
                }
            }
        }
    }

    /// After a start with an old state or none, which may take a while.
    fn tell_of_rebuild(&mut self, until: Index) {
        let commit = self.node.commit();
        if commit.0.saturating_sub(until.0) > REBUILD_ENTRIES_MIN
            && self.told_rebuild.elapsed() >= REBUILD_TOLD_INTERVAL
        {
            self.told_rebuild = Instant::now();
            log::info!("the state is derived from the log: {until} of {commit} entries applied");
        }
    }

    fn own_applied(&mut self, own: Own) {
        match own.outcome {
            Ok(outcome) => {
                self.origin.resolved(own.n);
                match self.requests.resolve(own.n) {
                    None => {}
                    Some(Waiter::Session(session, slot)) => {
                        self.hub.answer_write(session, slot, Ok(Done::Outcome(outcome)));
                    }
                    Some(Waiter::Expiry) => self.expiry.ended(Instant::now(), Some(&outcome)),
                    Some(Waiter::Marks(waiters)) => {
                        for (session, slot) in waiters {
                            self.hub.answer(session, slot, Ok(Done::Outcome(outcome.clone())));
                        }
                    }
                }
            }
            Err(expected) => self.origin.gap(own.n, expected),
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer, applied: Index) {
        let Asked { session, slot, enters } = asked;
        let Some((name, account)) = enters else {
            self.hub.answer(session, slot, Ok(Done::Answer(answer)));
            return;
        };
        let undelivered = match answer {
            Answer::Login(undelivered) => undelivered,
            _ => None,
        };
        let entered = match undelivered {
            Some(undelivered) if self.hub.knows(session) => {
                if let Some(before) = self.hub.enter(session, name, account) {
                    let news = self.online.leave(&before);
                    self.tell_presence(news);
                }
                Some(Entered { pushes_after: MessageId(self.node.id_at(applied)), undelivered })
            }
            _ => {
                // The account is gone, or the connection: it was told to be online for nothing.
                let news = self.online.leave(&name);
                self.tell_presence(news);
                None
            }
        };
        self.hub.tell(session, News::Answered(slot, Ok(Done::Entered(entered))));
    }
}
