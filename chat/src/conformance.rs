//! The contract of [`Storage`], sentence by sentence, for whoever implements it.
//!
//! Each check wants a fresh, empty storage of its own:
//!
//! ```
//! for (name, check) in chat::conformance::checks() {
//!     println!("{name}");
//!     check(&mut chat::MapStorage::new());
//! }
//! ```
//!
//! A check panics with what it expected. The last one walks at random beside a [`MapStorage`] and compares all that can
//! be read.

use std::fmt::Debug;

use crate::{
    Account, AccountId, HistoryPage, IdRange, Key, KeyMemory, MapStorage, Message, MessageId, Millis, Name,
    PasswordHash, Storage, Text,
};

mod deliveries;

use deliveries::deliveries_are_kept_in_order;

/// One check, on a fresh storage.
pub type Check<S> = fn(&mut S);

/// Every check with its name.
pub fn checks<S: Storage>() -> Vec<(&'static str, Check<S>)>
where
    S::Error: Debug,
{
    vec![
        ("accounts live under their name until they are removed", accounts_live_until_removed),
        ("names are visited in byte order, after the given one, until told to stop", names_are_visited_in_order),
        ("a message is one undelivered entry of its recipient", a_message_waits_for_its_recipient),
        ("a message to oneself is one view and one undelivered entry", a_message_to_oneself_is_one),
        ("undelivered and received go on after an id, up to a limit", pages_go_on_after_an_id),
        ("marks count what they mark, once", marks_count_what_they_mark),
        ("a password is replaced, and nothing else", a_password_is_replaced),
        ("history is what was sent and received, page by page in both directions", history_pages_both_ways),
        ("history with a name is with all who ever had it", history_with_a_name),
        ("what is erased is gone from one view, and from what is undelivered to it", erased_from_one_view),
        ("accounts and undelivered bytes are counted", accounts_and_bytes_are_counted),
        ("an account that is gone has nothing", an_account_that_is_gone_has_nothing),
        ("what a deleted account sent stays, under its name", what_was_sent_stays),
        ("a successor of the same name sees nothing of its predecessor's", a_successor_sees_nothing),
        ("a key remembers, per account", keys_remember_per_account),
        ("the oldest keys are forgotten", the_oldest_keys_are_forgotten),
        ("deliveries come back in the order of their entries, and outlive accounts", deliveries_are_kept_in_order),
        ("numbers up to i64::MAX are kept", large_numbers_are_kept),
        ("a random walk agrees with the map", a_random_walk_agrees_with_the_map),
    ]
}

const NONE: MessageId = MessageId(0);
const ALL: usize = usize::MAX;
const NEWEST: HistoryPage = before(u64::MAX);
const OLDEST: HistoryPage = after(0);

const fn before(id: u64) -> HistoryPage {
    HistoryPage::Before(MessageId(id))
}

const fn after(id: u64) -> HistoryPage {
    HistoryPage::After(MessageId(id))
}

fn name(word: &str) -> Name {
    Name::from_stored(word)
}

fn key(word: &str) -> Key {
    Key::from_stored(word)
}

fn memory(request: u64, outcome: &str) -> KeyMemory {
    KeyMemory { request, outcome: outcome.to_owned() }
}

fn range(from: u64, to: u64) -> IdRange {
    IdRange::new(MessageId(from), MessageId(to))
}

/// Reads and writes that cannot fail on a sound disk.
fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("a storage under test does not fail")
}

fn enter<S: Storage>(storage: &mut S, id: u64, word: &str) -> Account
where
    S::Error: Debug,
{
    let account = Account { id: AccountId(id), name: name(word), password: None };
    ok(storage.insert_account(&account));
    account
}

fn say<S: Storage>(storage: &mut S, id: u64, from: &Account, to: &Account, text: &str) -> Message
where
    S::Error: Debug,
{
    let message = Message {
        id: MessageId(id),
        from: from.name.clone(),
        to: to.name.clone(),
        time: Millis(1_000 + id),
        text: Text::from_stored(text),
    };
    ok(storage.insert_message(message.id, from.id, to.id, message.time, &message.text));
    message
}

fn numbers(ids: &[MessageId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

/// The account's whole history with a name.
fn with<S: Storage>(storage: &S, account: &Account, word: &str) -> Vec<u64>
where
    S::Error: Debug,
{
    numbers(&ok(storage.history(account.id, Some(&name(word)), NEWEST, ALL)))
}

fn ids(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.id.0).collect()
}

fn accounts_live_until_removed<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    assert_eq!(ok(storage.account(&name("bob"))), None);
    let bob = enter(storage, 3, "bob");
    let hash = PasswordHash::from_stored("$argon2id$v=19$x");
    let ann = Account { id: AccountId(4), name: name("ann"), password: Some(hash) };
    ok(storage.insert_account(&ann));
    assert_eq!(ok(storage.account(&name("bob"))), Some(bob.clone()));
    assert_eq!(ok(storage.account(&name("ann"))), Some(ann.clone()), "the password hash is kept");
    ok(storage.remove_account(&bob));
    assert_eq!(ok(storage.account(&name("bob"))), None);
    assert_eq!(ok(storage.account(&name("ann"))), Some(ann));
    let again = enter(storage, 9, "bob");
    assert_eq!(ok(storage.account(&name("bob"))), Some(again), "the name is free again");
}

fn names_are_visited_in_order<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    for (id, word) in ["é", "b", "a", "ba", "a-", "z", "中"].into_iter().enumerate() {
        enter(storage, id as u64 + 1, word);
    }
    let visit = |after: Option<&str>, stop_after: usize| {
        let mut seen = Vec::new();
        let after = after.map(name);
        ok(storage.names(after.as_ref(), &mut |name| {
            seen.push(name.to_string());
            seen.len() < stop_after
        }));
        seen.join(" ")
    };
    assert_eq!(visit(None, ALL), "a a- b ba z é 中");
    assert_eq!(visit(Some("b"), ALL), "ba z é 中", "greater than the given one only");
    assert_eq!(visit(Some("c"), ALL), "z é 中", "which need not exist");
    assert_eq!(visit(Some("中"), ALL), "");
    assert_eq!(visit(None, 2), "a a-", "visit says when to stop");
}

fn a_message_waits_for_its_recipient<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    let both = [say(storage, 3, &ann, &bob, "a|b\tc é"), say(storage, 5, &ann, &bob, "2")];
    assert_eq!(ok(storage.undelivered_count(bob.id)), 2);
    assert_eq!(ok(storage.undelivered(bob.id, NONE, ALL)), both);
    assert_eq!(ok(storage.received(bob.id, NONE, ALL)), both);
    assert_eq!(ok(storage.undelivered_count(ann.id)), 0, "nothing waits for the sender");
    assert_eq!(ok(storage.undelivered(ann.id, NONE, ALL)), []);
    assert_eq!(ok(storage.received(ann.id, NONE, ALL)), [], "what one sent is not what one received");
}

fn a_message_to_oneself_is_one<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let ann = enter(storage, 1, "ann");
    let note = say(storage, 2, &ann, &ann, "milk");
    assert_eq!(ok(storage.undelivered_count(ann.id)), 1);
    let note = [note];
    assert_eq!(ok(storage.undelivered(ann.id, NONE, ALL)), note);
    assert_eq!(ok(storage.received(ann.id, NONE, ALL)), note);
    assert_eq!(ok(storage.mark_delivered(ann.id, range(1, 9))), 1);
    assert_eq!(ok(storage.undelivered_count(ann.id)), 0);
}

fn pages_go_on_after_an_id<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    for id in [10, 20, 30, 40] {
        say(storage, id, &ann, &bob, "x");
    }
    ok(storage.mark_delivered(bob.id, range(20, 20)));
    assert_eq!(ids(&ok(storage.undelivered(bob.id, NONE, 2))), [10, 30]);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, MessageId(10), ALL))), [30, 40]);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, MessageId(11), 1))), [30]);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, MessageId(40), ALL))), []);
    assert_eq!(ids(&ok(storage.received(bob.id, MessageId(10), 2))), [20, 30], "delivered ones too");
    assert_eq!(ids(&ok(storage.received(bob.id, MessageId(40), ALL))), []);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, MessageId(u64::MAX), ALL))), []);
    assert_eq!(ids(&ok(storage.received(bob.id, NONE, 0))), []);
}

fn marks_count_what_they_mark<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    for id in [10, 20, 30, 40] {
        say(storage, id, &ann, &bob, "x");
    }
    assert_eq!(ok(storage.undelivered_in(bob.id, range(10, 30))), 3, "both ends are in the range");
    assert_eq!(ok(storage.undelivered_in(bob.id, range(11, 29))), 1);
    assert_eq!(ok(storage.undelivered_in(bob.id, range(30, 10))), 0, "an empty range");
    assert_eq!(ok(storage.undelivered_in(bob.id, range(0, u64::MAX))), 4);
    assert_eq!(ok(storage.mark_delivered(bob.id, range(30, 10))), 0);
    assert_eq!(ok(storage.mark_delivered(ann.id, range(0, u64::MAX))), 0, "nothing waits for the sender");
    assert_eq!(ok(storage.mark_delivered(bob.id, range(15, 30))), 2);
    assert_eq!(ok(storage.mark_delivered(bob.id, range(15, 30))), 0, "once");
    assert_eq!(ok(storage.undelivered_count(bob.id)), 2);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, NONE, ALL))), [10, 40]);
    assert_eq!(ok(storage.mark_delivered(bob.id, range(0, u64::MAX))), 2);
    assert_eq!(ok(storage.undelivered_count(bob.id)), 0);
}

fn a_password_is_replaced<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    say(storage, 3, &ann, &bob, "x");
    for hash in ["$argon2id$first", "$argon2id$second"] {
        let password = PasswordHash::from_stored(hash);
        ok(storage.set_password(bob.id, &password));
        assert_eq!(ok(storage.account(&bob.name)), Some(Account { password: Some(password), ..bob.clone() }));
    }
    assert_eq!(ok(storage.account(&ann.name)), Some(ann));
    assert_eq!(ok(storage.undelivered_count(bob.id)), 1);
}

fn history_pages_both_ways<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    for (id, from, to) in [(10, &ann, &bob), (20, &bob, &ann), (30, &ann, &ann), (40, &bob, &bob), (50, &ann, &bob)] {
        say(storage, id, from, to, "x");
    }
    ok(storage.mark_delivered(ann.id, range(0, u64::MAX)));
    for (page, limit, ids) in [
        (NEWEST, ALL, &[10, 20, 30, 50][..]),
        (NEWEST, 2, &[30, 50]),
        (before(30), ALL, &[10, 20]),
        (before(30), 1, &[20]),
        (before(31), 1, &[30]),
        (before(10), ALL, &[]),
        (before(0), ALL, &[]),
        (OLDEST, ALL, &[10, 20, 30, 50]),
        (OLDEST, 3, &[10, 20, 30]),
        (after(20), 1, &[30]),
        (after(21), ALL, &[30, 50]),
        (after(50), ALL, &[]),
        (after(u64::MAX), ALL, &[]),
        (NEWEST, 0, &[]),
    ] {
        assert_eq!(numbers(&ok(storage.history(ann.id, None, page, limit))), ids, "{page:?} {limit}");
    }
    assert_eq!(numbers(&ok(storage.history(bob.id, None, NEWEST, ALL))), [10, 20, 40, 50]);
    let message = ok(storage.in_view(ann.id, MessageId(20))).expect("it is in the view");
    assert_eq!((message.from.as_str(), message.to.as_str(), message.time), ("bob", "ann", Millis(1_020)));
    assert_eq!(ok(storage.in_view(ann.id, MessageId(40))), None, "it is bob's");
    for id in [0, 11, u64::MAX] {
        assert_eq!(ok(storage.in_view(ann.id, MessageId(id))), None, "there is none");
    }
}

fn history_with_a_name<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob, cyd) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"), enter(storage, 3, "cyd"));
    say(storage, 10, &ann, &bob, "x");
    say(storage, 11, &cyd, &ann, "x");
    say(storage, 12, &ann, &ann, "x");
    ok(storage.remove_account(&bob));
    assert_eq!(with(storage, &ann, "bob"), [10], "also while nobody has the name");
    let second = enter(storage, 13, "bob");
    say(storage, 14, &second, &ann, "x");
    say(storage, 15, &ann, &cyd, "x");
    say(storage, 16, &ann, &second, "x");
    assert_eq!(with(storage, &ann, "bob"), [10, 14, 16]);
    assert_eq!(with(storage, &ann, "cyd"), [11, 15]);
    assert_eq!(with(storage, &ann, "ann"), [12], "with oneself");
    assert_eq!(with(storage, &ann, "dan"), [], "a name that nobody had");
    assert_eq!(with(storage, &second, "ann"), [14, 16]);
    let bob = name("bob");
    for (page, limit, ids) in [
        (NEWEST, 2, &[14, 16][..]),
        (before(16), 1, &[14]),
        (before(10), 9, &[]),
        (OLDEST, 1, &[10]),
        (after(10), 1, &[14]),
        (after(16), 9, &[]),
    ] {
        assert_eq!(numbers(&ok(storage.history(ann.id, Some(&bob), page, limit))), ids, "{page:?} {limit}");
    }
}

fn erased_from_one_view<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    for id in [10, 20, 30] {
        say(storage, id, &ann, &bob, "x");
    }
    say(storage, 40, &ann, &ann, "x");
    ok(storage.mark_delivered(bob.id, range(30, 30)));
    for id in [10, 30] {
        ok(storage.erase(bob.id, MessageId(id)));
    }
    assert_eq!((with(storage, &bob, "ann"), with(storage, &ann, "bob")), (vec![20], vec![10, 20, 30]));
    assert_eq!(ok(storage.undelivered_count(bob.id)), 1);
    assert_eq!(ok(storage.undelivered_in(bob.id, range(0, 19))), 0);
    assert_eq!(ids(&ok(storage.undelivered(bob.id, NONE, ALL))), [20]);
    assert_eq!(ids(&ok(storage.received(bob.id, NONE, ALL))), [20]);
    assert_eq!(ok(storage.in_view(bob.id, MessageId(10))), None);
    assert!(ok(storage.in_view(ann.id, MessageId(10))).is_some());
    ok(storage.erase(ann.id, MessageId(20)));
    assert_eq!(ids(&ok(storage.undelivered(bob.id, NONE, ALL))), [20], "the recipient's is another view");
    for id in [10, 30, 40] {
        ok(storage.erase(ann.id, MessageId(id)));
    }
    assert_eq!(numbers(&ok(storage.history(ann.id, None, NEWEST, ALL))), []);
    assert_eq!(ok(storage.undelivered_count(ann.id)), 0);
    assert_eq!(numbers(&ok(storage.history(bob.id, None, NEWEST, ALL))), [20]);
    assert_eq!(ok(storage.mark_delivered(bob.id, range(0, 99))), 1);
}

fn accounts_and_bytes_are_counted<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    assert_eq!(ok(storage.accounts_count()), 0);
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    assert_eq!(ok(storage.accounts_count()), 2);
    say(storage, 3, &ann, &bob, "four");
    say(storage, 4, &ann, &bob, "é");
    say(storage, 5, &bob, &bob, "x");
    assert_eq!((ok(storage.undelivered_bytes(ann.id)), ok(storage.undelivered_bytes(bob.id))), (0, 7));
    ok(storage.mark_delivered(bob.id, range(4, 4)));
    assert_eq!(ok(storage.undelivered_bytes(bob.id)), 5);
    ok(storage.mark_delivered(bob.id, range(4, 9)));
    assert_eq!(ok(storage.undelivered_bytes(bob.id)), 4);
    ok(storage.erase(bob.id, MessageId(5)));
    ok(storage.erase(ann.id, MessageId(3)));
    assert_eq!(ok(storage.undelivered_bytes(bob.id)), 4, "neither was undelivered in that view");
    say(storage, 6, &ann, &bob, "seven b");
    ok(storage.erase(bob.id, MessageId(6)));
    assert_eq!((ok(storage.undelivered_bytes(bob.id)), ok(storage.undelivered_count(bob.id))), (4, 1));
    ok(storage.remove_account(&bob));
    assert_eq!((ok(storage.undelivered_bytes(bob.id)), ok(storage.accounts_count())), (0, 1));
    let second = enter(storage, 7, "bob");
    assert_eq!((ok(storage.undelivered_bytes(second.id)), ok(storage.accounts_count())), (0, 2));
}

fn an_account_that_is_gone_has_nothing<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    say(storage, 3, &ann, &bob, "x");
    ok(storage.insert_key(bob.id, &key("k"), 4, &memory(1, "ok|sent|3"), ALL));
    ok(storage.remove_account(&bob));
    for id in [bob.id, AccountId(77)] {
        assert_eq!(ok(storage.undelivered_count(id)), 0);
        assert_eq!(ok(storage.undelivered_in(id, range(0, u64::MAX))), 0);
        assert_eq!(ok(storage.undelivered(id, NONE, ALL)), []);
        assert_eq!(ok(storage.received(id, NONE, ALL)), []);
        assert_eq!(ok(storage.mark_delivered(id, range(0, u64::MAX))), 0);
        assert_eq!(ok(storage.history(id, None, NEWEST, ALL)), []);
        assert_eq!(ok(storage.history(id, Some(&ann.name), OLDEST, ALL)), []);
        assert_eq!(ok(storage.in_view(id, MessageId(3))), None);
        assert_eq!(ok(storage.key(id, &key("k"))), None);
    }
}

fn what_was_sent_stays<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    let message = say(storage, 3, &ann, &bob, "x");
    ok(storage.remove_account(&ann));
    enter(storage, 4, "ann");
    assert_eq!(ok(storage.undelivered_count(bob.id)), 1);
    let messages = [message];
    assert_eq!(ok(storage.undelivered(bob.id, NONE, ALL)), messages);
    assert_eq!(ok(storage.received(bob.id, NONE, ALL)), messages);
    assert_eq!(with(storage, &bob, "ann"), [3]);
    assert_eq!(ok(storage.in_view(bob.id, MessageId(3))).as_slice(), messages);
}

fn a_successor_sees_nothing<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    say(storage, 3, &ann, &bob, "for the first bob");
    ok(storage.insert_key(bob.id, &key("k"), 4, &memory(1, "ok|sent|3"), ALL));
    ok(storage.remove_account(&bob));
    let second = enter(storage, 5, "bob");
    assert_eq!(ok(storage.undelivered_count(second.id)), 0);
    assert_eq!(ok(storage.received(second.id, NONE, ALL)), []);
    assert_eq!(with(storage, &second, "ann"), []);
    assert_eq!(ok(storage.in_view(second.id, MessageId(3))), None);
    assert_eq!(ok(storage.key(second.id, &key("k"))), None);
    say(storage, 6, &ann, &second, "for the second bob");
    assert_eq!(ids(&ok(storage.undelivered(second.id, NONE, ALL))), [6]);
    assert_eq!(ok(storage.undelivered_count(bob.id)), 0, "and the first gets nothing of the second's");
}

fn keys_remember_per_account<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    ok(storage.insert_key(ann.id, &key("k"), 3, &memory(u64::MAX, "ok|sent|3"), ALL));
    assert_eq!(ok(storage.key(ann.id, &key("k"))), Some(memory(u64::MAX, "ok|sent|3")), "all 64 bits of the digest");
    assert_eq!(ok(storage.key(ann.id, &key("K"))), None, "keys are not folded");
    assert_eq!(ok(storage.key(bob.id, &key("k"))), None);
    ok(storage.insert_key(bob.id, &key("k"), 4, &memory(2, "ok|acked|3"), ALL));
    assert_eq!(ok(storage.key(ann.id, &key("k"))), Some(memory(u64::MAX, "ok|sent|3")));
    assert_eq!(ok(storage.key(bob.id, &key("k"))), Some(memory(2, "ok|acked|3")));
}

fn the_oldest_keys_are_forgotten<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let (ann, bob) = (enter(storage, 1, "ann"), enter(storage, 2, "bob"));
    ok(storage.insert_key(bob.id, &key("k0"), 5, &memory(0, "ok|marked"), 2));
    // In an order that is not that of the keys' bytes, with indexes whose decimal order is not their order.
    for (at, word) in [(9, "z"), (10, "a"), (100, "m")] {
        ok(storage.insert_key(ann.id, &key(word), at, &memory(at, "ok|marked"), 2));
    }
    let remembered = |word: &str| ok(storage.key(ann.id, &key(word))).map(|memory| memory.request);
    assert_eq!((remembered("z"), remembered("a"), remembered("m")), (None, Some(10), Some(100)));
    assert_eq!(ok(storage.key(bob.id, &key("k0"))), Some(memory(0, "ok|marked")), "of that account only");
}

fn large_numbers_are_kept<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    const LARGE: u64 = i64::MAX as u64 - 1;
    let ann = enter(storage, LARGE - 1, "ann");
    assert_eq!(ok(storage.account(&ann.name)), Some(ann.clone()));
    let message = say(storage, LARGE, &ann, &ann, "x");
    assert_eq!(ok(storage.undelivered(ann.id, MessageId(LARGE - 1), ALL)), [message]);
    ok(storage.insert_key(ann.id, &key("k"), LARGE, &memory(1 << 63, "ok|marked"), 1));
    assert_eq!(ok(storage.key(ann.id, &key("k"))), Some(memory(1 << 63, "ok|marked")));
    assert_eq!(ok(storage.mark_delivered(ann.id, range(LARGE, u64::MAX))), 1);
}

/// Steps of the walk: enough to create, delete and re-create every name many times.
const WALK_STEPS: u64 = 2_000;

fn a_random_walk_agrees_with_the_map<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let mut map = MapStorage::new();
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let words = ["ann", "bob", "cyd"];
    for index in 1..=WALK_STEPS {
        let one = name(words[random.below(3)]);
        let other = name(words[random.below(3)]);
        let found = (ok(storage.account(&one)), ok(storage.account(&other)));
        assert_eq!(found, (ok(map.account(&one)), ok(map.account(&other))), "at step {index}");
        let id = ok(storage.account_id(&one));
        assert_eq!(id, found.0.as_ref().map(|account| account.id), "at step {index}");
        match (random.below(20), found) {
            (_, (None, _)) => {
                enter(&mut map, index, one.as_str());
                enter(storage, index, one.as_str());
            }
            (0, (Some(account), _)) => {
                ok(map.remove_account(&account));
                ok(storage.remove_account(&account));
            }
            (1..=10, (Some(from), Some(to))) => {
                let text = &"many words"[..1 + random.below(9)];
                say(&mut map, index, &from, &to, text);
                say(storage, index, &from, &to, text);
            }
            (11 | 12, (Some(account), _)) => {
                let page = before(index.saturating_sub(random.below(60) as u64));
                for id in ok(map.history(account.id, None, page, random.below(3))) {
                    ok(map.erase(account.id, id));
                    ok(storage.erase(account.id, id));
                }
            }
            (13..=15, (Some(account), _)) => {
                let from = index.saturating_sub(random.below(40) as u64);
                let marked = range(from, from + random.below(20) as u64);
                assert_eq!(ok(storage.undelivered_in(account.id, marked)), ok(map.undelivered_in(account.id, marked)));
                assert_eq!(ok(storage.mark_delivered(account.id, marked)), ok(map.mark_delivered(account.id, marked)));
            }
            (16, (Some(account), _)) => {
                let password = PasswordHash::from_stored(&format!("${index}"));
                ok(map.set_password(account.id, &password));
                ok(storage.set_password(account.id, &password));
            }
            (_, (Some(account), _)) => {
                let (key, memory) = (key(words[random.below(3)]), memory(index, "ok|marked"));
                if ok(map.key(account.id, &key)).is_none() {
                    ok(map.insert_key(account.id, &key, index, &memory, 2));
                    ok(storage.insert_key(account.id, &key, index, &memory, 2));
                }
            }
        }
        compare(&map, storage, &words, index);
    }
}

fn compare<S: Storage>(map: &MapStorage, storage: &S, words: &[&str], index: u64)
where
    S::Error: Debug,
{
    assert_eq!(ok(storage.accounts_count()), ok(map.accounts_count()), "at step {index}");
    for word in words {
        let Some(account) = ok(map.account(&name(word))) else {
            continue;
        };
        let after = MessageId(index.saturating_sub(30));
        let count = ok(map.undelivered_count(account.id));
        assert_eq!(ok(storage.undelivered_count(account.id)), count, "{word} at step {index}");
        let bytes = ok(map.undelivered_bytes(account.id));
        assert_eq!(ok(storage.undelivered_bytes(account.id)), bytes, "{word} at step {index}");
        let waiting = ok(map.undelivered(account.id, after, 8));
        assert_eq!(ok(storage.undelivered(account.id, after, 8)), waiting, "{word} at step {index}");
        let received = ok(map.received(account.id, after, 8));
        assert_eq!(ok(storage.received(account.id, after, 8)), received, "{word} at step {index}");
        compare_histories(map, storage, &account, words, index);
        for key in words.iter().map(|word| key(word)) {
            let memory = ok(map.key(account.id, &key));
            assert_eq!(ok(storage.key(account.id, &key)), memory, "{word}'s {key:?} at step {index}");
        }
    }
}

fn compare_histories<S: Storage>(map: &MapStorage, storage: &S, account: &Account, words: &[&str], index: u64)
where
    S::Error: Debug,
{
    let word = &account.name;
    let id = MessageId(index.saturating_sub(25));
    let in_view = ok(map.in_view(account.id, id));
    assert_eq!(ok(storage.in_view(account.id, id)), in_view, "{word} at step {index}");
    for with in words.iter().map(|word| Some(name(word))).chain([None]) {
        for page in [HistoryPage::Before(id), HistoryPage::After(id), NEWEST, OLDEST] {
            let history = ok(map.history(account.id, with.as_ref(), page, 8));
            let found = ok(storage.history(account.id, with.as_ref(), page, 8));
            assert_eq!(found, history, "{word} with {with:?}, {page:?} at step {index}");
        }
    }
}

/// Marsaglia's xorshift: the walk is the same everywhere, without a dependency.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).expect("small")
    }
}
