//! Changes of members that somebody asked this replica for, until the leader has answered them. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::actors::admin::{Answer, CHANGE_TIMEOUT};
use crate::consensus::{Change, Refusal, Verdict};
use crate::wire::admin::Places;

/// The pause before a leader that said "later" is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// See the module's header.
#[derive(Debug, Default)]
pub struct Admin {
    next: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    change: Change,
    answer: oneshot::Sender<Answer>,
    deadline: Instant,
    /// When it is asked, or asked again; `None` while its answer is awaited.
    due: Option<Instant>,
    asked: u32,
}

impl Admin {
    /// Somebody asks.
    pub fn open(&mut self, change: Change, answer: oneshot::Sender<Answer>, now: Instant) {
        self.next += 1;
        let open = Open { change, answer, deadline: now + CHANGE_TIMEOUT, due: Some(now), asked: 0 };
        self.open.insert(self.next, open);
    }

    /// Another leader, or another link to it: whatever was asked may never be answered.
    pub fn ask_again(&mut self, now: Instant) {
        self.open.values_mut().for_each(|open| open.due = Some(now));
    }

    /// What is to be asked now.
    pub fn due(&mut self, now: Instant) -> Vec<(u64, Change)> {
        let due = |open: &&mut Open| open.due.is_some_and(|at| at <= now);
        let mut changes = Vec::new();
        for (number, open) in &mut self.open {
            if due(&open) {
                open.due = None;
                open.asked += 1;
                changes.push((*number, open.change.clone()));
            }
        }
        changes
    }

    /// The leader has answered.
    pub fn answered(&mut self, number: u64, verdict: Verdict, places: impl FnOnce() -> Places, now: Instant) {
        let Some(open) = self.open.get_mut(&number) else { return };
        // 1. It is asked for, and appended. 2. The leader changes before it is committed. 3. The next one is asked again,
        // and finds a change under way: this very one.
        let own = open.asked > 1 && verdict == Verdict::Refused(Refusal::UnderWay);
        if own || verdict == Verdict::Later {
            open.due = Some(now + ASK_AGAIN);
            return;
        }
        if let Some(open) = self.open.remove(&number) {
            // Who asked may be gone.
            let _ = open.answer.send(Answer { verdict, places: places() });
        }
    }

    /// Whether nobody waits for a change.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Gives up what has waited too long: it may still come about.
    pub fn expire(&mut self, now: Instant, places: impl Fn() -> Places) {
        for (_, open) in self.open.extract_if(.., |_, open| open.deadline <= now) {
            let _ = open.answer.send(Answer { verdict: Verdict::Later, places: places() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Index, ReplicaId};

    #[test]
    fn a_change_is_asked_again_until_it_is_answered() {
        let (mut admin, start) = (Admin::default(), Instant::now());
        let (answer, mut told) = oneshot::channel();
        admin.open(Change::Remove(ReplicaId(3)), answer, start);
        assert_eq!(admin.due(start).len(), 1);
        assert_eq!(admin.due(start + CHANGE_TIMEOUT), [], "its answer is awaited");
        admin.answered(1, Verdict::Later, Places::default, start);
        assert_eq!(admin.due(start), []);
        assert_eq!(admin.due(start + ASK_AGAIN).len(), 1);
        admin.answered(1, Verdict::Refused(Refusal::UnderWay), Places::default, start);
        assert!(told.try_recv().is_err(), "the change under way may be this one");
        admin.answered(1, Verdict::Done(Index(4)), Places::default, start);
        assert_eq!(told.try_recv().map(|answer| answer.verdict), Ok(Verdict::Done(Index(4))));
    }

    #[test]
    fn another_change_under_way_is_told_and_patience_ends() {
        let (mut admin, start) = (Admin::default(), Instant::now());
        let (answer, mut told) = oneshot::channel();
        admin.open(Change::Remove(ReplicaId(3)), answer, start);
        admin.due(start);
        admin.answered(1, Verdict::Refused(Refusal::UnderWay), Places::default, start);
        assert!(told.try_recv().is_ok(), "another one");
        let (answer, mut told) = oneshot::channel();
        admin.open(Change::Remove(ReplicaId(3)), answer, start);
        admin.expire(start + CHANGE_TIMEOUT, Places::default);
        assert_eq!(told.try_recv().map(|answer| answer.verdict), Ok(Verdict::Later));
    }
}
