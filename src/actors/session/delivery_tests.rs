//! What a connection is shown, and what is marked: by hand, and under seeded random interleavings.

use std::collections::{BTreeMap, BTreeSet};

use chat::{Answer, MessageId, Name, Query, RetryCode, Shown, answer};

use super::limits::{OUTPUT_BYTES_MAX, PAGE_BYTES, PAGE_MESSAGES};
use super::marks::UNACKNOWLEDGED_MAX;
use super::testkit::World;
use super::writer::Watch;
use crate::actors::messages::What;

/// Ids of the `msg` lines in a text.
fn ids(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("msg|"))
        .map(|rest| rest.split('|').next().and_then(|id| id.parse().ok()).expect("an id"))
        .collect()
}

/// What the state holds as undelivered for a name.
fn undelivered(world: &World, name: &str) -> Vec<u64> {
    let name = Name::fold(name).expect("a name");
    let Ok(Answer::Account(Some(account))) = answer(&world.replica.storage, &Query::Account(name)) else {
        panic!("no such account")
    };
    let query = Query::Undelivered {
        account: account.id,
        shown: Shown::default(),
        again_after: Some(MessageId(0)),
        limit: usize::MAX,
        bytes_max: usize::MAX,
    };
    let Ok(Answer::Undelivered { messages, .. }) = answer(&world.replica.storage, &query) else { panic!("messages") };
    messages.iter().map(|message| message.id.0).collect()
}

/// Connection 0 speaks for eve, who sends; bob exists; connection 1 speaks for nobody.
fn eve_and_bob() -> World {
    let mut world = World::new(2);
    world.say(0, "1|bob\n1|eve");
    world
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn a_backlog_waits_for_deliver_and_pushes_come_ahead_of_it() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|a\n5|bob|b\n5|bob|c");
    assert_eq!(world.say(1, "2|bob"), "ok|login|bob|3\n");
    world.say(0, "5|bob|d");
    assert_eq!(ids(&world.conns[1].hear()), [6]);
    assert_eq!(undelivered(&world, "bob"), [3, 4, 5], "the push was acknowledged and marked");
    let heard = world.say(1, "6|2");
    assert_eq!((ids(&heard), last(&heard)), (vec![3, 4], "ok|deliver|2|1"));
    let heard = world.say(1, "6");
    assert_eq!((ids(&heard), last(&heard)), (vec![5], "ok|deliver|1|0"));
    assert_eq!(world.say(1, "6"), "ok|deliver|0|0\n");
    assert_eq!(undelivered(&world, "bob"), [0; 0]);
}

/// It once counted everything up to the login as missed, and looked for it until it gave up.
#[test]
fn a_second_login_to_the_same_account_holds_no_push_up() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    world.say(0, "5|eve|something else in the log");
    assert_eq!(world.say(1, "2|bob"), "ok|login|bob|0\n");
    world.say(0, "5|bob|a");
    assert_eq!(ids(&world.conns[1].hear()).len(), 1);
}

#[test]
fn the_final_line_waits_for_the_kernel_and_the_marks_and_nothing_comes_between() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|a\n5|bob|b");
    world.say(1, "2|bob");
    world.conns[1].drains = false;
    assert_eq!(ids(&world.say(1, "6\n12|after")), [3, 4]);
    world.say(0, "5|bob|pushed meanwhile");
    world.conns[1].core.news(vec![crate::actors::messages::News::Note(chat::NoteCode::NoQuorum, "held")]);
    world.conns[1].move_on(u64::MAX / 2, 0);
    assert_eq!(world.conns[1].core.watch(), Watch::Close);
    world.run();
    assert_eq!(world.conns[1].hear(), "", "not acknowledged");
    assert_eq!(undelivered(&world, "bob"), [3, 4, 5]);
    world.conns[1].move_on(0, u64::MAX / 2);
    assert_eq!(world.conns[1].hear(), "", "not marked");
    world.run();
    let heard = world.conns[1].hear();
    let order: Vec<_> = heard.lines().map(|line| line.split('|').take(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(order, ["ok|deliver", "ok|ping", "note|NO_QUORUM", "msg|5"]);
    assert_eq!(undelivered(&world, "bob"), [5]);
}

#[test]
fn a_message_acknowledged_to_its_sender_is_never_missing_from_deliver() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    world.conns[0].send(b"5|bob|a\n");
    assert!(world.serve(0), "applied; but the push is still on its way to bob");
    world.conns[1].send(b"6\n");
    let push = world.conns[1].news.pop_front().expect("the push");
    world.run();
    let heard = world.conns[1].hear();
    assert_eq!((ids(&heard), last(&heard)), (vec![3], "ok|deliver|0|0"), "the sync pushed it");
    world.conns[1].news.push_back(push);
    world.run();
    assert_eq!(world.conns[1].hear(), "", "a late push is a repeat");
}

#[test]
fn a_sync_of_several_pages_is_finished_before_the_backlog() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|backlog");
    world.say(1, "2|bob");
    for _ in 0..3 * PAGE_MESSAGES {
        world.conns[0].send(b"5|bob|x\n");
        world.serve(0);
    }
    let pushes = std::mem::take(&mut world.conns[1].news);
    let heard = world.say(1, "6");
    let mut want: Vec<_> = (4..4 + 3 * PAGE_MESSAGES as u64).collect();
    want.push(3);
    assert_eq!((ids(&heard), last(&heard)), (want, "ok|deliver|1|0"));
    world.conns[1].news = pushes;
    world.run();
    assert_eq!(world.conns[1].hear(), "");
}

#[test]
fn what_is_missed_and_not_in_the_mailbox_is_looked_for_and_then_given_up() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    let Some(account) = world.conns[1].core.speaker.as_ref().map(|speaker| speaker.id) else { panic!("bob") };
    world.conns[1].drains = false;
    world.conns[1].send("help\n".repeat(100).as_bytes());
    let line = bytes::Bytes::from_static(b"msg|1000|eve|x|removed\n");
    world.conns[1].core.news(vec![crate::actors::messages::News::Push { account, id: MessageId(1000), line }]);
    world.conns[1].drains = true;
    world.conns[1].move_on(u64::MAX / 2, u64::MAX / 2);
    world.replica.asked.clear();
    let mut ticks = 0;
    while world.conns[1].core.wants_tick() || !world.conns[1].asks.is_empty() {
        world.run();
        world.conns[1].core.tick();
        world.conns[1].settle();
        ticks += 1;
        assert!(ticks < 100);
    }
    assert!(ticks > 3, "{ticks}");
    assert!(world.replica.asked.iter().all(|asked| *asked == "feed"));
}

#[test]
fn in_manual_mode_only_ack_marks() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|a\n5|bob|b\n5|bob|c");
    assert_eq!(world.say(1, "9|0\n2|bob"), "ok|ack|0\nok|login|bob|3\n");
    world.say(0, "5|bob|d");
    assert_eq!(ids(&world.conns[1].hear()), [6]);
    assert_eq!(world.conns[1].core.watch(), Watch::No);
    let heard = world.say(1, "6|2");
    assert_eq!((ids(&heard), last(&heard)), (vec![3, 4], "ok|deliver|2|1"), "the push is not left");
    let heard = world.say(1, "6");
    assert_eq!((ids(&heard), last(&heard)), (vec![3, 4, 5, 6], "ok|deliver|4|0"), "again, the push too");
    assert_eq!(world.say(1, "9|4"), "ok|ack|4\n");
    assert_eq!(undelivered(&world, "bob"), [5, 6]);
    let heard = world.say(1, "6|1");
    assert_eq!((ids(&heard), last(&heard)), (vec![5], "ok|deliver|1|0"));
    world.say(0, "5|bob|e");
    assert_eq!(ids(&world.conns[1].hear()), [8], "what was printed is not pushed again");
    assert_eq!(world.say(1, "9|999"), "ok|ack|999\n");
    assert_eq!(undelivered(&world, "bob"), [0; 0]);
}

#[test]
fn an_ack_marks_only_what_was_shown() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|a\n5|bob|b");
    world.say(1, "9|0\n2|bob");
    world.say(0, "5|bob|c");
    world.say(1, "9|999");
    assert_eq!(undelivered(&world, "bob"), [3, 4], "the backlog was not printed");
}

#[test]
fn the_first_ack_takes_back_marks_that_were_not_submitted() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    world.conns[1].drains = false;
    world.say(0, "5|bob|a\n5|bob|b");
    assert_eq!(world.say(1, "9|3").lines().last(), Some("ok|ack|3"));
    world.conns[1].move_on(u64::MAX / 2, u64::MAX / 2);
    world.run();
    assert_eq!(undelivered(&world, "bob"), [4]);
}

#[test]
fn refused_marks_are_told_and_tried_again_and_nothing_is_repeated() {
    let mut world = eve_and_bob();
    world.say(0, "5|bob|a");
    world.say(1, "2|bob");
    world.replica.refuse = Some(("mark", RetryCode::NoQuorum));
    let heard = world.say(1, "6");
    assert_eq!((ids(&heard), last(&heard)), (vec![3], "retry|NO_QUORUM|try again"));
    assert!(world.conns[1].core.wants_tick());
    world.replica.refuse = None;
    assert_eq!(world.say(1, "6"), "ok|deliver|0|0\n");
    world.conns[1].core.tick();
    world.conns[1].settle();
    world.run();
    assert_eq!(undelivered(&world, "bob"), [0; 0]);
}

#[test]
fn coming_back_to_an_account_repeats_nothing() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    world.conns[1].drains = false;
    world.say(0, "5|bob|a");
    assert_eq!(ids(&world.say(1, "3")), [3]);
    world.say(0, "5|bob|b");
    world.say(1, "2|bob\n2|bob");
    world.conns[1].drains = true;
    let heard = world.say(1, "6");
    assert_eq!((ids(&heard), last(&heard)), (vec![4], "ok|deliver|1|0"));
}

#[test]
fn after_logout_or_a_switch_no_push_for_the_account_before_comes() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    for leave in ["3", "2|bob\n2|eve"] {
        world.conns[0].send(b"5|bob|x\n");
        world.serve(0);
        let push = world.conns[1].news.pop_back().expect("the push");
        world.say(1, leave);
        world.conns[1].news.push_back(push);
        world.run();
        assert_eq!(ids(&world.conns[1].hear()), [0; 0], "after {leave}");
        world.say(1, "2|bob");
    }
}

#[test]
fn a_deletion_during_a_deliver_ends_it() {
    let mut world = World::new(3);
    world.say(0, "1|bob\n1|eve\n5|bob|a");
    world.say(1, "2|bob");
    world.say(2, "2|bob");
    world.conns[1].drains = false;
    world.say(1, "6\n12");
    world.say(2, "4");
    let heard = world.conns[1].hear();
    let order: Vec<_> = heard.lines().map(|line| line.split('|').take(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(order, ["err|NOT_LOGGED_IN", "note|LOGGED_OUT", "ok|ping"]);
}

/// Reads a little, until nothing more comes.
fn read_slowly(world: &mut World, n: usize, step: u64) {
    let mut quiet = 0;
    while quiet < 3 {
        let before = world.conns[n].acknowledged;
        world.conns[n].move_on(step, step);
        world.run();
        let unsent = world.conns[n].output.len() as u64 - world.conns[n].written;
        assert!(unsent < OUTPUT_BYTES_MAX + 2 * PAGE_BYTES as u64, "{unsent}");
        quiet = if world.conns[n].acknowledged == before { quiet + 1 } else { 0 };
    }
}

#[test]
fn a_reader_that_never_reads_costs_no_memory_and_gets_everything_later() {
    for manual in [false, true] {
        let mut world = eve_and_bob();
        world.say(1, if manual { "9|0\n2|bob" } else { "2|bob" });
        world.conns[1].hear();
        world.conns[1].drains = false;
        let text = "x".repeat(200);
        for _ in 0..3000 {
            world.say(0, &format!("5|bob|{text}"));
        }
        let held = world.conns[1].output.len() as u64;
        assert!(held < OUTPUT_BYTES_MAX + PAGE_BYTES as u64, "{held}");
        read_slowly(&mut world, 1, 777);
        assert_eq!(ids(&world.conns[1].hear()), (3..3003).collect::<Vec<_>>());
        assert_eq!(undelivered(&world, "bob").len(), if manual { 3000 } else { 0 });
    }
}

#[test]
fn small_messages_stop_at_the_number_that_may_be_unacknowledged() {
    let mut world = eve_and_bob();
    world.say(1, "2|bob");
    world.conns[1].hear();
    world.conns[1].drains = false;
    for _ in 0..2 * UNACKNOWLEDGED_MAX {
        world.say(0, "5|bob|x");
        world.conns[1].move_on(u64::MAX / 2, 0);
    }
    let heard = ids(&world.conns[1].hear());
    assert_eq!(heard.len(), UNACKNOWLEDGED_MAX, "all written, none acknowledged");
    world.conns[1].drains = true;
    world.conns[1].move_on(u64::MAX / 2, u64::MAX / 2);
    world.run();
    assert_eq!(ids(&world.conns[1].hear()).len(), UNACKNOWLEDGED_MAX);
}

#[test]
fn a_big_backlog_is_printed_page_by_page_as_the_reader_reads() {
    for manual in [false, true] {
        let mut world = eve_and_bob();
        let text = "x".repeat(500);
        for _ in 0..1500 {
            world.say(0, &format!("5|bob|{text}"));
        }
        world.say(1, if manual { "9|0\n2|bob" } else { "2|bob" });
        world.conns[1].hear();
        world.conns[1].drains = false;
        let mut heard = world.say(1, "6|1400\n6");
        let held = world.conns[1].output.len() as u64;
        assert!(held < OUTPUT_BYTES_MAX + PAGE_BYTES as u64, "{held}");
        world.say(0, "5|bob|a push while it prints");
        read_slowly(&mut world, 1, 1111);
        heard += &world.conns[1].hear();
        let finals: Vec<_> = heard.lines().filter(|line| line.starts_with("ok|")).collect();
        if manual {
            assert_eq!(finals, ["ok|deliver|1400|101", "ok|deliver|1501|0"]);
        } else {
            assert_eq!(finals, ["ok|deliver|1400|101", "ok|deliver|100|0"]);
            assert_eq!(ids(&heard).len(), 1501);
            assert_eq!(undelivered(&world, "bob"), [0; 0]);
        }
        groups_are_whole(&heard);
    }
}

/// The data of each `deliver` are the last lines before its final line.
fn groups_are_whole(heard: &str) {
    let lines: Vec<_> = heard.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some(rest) = line.strip_prefix("ok|deliver|") {
            let count: usize = rest.split('|').next().and_then(|count| count.parse().ok()).expect("a count");
            assert!(lines[at - count..at].iter().all(|line| line.starts_with("msg|")), "{heard}");
        }
    }
}

/// Serves the next ask of a connection. What it marks must have been acknowledged by its peer's kernel.
fn serve_checked(world: &mut World, n: usize) {
    let conn = &world.conns[n];
    if let Some(What::Mark { ranges, .. }) = conn.asks.front().map(|ask| &ask.what) {
        let arrived = usize::try_from(conn.acknowledged).expect("small");
        let whole = conn.output[..arrived].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let seen: BTreeSet<_> = ids(str::from_utf8(&conn.output[..whole]).expect("UTF-8")).into_iter().collect();
        let open = undelivered(world, "bob");
        for id in open.iter().filter(|id| ranges.iter().any(|r| r.from.0 <= **id && **id <= r.to.0)) {
            assert!(seen.contains(id), "connection {n} marks {id}, which its peer does not have");
        }
    }
    world.serve(n);
}

/// One random life of two connections of bob's and a sender.
fn live(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(3);
    world.say(0, "1|bob\n1|eve");
    world.say(0, "5|bob|old\n5|bob|older");
    for n in 1..3 {
        world.say(n, "2|bob");
        world.conns[n].drains = false;
    }
    let login_at = world.replica.index;
    let text = "t".repeat(random.usize(1..3000));
    let sends = random.u32(1..200);
    for _ in 0..random.usize(100..1500) {
        let n = random.usize(1..3);
        match random.u32(0..12) {
            0..3 if world.replica.index < login_at + u64::from(sends) => {
                world.conns[0].send(format!("5|bob|{}\n", &text[..random.usize(1..=text.len())]).as_bytes());
            }
            3 => world.conns[n].send(b"6\n"),
            4 => world.conns[n].send(b"12|x\n6|3\n12|y\n"),
            5 => {
                let step = random.u64(0..100_000);
                world.conns[n].move_on(step, 0);
            }
            6 => {
                let step = random.u64(0..100_000);
                world.conns[n].move_on(step, step);
            }
            7 if random.bool() => {
                world.replica.refuse = [None, Some(("feed", RetryCode::NotReady)), Some(("mark", RetryCode::NoQuorum))]
                    [random.usize(0..3)];
                world.conns[n].core.tick();
                world.conns[n].settle();
            }
            8 => serve_checked(&mut world, 0),
            9 => serve_checked(&mut world, n),
            _ => {
                world.tell(n);
            }
        }
    }
    world.replica.refuse = None;
    for _ in 0..400 {
        for n in 0..3 {
            world.conns[n].move_on(u64::MAX / 2, u64::MAX / 2);
            world.conns[n].core.tick();
            world.conns[n].settle();
            while !world.conns[n].asks.is_empty() {
                serve_checked(&mut world, n);
            }
            while world.tell(n) {}
        }
    }
    let all: Vec<_> = (login_at + 1..=world.replica.index).collect();
    for n in 1..3 {
        let heard = world.conns[n].hear();
        groups_are_whole(&heard);
        let mut times = BTreeMap::new();
        for id in ids(&heard) {
            *times.entry(id).or_insert(0) += 1;
        }
        assert!(times.values().all(|times| *times == 1), "seed {seed}: connection {n} was shown something twice");
        let pushed: Vec<_> = ids(&heard).into_iter().filter(|id| *id > login_at).collect();
        assert!(pushed.is_sorted(), "seed {seed}: connection {n}: pushes out of order");
        let sent: BTreeSet<_> = all.iter().copied().filter(|id| is_message(&world, *id)).collect();
        assert_eq!(pushed.into_iter().collect::<BTreeSet<_>>(), sent, "seed {seed}: connection {n} misses some");
        assert_eq!(finals(&heard, "ok|deliver") + finals(&heard, "retry|"), world.conns[n].delivers, "seed {seed}");
    }
    assert!(undelivered(&world, "bob").iter().all(|id| *id <= login_at), "seed {seed}: every push is marked");
}

fn is_message(world: &World, id: u64) -> bool {
    let all = world.conns[0].output.split(|byte| *byte == b'\n');
    let (sent, queued) = (format!("ok|sent|bob|{id}"), format!("ok|queued|bob|{id}"));
    all.into_iter().any(|line| line == sent.as_bytes() || line == queued.as_bytes())
}

fn finals(heard: &str, start: &str) -> usize {
    heard.lines().filter(|line| line.starts_with(start)).count()
}

#[test]
fn nothing_is_lost_repeated_reordered_or_marked_too_early_under_any_interleaving() {
    for seed in 0..300 {
        live(seed);
    }
}
