//! From `ok|sent` to the reader's eyes: pushes, presence, marks, manual mode.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use plainsong::drill::wait_until;

use crate::harness::{SLACK, shared};
use crate::person::{Person, Presence};

/// Presence is gone at most so long after a logout or close.
const PRESENCE_GONE: Duration = Duration::from_millis(250);
/// What was pushed and acknowledged by the kernel is marked at most so long after.
const MARKED: Duration = Duration::from_millis(100);

#[test]
fn two_people_on_two_followers_chat() {
    let cluster = shared();
    let leader = cluster.await_leader().expect("a leader");
    let followers: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
    let mut ann = Person::new(&cluster, followers[0], "chat-ann");
    let mut bob = Person::new(&cluster, followers[1], "chat-bob");
    let mut latest = 0;
    let mut say = |from: &mut Person, to: &mut Person, name: &str, text: &str| {
        let (presence, id) = from.sends(name, text);
        let heard = to.hears();
        assert_eq!((presence, heard.id, heard.text.as_str()), (Presence::Online, id, text));
        assert!(id > latest, "ids ascend");
        assert!(is_rfc3339_millis(&heard.time), "{}", heard.time);
        latest = id;
    };
    for n in 0..20 {
        say(&mut ann, &mut bob, "chat-bob", &format!("question {n}"));
        say(&mut bob, &mut ann, "chat-ann", &format!("answer {n}"));
    }
}

fn is_rfc3339_millis(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn every_session_of_the_recipient_hears_it() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "all-ann");
    let mut sessions: Vec<Person> = vec![Person::new(&cluster, 1, "all-bob")];
    sessions.extend([1, 2, 3].map(|id| Person::back(&cluster, id, "all-bob").0));
    let (_, id) = ann.sends("all-bob", "to each of you");
    for session in &mut sessions {
        assert_eq!(session.hears().id, id);
        session.has_heard_nothing();
    }
}

#[test]
fn presence_is_there_with_the_login_and_gone_soon_after_logout_or_close() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "pres-ann");
    for id in cluster.ids() {
        let name = format!("pres-bob{id}");
        let mut bob = Person::new(&cluster, id, &name);
        assert_eq!(ann.sends(&name, "just created").0, Presence::Online);
        bob.expect("3", &format!("ok|logout|{name}"));
        await_offline(&mut ann, &name);
        bob.logs_in(&name);
        assert_eq!(ann.sends(&name, "just logged in").0, Presence::Online);
        drop(bob);
        await_offline(&mut ann, &name);
    }
}

/// The login is two questions to the leader; a connection that breaks between them once left its account online for good.
#[test]
fn logins_that_are_cut_off_leave_nobody_online() {
    const LOGINS: u64 = 400;
    const ROUND_TRIPS: u64 = 20;
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "cut-ann");
    Person::new(&cluster, 2, "cut-bob").expect("3", "ok|logout|cut-bob");
    for n in 0..LOGINS {
        let mut stream = TcpStream::connect(cluster.address(3)).expect("the port is open");
        stream.write_all(b"2|cut-bob\n").expect("room");
        // It breaks after so many round trips of somebody else: somewhere in those of the login. The greeting is unread, so
        // closing resets.
        for _ in 0..n % ROUND_TRIPS {
            ann.expect("12|", "ok|ping|");
        }
    }
    await_offline(&mut ann, "cut-bob");
}

fn await_offline(sender: &mut Person, name: &str) {
    wait_until("the recipient counts as offline", PRESENCE_GONE + SLACK, || {
        (sender.sends(name, "still there?").0 == Presence::Offline).then_some(())
    })
    .expect("presence goes with the session");
}

#[test]
fn one_session_of_two_keeps_the_account_online() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "two-ann");
    let mut first = Person::new(&cluster, 2, "two-bob");
    let (mut second, _) = Person::back(&cluster, 3, "two-bob");
    first.expect("3", "ok|logout|two-bob");
    // Well beyond the time in which presence goes, by the sender's own clock.
    let mut rounds = 0;
    let offline = wait_until("the account counts as offline", PRESENCE_GONE * 2, || {
        rounds += 1;
        (ann.sends("two-bob", "hello").0 == Presence::Offline).then_some(())
    });
    assert!(offline.is_err(), "one session is left");
    for _ in 0..rounds {
        second.hears();
    }
}

#[test]
fn deliver_shows_the_backlog_in_pieces_and_never_again() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "dlv-ann");
    Person::new(&cluster, 2, "dlv-bob").expect("3", "ok|logout|dlv-bob");
    let ids: Vec<u64> = (0..5).map(|n| ann.sends("dlv-bob", &format!("{n}")).1).collect();
    let (mut bob, waiting) = Person::back(&cluster, 2, "dlv-bob");
    assert_eq!(waiting, 5);
    let (first, left) = bob.delivers("6|2");
    assert_eq!((first.iter().map(|m| m.id).collect::<Vec<_>>(), left), (ids[..2].to_vec(), 3));
    // The final line comes once what was printed is marked: no other connection gets it any more.
    let (mut other, waiting) = Person::back(&cluster, 3, "dlv-bob");
    assert_eq!(waiting, 3);
    let (rest, left) = other.delivers("deliver");
    assert_eq!((rest.iter().map(|m| m.id).collect::<Vec<_>>(), left), (ids[2..].to_vec(), 0));
    assert_eq!(other.delivers("6|"), (Vec::new(), 0));
    assert_eq!(bob.delivers("6|"), (Vec::new(), 0));
    assert_eq!(Person::back(&cluster, 1, "dlv-bob").1, 0);
}

#[test]
fn what_was_pushed_is_marked_and_not_delivered_again() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "auto-ann");
    let mut bob = Person::new(&cluster, 2, "auto-bob");
    for n in 0..10 {
        ann.sends("auto-bob", &format!("{n}"));
    }
    for n in 0..10 {
        assert_eq!(bob.hears().text, format!("{n}"));
    }
    assert_eq!(bob.delivers("6"), (Vec::new(), 0), "6 never repeats what this connection was shown");
    drop(bob);
    wait_until("the pushes are marked", MARKED + SLACK, || {
        (Person::back(&cluster, 3, "auto-bob").1 == 0).then_some(())
    })
    .expect("the kernel had acknowledged them");
    assert_eq!(Person::back(&cluster, 3, "auto-bob").0.delivers("6"), (Vec::new(), 0));
}

#[test]
fn a_push_comes_ahead_of_the_backlog_and_the_backlog_waits_for_deliver() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "ahead-ann");
    Person::new(&cluster, 2, "ahead-bob").expect("3", "ok|logout|ahead-bob");
    let (_, old) = ann.sends("ahead-bob", "backlog");
    let (mut bob, waiting) = Person::back(&cluster, 2, "ahead-bob");
    assert_eq!(waiting, 1);
    let (_, new) = ann.sends("ahead-bob", "push");
    assert_eq!(bob.hears().id, new);
    let (backlog, left) = bob.delivers("6");
    assert_eq!((backlog.len(), backlog[0].id, left), (1, old, 0));
}

#[test]
fn in_manual_mode_only_an_ack_marks() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "man-ann");
    Person::new(&cluster, 2, "man-bob").expect("3", "ok|logout|man-bob");
    let (_, backlog) = ann.sends("man-bob", "backlog");
    let (mut bob, _) = Person::back_in_manual_mode(&cluster, 2, "man-bob");
    let (_, push) = ann.sends("man-bob", "push");
    assert_eq!(bob.hears().id, push);
    let shown = |(messages, left): (Vec<plainsong::drill::Msg>, u64)| {
        (messages.into_iter().map(|message| message.id).collect::<Vec<u64>>(), left)
    };
    assert_eq!(shown(bob.delivers("6")), (vec![backlog, push], 0), "pushed, not acked: printed again");
    drop(bob);
    let (mut bob, waiting) = Person::back_in_manual_mode(&cluster, 3, "man-bob");
    assert_eq!(waiting, 2);
    assert_eq!(shown(bob.delivers("6|1")), (vec![backlog], 1));
    // The ack reaches up to the push, but this connection has not been shown it.
    bob.expect(&format!("9|{push}"), &format!("ok|ack|{push}"));
    assert_eq!(shown(bob.delivers("6")), (vec![push], 0));
    bob.expect(&format!("9|{push}"), &format!("ok|ack|{push}"));
    assert_eq!(shown(bob.delivers("6")), (Vec::new(), 0));
    drop(bob);
    assert_eq!(Person::back(&cluster, 1, "man-bob").1, 0);
}

#[test]
fn a_keyed_ack_answers_again_and_does_nothing_more() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "kack-ann");
    Person::new(&cluster, 2, "kack-bob").expect("3", "ok|logout|kack-bob");
    let (_, first) = ann.sends("kack-bob", "one");
    let (mut bob, _) = Person::back_in_manual_mode(&cluster, 2, "kack-bob");
    assert_eq!(bob.delivers("6").0.len(), 1);
    let ack = format!("@a|9|{first}");
    for _ in 0..2 {
        bob.expect(&ack, &format!("@a|ok|ack|{first}"));
    }
    assert_eq!(Person::back(&cluster, 3, "kack-bob").1, 0);
}

#[test]
fn no_push_for_an_account_comes_after_its_logout_was_answered() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "late-ann");
    let mut bob = Person::new(&cluster, 2, "late-bob");
    for n in 0..50 {
        ann.client().send(&format!("5|late-bob|{n}")).expect("the connection is there");
    }
    bob.expect("3", "ok|logout|late-bob");
    bob.client().pushes_so_far();
    for _ in 0..50 {
        assert!(ann.client().reply().expect("answered").is_ok());
    }
    bob.has_heard_nothing();
}
