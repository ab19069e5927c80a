//! The client in a terminal: a pseudo-terminal with the real program in it, typed into and read like a person would.
//!
//! Every wait is for something to appear, and bounded by [`PATIENCE`].

#[path = "terminal/hostile.rs"]
mod hostile;
#[path = "terminal/pty.rs"]
mod pty;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plainsong::drill::{Cluster, ClusterOptions, LineClient};
use pty::Terminal;

/// Nothing here takes this long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One cluster at a time: these tests wait for each other rather than for the machine.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Three replicas with the accounts alice and bob, who has no terminal.
fn cluster() -> Cluster {
    let options = ClusterOptions { replicas: 3, ..ClusterOptions::default() };
    let cluster = Cluster::start(env!("CARGO_BIN_EXE_plainsong").as_ref(), &options).expect("three replicas start");
    let mut client = cluster.connect(1, PATIENCE).expect("a greeting");
    for request in ["1|bob", "1|alice"] {
        ask(&mut client, request);
    }
    cluster
}

fn ask(client: &mut LineClient, request: &str) -> String {
    let reply = client.request(request).expect("an answer");
    assert!(reply.is_ok(), "{request}: {}", reply.last);
    reply.last
}

/// Bob, at the last replica.
fn bob(cluster: &Cluster) -> LineClient {
    let mut bob = cluster.connect(3, PATIENCE).expect("a greeting");
    ask(&mut bob, "2|bob");
    bob
}

/// The client in a terminal, knowing all replicas from the file.
fn client(cluster: &Cluster, args: &[&str]) -> Terminal {
    let config = cluster.config();
    let mut all = vec!["--config", config.to_str().expect("UTF-8"), "client"];
    all.extend(args);
    Terminal::run(&all)
}

#[test]
fn what_is_half_typed_survives_what_arrives() {
    let _turn = alone();
    let cluster = cluster();
    let mut bob = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    alice.type_in("5|bob|half");
    alice.expect("5|bob|half");
    ask(&mut bob, "5|alice|are you there?");
    alice.expect("bob: are you there?");
    alice.expect("5|bob|half");
    alice.type_in(" and half\r");
    assert_eq!(bob.push().expect("a push").text, "half and half");
    alice.expect("sent to bob");
    alice.type_in("quit\r");
    assert_eq!(alice.end(), 0);
}

#[test]
fn the_replica_is_killed_and_another_takes_over_where_it_ended() {
    let _turn = alone();
    let mut cluster = cluster();
    let mut bob = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    ask(&mut bob, "5|alice|before the fall");
    alice.expect("bob: before the fall");
    cluster.kill(1).expect("it ran");
    alice.expect("plainsong: lost ");
    // Typed while nobody is connected, or just after: it goes out once, and whoever takes over is named.
    alice.type_in("5|bob|during the fall\r");
    alice.expect("plainsong: now on replica ");
    assert_eq!(bob.push().expect("a push").text, "during the fall");
    ask(&mut bob, "5|alice|after the fall");
    alice.expect("bob: after the fall");
    alice.type_in("5|bob|and on\r");
    assert_eq!(bob.push().expect("a push").text, "and on");
    alice.type_in("\x04");
    assert_eq!(alice.end(), 0);
    for text in ["bob: before the fall", "bob: after the fall"] {
        assert_eq!(alice.everything().matches(text).count(), 1, "{text} is shown once: {}", alice.everything());
    }
}

#[test]
fn two_hundred_pasted_lines_go_out_once_and_in_order_while_others_talk() {
    const LINES: usize = 200;
    const TALK: usize = 40;
    let _turn = alone();
    let cluster = cluster();
    let mut listener = bob(&cluster);
    let mut talker = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    let paste: String = (1..=LINES).map(|n| format!("5|bob|line {n}\r")).collect();
    let talking = std::thread::spawn(move || {
        for n in 1..=TALK {
            ask(&mut talker, &format!("5|alice|talk {n}."));
        }
    });
    alice.type_in(&paste);
    for n in 1..=LINES {
        assert_eq!(listener.push().expect("a push").text, format!("line {n}"));
    }
    talking.join().expect("every talk is accepted");
    alice.expect(&format!("bob: talk {TALK}."));
    alice.type_in("/quit\r");
    assert_eq!(alice.end(), 0);
    for n in 1..=TALK {
        assert_eq!(alice.everything().matches(&format!("bob: talk {n}.")).count(), 1, "talk {n} is shown once");
    }
    let sent = ask(&mut listener, "12|the end");
    assert_eq!((sent.as_str(), listener.pushes_so_far().len()), ("ok|ping|the end", 0), "nothing was sent twice");
}

#[test]
fn what_arrives_in_a_paste_that_ends_with_quit_is_shown_or_stays_undelivered() {
    const TALK: usize = 60;
    let _turn = alone();
    let cluster = cluster();
    let mut talker = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    let talking = std::thread::spawn(move || {
        for n in 1..=TALK {
            ask(&mut talker, &format!("5|alice|talk {n}."));
        }
    });
    alice.expect("bob: talk 1.");
    let paste: String = (1..=20).map(|n| format!("12|ping {n}\r")).chain(["quit\r".to_owned()]).collect();
    alice.type_in(&paste);
    assert_eq!(alice.end(), 0);
    talking.join().expect("every talk is accepted");
    let mut successor = cluster.connect(2, PATIENCE).expect("a greeting");
    for request in ["9|0", "2|alice"] {
        ask(&mut successor, request);
    }
    let left = successor.request("6|").expect("an answer").messages().expect("messages");
    let shown = alice.everything();
    for n in 1..=TALK {
        let text = format!("talk {n}.");
        let is_left = left.iter().any(|message| message.text == text);
        assert!(is_left || shown.contains(&format!("bob: {text}")), "{text} is neither shown nor left: {shown:?}");
    }
}

#[test]
fn a_password_is_asked_for_and_never_shown() {
    let _turn = alone();
    let cluster = cluster();
    ask(&mut cluster.connect(1, PATIENCE).expect("a greeting"), "1|carol|opensesame");
    let mut carol = client(&cluster, &["--login", "carol"]);
    carol.expect("Password of carol: ");
    carol.type_in("wrongwrong\r");
    carol.expect("(WRONG_PASSWORD)");
    carol.expect("Password of carol: ");
    carol.type_in("opensesame\r");
    carol.expect("logged in as carol");
    carol.expect("carol> ");
    carol.type_in("/login alice\r");
    carol.expect("Password of alice (empty for none): ");
    carol.type_in("\r");
    carol.expect("logged in as alice");
    carol.expect("alice> ");
    carol.type_in("/login carol\r");
    carol.expect("Password of carol (empty for none): ");
    carol.type_in("opensesame\r");
    carol.expect("logged in as carol");
    carol.type_in("/quit\r");
    assert_eq!(carol.end(), 0);
    for secret in ["opensesame", "wrongwrong"] {
        assert!(!carol.everything().contains(secret), "{}", carol.everything());
    }
}

#[test]
fn control_c_leaves_at_once_and_unread_mail_is_counted_at_login() {
    let _turn = alone();
    let cluster = cluster();
    let mut bob = bob(&cluster);
    for text in ["one", "two"] {
        ask(&mut bob, &format!("5|alice|{text}"));
    }
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("logged in as alice; 2 undelivered");
    alice.expect("[1] alice> ");
    alice.type_in("half a line");
    alice.expect("half a line");
    alice.type_in("\x03");
    assert_eq!(alice.end(), 0);
}

#[test]
fn plain_text_goes_to_whom_it_was_said_and_tab_completes_ops_and_names() {
    let _turn = alone();
    let cluster = cluster();
    let mut bob = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    alice.type_in("/list\r");
    alice.expect("2 of 2 shown");
    alice.type_in("se\tbo\ttabbed\r");
    assert_eq!(bob.push().expect("a push").text, "tabbed");
    alice.type_in("/to bob\r");
    alice.expect("alice to bob> ");
    alice.type_in("good evening | all\r");
    assert_eq!(bob.push().expect("a push").text, "good evening | all");
    alice.type_in("5|alice|to myself\r");
    alice.expect("alice: to myself");
    alice.type_in("/status\r");
    alice.expect("the cluster survives ");
    alice.type_in("/help\r");
    alice.expect("/to NAME");
    alice.expect("send");
    alice.type_in("quit\r");
    assert_eq!(alice.end(), 0);
}

#[test]
fn history_who_and_erase_are_served_to_the_prompt() {
    let _turn = alone();
    let cluster = cluster();
    let mut bob = bob(&cluster);
    let mut alice = client(&cluster, &["--login", "alice"]);
    alice.expect("[1] alice> ");
    let sent = ask(&mut bob, "5|alice|remember me");
    let id = sent.rsplit('|').next().expect("an id");
    alice.expect("bob: remember me");
    alice.type_in("/history bob\r");
    alice.expect(&format!("bob to alice: remember me ({id})"));
    alice.type_in("/who ^b\r");
    alice.expect("  bob");
    alice.expect("1 online");
    alice.type_in(&format!("8|{id}\r"));
    alice.expect("1 removed");
    alice.type_in("/history bob\r");
    alice.expect("0 shown");
    alice.type_in("/passwd\r");
    alice.expect("New password: ");
    alice.type_in("newsecret\r");
    alice.expect("new password");
    alice.type_in("quit\r");
    assert_eq!(alice.end(), 0);
    assert!(!alice.everything().contains("newsecret"));
}

#[test]
fn a_removal_is_asked_about_on_a_terminal_and_done_after_a_yes_alone() {
    let _turn = alone();
    let mut cluster = cluster();
    let config = cluster.config();
    let words = ["--config", config.to_str().expect("UTF-8"), "remove", "-i", "3"];
    for (answer, code, said, left) in [("n", 1, "nothing was done", 3), ("y", 0, "is no member any more", 2)] {
        let mut asked = Terminal::run(&words);
        asked.expect("replica 3 is one of 3, which survive 1 failure; the 2 that are left");
        asked.expect("survive 0 failures");
        asked.expect("go on? [y/N] ");
        asked.type_in(&format!("{answer}\n"));
        asked.expect(said);
        assert_eq!(asked.end(), code);
        if left == 2 {
            cluster.await_end(3, PATIENCE).expect("it is told so, and ends");
        }
        cluster.await_state("so many are members", |status| status.replicas.len() == left).expect("as it was said");
    }
}
