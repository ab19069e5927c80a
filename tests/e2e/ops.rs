//! Every request and every final line it can meet, on a cluster in good health.

use plainsong::drill::wait_until;

use crate::harness::{PATIENCE, SHARED_LIST_LIMIT, shared};
use crate::person::{Person, matches};

#[test]
fn create_makes_an_account_and_speaks_for_it() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.talk(
        "> 1|ops-ann
         < ok|create|ops-ann
         > 5|ops-ann|to myself
         < ok|sent|ops-ann|*",
    );
    assert_eq!(person.hears().text, "to myself");
    person.talk(
        "> 1|ops-ann
         < err|NAME_TAKEN|*
         > CREATE|Ops-ANN|secret
         < err|NAME_TAKEN|*
         > 3
         < ok|logout|ops-ann",
    );
}

#[test]
fn names_are_folded_wherever_they_stand() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.talk(
        "> 1|Fold-ÉTÉ
         < ok|create|fold-été
         > 3
         < ok|logout|fold-été
         > 2|FOLD-été
         < ok|login|fold-été|0",
    );
    let mut other = Person::new(&cluster, 2, "fold-other");
    other.expect("5|FOLD-Été|hi", "ok|sent|fold-été|*");
    assert_eq!(person.hears().from, "fold-other");
    assert_eq!(person.reply_to("0|^fold-é").data, ["user|fold-été"]);
}

#[test]
fn bad_names_and_missing_names_are_told_apart() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    let long = "n".repeat(65);
    for name in ["a b", "a\tb", "a\u{1}b", "#a", "@a", "a>b", ">a", &long] {
        for op in [1, 2] {
            person.expect(&format!("{op}|{name}"), "err|BAD_NAME|*");
        }
    }
    person.expect(&format!("1|{}", &long[1..]), &format!("ok|create|{}", &long[1..]));
    for request in ["1", "1|", "2", "2|"] {
        person.expect(request, "err|BAD_REQUEST|*");
    }
}

#[test]
fn a_password_is_needed_at_every_login_and_may_hold_pipes() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.talk(
        "> 1|pw-ann|a|b c
         < ok|create|pw-ann
         > 2|pw-ann|wrong
         < err|WRONG_PASSWORD|*
         > 2|pw-ann
         < err|WRONG_PASSWORD|*
         > 2|pw-ann|a|b c
         < ok|login|pw-ann|0",
    );
    Person::at(&cluster, 2).talk(
        "> 2|pw-ann|a
         < err|WRONG_PASSWORD|*
         > 2|pw-ann|a|b c
         < ok|login|pw-ann|0
         > 1|pw-open|
         < ok|create|pw-open
         > 2|pw-open|anything
         < err|WRONG_PASSWORD|*
         > 2|pw-open|
         < ok|login|pw-open|0",
    );
}

#[test]
fn guessing_passwords_is_slowed_down_after_five_failures() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.expect("1|guess-ann|right", "ok|create|guess-ann");
    for _ in 0..5 {
        person.expect("2|guess-ann|wrong", "err|WRONG_PASSWORD|*");
    }
    person.expect("2|guess-ann|wrong", "retry|SLOW_DOWN|*");
}

#[test]
fn login_switches_and_a_failed_one_changes_nothing() {
    let cluster = shared();
    Person::new(&cluster, 2, "sw-bob");
    Person::new(&cluster, 1, "sw-ann").talk(
        "> 2|sw-nobody
         < err|NO_SUCH_USER|*
         > 2|sw bad
         < err|BAD_NAME|*
         > LogIn|SW-Bob
         < ok|login|sw-bob|0
         > 1|sw-ann
         < err|NAME_TAKEN|*
         > 3
         < ok|logout|sw-bob
         > 3|
         < err|NOT_LOGGED_IN|*",
    );
}

#[test]
fn after_a_switch_pushes_are_for_the_new_account_only() {
    let cluster = shared();
    let mut sender = Person::new(&cluster, 1, "swp-sender");
    Person::new(&cluster, 2, "swp-new");
    let mut person = Person::new(&cluster, 2, "swp-old");
    person.expect("2|swp-new", "ok|login|swp-new|0");
    sender.sends("swp-old", "for the old one");
    sender.sends("swp-new", "for the new one");
    assert_eq!(person.hears().text, "for the new one");
}

#[test]
fn what_needs_a_login_says_so_after_syntax_and_before_fields() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    for request in ["3", "4", "5|nobody|x", "5|bad name|x", "6", "6|3", "9|5"] {
        person.expect(request, "err|NOT_LOGGED_IN|*");
    }
    for request in ["3|x", "4|x", "5", "5|x", "5|x|", "6|0", "6|x", "6|1|2", "9", "9|x", "9|", "9|-1", "11|x"] {
        person.expect(request, "err|BAD_REQUEST|*");
    }
}

#[test]
fn fields_are_checked_before_state() {
    let cluster = shared();
    let mut person = Person::new(&cluster, 1, "order-ann");
    person.expect("5|order nobody|x", "err|BAD_NAME|*");
    for text in ["a\u{1}b", "a\u{7f}", "a\u{85}b"] {
        person.expect(&format!("5|order-nobody|{text}"), "err|BAD_TEXT|*");
    }
    person.expect("5|order-nobody|fine", "err|NO_SUCH_USER|*");
    person.expect("6|99999999999999999999999", "err|BAD_REQUEST|*");
}

#[test]
fn a_text_may_hold_pipes_and_tabs_and_any_script() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "text-ann");
    let mut bob = Person::new(&cluster, 2, "text-bob");
    for text in ["a|b||", "tab\there", " spaces ", "漢字 🦀 ẞ", "@k|5|x"] {
        ann.sends("text-bob", text);
        assert_eq!(bob.hears().text, text);
    }
}

#[test]
fn list_finds_by_regex_in_pages() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 3);
    let names: Vec<String> = (0..SHARED_LIST_LIMIT + 10).map(|n| format!("ls-{n:02}")).collect();
    for name in &names {
        person.expect(&format!("1|{name}"), &format!("ok|create|{name}"));
    }
    let lines: Vec<String> = names.iter().map(|name| format!("user|{name}")).collect();
    // Each replica is asked: reads are current everywhere.
    for id in cluster.ids() {
        let mut person = Person::at(&cluster, id);
        let page = person.reply_to("0|^ls-");
        assert_eq!(page.last, format!("ok|list|{SHARED_LIST_LIMIT}|{}", names.len()));
        assert_eq!(page.data, lines[..SHARED_LIST_LIMIT]);
        let rest = person.reply_to(&format!("0|>{}|^ls-", names[SHARED_LIST_LIMIT - 1]));
        assert!(matches("ok|list|10|*", &rest.last), "{}", rest.last);
        assert_eq!(rest.data, lines[SHARED_LIST_LIMIT..]);
        assert_eq!(person.reply_to("list|ls-01|ls-02").data, lines[1..3], "the regex is the rest of the line");
    }
    person.expect("0|^ls-nobody$", "ok|list|0|0");
    person.expect("0|[", "err|BAD_REGEX|*");
    for all in ["0", "0|"] {
        let reply = person.reply_to(all);
        assert_eq!(reply.data.len(), SHARED_LIST_LIMIT, "{}", reply.last);
        assert!(reply.data.is_sorted());
    }
}

#[test]
fn delete_ends_all_sessions_and_a_successor_sees_nothing() {
    let cluster = shared();
    let mut sender = Person::new(&cluster, 1, "del-sender");
    let mut elsewhere = Person::new(&cluster, 3, "del-ann");
    let (mut here, _) = Person::back(&cluster, 2, "del-ann");
    sender.sends("del-ann", "before the end");
    assert_eq!(elsewhere.hears().text, "before the end");
    here.expect("5|del-sender|what I said stays", "ok|*|del-sender|*");
    here.expect("4", "ok|delete|del-ann");
    here.expect("3", "err|NOT_LOGGED_IN|*");
    let note = elsewhere.client().note().expect("the other session is told");
    assert!(matches("note|LOGGED_OUT|*", &note), "{note}");
    elsewhere.expect("6", "err|NOT_LOGGED_IN|*");
    sender.expect("5|del-ann|too late", "err|NO_SUCH_USER|*");
    elsewhere.expect("2|del-ann", "err|NO_SUCH_USER|*");
    let mut successor = Person::new(&cluster, 2, "del-ann");
    assert_eq!(successor.delivers("6"), (Vec::new(), 0));
    assert_eq!(sender.hears().from, "del-ann");
}

#[test]
fn undelivered_mail_goes_with_the_account_and_mail_it_sent_stays() {
    let cluster = shared();
    Person::new(&cluster, 1, "gone-reader").expect("3", "ok|logout|gone-reader");
    let mut ann = Person::new(&cluster, 1, "gone-ann");
    ann.sends("gone-reader", "stays");
    ann.expect("3", "ok|logout|gone-ann");
    let mut bob = Person::new(&cluster, 2, "gone-bob");
    bob.sends("gone-ann", "goes");
    let (mut ann, waiting) = Person::back(&cluster, 3, "gone-ann");
    assert_eq!(waiting, 1);
    ann.expect("4", "ok|delete|gone-ann");
    ann.expect("1|gone-ann", "ok|create|gone-ann");
    assert_eq!(ann.delivers("6"), (Vec::new(), 0));
    let (mut reader, waiting) = Person::back(&cluster, 3, "gone-reader");
    assert_eq!(waiting, 1);
    assert_eq!(reader.delivers("6").0[0].text, "stays");
}

#[test]
fn ack_answers_with_its_id_and_zero_needs_no_login() {
    let cluster = shared();
    Person::at(&cluster, 1).talk(
        "> 9|0
         < ok|ack|0
         > 9|1
         < err|NOT_LOGGED_IN|*
         > 1|ack-ann
         < ok|create|ack-ann
         > ack|0
         < ok|ack|0
         > 9|999999999999
         < ok|ack|999999999999",
    );
}

#[test]
fn status_tells_the_same_cluster_everywhere() {
    let cluster = shared();
    // What a status shows of the others came with a heartbeat, a moment after they were up.
    cluster.await_whole().expect("nobody hurts it");
    let leader = cluster.await_leader().expect("a healthy cluster has a leader");
    for id in cluster.ids() {
        let told = wait_until("all are up, as this one knows it", PATIENCE, || {
            let status = cluster.status(id).ok()?;
            status.replicas.iter().all(|replica| replica.up && replica.role != "learner").then_some(status)
        });
        let status = told.expect("the leader spreads it");
        assert_eq!((status.this, status.leader, status.spare), (id, Some(leader), 1));
        let mut expected = cluster.ids();
        expected.sort_by_key(|&id| (id != leader, id));
        let shown: Vec<u16> = status.replicas.iter().map(|replica| replica.id).collect();
        assert_eq!(shown, expected, "leader first, then by id");
        for replica in &status.replicas {
            assert_eq!(replica.address, cluster.address(replica.id).to_string());
            assert_eq!(replica.role, if replica.id == leader { "leader" } else { "follower" });
        }
    }
}

#[test]
fn ping_help_and_quit_need_no_login() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.talk(
        "> 12
         < ok|ping|
         > PiNg|a|b
         < ok|ping|a|b",
    );
    let help = person.reply_to("help");
    assert_eq!(help.last, "ok|help");
    // 0 to 13, help, quit.
    assert_eq!(help.data.len(), 16, "one line for each op and word that is served: {:#?}", help.data);
    person.expect("quit", "ok|quit");
    assert!(person.sees_the_end().is_empty());
}

#[test]
fn what_is_no_op_is_a_bad_request() {
    let cluster = shared();
    let mut person = Person::new(&cluster, 1, "unserved");
    for request in ["14", "99|x", "what", "-1"] {
        person.expect(request, "err|BAD_REQUEST|*");
    }
}

#[test]
fn a_key_comes_back_on_any_op_and_a_malformed_one_does_not() {
    let cluster = shared();
    let longest = "k".repeat(64);
    let mut person = Person::at(&cluster, 1);
    person.talk(
        "> @k-1|12|x
         < @k-1|ok|ping|x
         > @k|1|key-ann
         < @k|ok|create|key-ann
         > @k|what
         < @k|err|BAD_REQUEST|*
         > @k|5|key-nobody|x
         < @k|err|NO_SUCH_USER|*
         > @|12
         < err|BAD_REQUEST|*
         > @a b|12
         < err|BAD_REQUEST|*
         > @alone
         < err|BAD_REQUEST|*",
    );
    person.expect(&format!("@{longest}|ping"), &format!("@{longest}|ok|ping|"));
    person.expect(&format!("@{longest}k|ping"), "err|BAD_REQUEST|*");
}

#[test]
fn the_same_key_gives_the_first_ok_on_any_replica_and_another_request_is_refused() {
    let cluster = shared();
    Person::new(&cluster, 1, "idem-bob").expect("3", "ok|logout|idem-bob");
    let mut ann = Person::new(&cluster, 1, "idem-ann");
    let first = ann.asks("@once|5|idem-bob|pay 5");
    assert!(matches("@once|ok|*|idem-bob|*", &first), "{first}");
    for id in cluster.ids() {
        let (mut again, _) = Person::back(&cluster, id, "idem-ann");
        assert_eq!(again.asks("@once|5|idem-bob|pay 5"), first);
        again.expect("@once|5|idem-bob|pay 6", "@once|err|KEY_REUSED|*");
        again.expect("@once|9|1", "@once|err|KEY_REUSED|*");
    }
    let (mut bob, waiting) = Person::back(&cluster, 2, "idem-bob");
    assert_eq!((waiting, bob.delivers("6").0.len()), (1, 1));
    // A key is the account's own.
    bob.expect("@once|5|idem-ann|mine", "@once|ok|*|idem-ann|*");
}

#[test]
fn a_key_forgets_a_refusal() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "forget-ann");
    ann.expect("@k|5|forget-bob|x", "@k|err|NO_SUCH_USER|*");
    Person::new(&cluster, 2, "forget-bob");
    ann.expect("@k|5|forget-bob|x", "@k|ok|*|forget-bob|*");
}
