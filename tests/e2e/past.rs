//! The past and the present: `history`, `erase`, `who` and `passwd`, on any replica, and across a failover.

use std::time::{Duration, Instant};

use plainsong::drill::{Cluster, LineClient, Reply, wait_until};

use crate::harness::{PATIENCE, REQUEST_TIMEOUT, SHARED_LIST_LIMIT, last_follower, shared, three, together};
use crate::lines::connect_with_small_buffer;
use crate::person::{Person, matches, sent};

/// Near the longest text that fits a line.
const TEXT_BYTES: usize = 8000;
/// The most that one answer to `history` may hold.
const HISTORY_MAX: usize = 1000;
/// "At once", on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

/// `(id, from, to, text)` of the `past` lines, and that the final line counts them.
fn past(reply: &Reply) -> Vec<(u64, String, String, String)> {
    assert_eq!(reply.last, format!("ok|history|{}", reply.data.len()));
    let fields = |line: &String| {
        let fields: Vec<&str> = line.splitn(6, '|').collect();
        let &["past", id, from, to, time, text] = fields.as_slice() else { panic!("no past line: {line}") };
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        (id.parse().expect("an id"), from.to_owned(), to.to_owned(), text.to_owned())
    };
    reply.data.iter().map(fields).collect()
}

fn ids(person: &mut Person, request: &str) -> Vec<u64> {
    past(&person.reply_to(request)).into_iter().map(|(id, ..)| id).collect()
}

#[test]
fn history_is_the_same_on_every_replica_and_pages_both_ways() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "hist-ann");
    let mut bob = Person::new(&cluster, 2, "hist-bob");
    let a = ann.sends("hist-bob", "to bob | with a pipe").1;
    let b = bob.sends("hist-ann", "to ann").1;
    let own = ann.sends("hist-ann", "to myself").1;
    assert_eq!(
        past(&ann.reply_to("7")),
        [
            (a, "hist-ann".to_owned(), "hist-bob".to_owned(), "to bob | with a pipe".to_owned()),
            (b, "hist-bob".to_owned(), "hist-ann".to_owned(), "to ann".to_owned()),
            (own, "hist-ann".to_owned(), "hist-ann".to_owned(), "to myself".to_owned()),
        ]
    );
    for id in cluster.ids() {
        let (mut ann, _) = Person::back(&cluster, id, "hist-ann");
        for (request, found) in [
            ("7|".to_owned(), &[a, b, own][..]),
            ("7|Hist-BOB".to_owned(), &[a, b]),
            ("7|hist-ann".to_owned(), &[own]),
            ("7|hist-nobody".to_owned(), &[]),
            (format!("7|hist-bob|{b}"), &[a]),
            (format!("7||{own}|1"), &[b]),
            (format!("history||>{a}|1"), &[b]),
            (format!("7|hist-bob|>{a}"), &[b]),
            (format!("7||>{own}"), &[]),
            ("7||0".to_owned(), &[]),
            ("7|||2".to_owned(), &[b, own]),
        ] {
            assert_eq!(ids(&mut ann, &request), found, "{request} at replica {id}");
        }
        // Whatever was acknowledged before, wherever, is in it.
        let more = bob.sends("hist-ann", "more").1;
        assert_eq!(ids(&mut ann, &format!("7||>{own}")), [more]);
        ann.expect(&format!("8|{more}"), "ok|erase|1");
    }
}

#[test]
fn history_without_a_number_is_the_newest_twenty() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 3, "hist-many");
    let sent: Vec<u64> = (0..30).map(|n| ann.sends("hist-many", &n.to_string()).1).collect();
    assert_eq!(ids(&mut ann, "7"), sent[10..]);
    assert_eq!(ids(&mut ann, &format!("7||{}|1000", sent[10])), sent[..10]);
    assert_eq!(ids(&mut ann, "7||>0"), sent[..20]);
}

#[test]
fn history_refuses_what_the_page_says_in_its_order() {
    let cluster = shared();
    let mut ann = Person::at(&cluster, 1);
    for request in ["7", "7|bad name", "8|1", "13|new", "passwd|new"] {
        ann.expect(request, "err|NOT_LOGGED_IN|*");
    }
    let bad = [
        "7|x|y",
        "7|x|>",
        "7|x|1|0",
        "7|x|1|1001",
        "7|x|1|2|3",
        "7|x|-1",
        "8",
        "8|",
        "8|x",
        "8|1,",
        "8|1|2",
        "13",
        "13|",
    ];
    for request in bad {
        ann.expect(request, "err|BAD_REQUEST|*");
    }
    ann.expect("1|hist-refuse", "ok|create|hist-refuse");
    ann.expect("7|bad name|1|1", "err|BAD_NAME|*");
    ann.expect("@k|7", "@k|ok|history|0");
}

#[test]
fn the_past_with_an_account_that_went_stays_and_a_successor_sees_none_of_it() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "succ-ann");
    let mut bob = Person::new(&cluster, 2, "succ-bob");
    let before = bob.sends("succ-ann", "from the first").1;
    bob.expect("4", "ok|delete|succ-bob");
    assert_eq!(ids(&mut ann, "7|succ-bob"), [before], "while nobody has the name");
    let mut second = Person::new(&cluster, 3, "succ-bob");
    assert_eq!(ids(&mut second, "7"), []);
    second.expect(&format!("8|{before}"), "err|NO_SUCH_MESSAGE|*");
    let after = second.sends("succ-ann", "from the second").1;
    assert_eq!(ids(&mut ann, "7|succ-bob"), [before, after]);
    assert_eq!(ids(&mut second, "7|succ-ann"), [after]);
}

#[test]
fn an_erased_message_is_gone_for_one_and_there_for_the_other() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "er-ann");
    Person::new(&cluster, 2, "er-bob").expect("3", "ok|logout|er-bob");
    let sent: Vec<u64> = (0..4).map(|n| ann.sends("er-bob", &n.to_string()).1).collect();
    let (mut bob, waiting) = Person::back(&cluster, 3, "er-bob");
    assert_eq!(waiting, 4);
    bob.expect(&format!("8|{},{}", sent[0], u32::MAX), "err|NO_SUCH_MESSAGE|*");
    assert_eq!(ids(&mut bob, "7"), sent, "none of them went");
    bob.expect(&format!("8|{},{},{}", sent[2], sent[0], sent[2]), "ok|erase|2");
    bob.expect(&format!("8|{}", sent[0]), "err|NO_SUCH_MESSAGE|*");
    for id in cluster.ids() {
        let (mut ann, _) = Person::back(&cluster, id, "er-ann");
        assert_eq!(ids(&mut ann, "7"), sent);
        let (mut bob, waiting) = Person::back_in_manual_mode(&cluster, id, "er-bob");
        assert_eq!((waiting, ids(&mut bob, "7|er-ann")), (2, vec![sent[1], sent[3]]));
        let told: Vec<u64> = bob.delivers("6").0.iter().map(|message| message.id).collect();
        assert_eq!(told, [sent[1], sent[3]], "what is erased is not delivered");
    }
}

#[test]
fn a_new_password_counts_at_once_everywhere_and_sessions_stay() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "new-pw");
    let (mut also, _) = Person::back(&cluster, 2, "new-pw");
    let mut before = "2|new-pw".to_owned();
    for (round, id) in cluster.ids().into_iter().enumerate() {
        let password = format!("round {round} | of it");
        ann.expect(&format!("13|{password}"), "ok|passwd|new-pw");
        let mut elsewhere = Person::at(&cluster, id);
        elsewhere.expect(&before, "err|WRONG_PASSWORD|*");
        before = format!("2|new-pw|{password}");
        elsewhere.expect(&before, "ok|login|new-pw|0");
    }
    also.expect("passwd|from the other session", "ok|passwd|new-pw");
    ann.client().send_bytes(b"13|last\n2|new-pw|last\n5|new-pw|in order\n").expect("the connection is there");
    for expected in ["ok|passwd|new-pw", "ok|login|new-pw|0", "ok|*|new-pw|*"] {
        let last = ann.client().reply().expect("answered").last;
        assert!(matches(expected, &last), "{last}");
    }
}

#[test]
fn who_tells_who_is_online_anywhere_without_a_login() {
    let cluster = shared();
    let mut here = Person::new(&cluster, 1, "who-a");
    let _there = Person::new(&cluster, 2, "who-b");
    let (gone, _also_there) = (Person::new(&cluster, 3, "who-c"), Person::back(&cluster, 3, "who-a"));
    let who = |id: u16| Person::at(&cluster, id).reply_to("10|^who-");
    for id in cluster.ids() {
        wait_until("all are known", PATIENCE, || (who(id).last == "ok|who|3").then_some(())).expect("they are");
        assert_eq!(who(id).data, ["user|who-a", "user|who-b", "user|who-c"]);
    }
    drop(gone);
    here.expect("3", "ok|logout|who-a");
    for id in cluster.ids() {
        wait_until("one is gone", PATIENCE, || (who(id).last == "ok|who|2").then_some(())).expect("it is");
        assert_eq!(who(id).data, ["user|who-a", "user|who-b"], "one session is enough");
    }
    let mut nobody = Person::at(&cluster, 1);
    nobody.expect("@k|who|^who-(", "@k|err|BAD_REGEX|*");
    nobody.expect("10|^who-nobody$", "ok|who|0");
}

#[test]
fn who_is_not_cut_at_the_limit_of_lists() {
    let cluster = shared();
    let names: Vec<String> = (0..2 * SHARED_LIST_LIMIT).map(|n| format!("whol-{n:03}")).collect();
    let people: Vec<Person> = names.iter().map(|name| Person::new(&cluster, 2, name)).collect();
    let reply = Person::at(&cluster, 2).reply_to("10|^whol-");
    assert_eq!(reply.last, format!("ok|who|{}", names.len()));
    assert_eq!(reply.data, names.iter().map(|name| format!("user|{name}")).collect::<Vec<_>>());
    drop(people);
}

#[test]
fn eight_megabytes_of_history_go_to_a_slow_reader_whole_and_nothing_comes_between() {
    let cluster = shared();
    let mut ann = Person::new(&cluster, 1, "long-ann");
    let padding = "z".repeat(TEXT_BYTES);
    let mut newest = 0;
    for window in (0..HISTORY_MAX).collect::<Vec<_>>().chunks(100) {
        for n in window {
            ann.client().send(&format!("5|long-ann|{n:04}{padding}")).expect("the connection is there");
        }
        for _ in window {
            newest = sent("long-ann", &ann.client().reply().expect("answered").last).1;
        }
    }
    let stream = connect_with_small_buffer(&cluster, 2);
    let mut slow = Person::over(LineClient::greet(stream, PATIENCE).expect("greeted"));
    slow.logs_in("long-ann");
    slow.client().send(&format!("7||{}|{HISTORY_MAX}", newest + 1)).expect("the connection is there");
    slow.client().send("12|after").expect("the connection is there");
    let pushed = ann.sends("long-ann", "while it is printed").1;
    // `reply` refuses any other line between data and final line.
    let past = past(&slow.client().reply().expect("answered"));
    let numbers: Vec<usize> = past.iter().map(|(.., text)| text[..4].parse().expect("a number")).collect();
    assert_eq!(numbers, (0..HISTORY_MAX).collect::<Vec<_>>());
    assert_eq!(slow.client().reply().expect("answered").last, "ok|ping|after");
    assert_eq!(slow.hears().id, pushed);
}

#[test]
fn who_is_answered_at_once_without_a_quorum_and_history_is_not() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    cluster.kill_all(&[2, 3]).expect("they ran");
    let asked = Instant::now();
    let who = ann.reply_to("10");
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert_eq!((who.data, who.last), (vec!["user|ann".to_owned()], "ok|who|1".to_owned()));
    for request in ["7", "8|1", "13|new"] {
        let answer = ann.asks(request);
        let refused = ["retry|NO_QUORUM|", "retry|NO_LEADER|", "retry|UNKNOWN|"];
        assert!(refused.iter().any(|start| answer.starts_with(start)), "{request}: {answer}");
    }
}

/// Asks until it is answered with something other than `retry`.
fn insist(cluster: &Cluster, login: &str, request: &str, through: &[u16]) -> String {
    for &id in through.iter().cycle().take(20) {
        let Ok(mut client) = cluster.connect(id, 2 * REQUEST_TIMEOUT) else { continue };
        if !client.request(login).is_ok_and(|reply| reply.is_ok()) {
            continue;
        }
        match client.request(request) {
            Ok(reply) if !reply.last.starts_with("retry|") => return reply.last,
            _ => {}
        }
    }
    panic!("{request} is answered by nobody")
}

#[test]
fn an_erase_and_a_password_survive_the_leader() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    let mut sent: Vec<u64> = (0..10).map(|n| ann.sends("ann", &n.to_string()).1).collect();
    drop(ann);
    for round in 0..3 {
        let leader = cluster.await_leader().expect("a leader");
        let follower = last_follower(&cluster, leader);
        let (mut ann, _) = Person::back(&cluster, follower, "ann");
        let erase = format!("@round{round}|8|{},{}", sent.remove(0), sent.remove(0));
        // The leader dies with it under way, or done.
        ann.client().send(&erase).expect("the connection is there");
        cluster.kill(leader).expect("it ran");
        drop(ann);
        assert_eq!(insist(&cluster, "2|ann", &erase, &cluster.running()), "ok|erase|2");
        assert_eq!(insist(&cluster, "2|ann", &erase, &cluster.running()), "ok|erase|2", "the first ok again");
        let other = format!("@round{round}|8|{}", sent[0]);
        assert!(insist(&cluster, "2|ann", &other, &cluster.running()).starts_with("err|KEY_REUSED|"));
        cluster.restart(leader).expect("the victim comes back");
        cluster.await_whole().expect("the victim takes part again");
        for id in cluster.ids() {
            assert_eq!(ids(&mut Person::back(&cluster, id, "ann").0, "7"), sent, "at replica {id}");
        }
    }
    let leader = cluster.await_leader().expect("a leader");
    let (mut ann, _) = Person::back(&cluster, leader, "ann");
    ann.expect("13|geheim", "ok|passwd|ann");
    cluster.kill(leader).expect("it ran");
    let other = last_follower(&cluster, leader);
    assert!(insist(&cluster, "2|ann|geheim", "12|in", &[other]).starts_with("ok|ping|in"));
    Person::at(&cluster, other).expect("2|ann", "err|WRONG_PASSWORD|*");
}

#[test]
fn the_log_shows_a_password_only_as_its_hash() {
    let _turn = together();
    let mut cluster = three();
    Person::new(&cluster, 1, "ann").expect("13|hunter2hunter2", "ok|passwd|ann");
    for id in cluster.ids() {
        assert_eq!(cluster.terminate(id).expect("it ends").code(), Some(0));
    }
    for id in cluster.ids() {
        let mut hashes = 0;
        for entry in walk(&cluster.data_dir(id)) {
            let bytes = std::fs::read(&entry).expect("it reads");
            let found = bytes.windows(7).any(|window| window == b"hunter2");
            assert!(!found, "{} holds it", entry.display());
            hashes += bytes.windows(12).filter(|window| window == b"|13|$argon2i").count();
        }
        assert!(hashes > 0, "the log of replica {id} shows the command");
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files: Vec<_> =
        std::fs::read_dir(dir).expect("the data is there").map(|e| e.expect("it reads").path()).collect();
    assert!(files.len() > 1, "{files:?}");
    files.into_iter().filter(|path| path.is_file()).collect()
}
