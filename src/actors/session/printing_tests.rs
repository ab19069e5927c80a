//! Conversations about the past, and answers that are longer than a socket takes at once.

use chat::{NoteCode, RetryCode};

use super::limits::{OUTPUT_BYTES_MAX, PAGE_BYTES, WHO_PAGE_NAMES};
use super::testkit::World;
use crate::actors::messages::News;

/// Ids of the `past` lines in a text.
fn ids(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("past|"))
        .map(|rest| rest.split('|').next().and_then(|id| id.parse().ok()).expect("an id"))
        .collect()
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// Connection 0 speaks for ann, 1 for bob, 2 for bob as well; their accounts are the entries 1 and 2.
fn ann_and_bob() -> World {
    let mut world = World::new(3);
    world.say(0, "1|ann");
    world.say(1, "1|bob");
    world.say(2, "2|bob");
    world
}

/// Lets the socket of a connection take everything, bit by bit. What it holds meanwhile is bounded.
fn drain(world: &mut World, n: usize) -> String {
    let mut heard = String::new();
    loop {
        world.run();
        let unsent = world.conns[n].output.len() as u64 - world.conns[n].written;
        assert!(unsent < OUTPUT_BYTES_MAX + 2 * PAGE_BYTES as u64, "{unsent} bytes wait");
        heard += &world.conns[n].hear();
        if unsent == 0 {
            return heard;
        }
        world.conns[n].move_on(4_000, 4_000);
    }
}

#[test]
fn history_is_of_both_directions_and_paged_both_ways() {
    let mut world = ann_and_bob();
    world.say(0, "5|bob|a\n5|ann|to myself");
    world.say(1, "5|ann|b");
    world.conns[0].hear();
    let heard = world.say(0, "7");
    let [a, myself, b] = ids(&heard)[..] else { panic!("three messages: {heard}") };
    assert_eq!(
        heard,
        format!(
            "past|{a}|ann|bob|1970-01-01T00:00:00.000Z|a\n\
             past|{myself}|ann|ann|1970-01-01T00:00:00.000Z|to myself\n\
             past|{b}|bob|ann|1970-01-01T00:00:00.000Z|b\n\
             ok|history|3\n"
        )
    );
    for (asked, found) in [
        ("7|Bob".to_owned(), &[a, b][..]),
        ("7|ann".to_owned(), &[myself]),
        ("7|nobody".to_owned(), &[]),
        (format!("7||{b}"), &[a, myself]),
        (format!("7||{b}|1"), &[myself]),
        (format!("7||>{a}|1"), &[myself]),
        (format!("7|bob|>{a}"), &[b]),
        ("7|bob||1".to_owned(), &[b]),
    ] {
        let heard = world.say(0, &asked);
        assert_eq!((ids(&heard), last(&heard)), (found.to_vec(), &*format!("ok|history|{}", found.len())), "{asked}");
    }
    assert!(world.say(0, "@k|7|a b").starts_with("@k|err|BAD_NAME|"));
    assert!(world.say(0, "7|bob|1|0").starts_with("err|BAD_REQUEST|"));
    world.say(0, "3");
    assert!(world.say(0, "7|a b").starts_with("err|NOT_LOGGED_IN|"));
}

#[test]
fn what_is_erased_is_gone_from_one_view_and_never_delivered() {
    let mut world = ann_and_bob();
    world.say(1, "3");
    world.say(2, "3");
    world.say(0, "5|bob|a\n5|bob|b\n5|bob|c");
    world.say(1, "2|bob");
    assert_eq!(
        world.say(1, "@k|8|3,5,3\n@k|8|5,3\n@k|8|4"),
        concat!(
            "@k|ok|erase|2\n",
            "@k|ok|erase|2\n",
            "@k|err|KEY_REUSED|this key already names another request; take a new key\n",
        )
    );
    assert!(world.say(1, "8|3").starts_with("err|NO_SUCH_MESSAGE|"));
    assert!(world.say(1, "8|4,3").starts_with("err|NO_SUCH_MESSAGE|"), "all or none");
    assert_eq!(ids(&world.say(1, "7")), [4]);
    let heard = world.say(1, "6");
    assert!(heard.starts_with("msg|4|") && last(&heard) == "ok|deliver|1|0", "{heard}");
    assert_eq!(ids(&world.say(0, "7|bob")), [3, 4, 5], "the sender keeps them");
}

#[test]
fn a_new_password_is_the_only_one_and_sessions_stay() {
    let mut world = ann_and_bob();
    assert_eq!(world.say(1, "13|a|b"), "ok|passwd|bob\n");
    assert_eq!(world.say(2, "5|ann|still here"), "ok|sent|ann|4\n");
    assert!(world.say(0, "2|bob").starts_with("msg|4|"));
    assert!(world.say(0, "2|bob").starts_with("err|WRONG_PASSWORD|"));
    assert_eq!(world.say(2, "passwd|c"), "ok|passwd|bob\n");
    assert!(world.say(0, "2|bob|a|b").starts_with("err|WRONG_PASSWORD|"));
    assert_eq!(world.say(0, "2|bob|c"), "ok|login|bob|0\n");
    assert!(world.say(0, "13").starts_with("err|BAD_REQUEST|"));
    world.say(0, "3");
    assert!(world.say(0, "13|x").starts_with("err|NOT_LOGGED_IN|"));
}

#[test]
fn nothing_overtakes_a_passwd() {
    let mut world = ann_and_bob();
    world.replica.asked.clear();
    world.conns[1].send(b"5|ann|1\n13|new\n2|bob|new\n7\n5|ann|2\n");
    world.run();
    world.replica.asked.retain(|word| *word != "mark");
    assert_eq!(world.replica.asked, ["send", "passwd", "read", "enter", "history", "send"]);
    world.conns[1].hear();
    world.replica.refuse = Some(("passwd", RetryCode::NoQuorum));
    assert_eq!(world.say(1, "@k|13|other"), "@k|retry|NO_QUORUM|try again\n");
}

#[test]
fn who_is_online_needs_no_login_and_may_be_long() {
    let mut world = ann_and_bob();
    let nobody = world.connect(super::testkit::config());
    assert_eq!(world.say(nobody, "10"), "user|ann\nuser|bob\nok|who|2\n");
    assert_eq!(world.say(nobody, "@k|who|^b"), "user|bob\n@k|ok|who|1\n");
    assert!(world.say(nobody, "10|(").starts_with("err|BAD_REGEX|"));
    let many = 2 * WHO_PAGE_NAMES;
    for n in 0..many {
        let conn = world.connect(super::testkit::config());
        world.say(conn, &format!("1|u{n:03}"));
    }
    let heard = world.say(nobody, "10|^u\n10|^u.*7$\n12");
    let names: Vec<_> = heard.lines().filter_map(|line| line.strip_prefix("user|")).collect();
    assert_eq!(names.len(), many + (0..many).filter(|n| n % 10 == 7).count());
    assert!(names[..many].is_sorted() && heard.contains(&format!("\nok|who|{many}\n")), "{heard}");
}

#[test]
fn a_long_history_is_printed_as_the_socket_drains_and_nothing_comes_between() {
    let mut world = ann_and_bob();
    let text = "x".repeat(5_000);
    for _ in 0..100 {
        world.say(0, &format!("5|bob|{text}"));
    }
    world.conns[1].hear();
    world.conns[1].drains = false;
    world.conns[1].send(b"7|ann||1000\n12|after\n");
    world.run();
    world.say(0, "5|bob|pushed meanwhile");
    world.conns[1].core.news(vec![News::Note(NoteCode::NoQuorum, "held")]);
    let heard = drain(&mut world, 1);
    assert!(ids(&heard).len() == 100 && ids(&heard).is_sorted());
    let rest: Vec<_> = heard.lines().skip_while(|line| line.starts_with("past|")).collect();
    let words: Vec<_> = rest.iter().map(|line| line.split('|').take(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(words[..3], ["ok|history", "ok|ping", "note|NO_QUORUM"]);
    assert!(rest[0] == "ok|history|100" && rest.len() == 4 && rest[3].ends_with("|pushed meanwhile"), "{rest:?}");
    assert!(world.replica.asked.iter().filter(|word| **word == "rest").count() > 10);
}

#[test]
fn a_history_that_changes_while_it_is_printed_is_to_be_asked_again() {
    let mut world = ann_and_bob();
    let text = "x".repeat(5_000);
    for _ in 0..20 {
        world.say(0, &format!("5|bob|{text}"));
    }
    world.conns[1].hear();
    let all = ids(&world.say(2, "7"));
    world.conns[1].drains = false;
    world.conns[1].send(b"7\n");
    world.run();
    let erased = world.say(2, &format!("8|{},{}", all[0], all[19]));
    assert_eq!(last(&erased), "ok|erase|2", "one is printed already, one is not");
    let heard = drain(&mut world, 1);
    assert!(last(&heard).starts_with("retry|BUSY|"), "{}", last(&heard));
    world.conns[1].drains = true;
    world.conns[1].settle();
    assert_eq!(ids(&world.say(1, "7")), all[1..19]);
}

#[test]
fn a_history_of_an_account_that_goes_ends_with_it() {
    let mut world = ann_and_bob();
    let text = "x".repeat(5_000);
    for _ in 0..20 {
        world.say(0, &format!("5|bob|{text}"));
    }
    world.conns[1].hear();
    world.conns[1].drains = false;
    world.conns[1].send(b"7\n13|new\n");
    world.run();
    assert!(world.say(2, "4").ends_with("ok|delete|bob\n"));
    let heard = drain(&mut world, 1);
    let finals: Vec<_> = heard.lines().skip_while(|line| line.starts_with("past|")).collect();
    assert!(finals.len() == 3 && finals[0].starts_with("err|NOT_LOGGED_IN|"), "{finals:?}");
    assert!(finals.iter().any(|line| line.starts_with("note|LOGGED_OUT|")), "{finals:?}");
}
