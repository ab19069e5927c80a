//! What goes when, and what stays.

use super::*;
use crate::{Command, Effect, MapStorage, apply_within};

const DAY: u64 = 24 * 60 * 60;
const MONTH: Quota = Quota { retention: Some(30 * DAY), ..Quota::NONE };

/// A state, the next index, and the leader's clock in days.
#[derive(Default)]
struct World {
    state: MapStorage,
    index: u64,
    day: u64,
}

impl World {
    /// ann#1 and bob#2.
    fn new() -> Self {
        let mut world = Self::default();
        world.says("|1|ann");
        world.says("|1|bob");
        world
    }

    fn says(&mut self, line: &str) -> String {
        self.says_under(&MONTH, line)
    }

    fn says_under(&mut self, quota: &Quota, line: &str) -> String {
        self.index += 1;
        let command = Command::parse(line).unwrap_or_else(|bad| panic!("{line}: {bad}"));
        let (time, mut effects) = (Millis(self.day * DAY * 1_000), Vec::<Effect>::new());
        let Ok(outcome) = apply_within(&mut self.state, self.index, time, true, quota, &command, &mut effects);
        outcome.to_string()
    }

    fn history(&self, account: u64) -> Vec<u64> {
        let page = crate::HistoryPage::After(MessageId(0));
        let Ok(ids) = self.state.history(AccountId(account), None, page, usize::MAX);
        ids.iter().map(|id| id.0).collect()
    }
}

#[test]
fn what_was_delivered_goes_from_both_views_when_its_time_is_over() {
    let mut world = World::new();
    assert_eq!(world.says("ann#1|5|bob|first"), "ok|sent|3");
    assert_eq!(world.says("ann#1|5|bob|second"), "ok|sent|4");
    assert_eq!(world.says("|mark|2:1-3"), "ok|marked");
    world.day = 10;
    assert_eq!(world.says("bob#2|9|4|4-4"), "ok|acked|4");
    world.day = 29;
    assert_eq!(world.says("|expire"), "ok|expired|0");
    assert_eq!((world.history(1), world.history(2)), (vec![3, 4], vec![3, 4]));
    world.day = 30;
    assert_eq!(world.says("|expire"), "ok|expired|1");
    assert_eq!((world.history(1), world.history(2)), (vec![4], vec![4]));
    assert_eq!(world.says("bob#2|8|3"), "err|NO_SUCH_MESSAGE");
    world.day = 40;
    assert_eq!(world.says("|expire"), "ok|expired|1");
    assert_eq!((world.history(1), world.history(2)), (vec![], vec![]));
}

#[test]
fn what_is_undelivered_stays_however_old() {
    let mut world = World::new();
    world.says("ann#1|5|bob|waits");
    world.day = 10_000;
    assert_eq!(world.says("|expire"), "ok|expired|0");
    assert_eq!(world.history(2), [3]);
    assert_eq!(world.state.undelivered_count(AccountId(2)), Ok(1));
}

#[test]
fn what_was_delivered_without_a_retention_stays_and_a_step_without_one_takes_nothing() {
    let mut world = World::new();
    world.says("ann#1|5|bob|kept");
    world.says_under(&Quota::NONE, "|mark|2:1-3");
    world.says("ann#1|5|bob|goes");
    world.says("|mark|2:1-99");
    world.day = 31;
    assert_eq!(world.says_under(&Quota::NONE, "|expire"), "ok|expired|0");
    assert_eq!(world.says("|expire"), "ok|expired|2", "the later mark says of both that they are delivered");
    assert_eq!(world.history(2), [0; 0]);
}

#[test]
fn a_retention_that_is_changed_counts_at_once() {
    let mut world = World::new();
    world.says("ann#1|5|bob|x");
    world.says("|mark|2:1-3");
    world.day = 8;
    assert_eq!(world.says("|expire"), "ok|expired|0");
    assert_eq!(world.says_under(&Quota { retention: Some(7 * DAY), ..Quota::NONE }, "|expire"), "ok|expired|1");
}

#[test]
fn a_step_is_bounded_and_says_that_there_is_more() {
    const MESSAGES: usize = 3 * EXPIRE_PAGE_MESSAGES + 1;
    let mut world = World::new();
    for _ in 0..MESSAGES {
        world.says("ann#1|5|bob|in one mark");
    }
    let last = world.index;
    world.says(&format!("|mark|2:1-{last}"));
    for _ in 0..EXPIRE_DELIVERIES_MAX {
        world.says("ann#1|5|bob|in a mark of its own");
        let id = world.index;
        world.says(&format!("|mark|2:{id}-{id}"));
    }
    world.day = 30;
    let first = MESSAGES + EXPIRE_DELIVERIES_MAX - 4;
    assert_eq!(world.says("|expire"), format!("ok|expired|{first}|more"));
    assert_eq!(world.says("|expire"), "ok|expired|4");
    assert_eq!(world.history(1), [0; 0]);
}

#[test]
fn the_senders_copy_is_found_under_its_owner_alone() {
    let mut world = World::new();
    world.says("ann#1|5|bob|from the first ann");
    world.says("|mark|2:1-3");
    world.says("ann#1|4");
    world.says("|1|ann");
    world.says("bob#2|5|bob|to myself");
    let own = world.index;
    world.says(&format!("|mark|2:{own}-{own}"));
    world.day = 30;
    assert_eq!(world.says("|expire"), "ok|expired|2");
    assert_eq!(world.history(2), [0; 0]);
}

#[test]
fn deliveries_to_an_account_that_is_gone_are_forgotten_and_its_senders_keep_their_copies() {
    let mut world = World::new();
    world.says("ann#1|5|bob|x");
    world.says("|mark|2:1-3");
    world.says("bob#2|4");
    world.day = 30;
    assert_eq!(world.says("|expire"), "ok|expired|0");
    assert_eq!(world.state.oldest_delivery(), Ok(None));
    assert_eq!(world.history(1), [3]);
}
