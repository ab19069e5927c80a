//! Noise and crowds: a replica survives them, and does not grow.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use plainsong::drill::{Cluster, ClusterOptions, DrillError, LineClient, wait_until};

use crate::harness::{PATIENCE, alone, start, three, together};
use crate::person::{Person, matches};

const STREAMS: u64 = 100;
const STREAM_BYTES: usize = 1 << 20;
/// How much a replica may have grown after all of it.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
const CONNECTIONS_MAX: usize = 20;
const HASHES_AT_ONCE: usize = 16;
/// What the requests and frames are made of, so that some noise gets past the first field. Few line ends: each line
/// that is a request is a round in the cluster.
const ALPHABET: &[u8] = b"0123456789||||||@@>,ab \r\xc3\xa9appendvotebeathello";
const LINE_END_EVERY: usize = 300;

/// A megabyte of noise: every other one looks a little like the protocol.
fn noise(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; STREAM_BYTES];
    if seed % 4 < 2 {
        random.fill(&mut bytes);
    } else {
        bytes.fill_with(|| match random.usize(..LINE_END_EVERY) {
            0 => b'\n',
            _ => ALPHABET[random.usize(..ALPHABET.len())],
        });
    }
    bytes
}

/// Sends it, takes whatever comes back, and waits for the end. The server may close early; it must close.
fn pour(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    let mut answers = stream.try_clone().expect("a second handle");
    let reader = thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        loop {
            match answers.read(&mut piece) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server never closes"),
                Err(_) => return,
            }
        }
    });
    // A refusal in the middle is the server's right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    reader.join().expect("the server answers and closes");
}

/// More passwords at once than a small pool has threads.
fn hash_at_the_same_time(cluster: &Cluster) {
    let mut people: Vec<Person> = (0..HASHES_AT_ONCE).map(|_| Person::at(cluster, 1)).collect();
    for (n, person) in people.iter_mut().enumerate() {
        person.client().send(&format!("1|hashed-{n}|secret")).expect("the connection is there");
    }
    for (n, person) in people.iter_mut().enumerate() {
        let mut answer = person.client().reply().expect("answered").last;
        let is_there = |answer: &str| answer.starts_with("ok|") || matches("err|NAME_TAKEN|*", answer);
        // On a busy machine it may be refused, or not known to have been done: then again.
        let created = wait_until("the account is there", PATIENCE, || {
            if !is_there(&answer) {
                assert!(answer.starts_with("retry|"), "{answer}");
                answer = person.asks(&format!("1|hashed-{n}|secret"));
            }
            is_there(&answer).then_some(())
        });
        created.unwrap_or_else(|error| panic!("{error}: {answer}"));
    }
}

#[test]
fn a_hundred_megabytes_of_noise_on_both_ports_neither_crash_nor_grow_a_replica() {
    let _turn = alone();
    let mut cluster = three();
    let mut person = Person::new(&cluster, 1, "bystander");
    // What any replica needs to have spoken at all is not growth: some noise on each port, and passwords (19 MiB each
    // while hashed), which noise asks for now and then.
    pour(cluster.address(1), &noise(STREAMS));
    pour(cluster.internal_address(1), &noise(STREAMS));
    hash_at_the_same_time(&cluster);
    let before = cluster.resident_bytes(1).expect("it runs");
    for seed in 0..STREAMS {
        let address = if seed % 2 == 0 { cluster.address(1) } else { cluster.internal_address(1) };
        pour(address, &noise(seed));
        assert!(cluster.ended(1).expect("it was running").is_none(), "seed {seed} ended the replica");
    }
    let growth = cluster.resident_bytes(1).expect("it runs").saturating_sub(before);
    println!("100 MiB of noise: growth {growth} bytes");
    assert!(growth <= GROWTH_BYTES_MAX, "grew by {growth} bytes");
    person.expect("5|bystander|still here", "ok|*|bystander|*");
    cluster.await_whole().expect("nobody was driven out");
}

#[test]
fn a_connection_too_many_is_turned_away_and_a_free_place_is_given_again() {
    let _turn = together();
    let extra = format!("limits: {{ connections: {CONNECTIONS_MAX} }}");
    let cluster = start(&ClusterOptions { replicas: 3, extra });
    let mut guests: Vec<LineClient> = Vec::new();
    // Connections of the start-up may still count for a moment, so it may be a few less.
    let goodbye = loop {
        match cluster.connect(1, PATIENCE) {
            Ok(guest) => guests.push(guest),
            Err(DrillError::Bye(line)) => break line,
            Err(error) => panic!("neither let in nor turned away: {error}"),
        }
        assert!(guests.len() <= CONNECTIONS_MAX, "more than the limit were let in");
    };
    assert!(matches("bye|TOO_MANY_CONNECTIONS|*", &goodbye), "{goodbye}");
    let last = guests.last_mut().expect("the limit is not zero");
    assert_eq!(last.request("12|served").expect("those inside are served").last, "ok|ping|served");
    // Other replicas have their own limit, and replicas do not count as clients.
    Person::new(&cluster, 2, "elsewhere");
    guests.pop();
    wait_until("the free place is given again", PATIENCE, || cluster.connect(1, PATIENCE).ok())
        .expect("a place is free");
}

/// Beyond the first few, which are given time to hear it, connections over the limit were once closed without a word.
#[test]
fn each_of_many_connections_too_many_is_told() {
    const TOO_MANY: usize = 150;
    let _turn = together();
    let cluster = start(&ClusterOptions { replicas: 3, extra: "limits: { connections: 1 }".into() });
    let _inside = wait_until("the only place is free", PATIENCE, || cluster.connect(1, PATIENCE).ok());
    let waiting: Vec<TcpStream> =
        (0..TOO_MANY).map(|_| TcpStream::connect(cluster.address(1)).expect("the port is open")).collect();
    for mut stream in waiting {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("it is closed in good order");
        assert!(told.starts_with("bye|TOO_MANY_CONNECTIONS|"), "{told:?}");
    }
}
