//! A reader that never reads: it loses nothing, and it costs no memory.

use plainsong::drill::{Cluster, LineClient};

use crate::harness::{PATIENCE, alone, shared, three};
use crate::lines::connect_with_small_buffer;
use crate::person::{Person, sent};

/// Near the longest text that fits a line.
const TEXT_BYTES: usize = 8000;
/// What a kernel with a 4 KiB buffer can have acknowledged for a reader that never read, generously.
const SWALLOWED_MAX: usize = 16;
/// Requests on their way at a time.
const WINDOW: usize = 100;
/// 80 MB of mail.
const FLOOD: usize = 10_000;
/// How much a replica may grow under it.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Logs in over a connection whose kernel buffers next to nothing; it will not be read.
fn deaf_login(cluster: &Cluster, id: u16, name: &str) -> Person {
    let stream = connect_with_small_buffer(cluster, id);
    let mut deaf = Person::over(LineClient::greet(stream, PATIENCE).expect("greeted"));
    deaf.logs_in(name);
    deaf
}

fn send_many(sender: &mut Person, to: &str, count: usize, mut between: impl FnMut()) {
    let padding = "z".repeat(TEXT_BYTES - "000000 ".len());
    for window in (0..count).collect::<Vec<_>>().chunks(WINDOW) {
        for n in window {
            sender.client().send(&format!("5|{to}|{n:06} {padding}")).expect("the connection is there");
        }
        for _ in window {
            sent(to, &sender.client().reply().expect("answered").last);
        }
        between();
    }
}

/// Everything from some early message on, once and in order; the few before it were in the kernel of the reader.
fn assert_all_but_the_swallowed(reader: &mut Person, count: usize) {
    let (messages, left) = reader.delivers("6");
    assert_eq!(left, 0);
    let numbers: Vec<usize> =
        messages.iter().map(|m| m.text[..6].parse().expect("the text starts with its number")).collect();
    let first = *numbers.first().expect("nearly everything is undelivered");
    assert!(first <= SWALLOWED_MAX, "{first} messages were marked that nobody can have received");
    assert_eq!(numbers, (first..count).collect::<Vec<_>>());
    assert!(messages.iter().all(|m| m.text.len() == TEXT_BYTES));
}

#[test]
fn what_was_pushed_into_a_connection_that_never_reads_stays_undelivered() {
    let count = 200;
    let cluster = shared();
    let mut sender = Person::new(&cluster, 1, "deaf-sender");
    Person::new(&cluster, 2, "deaf-ann").expect("3", "ok|logout|deaf-ann");
    let deaf = deaf_login(&cluster, 2, "deaf-ann");
    send_many(&mut sender, "deaf-ann", count, || {});
    drop(deaf);
    let (mut reader, _) = Person::back(&cluster, 3, "deaf-ann");
    assert_all_but_the_swallowed(&mut reader, count);
}

#[test]
fn a_reader_that_fell_behind_is_fed_once_it_reads() {
    let count = 200;
    let cluster = shared();
    let mut sender = Person::new(&cluster, 1, "late-sender");
    Person::new(&cluster, 2, "late-reader").expect("3", "ok|logout|late-reader");
    let mut late = deaf_login(&cluster, 2, "late-reader");
    send_many(&mut sender, "late-reader", count, || {});
    for n in 0..count {
        assert!(late.hears().text.starts_with(&format!("{n:06} ")), "in order, each once");
    }
    late.has_heard_nothing();
}

#[test]
fn eighty_megabytes_for_a_reader_that_never_reads_cost_no_memory_and_are_all_there_later() {
    let _turn = alone();
    let cluster = three();
    let leader = cluster.await_leader().expect("a leader");
    let replica = cluster.ids().into_iter().rfind(|&id| id != leader).expect("a follower");
    let mut sender = Person::new(&cluster, leader, "flood-sender");
    Person::new(&cluster, replica, "flood-ann").expect("3", "ok|logout|flood-ann");
    let deaf = deaf_login(&cluster, replica, "flood-ann");
    let before: Vec<u64> = memory(&cluster);
    let mut peak = before.clone();
    let mut watch = || peak.iter_mut().zip(memory(&cluster)).for_each(|(peak, now)| *peak = now.max(*peak));
    send_many(&mut sender, "flood-ann", FLOOD, &mut watch);
    drop(deaf);
    let (mut reader, _) = Person::back(&cluster, replica, "flood-ann");
    assert_all_but_the_swallowed(&mut reader, FLOOD);
    watch();
    let growth: Vec<u64> = peak.iter().zip(&before).map(|(peak, before)| peak.saturating_sub(*before)).collect();
    println!("80 MB for a reader that never reads: growth in bytes, by replica: {growth:?}, its own: {replica}");
    assert!(growth.iter().all(|&bytes| bytes <= GROWTH_BYTES_MAX), "grew by {growth:?} bytes");
}

fn memory(cluster: &Cluster) -> Vec<u64> {
    cluster.ids().iter().map(|&id| cluster.resident_bytes(id).expect("it runs")).collect()
}
