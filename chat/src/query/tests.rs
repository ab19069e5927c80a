//! What each query answers.

use proptest::prelude::*;

use super::*;
use crate::{MapStorage, Millis, Text};

const BOB: AccountId = AccountId(2);

/// ann#1 and bob#2, and messages from one to the other with these ids.
fn mailbox(ids: impl IntoIterator<Item = u64>) -> MapStorage {
    let mut state = MapStorage::new();
    for (id, name) in [(1, "ann"), (2, "bob")] {
        let Ok(()) =
            state.insert_account(&Account { id: AccountId(id), name: Name::from_stored(name), password: None });
    }
    for id in ids {
        let text = Text::from_stored("x");
        let Ok(()) = state.insert_message(MessageId(id), AccountId(1), BOB, Millis(id), &text);
    }
    state
}

fn shown(backlog_to: u64, pushes_after: u64, pushed_to: u64) -> Shown {
    Shown { backlog_to: MessageId(backlog_to), pushes_after: MessageId(pushes_after), pushed_to: MessageId(pushed_to) }
}

fn ids(messages: &[Rendered]) -> Vec<u64> {
    messages.iter().map(|message| message.id.0).collect()
}

/// Ids, left, cut.
fn deliver(
    state: &MapStorage,
    shown: Shown,
    again_after: Option<u64>,
    limit: usize,
    bytes_max: usize,
) -> (Vec<u64>, u64, bool) {
    let again_after = again_after.map(MessageId);
    let query = Query::Undelivered { account: BOB, shown, again_after, limit, bytes_max };
    match answer(state, &query) {
        Ok(Answer::Undelivered { messages, left, cut }) => (ids(&messages), left, cut),
        Ok(other) => panic!("{other:?}"),
    }
}

const ALL: usize = usize::MAX;
/// `msg|10|ann|1970-01-01T00:00:00.010Z|x` with its LF.
const LINE_BYTES: usize = 38;

#[test]
fn what_was_shown_is_two_ranges() {
    for (shown, id, expected) in [
        (shown(0, 0, 0), 99, &[][..]),
        (shown(5, 0, 0), 99, &[(1, 5)]),
        (shown(0, 7, 9), 99, &[(8, 9)]),
        (shown(0, 7, 7), 99, &[]),
        (shown(5, 7, 9), 99, &[(1, 5), (8, 9)]),
        (shown(5, 7, 9), 8, &[(1, 5), (8, 8)]),
        (shown(5, 7, 9), 7, &[(1, 5)]),
        (shown(5, 7, 9), 3, &[(1, 3)]),
        (shown(5, 7, 9), 0, &[]),
        (shown(7, 7, 9), 99, &[(1, 9)]),
        (shown(6, 7, 9), 99, &[(1, 6), (8, 9)]),
        (shown(20, 7, 9), 99, &[(1, 20)]),
        (shown(8, 7, 9), 99, &[(1, 9)]),
        (shown(u64::MAX, u64::MAX, u64::MAX), u64::MAX, &[(1, u64::MAX)]),
    ] {
        let ranges: Vec<(u64, u64)> =
            shown.ranges_up_to(MessageId(id)).iter().map(|range| (range.from.0, range.to.0)).collect();
        assert_eq!(ranges, expected, "{shown:?} up to {id}");
    }
}

#[test]
fn automatic_deliver_skips_what_was_shown() {
    let state = mailbox([10, 20, 30, 40, 50]);
    assert_eq!(deliver(&state, shown(0, 0, 0), None, ALL, ALL), (vec![10, 20, 30, 40, 50], 0, false));
    assert_eq!(deliver(&state, shown(0, 35, 45), None, ALL, ALL), (vec![10, 20, 30, 50], 0, false));
    assert_eq!(deliver(&state, shown(10, 35, 45), None, 1, ALL), (vec![20], 2, false));
    assert_eq!(deliver(&state, shown(50, 0, 0), None, ALL, ALL), (vec![], 0, false));
    assert_eq!(deliver(&state, shown(0, 0, 0), None, 0, ALL), (vec![], 5, false));
}

#[test]
fn manual_deliver_repeats_what_was_not_acked_and_leaves_what_was_not_shown() {
    let state = mailbox([10, 20, 30, 40, 50]);
    let pushed = shown(0, 35, 45);
    assert_eq!(deliver(&state, pushed, Some(0), 2, ALL), (vec![10, 20], 2, false), "left: 30 and 50, but not 40");
    assert_eq!(deliver(&state, pushed, Some(0), ALL, ALL), (vec![10, 20, 30, 40, 50], 0, false));
    let printed = shown(50, 35, 45);
    assert_eq!(deliver(&state, printed, Some(0), 2, ALL), (vec![10, 20], 0, false), "comes again, and counts as shown");
}

#[test]
fn a_byte_limit_cuts_after_the_message_that_reaches_it() {
    let state = mailbox([10, 20, 30]);
    let none = shown(0, 0, 0);
    assert_eq!(deliver(&state, none, None, ALL, 0), (vec![10], 2, true), "at least one");
    assert_eq!(deliver(&state, none, None, ALL, LINE_BYTES), (vec![10], 2, true));
    assert_eq!(deliver(&state, none, None, ALL, LINE_BYTES + 1), (vec![10, 20], 1, true));
    assert_eq!(deliver(&state, none, None, 1, 1), (vec![10], 2, false), "the count was reached as well");
    assert_eq!(deliver(&state, shown(20, 0, 0), None, ALL, 1), (vec![30], 0, false), "nothing follows");
    assert_eq!(deliver(&state, shown(30, 0, 0), Some(10), ALL, 1), (vec![20], 0, true), "manual: more comes again");
    assert_eq!(deliver(&state, shown(30, 0, 0), Some(20), ALL, 1), (vec![30], 0, false));
}

#[test]
fn pages_join_without_a_seam() {
    let many: Vec<u64> = (10..10 + 3 * QUERY_PAGE_MESSAGES as u64).collect();
    let state = mailbox(many.clone());
    assert_eq!(deliver(&state, shown(0, 0, 0), None, ALL, ALL), (many.clone(), 0, false));
    let limit = QUERY_PAGE_MESSAGES + 1;
    let left = (many.len() - limit) as u64;
    assert_eq!(deliver(&state, shown(0, 0, 0), None, limit, ALL), (many[..limit].to_vec(), left, false));
}

#[test]
fn a_byte_limit_bounds_what_is_read_for_it() {
    let mut room = Room::new(ALL, 1);
    let mut asked = Vec::new();
    let state = mailbox(10..10 + 3 * QUERY_PAGE_MESSAGES as u64);
    let Ok(()) = room.fill(IdRange::new(MessageId(1), MAX), |after, count| {
        asked.push(count);
        state.undelivered(BOB, after, count)
    });
    assert_eq!((asked, room.messages.len()), (vec![QUERY_PAGE_MESSAGES], 1));
}

#[test]
fn received_feeds_a_session_that_fell_behind() {
    let mut state = mailbox([10, 20, 30]);
    let Ok(_) = state.mark_delivered(BOB, IdRange::new(MessageId(10), MessageId(20)));
    for (after, limit, bytes_max, expected) in [
        (0, ALL, ALL, (vec![10, 20, 30], true)),
        (10, 1, ALL, (vec![20], false)),
        (10, 2, ALL, (vec![20, 30], true)),
        (0, ALL, 1, (vec![10], false)),
        (20, ALL, 1, (vec![30], true)),
        (30, ALL, ALL, (vec![], true)),
        (0, 0, ALL, (vec![], false)),
    ] {
        let query = Query::Received { account: BOB, after: MessageId(after), limit, bytes_max };
        let Ok(Answer::Received { messages, exhausted }) = answer(&state, &query) else { panic!("another answer") };
        assert_eq!((ids(&messages), exhausted), expected, "{query:?}");
    }
}

#[test]
fn messages_come_as_lines() {
    let query = Query::Received { account: BOB, after: MessageId(0), limit: 1, bytes_max: 1 };
    let Ok(Answer::Received { messages, .. }) = answer(&mailbox([10]), &query) else { panic!("another answer") };
    assert_eq!(messages[0].line, "msg|10|ann|1970-01-01T00:00:00.010Z|x\n");
    assert_eq!(messages[0].line.len(), LINE_BYTES);
}

#[test]
fn a_history_that_does_not_fit_is_named_and_comes_later() {
    let mut state = mailbox([10, 20, 30, 40]);
    let page = HistoryPage::Before(MessageId(40));
    let query = Query::History { account: BOB, with: None, page, limit: 9, bytes_max: 1 };
    let Ok(Answer::History { messages, rest }) = answer(&state, &query) else { panic!("another answer") };
    assert_eq!(messages[0].line, "past|10|ann|bob|1970-01-01T00:00:00.010Z|x\n");
    assert_eq!((messages.len(), &rest[..]), (1, &[MessageId(20), MessageId(30)][..]));
    let query = Query::HistoryRest { account: BOB, ids: rest, bytes_max: ALL };
    let Ok(Answer::History { messages, rest }) = answer(&state, &query) else { panic!("another answer") };
    assert_eq!((ids(&messages), rest), (vec![20, 30], vec![]));
    let Ok(()) = state.erase(BOB, MessageId(30));
    assert_eq!(answer(&state, &query), Ok(Answer::HistoryChanged), "half of it would be of another moment");
    let nobody = AccountId(77);
    let query = Query::History { account: nobody, with: None, page, limit: 9, bytes_max: ALL };
    assert_eq!(answer(&state, &query), Ok(Answer::History { messages: vec![], rest: vec![] }));
}

#[test]
fn list_shows_some_and_counts_all() {
    let mut state = MapStorage::new();
    for (id, name) in ["abe", "ann", "bob", "cyd", "dan"].into_iter().enumerate() {
        let account = Account { id: AccountId(id as u64 + 1), name: Name::from_stored(name), password: None };
        let Ok(()) = state.insert_account(&account);
    }
    for (regex, after, limit, shown, total) in [
        ("", None, ALL, "abe ann bob cyd dan", 5),
        ("", None, 2, "abe ann", 5),
        ("", Some("ann"), 1, "bob", 3),
        ("^a|d$", None, ALL, "abe ann cyd", 3),
        ("an", Some("ann"), ALL, "dan", 1),
        ("x", None, ALL, "", 0),
        ("a", None, 0, "", 3),
    ] {
        let regex = Some(regex).filter(|regex| !regex.is_empty()).map(|regex| Regex::new(regex).expect("a regex"));
        let query = Query::List { regex, after: after.map(Name::from_stored), limit };
        let Ok(Answer::List { names, matching }) = answer(&state, &query) else { panic!("another answer") };
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        assert_eq!((names.join(" ").as_str(), matching), (shown, total), "{query:?}");
    }
}

#[test]
fn login_is_to_the_very_account() {
    let state = mailbox([10, 20]);
    let bob = Name::from_stored("bob");
    assert_eq!(answer(&state, &Query::Login(bob.clone(), BOB)), Ok(Answer::Login(Some(2))));
    assert_eq!(answer(&state, &Query::Login(bob.clone(), AccountId(1))), Ok(Answer::Login(None)));
    assert_eq!(answer(&state, &Query::Login(Name::from_stored("eve"), BOB)), Ok(Answer::Login(None)));
    let Ok(Answer::Account(Some(account))) = answer(&state, &Query::Account(bob)) else { panic!("bob lives") };
    assert_eq!(account.id, BOB);
    assert_eq!(answer(&state, &Query::Account(Name::from_stored("eve"))), Ok(Answer::Account(None)));
    assert_eq!(answer(&state, &Query::Barrier), Ok(Answer::Current));
}

proptest! {
    #[test]
    fn ranges_and_covers_agree(a in 0u64..12, b in 0u64..12, c in 0u64..12, up_to in 0u64..14) {
        let shown = shown(a, b, c);
        let ranges = shown.ranges_up_to(MessageId(up_to));
        let gaps = shown.gaps();
        for id in (1..16).map(MessageId) {
            let covered = shown.covers(id);
            prop_assert_eq!(ranges.iter().any(|range| range.contains(id)), covered && id.0 <= up_to);
            prop_assert_eq!(gaps.iter().any(|gap| gap.contains(id)), !covered);
        }
        prop_assert!(ranges.windows(2).all(|pair| pair[0].to.0 + 1 < pair[1].from.0));
    }

    /// Automatic mode: a client that asks page after page is shown everything once, and `left` counts down to it.
    #[test]
    fn paging_shows_everything_once(
        present in prop::collection::btree_set(1u64..60, 0..30),
        pushes in (0u64..60, 0u64..20),
        limit in 1usize..5,
        bytes_max in 1usize..120,
    ) {
        let state = mailbox(present.iter().copied());
        let mut shown = shown(0, pushes.0, pushes.0 + pushes.1);
        let expected: Vec<u64> = present.iter().copied().filter(|id| !shown.covers(MessageId(*id))).collect();
        let mut printed = Vec::new();
        loop {
            let (ids, left, cut) = deliver(&state, shown, None, limit, bytes_max);
            prop_assert_eq!(left as usize, expected.len() - printed.len() - ids.len());
            prop_assert!(!cut || (left > 0 && ids.len() < limit));
            let Some(last) = ids.last() else { break };
            shown.backlog_to = MessageId(*last);
            printed.extend(ids);
        }
        prop_assert_eq!(printed, expected);
    }
}
