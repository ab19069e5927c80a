//! Conversations: what comes in, what goes out.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use chat::{ErrCode, NoteCode, RetryCode};

use super::SessionConfig;
use super::limits::{OUTPUT_BYTES_MAX, REQUESTS_MAX};
use super::testkit::{World, config};
use crate::actors::messages::News;

/// One connection says each left side, and hears exactly the right side. `…` stands for any rest of a line.
fn converse(table: &[(&str, &str)]) {
    let mut world = World::new(1);
    for (said, heard) in table {
        let got = world.say(0, said);
        assert!(matches(&got, heard), "said {said:?}\n heard {got:?}\n  want {heard:?}");
    }
}

fn matches(got: &str, want: &str) -> bool {
    let got: Vec<_> = got.lines().collect();
    let want: Vec<_> = want.lines().collect();
    got.len() == want.len()
        && got.iter().zip(want).all(|(got, want)| match want.strip_suffix('…') {
            Some(start) => got.starts_with(start),
            None => *got == want,
        })
}

#[test]
fn accounts() {
    converse(&[
        ("1|Bob", "ok|create|bob"),
        ("1|bob", "err|NAME_TAKEN|…"),
        ("3", "ok|logout|bob"),
        ("3", "err|NOT_LOGGED_IN|…"),
        ("2|bob", "ok|login|bob|0"),
        ("2|bob|pw", "err|WRONG_PASSWORD|…"),
        ("2|eve", "err|NO_SUCH_USER|…"),
        ("5|bob|still bob", "msg|3|bob|1970-01-01T00:00:00.000Z|still bob\nok|sent|bob|3"),
        ("1|eve|secret|1", "ok|create|eve"),
        ("2|bob", "ok|login|bob|0"),
        ("2|eve", "err|WRONG_PASSWORD|…"),
        ("2|eve|secret", "err|WRONG_PASSWORD|…"),
        ("2|eve|secret|1", "ok|login|eve|0"),
        ("0", "user|bob\nuser|eve\nok|list|2|2"),
        ("0|>bob|", "user|eve\nok|list|1|1"),
        ("4", "ok|delete|eve"),
        ("4", "err|NOT_LOGGED_IN|…"),
        ("0", "user|bob\nok|list|1|1"),
    ]);
}

#[test]
fn local_ops_and_bad_lines() {
    converse(&[
        ("ping|a|b", "ok|ping|a|b"),
        ("@k|12", "@k|ok|ping|"),
        ("status", "replica|1|leader|h:1|up|0|0\nok|status|1|1|3|0"),
        ("9|0", "ok|ack|0"),
        ("@k|9|5", "@k|err|NOT_LOGGED_IN|…"),
        ("nonsense", "err|BAD_REQUEST|…"),
        ("@a b|12", "err|BAD_REQUEST|…"),
        ("5|x|\u{1b}", "err|NOT_LOGGED_IN|…"),
        ("1|bob\n5|x|\u{1b}", "ok|create|bob\nerr|BAD_TEXT|…"),
        (&format!("12|{}", "x".repeat(8192)), "err|TOO_LONG|…"),
        ("\n\r\n12\r", "ok|ping|"),
    ]);
    let mut world = World::new(1);
    let help = world.say(0, "help");
    assert!(help.lines().filter(|line| line.starts_with("help|")).count() >= 12 && help.ends_with("\nok|help\n"));
    world.conns[0].send(b"\xff\n12\n");
    assert_eq!(
        world.conns[0].hear(),
        "err|NOT_UTF8|the line is not UTF-8 and was skipped; send it as UTF-8\nok|ping|\n"
    );
}

#[test]
fn replies_come_in_request_order_whatever_is_answered_first() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].send(b"@a|5|bob|1\n12|x\n9|0\nstatus\n5|nobody|2\nhelp\n5|bob|3\n");
    let mut answers = Vec::new();
    assert_eq!(world.conns[0].asks.len(), 4, "writes and status go out at once");
    for ask in std::mem::take(&mut world.conns[0].asks) {
        answers.extend(world.replica.serve(crate::actors::messages::SessionId(0), ask).into_iter().map(|(_, n)| n));
    }
    answers.retain(|piece| matches!(piece, News::Answered(..)));
    for piece in answers.into_iter().rev() {
        world.conns[0].core.news(vec![piece]);
        world.conns[0].settle();
    }
    let heard = world.conns[0].hear();
    let finals: Vec<_> = heard.lines().filter(|line| !line.starts_with("help|")).collect();
    assert_eq!(
        finals.iter().map(|line| line.rsplit_once('|').map_or(*line, |(start, _)| start)).collect::<Vec<_>>(),
        [
            "@a|ok|sent|bob",
            "ok|ping",
            "ok|ack",
            "replica|1|leader|h:1|up|2",
            "ok|status|1|1|3",
            "err|NO_SUCH_USER",
            "ok",
            "ok|sent|bob"
        ]
    );
}

#[test]
fn what_changes_the_account_waits_and_is_waited_for() {
    let mut world = World::new(1);
    world.say(0, "1|bob\n1|eve");
    world.replica.asked.clear();
    world.conns[0].send(b"5|bob|1\n5|bob|2\n2|bob\n5|eve|3\n3\n5|eve|4\n");
    assert_eq!(world.conns[0].asks.len(), 2, "the login waits for both");
    world.serve(0);
    world.tell(0);
    assert_eq!(world.conns[0].asks.len(), 1, "for both");
    world.run();
    assert_eq!(world.replica.asked, ["send", "send", "read", "enter", "send", "leave"]);
    assert!(matches(
        &world.conns[0].hear(),
        "ok|queued|bob|3\nok|queued|bob|4\nok|login|bob|2\nok|queued|eve|5\nok|logout|bob\nerr|NOT_LOGGED_IN|…"
    ));
}

#[test]
fn a_refused_write_stops_neither_the_next_nor_the_order() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].send(b"5|bob|1\n5|bob|2\n");
    world.replica.refuse = Some(("send", RetryCode::NoQuorum));
    world.serve(0);
    world.replica.refuse = None;
    world.run();
    assert!(matches(&world.conns[0].hear(), "retry|NO_QUORUM|try again\nmsg|2…\nok|sent|bob|2"));
}

#[test]
fn a_create_that_cannot_enter_is_unknown_and_a_login_changes_nothing() {
    let mut world = World::new(1);
    world.say(0, "1|eve");
    world.replica.refuse = Some(("enter", RetryCode::NoQuorum));
    assert!(matches(&world.say(0, "@k|1|bob"), "@k|retry|UNKNOWN|…"));
    assert!(matches(&world.say(0, "2|bob"), "retry|NO_QUORUM|…"));
    world.replica.refuse = None;
    assert!(matches(&world.say(0, "3"), "ok|logout|eve"));
    assert_eq!(world.say(0, "2|bob"), "ok|login|bob|0\n");
}

#[test]
fn a_password_can_be_required() {
    let mut world = World::new(0);
    world.connect(super::SessionConfig { require_password: true, ..config() });
    assert!(matches(&world.say(0, "@k|1|bob"), "@k|err|FORBIDDEN|…"));
    assert_eq!(world.say(0, "1|bob|pw"), "ok|create|bob\n");
}

#[test]
fn before_the_founding_the_cluster_has_no_id() {
    let mut conn = super::testkit::Conn::new(super::SessionConfig { cluster_id: Default::default(), ..config() });
    conn.settle();
    assert_eq!(conn.hear(), "hello|1|1|test|-\n");
}

#[test]
fn a_deletion_logs_out_everybody_else_with_a_note() {
    let mut world = World::new(2);
    world.say(0, "1|bob");
    world.say(1, "2|bob");
    assert_eq!(world.say(0, "4"), "ok|delete|bob\n");
    assert!(matches(&world.conns[1].hear(), "note|LOGGED_OUT|…"));
    assert!(matches(&world.say(1, "3"), "err|NOT_LOGGED_IN|…"));
}

#[test]
fn of_two_deletions_at_once_one_is_told_that_it_was_elsewhere() {
    let mut world = World::new(2);
    world.say(0, "1|bob");
    world.say(1, "2|bob");
    world.conns[0].send(b"4\n");
    world.conns[1].send(b"4\n12\n");
    world.run();
    assert_eq!(world.conns[0].hear(), "ok|delete|bob\n");
    assert!(matches(&world.conns[1].hear(), "err|NO_SUCH_USER|…\nnote|LOGGED_OUT|…\nok|ping|"));
}

#[test]
fn quit_ends_it_once_earlier_replies_are_out_and_later_lines_are_ignored() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].send(b"5|bob|1\nquit\n5|bob|2\n");
    assert_eq!(world.conns[0].hear(), "", "the send is not answered yet");
    assert!(!world.conns[0].core.may_read());
    world.run();
    let heard = world.conns[0].hear();
    assert!(matches(&heard, "msg|2|…\nok|sent|bob|2\nok|quit"), "{heard}");
    assert!(world.conns[0].closed);
    assert_eq!(world.replica.asked.iter().filter(|asked| **asked == "send").count(), 1);
    assert_eq!(&world.replica.asked[world.replica.asked.len() - 2..], ["mark", "leave"]);
}

#[test]
fn a_half_closed_connection_is_offline_once_answered_and_closed_once_read() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].drains = false;
    world.conns[0].send(b"5|bob|1\n12|last\n");
    world.conns[0].core.eof();
    world.conns[0].settle();
    assert!(world.replica.speaks(crate::actors::messages::SessionId(0)));
    world.run();
    assert!(matches(&world.conns[0].hear(), "msg|2|…\nok|sent|bob|2\nok|ping|last"));
    assert!(!world.replica.speaks(crate::actors::messages::SessionId(0)));
    assert!(!world.conns[0].closed, "nothing is read yet");
    world.conns[0].move_on(u64::MAX / 2, 0);
    assert!(!world.conns[0].closed && !world.replica.asked.contains(&"mark"), "nor acknowledged");
    world.conns[0].move_on(0, u64::MAX / 2);
    assert!(world.conns[0].closed);
    world.run();
    assert!(world.replica.asked.contains(&"mark"));
}

#[test]
fn http_is_turned_away_and_a_later_line_that_looks_like_it_is_not() {
    let mut world = World::new(1);
    assert!(matches(&world.say(0, "POST /5|bob|x HTTP/1.1\r\n12\r"), "bye|NOT_HTTP|…"));
    assert!(world.conns[0].closed);
    converse(&[("12", "ok|ping|"), ("GET / HTTP/1.1", "err|BAD_REQUEST|…")]);
}

#[test]
fn a_stopping_replica_finishes_what_is_begun_and_refuses_the_rest() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].send(b"5|bob|1\n2|bob\n@k|12\n");
    world.conns[0].core.news(vec![News::Drain(chat::ByeCode::Draining)]);
    world.conns[0].send(b"12|late\n");
    assert!(!world.conns[0].core.may_read());
    world.run();
    let heard = world.conns[0].hear();
    let want = "msg|2|…\nok|sent|bob|2\nretry|DRAINING|…\n@k|retry|DRAINING|…\nretry|DRAINING|…\nbye|DRAINING|…";
    assert!(matches(&heard, want), "{heard}");
    assert!(world.conns[0].closed);
}

#[test]
fn a_replica_that_was_removed_says_so() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    world.conns[0].core.news(vec![News::Drain(chat::ByeCode::Removed)]);
    world.conns[0].settle();
    let heard = world.conns[0].hear();
    assert!(matches(&heard, "bye|REMOVED|…"), "{heard}");
    assert!(world.conns[0].closed);
}

#[test]
fn a_broken_connection_marks_only_what_was_acknowledged() {
    let mut world = World::new(2);
    world.say(0, "1|bob");
    world.say(1, "1|eve");
    world.conns[0].drains = false;
    world.say(1, "5|bob|1\n5|bob|2");
    let first = world.conns[0].hear().find('\n').expect("a line") as u64 + 1;
    world.conns[0].move_on(u64::MAX / 2, first);
    world.conns[0].core.gone();
    world.conns[0].settle();
    assert!(world.conns[0].closed);
    world.run();
    assert_eq!(world.say(1, "2|bob"), "ok|login|bob|1\n");
}

#[test]
fn notes_wait_for_the_end_of_a_reply_and_do_not_pile_up() {
    let mut world = World::new(1);
    world.conns[0].drains = false;
    world.conns[0].send("help\n".repeat(200).as_bytes());
    for _ in 0..1000 {
        world.conns[0]
            .core
            .news(vec![News::Note(NoteCode::NoQuorum, "it is gone"), News::Note(NoteCode::QuorumBack, "it is back")]);
    }
    world.conns[0].settle();
    assert!(!world.conns[0].hear().contains("note|"));
    for _ in 0..200 {
        world.conns[0].move_on(u64::MAX / 2, 0);
    }
    let heard = world.conns[0].hear();
    assert!(heard.contains("ok|help\nnote|NO_QUORUM|it is gone\nnote|QUORUM_BACK|it is back\n"));
    assert_eq!(heard.matches("note|").count(), 2);
}

#[test]
fn what_is_asked_faster_than_read_stops_at_the_budget_and_is_answered_in_the_end() {
    let mut world = World::new(1);
    world.conns[0].drains = false;
    let requests = 3000;
    world.conns[0].send("help\n".repeat(requests).as_bytes());
    let conn = &mut world.conns[0];
    let one = conn.output.len() as u64 / conn.output.windows(8).filter(|bytes| bytes == b"ok|help\n").count() as u64;
    assert!((conn.output.len() as u64) < OUTPUT_BYTES_MAX + 2 * one);
    assert!(!conn.core.may_read());
    let mut rounds = 0;
    while (conn.written as usize) < conn.output.len() {
        conn.move_on(10_000, 10_000);
        rounds += 1;
        assert!(conn.output.len() as u64 - conn.written < OUTPUT_BYTES_MAX + 2 * one);
        assert!(rounds < 1_000_000);
    }
    assert_eq!(conn.hear().matches("ok|help\n").count(), requests);
    assert!(conn.core.may_read());
}

#[test]
fn the_window_closes_on_unanswered_requests_and_opens_again() {
    let mut world = World::new(1);
    world.say(0, "1|bob\n1|eve");
    world.conns[0].send("5|bob|x\n".repeat(REQUESTS_MAX + 10).as_bytes());
    assert!(!world.conns[0].core.may_read());
    assert_eq!(world.conns[0].asks.len(), REQUESTS_MAX, "the Replicator sees no more than the window");
    world.run();
    assert!(world.conns[0].core.may_read());
    assert_eq!(world.conns[0].hear().matches("ok|queued|bob|").count(), REQUESTS_MAX + 10);
}

#[test]
fn every_refusal_of_state_reaches_the_client() {
    let mut world = World::new(1);
    world.say(0, "1|bob");
    let heard = world.say(0, "@k|5|bob|1\n@k|5|bob|2\n@k|5|bob|1");
    assert!(matches(&heard, &format!("msg|2|…\n@k|ok|sent|bob|2\n@k|err|{}|…\n@k|ok|sent|bob|2", ErrCode::KeyReused)));
}

#[test]
fn what_is_too_fast_is_delayed_then_refused_then_cut_and_answered_in_order() {
    const RATE: u32 = 10;
    let mut world = World::new(0);
    let n = world.connect(SessionConfig { requests_per_second: NonZeroU32::new(RATE), ..config() });
    let start = Instant::now();
    world.conns[n].core.at(start);
    let lines: Vec<String> = (0..200).map(|n| format!("@k{n}|ping")).collect();
    let heard = world.say(n, &lines.join("\n"));
    assert_eq!(heard.lines().count(), 10, "a second's worth at once: {heard}");
    let mut all: Vec<String> = heard.lines().map(str::to_owned).collect();
    while let Some(at) = world.conns[n].core.wakes_at() {
        world.conns[n].core.at(at);
        world.conns[n].core.wake();
        world.conns[n].settle();
        all.extend(world.conns[n].hear().lines().map(str::to_owned));
    }
    let bye = all.pop().expect("a last line");
    assert!(bye.starts_with("bye|FLOOD|") && world.conns[n].closed, "{bye}");
    for (n, line) in all.iter().enumerate() {
        let start = if n < 20 { format!("@k{n}|ok|ping|") } else { format!("@k{n}|retry|SLOW_DOWN|") };
        assert!(line.starts_with(&start), "{line:?} as answer {n}");
    }
    assert_eq!(all.len(), 120);
}

#[test]
fn only_who_never_logged_in_may_not_be_silent() {
    const IDLE: Duration = Duration::from_secs(60);
    let mut world = World::new(0);
    let config = || SessionConfig { idle: Some(IDLE), ..config() };
    let (guest, member) = (world.connect(config()), world.connect(config()));
    let start = Instant::now();
    for n in [guest, member] {
        world.conns[n].core.at(start);
    }
    assert_eq!(world.say(guest, "ping"), "ok|ping|\n");
    assert_eq!(world.say(member, "1|bob\n3"), "ok|create|bob\nok|logout|bob\n");
    assert_eq!(world.conns[member].core.wakes_at(), None);
    assert_eq!(world.conns[guest].core.wakes_at(), Some(start + IDLE));
    for (after, closes) in [(IDLE / 2, false), (IDLE, true)] {
        world.conns[guest].core.at(start + after);
        world.conns[guest].core.wake();
        world.conns[guest].settle();
        assert_eq!(world.conns[guest].closed, closes, "after {after:?}");
    }
    assert!(world.conns[guest].hear().starts_with("bye|IDLE|"));
}
