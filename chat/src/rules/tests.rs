//! What each command does to the state, and what it refuses.

use proptest::prelude::*;

use super::*;
use crate::{HistoryPage, MapStorage, Password, PasswordHash};

/// A state and the next index: says commands as lines, as the log would hold them.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    state: MapStorage,
    index: u64,
    effects: Vec<Effect>,
}

impl World {
    /// Applies the printed command at the next index; the recipient is online. What came of it, printed.
    fn say(&mut self, line: &str) -> String {
        self.apply(true, &Command::parse(line).unwrap_or_else(|bad| panic!("{line}: {bad}"))).to_string()
    }

    fn apply(&mut self, online: bool, command: &Command) -> Outcome {
        self.index += 1;
        self.effects.clear();
        let time = Millis(1_767_323_045_000 + self.index);
        let Ok(outcome) = apply(&mut self.state, self.index, time, online, command, &mut self.effects);
        outcome
    }

    fn waiting(&self, account: u64) -> Vec<u64> {
        let Ok(messages) = self.state.undelivered(AccountId(account), MessageId(0), usize::MAX);
        messages.iter().map(|message| message.id.0).collect()
    }
}

/// Accounts ann#1, bob#2.
fn two() -> World {
    let mut world = World::default();
    assert_eq!(world.say("|1|ann"), "ok|created|1");
    assert_eq!(world.say("|1|bob|$hash"), "ok|created|2");
    world
}

#[test]
fn a_name_is_taken_until_its_account_goes() {
    let mut world = two();
    assert_eq!(world.say("|1|ann|$other"), "err|NAME_TAKEN");
    assert_eq!(world.say("ann#1|4"), "ok|deleted");
    assert_eq!(world.effects, [Effect::Gone { account: AccountId(1) }]);
    assert_eq!(world.say("|1|ann"), "ok|created|5", "a successor is another account");
    let Ok(bob) = world.state.account(&Name::from_stored("bob"));
    assert_eq!(bob.expect("lives").password, Some(PasswordHash::from_stored("$hash")));
    assert!(Password::new("").is_none());
}

#[test]
fn a_send_is_stored_and_pushed() {
    let mut world = two();
    assert_eq!(world.say("ann#1|5|bob|a|b"), "ok|sent|3");
    let [Effect::Push { to: AccountId(2), message }] = &world.effects[..] else { panic!("{:?}", world.effects) };
    assert_eq!(message.line(), "msg|3|ann|2026-01-02T03:04:05.003Z|a|b\n");
    assert_eq!(world.waiting(2), [3]);
    let queued = world.apply(false, &Command::parse("bob#2|5|bob|to myself").expect("a command"));
    assert_eq!(queued, Outcome::Sent { id: MessageId(4), online: false });
    assert_eq!(world.waiting(2), [3, 4]);
    assert_eq!(world.say("ann#1|5|carol|hi"), "err|NO_SUCH_USER");
    assert_eq!(world.effects, []);
}

#[test]
fn nobody_speaks_for_a_successor() {
    let mut world = two();
    world.say("ann#1|5|bob|x");
    world.say("bob#2|4");
    world.say("|1|bob");
    let before = world.state.clone();
    for (line, refused) in [
        ("bob#2|5|ann|x", "err|NOT_LOGGED_IN"),
        ("bob#2|9|3|3-3", "err|NOT_LOGGED_IN"),
        ("bob#2|@k|5|ann|x", "err|NOT_LOGGED_IN"),
        ("bob#2|8|3", "err|NOT_LOGGED_IN"),
        ("bob#2|13|$hash", "err|NOT_LOGGED_IN"),
        ("bob#2|4", "err|NO_SUCH_USER"),
        ("carol#9|4", "err|NO_SUCH_USER"),
        ("carol#9|5|ann|x", "err|NOT_LOGGED_IN"),
    ] {
        assert_eq!(world.say(line), refused, "{line}");
        assert_eq!(world.effects, [], "{line}");
        assert_eq!(world.state, before, "a refusal changes nothing: {line}");
    }
}

#[test]
fn a_message_outlives_its_sender() {
    let mut world = two();
    world.say("ann#1|5|bob|bye");
    world.say("ann#1|4");
    let Ok(messages) = world.state.undelivered(AccountId(2), MessageId(0), 9);
    assert_eq!((messages[0].from.as_str(), messages[0].text.as_str()), ("ann", "bye"));
}

#[test]
fn an_ack_marks_what_was_shown_and_answers_with_its_id() {
    let mut world = two();
    for _ in 3..=7 {
        world.say("ann#1|5|bob|x");
    }
    assert_eq!(world.say("bob#2|9|5|3-3,5-7"), "ok|acked|5");
    assert_eq!(world.waiting(2), [4, 6, 7], "in the ranges, and up to its id");
    assert_eq!(world.say("bob#2|9|99999|6-99999"), "ok|acked|99999", "what exists, and the id as it was given");
    assert_eq!(world.waiting(2), [4]);
    assert_eq!(world.say("bob#2|9|4|"), "ok|acked|4");
    assert_eq!(world.say("bob#2|9|4|4-3"), "ok|acked|4");
    assert_eq!(world.waiting(2), [4], "nothing was shown, nothing is marked");
    assert_eq!(world.effects, []);
    world.say("ann#1|5|bob|x");
    assert_eq!(world.waiting(2), [4, 12], "an ack of the future marked nothing of it");
}

#[test]
fn an_erase_is_all_or_none_and_of_one_view() {
    let mut world = two();
    for text in ["3", "4", "5"] {
        world.say(&format!("ann#1|5|bob|{text}"));
    }
    world.say("|1|cyd");
    world.say("cyd#6|5|bob|7");
    let view = |world: &World, account: u64| {
        let Ok(ids) = world.state.history(AccountId(account), None, HistoryPage::After(MessageId(0)), 99);
        ids.iter().map(|id| id.0).collect::<Vec<_>>()
    };
    let before = world.state.clone();
    for line in ["ann#1|8|3,7", "ann#1|8|3,99", "ann#1|8|0", "ann#1|8|18446744073709551615", "cyd#6|8|3"] {
        assert_eq!(world.say(line), "err|NO_SUCH_MESSAGE", "{line}");
        assert_eq!(world.state, before, "{line}");
    }
    assert_eq!(world.say("bob#2|8|3,5,7"), "ok|erased|3");
    assert_eq!((view(&world, 2), view(&world, 1), view(&world, 6)), (vec![4], vec![3, 4, 5], vec![7]));
    assert_eq!(world.waiting(2), [4], "what is erased is not delivered any more");
    assert_eq!(world.say("bob#2|8|3"), "err|NO_SUCH_MESSAGE", "once");
    assert_eq!(world.say("ann#1|8|3,4,5"), "ok|erased|3");
    assert_eq!((world.waiting(2), view(&world, 1)), (vec![4], vec![]), "the recipient keeps it");
    assert_eq!(world.effects, []);
}

#[test]
fn an_erase_under_a_key_is_done_once() {
    let mut world = two();
    world.say("ann#1|5|bob|3");
    world.say("ann#1|5|bob|4");
    assert_eq!(world.say("bob#2|@k|8|3"), "ok|erased|1");
    let before = world.state.clone();
    assert_eq!(world.say("bob#2|@k|8|3"), "ok|erased|1", "the first answer, though it is gone");
    assert_eq!(world.say("bob#2|@k|8|4"), "err|KEY_REUSED");
    assert_eq!(world.say("bob#2|@k|8|3,4"), "err|KEY_REUSED");
    assert_eq!(world.say("bob#2|@l|8|3"), "err|NO_SUCH_MESSAGE");
    assert_eq!(world.state, before);
    assert_eq!(world.say("bob#2|@l|8|4"), "ok|erased|1", "a refused request leaves its key free");
}

#[test]
fn a_password_is_replaced_and_first_given() {
    let mut world = two();
    let password = |world: &World, name: &str| {
        let Ok(account) = world.state.account(&Name::from_stored(name));
        account.expect("lives").password.expect("one is set").as_str().to_owned()
    };
    assert_eq!(world.say("bob#2|13|$new"), "ok|passwd");
    assert_eq!(world.say("ann#1|13|$first"), "ok|passwd");
    assert_eq!((password(&world, "bob"), password(&world, "ann")), ("$new".to_owned(), "$first".to_owned()));
    assert_eq!(world.effects, [], "nobody is logged out");
}

#[test]
fn marks_of_many_accounts_and_of_gone_ones() {
    let mut world = two();
    world.say("ann#1|5|bob|x");
    world.say("bob#2|5|ann|x");
    assert_eq!(world.say("|mark|2:3-3;77:1-99;1:1-18446744073709551615"), "ok|marked");
    assert_eq!((world.waiting(1), world.waiting(2)), (vec![], vec![]));
    world.say("ann#1|5|bob|x");
    world.say("bob#2|4");
    world.say("|1|bob");
    world.say("ann#1|5|bob|x");
    let before = world.state.clone();
    assert_eq!(world.say("|mark|2:1-99"), "ok|marked");
    assert_eq!(world.state, before, "marks of the first bob touch nothing of the second's");
}

#[test]
fn a_key_names_one_request() {
    let mut world = two();
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "ok|sent|3");
    let again = world.apply(false, &Command::parse("ann#1|@k|5|bob|x").expect("a command"));
    assert_eq!(again, Outcome::Sent { id: MessageId(3), online: true }, "the first answer, with the first online");
    assert_eq!((world.effects.len(), world.waiting(2)), (0, vec![3]), "no second push, no second message");
    for other in ["ann#1|@k|5|bob|y", "ann#1|@k|5|ann|x", "ann#1|@k|9|3|"] {
        assert_eq!(world.say(other), "err|KEY_REUSED", "{other}");
    }
    assert_eq!(world.say("bob#2|@k|5|bob|x"), "ok|sent|8", "keys are an account's own");
    assert_eq!(world.say("bob#2|@a|9|3|3-3"), "ok|acked|3");
    assert_eq!(world.say("bob#2|@a|9|3|1-8"), "ok|acked|3", "the same ack, whatever was shown since");
    assert_eq!(world.waiting(2), [8], "and it marks no more");
}

#[test]
fn a_repeat_gets_the_first_ok_also_when_the_recipient_is_gone() {
    let mut world = two();
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "ok|sent|3");
    world.say("bob#2|4");
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "ok|sent|3");
    world.say("|1|bob");
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "ok|sent|3");
    assert_eq!(world.waiting(6), []);
}

#[test]
fn only_ok_is_remembered() {
    let mut world = two();
    assert_eq!(world.say("ann#1|@k|5|carol|x"), "err|NO_SUCH_USER");
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "ok|sent|4", "the key is still free");
}

#[test]
fn the_newest_keys_are_remembered() {
    let mut world = two();
    for key in 0..=KEYS_PER_ACCOUNT_MAX {
        world.say(&format!("ann#1|@k{key}|5|bob|x"));
    }
    let index = world.index;
    assert_eq!(world.say("ann#1|@k1|5|bob|x"), "ok|sent|4", "the oldest but one is known");
    assert_eq!(world.say("ann#1|@k0|5|bob|x"), format!("ok|sent|{}", index + 2), "the oldest is not");
}

#[test]
fn a_memory_that_cannot_be_read_is_never_run_again() {
    let mut world = two();
    let (key, memory) = (Key::from_stored("k"), KeyMemory { request: 1, outcome: "ok|teleported|9".into() });
    let Ok(()) = world.state.insert_key(AccountId(1), &key, 3, &memory, 9);
    assert_eq!(world.say("ann#1|@k|5|bob|x"), "err|KEY_REUSED");
}

#[test]
fn every_outcome_has_its_final_line() {
    let mut world = two();
    for (line, reply) in [
        ("|1|cyd", Some("ok|create|cyd")),
        ("ann#1|5|bob|x", Some("ok|sent|bob|4")),
        ("bob#2|9|4|4-4", Some("ok|ack|4")),
        ("bob#2|4", Some("ok|delete|bob")),
        ("bob#2|4", Some("err|NO_SUCH_USER|there is no account of this name; 'list' shows the names")),
        ("|mark|1:1-1", None),
        ("|expire", None),
    ] {
        let command = Command::parse(line).expect("a command");
        let outcome = world.apply(true, &command);
        assert_eq!(outcome.reply(&command).map(|reply| reply.to_string()).as_deref(), reply, "{line}");
    }
}

/// Lines that collide often: three names, ids that may be right, few keys.
fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "\\|1\\|(ann|bob|cyd)",
        1 => "(ann|bob|cyd)#[1-9]\\|4",
        8 => "(ann|bob|cyd)#[1-9]\\|(@[xy]\\|)?5\\|(ann|bob|cyd)\\|[hi]",
        4 => "(ann|bob|cyd)#[1-9]\\|(@[xy]\\|)?9\\|[1-9][0-9]?\\|[1-9]-[1-4][0-9]",
        3 => "(ann|bob|cyd)#[1-9]\\|(@[xy]\\|)?8\\|[1-9],[1-3][0-9]",
        3 => "(ann|bob|cyd)#[1-9]\\|(@[xy]\\|)?8\\|[1-9][0-9]?",
        1 => "(ann|bob|cyd)#[1-9]\\|13\\|[$][xy]",
        1 => "\\|expire",
        2 => "\\|mark\\|[1-9]:[1-9]-[1-4][0-9];[1-9]:[1-9]-[1-9]",
    ]
}

/// Close to the one message of a small world, or anything.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..6, 1 => any::<u64>()]
}

proptest! {
    #[test]
    fn the_same_commands_make_the_same_state(lines in prop::collection::vec((any_line(), any::<bool>()), 0..60)) {
        let (mut one, mut other) = (World::default(), World::default());
        for (line, online) in &lines {
            let command = Command::parse(line).expect("a command");
            let outcome = one.apply(*online, &command);
            // The other replica reads the command back from its log.
            let read_back = Command::parse(&command.to_string()).expect("a command");
            prop_assert_eq!(&outcome, &other.apply(*online, &read_back));
            prop_assert_eq!(&Outcome::parse(&outcome.to_string()), &Ok(outcome));
            prop_assert_eq!(&one, &other);
        }
    }

    #[test]
    fn what_is_refused_or_repeated_changes_nothing(lines in prop::collection::vec(any_line(), 0..60)) {
        let mut world = World::default();
        for line in &lines {
            let command = Command::parse(line).expect("a command");
            let before = world.state.clone();
            let outcome = world.apply(true, &command);
            let made = match &outcome {
                Outcome::Refused(_) => false,
                Outcome::Created(id) => id.0 == world.index,
                Outcome::Sent { id, .. } => id.0 == world.index,
                Outcome::Deleted | Outcome::Erased(_) | Outcome::PasswordSet | Outcome::Acked(_) => true,
                Outcome::Marked | Outcome::Expired { .. } => true,
            };
            if !made {
                prop_assert_eq!(&world.state, &before, "{}", line);
                prop_assert!(world.effects.is_empty(), "{}", line);
            }
            if let (Outcome::Sent { .. }, true) = (&outcome, made) {
                prop_assert_eq!(world.effects.len(), 1);
            }
        }
    }

    #[test]
    fn applying_is_total(index in any_number(), from in any_number(), to in any_number(), id in any_number()) {
        let mut world = two();
        world.say("ann#1|5|bob|x");
        let ranges = vec![IdRange::new(MessageId(from), MessageId(to))];
        let speaker = Speaker { name: Name::from_stored("bob"), id: AccountId(2) };
        let ack = Command::Ack { speaker, key: None, id: MessageId(id), ranges };
        let Ok(outcome) = apply(&mut world.state, index, Millis(index), true, &ack, &mut Vec::new());
        prop_assert_eq!(outcome, Outcome::Acked(MessageId(id)));
        let marked = from <= 3 && 3 <= to && 3 <= id && 3 < index;
        prop_assert_eq!(world.waiting(2).is_empty(), marked);
    }
}

/// Says it with these limits stamped on it.
fn within(world: &mut World, quota: Quota, line: &str) -> String {
    world.index += 1;
    let command = Command::parse(line).expect("a command");
    let (index, time) = (world.index, Millis(world.index));
    let Ok(outcome) = apply_within(&mut world.state, index, time, true, &quota, &command, &mut world.effects);
    outcome.to_string()
}

#[test]
fn a_full_mailbox_takes_nothing_until_something_is_delivered() {
    let mut world = two();
    let quota = Quota { mailbox_messages: Some(2), ..Quota::NONE };
    assert_eq!(within(&mut world, quota, "ann#1|5|bob|x"), "ok|sent|3");
    assert_eq!(within(&mut world, quota, "ann#1|@k|5|bob|y"), "ok|sent|4");
    let before = world.state.clone();
    world.effects.clear();
    assert_eq!(within(&mut world, quota, "ann#1|5|bob|z"), "err|MAILBOX_FULL");
    assert_eq!(within(&mut world, quota, "ann#1|@z|5|bob|z"), "err|MAILBOX_FULL");
    assert_eq!((&world.state, world.effects.len()), (&before, 0), "nothing is stored, and nobody is told");
    assert_eq!(within(&mut world, quota, "ann#1|@k|5|bob|y"), "ok|sent|4", "a repeat gets its first answer");
    assert_eq!(within(&mut world, quota, "ann#1|5|ann|z"), "ok|sent|8", "others have room");
    assert_eq!(within(&mut world, quota, "ann#1|5|eve|z"), "err|NO_SUCH_USER");
    assert_eq!(world.say("|mark|2:3-3"), "ok|marked");
    assert_eq!(within(&mut world, quota, "ann#1|@z|5|bob|z"), "ok|sent|11", "a refusal is not remembered");
}

#[test]
fn a_mailbox_is_full_by_bytes_too() {
    let mut world = two();
    let quota = Quota { mailbox_bytes: Some(5), ..Quota::NONE };
    assert_eq!(within(&mut world, quota, "ann#1|5|bob|four"), "ok|sent|3");
    assert_eq!(within(&mut world, quota, "ann#1|5|bob|é"), "err|MAILBOX_FULL", "two bytes");
    assert_eq!(within(&mut world, quota, "ann#1|5|bob|x"), "ok|sent|5");
    let most = Quota { mailbox_bytes: Some(u64::MAX), ..quota };
    assert_eq!(within(&mut world, most, "ann#1|5|bob|x"), "ok|sent|6");
}

#[test]
fn accounts_are_made_up_to_a_number() {
    let mut world = two();
    let quota = Quota { accounts: Some(2), ..Quota::NONE };
    assert_eq!(within(&mut world, quota, "|1|cyd"), "err|FORBIDDEN");
    assert_eq!(within(&mut world, quota, "|1|ann"), "err|NAME_TAKEN");
    assert_eq!(world.say("bob#2|4"), "ok|deleted");
    assert_eq!(within(&mut world, quota, "|1|cyd"), "ok|created|6");
}
