//! The limits of `config.yaml`, each as a client meets it.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plainsong::drill::{Cluster, ClusterOptions, LineClient, wait_until};
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, alone, start, together};
use crate::person::{Person, matches};

fn limited(limits: &str) -> Cluster {
    start(&ClusterOptions { replicas: 3, extra: format!("limits: {{ {limits} }}") })
}

/// A connection from another address of this machine.
fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("all of 127/8 is this machine");
    socket.connect(&to.into()).expect("the port is open");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}

#[test]
fn a_full_mailbox_is_told_to_the_sender_and_has_room_again_once_it_is_read() {
    let _turn = together();
    let cluster = limited("mailbox_messages: 3, mailbox_bytes: 10000, accounts: 4");
    let mut ann = Person::new(&cluster, 1, "ann");
    let mut bob = Person::new(&cluster, 2, "bob");
    bob.expect("3", "ok|logout|bob");
    for _ in 0..3 {
        ann.expect("5|bob|hi", "ok|*|bob|*");
    }
    ann.expect("5|bob|one more", "err|MAILBOX_FULL|*");
    ann.expect("@k|5|bob|one more", "@k|err|MAILBOX_FULL|*");
    Person::back(&cluster, 3, "ann").0.expect("5|bob|from elsewhere", "err|MAILBOX_FULL|*");
    bob.expect("2|bob", "ok|login|bob|3");
    bob.expect("6", "ok|deliver|3|0");
    bob.expect("3", "ok|logout|bob");
    ann.expect("@k|5|bob|one more", "@k|ok|*|bob|*");
    // By bytes.
    let long = "x".repeat(6_000);
    ann.expect(&format!("5|bob|{long}"), "ok|*|bob|*");
    ann.expect(&format!("5|bob|{long}"), "err|MAILBOX_FULL|*");
    ann.expect("5|bob|short", "ok|*|bob|*");
    bob.expect("2|bob", "ok|login|bob|3");
    // Accounts in all.
    for name in ["cyd", "dan"] {
        bob.expect(&format!("1|{name}"), &format!("ok|create|{name}"));
    }
    bob.expect("1|eve", "err|FORBIDDEN|*");
    bob.expect("1|ann", "err|NAME_TAKEN|*");
    bob.expect("4", "ok|delete|dan");
    bob.expect("1|eve", "ok|create|eve");
}

#[test]
fn who_asks_too_fast_is_delayed_then_refused_then_cut() {
    const RATE: usize = 50;
    let _turn = together();
    let cluster = limited(&format!("requests_per_second: {RATE}"));
    let mut person = Person::at(&cluster, 1);
    let begun = Instant::now();
    let burst: String = (0..RATE + RATE / 2).map(|n| format!("@k{n}|12|{n}\n")).collect();
    person.client().send_bytes(burst.as_bytes()).expect("sent");
    for n in 0..RATE + RATE / 2 {
        let reply = person.client().reply().expect("answered");
        let told = (reply.key, reply.last);
        assert_eq!(told, (Some(format!("k{n}")), format!("ok|ping|{n}")), "late, but done");
    }
    assert!(begun.elapsed() >= Duration::from_millis(400), "half a second's worth was delayed");

    let mut person = Person::at(&cluster, 1);
    let flood: String = (0..20 * RATE).map(|n| format!("@k{n}|12|{n}\n")).collect();
    person.client().send_bytes(flood.as_bytes()).expect("sent");
    let lines = person.sees_the_end();
    let count = |pattern: &str| lines.iter().filter(|line| matches(pattern, line)).count();
    let (done, refused) = (count("*|ok|ping|*"), count("*|retry|SLOW_DOWN|*"));
    assert!((2 * RATE..3 * RATE).contains(&done) && refused == 10 * RATE, "{done} done, {refused} refused");
    assert!(matches("bye|FLOOD|*", lines.last().expect("a line")), "{:?}", lines.last());
    for (n, line) in lines.iter().take(lines.len() - 1).enumerate() {
        assert!(line.starts_with(&format!("@k{n}|")), "{line} is not the answer to {n}");
    }
}

#[test]
fn who_never_logs_in_may_not_be_silent_for_ever() {
    let _turn = together();
    let cluster = limited("idle_seconds: 1");
    let mut member = Person::new(&cluster, 1, "member");
    member.expect("3", "ok|logout|member");
    let mut guest = Person::at(&cluster, 1);
    guest.expect("12|hello", "ok|ping|hello");
    guest.client().send_bytes(b"12|half a line").expect("sent");
    let begun = Instant::now();
    let lines = guest.sees_the_end();
    assert!(lines.len() == 1 && matches("bye|IDLE|*", &lines[0]), "{lines:?}");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(Person::at(&cluster, 2).sees_the_end().len(), 1);
    member.expect("12|still here", "ok|ping|still here");
}

#[test]
fn one_address_does_not_take_every_place() {
    const PLACES: usize = 5;
    let _turn = together();
    let cluster = limited(&format!("connections_per_address: {PLACES}"));
    let mut guests = Vec::new();
    let goodbye = loop {
        match cluster.connect(1, PATIENCE) {
            Ok(guest) => guests.push(guest),
            Err(error) => break error.to_string(),
        }
        assert!(guests.len() <= PLACES, "more than the limit were let in");
    };
    assert!(goodbye.contains("bye|TOO_MANY_CONNECTIONS|"), "{goodbye}");
    let elsewhere = connect_from([127, 0, 0, 2], cluster.address(1));
    LineClient::greet(elsewhere, PATIENCE).expect("another address is served");
}

#[test]
fn extreme_limits_work() {
    let _turn = together();
    let most = u32::MAX;
    let cluster = limited(&format!(
        "line_bytes: 1048576, list: {most}, connections: {most}, connections_per_address: {most}, \
         requests_per_second: {most}, idle_seconds: {most}, mailbox_messages: {max}, mailbox_bytes: {max}, accounts: {max}, \
         retention_days: {most}",
        max = u64::MAX
    ));
    let mut ann = Person::new(&cluster, 1, "ann");
    ann.expect("5|ann|x", "ok|*|ann|*");
    ann.expect("0|", "ok|list|1|1");
}

/// The middle of the times that sends take.
fn median_send(person: &mut Person, sends: usize) -> Duration {
    let mut times: Vec<Duration> = (0..sends)
        .map(|_| {
            let begun = Instant::now();
            // A machine on which heartbeats come too late refuses for a while: slow, and not wrong.
            let answer = person.asks("5|user|x");
            assert!(answer.starts_with("ok|") || answer.starts_with("retry|"), "{answer}");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[sends / 2]
}

/// How many wrong logins were offered, and how they were answered: `WRONG_PASSWORD`, `BUSY`, `SLOW_DOWN`, or refused, because
/// those typed before on the connection took too long.
#[derive(Default)]
struct Attack {
    offered: usize,
    answers: [usize; 4],
}

/// Wrong logins from ever new addresses, so that each is hashed as far as the hashers come. They are typed at their time,
/// whatever the answers to those before: these are read at the end.
fn guess_at(address: SocketAddr, attacker: u8, every: Duration, offered: &AtomicU32, stop: &AtomicBool) -> Attack {
    /// The first five of an address are answered at once.
    const GUESSES_OF_AN_ADDRESS: u32 = 4;
    /// The threads that hash are the last to run on a busy machine.
    const HASHED_MAX: Duration = Duration::from_secs(120);
    static ADDRESSES: AtomicU32 = AtomicU32::new(0);
    let mut connections: Vec<(LineClient, usize)> = Vec::new();
    let begun = Instant::now();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if n % GUESSES_OF_AN_ADDRESS == 0 {
            let [_, _, high, low] = ADDRESSES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let stream = connect_from([127, 10 + attacker, high, low.max(1)], address);
            connections.push((LineClient::greet(stream, PATIENCE).expect("greeted"), 0));
        }
        let (client, typed) = connections.last_mut().expect("there is one");
        client.send("2|owner|wrong").expect("the connection is there");
        *typed += 1;
        offered.fetch_add(1, Ordering::Relaxed);
        thread::sleep((begun + every * (n + 1)).saturating_duration_since(Instant::now()));
    }
    let mut attack = Attack::default();
    for (mut client, typed) in connections {
        client.set_timeout(HASHED_MAX);
        attack.offered += typed;
        for _ in 0..typed {
            let last = client.reply().expect("answered").last;
            let which = ["err|WRONG_PASSWORD|", "retry|BUSY|", "retry|SLOW_DOWN|", "retry|"];
            let which = which.iter().position(|start| last.starts_with(start)).unwrap_or_else(|| panic!("{last}"));
            attack.answers[which] += 1;
        }
    }
    attack
}

/// How much slower sends are while wrong logins are offered at that rate, and what became of these.
fn slowed_by_guesses(user: &mut Person, address: SocketAddr) -> (f64, f64, Attack) {
    const ATTACKERS: u8 = 20;
    const EVERY: Duration = Duration::from_millis(80);
    const SENDS: usize = 1500;
    let before = median_send(user, SENDS);
    let (stop, offered) = (AtomicBool::new(false), AtomicU32::new(0));
    let (during, rate, attack) = thread::scope(|scope| {
        let (stop, offered) = (&stop, &offered);
        let attackers: Vec<_> =
            (0..ATTACKERS).map(|n| scope.spawn(move || guess_at(address, n, EVERY, offered, stop))).collect();
        let under_way = || (offered.load(Ordering::Relaxed) >= 2 * u32::from(ATTACKERS)).then_some(());
        wait_until("the attack is under way", PATIENCE, under_way).expect("they are taken");
        let (begun, first) = (Instant::now(), offered.load(Ordering::Relaxed));
        let during = median_send(user, SENDS);
        let rate = f64::from(offered.load(Ordering::Relaxed) - first) / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let mut all = Attack::default();
        for one in attackers.into_iter().map(|attacker| attacker.join().expect("no panic")) {
            all.offered += one.offered;
            all.answers.iter_mut().zip(one.answers).for_each(|(sum, count)| *sum += count);
        }
        (during, rate, all)
    });
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    let [wrong, busy, slowed, refused] = attack.answers;
    println!(
        "p50 of sends: {before:?}, under {rate:.0} wrong logins a second {during:?} ({ratio:.2} times); of {} {wrong} were \
         wrong, {busy} busy, {slowed} slowed, {refused} refused",
        attack.offered
    );
    (ratio, rate, attack)
}

#[test]
fn a_flood_of_wrong_logins_does_not_slow_the_others() {
    const RATIO_MAX: f64 = 1.5;
    const RATE_MIN: f64 = 200.0;
    /// Whatever else this machine does meanwhile is measured too: a bad moment is not the product's.
    const MEASUREMENTS_MAX: usize = 8;
    let _turn = alone();
    let cluster = limited("connections: 10000");
    let address = cluster.address(1);
    Person::at(&cluster, 1).expect("1|owner|right", "ok|create|owner");
    let mut user = Person::new(&cluster, 1, "user");
    let measured = (0..MEASUREMENTS_MAX).any(|_| {
        let (ratio, rate, attack) = slowed_by_guesses(&mut user, address);
        assert_eq!(attack.offered, attack.answers.iter().sum::<usize>(), "each is answered");
        // They must really be checked.
        attack.answers[0] > 20 && ratio <= RATIO_MAX && rate >= RATE_MIN
    });
    assert!(
        measured,
        "sends were slowed by more than {RATIO_MAX} times, or fewer than {RATE_MIN} a second were offered"
    );
    let owner = connect_from([127, 99, 0, 1], address);
    Person::over(LineClient::greet(owner, PATIENCE).expect("greeted")).expect("2|owner|right", "ok|login|owner|0");
}
