//! Framing: what counts as a line, what a bad one costs, and how a connection ends.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use plainsong::drill::{Cluster, SERVER_LINE_BYTES_MAX, wait_until};
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, SLACK, shared};
use crate::person::{Person, Presence, matches};

/// `limits.line_bytes` as shipped, with the LF.
const LINE_BYTES: usize = 8192;
/// Requests in one go, more than any queue of the server is likely to hold.
const PIPELINED: usize = 3000;
/// Presence is gone at most so long after a close.
const PRESENCE_GONE: std::time::Duration = std::time::Duration::from_millis(250);

fn padded_ping(line_bytes: usize) -> String {
    let text = "x".repeat(line_bytes - "12|\n".len());
    format!("12|{text}\n")
}

#[test]
fn the_greeting_names_replica_and_cluster() {
    let cluster = shared();
    let hellos: Vec<String> =
        cluster.ids().iter().map(|&id| Person::at(&cluster, id).client().hello().to_owned()).collect();
    for (id, hello) in cluster.ids().iter().zip(&hellos) {
        assert!(matches(&format!("hello|1|{id}|drill|*"), hello), "{hello}");
    }
    let ids: Vec<&str> = hellos.iter().filter_map(|hello| hello.split('|').nth(4)).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one cluster id: {ids:?}");
}

#[test]
fn a_bad_line_never_ends_the_connection() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    let endless = [vec![b'|'; 1 << 20], b"\n".to_vec()].concat();
    let over = padded_ping(LINE_BYTES + 1);
    let lines: [(&[u8], &str); 7] = [
        (b"12|\xff\xfe\n", "err|NOT_UTF8|*"),
        (over.as_bytes(), "err|TOO_LONG|*"),
        (&endless, "err|TOO_LONG|*"),
        (b"what is this\n", "err|BAD_REQUEST|*"),
        (b"|\n", "err|BAD_REQUEST|*"),
        (b"GET / HTTP/1.1\n", "err|BAD_REQUEST|*"),
        (b"\x00\n", "err|BAD_REQUEST|*"),
    ];
    for (bytes, pattern) in lines {
        person.client().send_bytes(bytes).expect("the connection is there");
        let answer = person.client().line().expect("each line is answered");
        assert!(matches(pattern, &answer), "{pattern:?}, not {answer:?}");
        person.expect("12|on we go", "ok|ping|on we go");
    }
}

#[test]
fn the_longest_line_is_served() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    let line = padded_ping(LINE_BYTES);
    person.expect(line.trim_end(), &format!("ok|ping|{}", line[3..].trim_end()));
}

#[test]
fn one_cr_is_dropped_and_empty_lines_are_ignored() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.client().send_bytes(b"\n\r\n12|a\r\n\n12|b\n").expect("the connection is there");
    for answer in ["ok|ping|a", "ok|ping|b"] {
        assert_eq!(person.client().line().expect("answered"), answer);
    }
}

#[test]
fn a_browser_is_turned_away_at_its_first_line() {
    let cluster = shared();
    for version in ["1.0", "1.1"] {
        let mut person = Person::at(&cluster, 2);
        let request = format!("POST / HTTP/{version}\r\nHost: x\r\n\r\n1|http-mallory\n");
        person.client().send_bytes(request.as_bytes()).expect("the connection is there");
        let lines = person.sees_the_end();
        assert!(lines.len() == 1 && matches("bye|NOT_HTTP|*", &lines[0]), "{lines:?}");
    }
    Person::at(&cluster, 2).expect("2|http-mallory", "err|NO_SUCH_USER|*");
}

#[test]
fn a_client_on_the_internal_port_is_told_so_in_one_line() {
    let cluster = shared();
    let mut stream = TcpStream::connect(cluster.internal_address(1)).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.write_all(b"2|bob\n").expect("sent");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("text, and then the end");
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert!(told.trim_end().len() > 10, "a sentence: {told:?}");
}

#[test]
fn a_half_closed_connection_gets_every_reply_and_is_offline_after_the_last() {
    let cluster = shared();
    let mut sender = Person::new(&cluster, 1, "half-sender");
    let mut person = Person::new(&cluster, 2, "half-ann");
    person.client().send_bytes(b"12|a\n0|^half-ann$\n12|no LF at the end").expect("sent");
    person.client().finish_sending().expect("the connection is there");
    let lines = person.sees_the_end();
    assert_eq!(lines, ["ok|ping|a", "user|half-ann", "ok|list|1|1", "ok|ping|no LF at the end"]);
    // The socket itself is still open on this side.
    wait_until("the half-closed one counts as offline", PRESENCE_GONE + SLACK, || {
        (sender.sends("half-ann", "there?").0 == Presence::Offline).then_some(())
    })
    .expect("presence goes with the last reply");
}

#[test]
fn thousands_of_pipelined_requests_are_answered_in_order_after_a_half_close() {
    let cluster = shared();
    let mut person = Person::new(&cluster, 3, "pipe-ann");
    let mut requests = String::new();
    for n in 0..PIPELINED {
        // A mix of what is answered here, what is read and what is replicated: order must hold across all three.
        let request = match n % 10 {
            0 => format!("@k{n}|5|pipe-ann|{n}\n"),
            5 => format!("@k{n}|0|^pipe-ann$\n"),
            _ => format!("@k{n}|12|{n}\n"),
        };
        requests.push_str(&request);
    }
    person.client().send_bytes(requests.as_bytes()).expect("sent");
    person.client().finish_sending().expect("the connection is there");
    for n in 0..PIPELINED {
        let reply = person.client().reply().expect("every reply that is owed");
        assert_eq!(reply.key.as_deref(), Some(format!("k{n}").as_str()));
        assert!(reply.is_ok(), "{}", reply.last);
    }
    let heard: Vec<u64> = person.client().pushes_so_far().iter().map(|push| push.id).collect();
    assert!(heard.is_sorted_by(|a, b| a < b), "pushes ascend: {heard:?}");
    assert!(person.sees_the_end().iter().all(|line| line.starts_with("msg|")), "only pushes may follow");
}

#[test]
fn a_reader_of_one_kilobyte_at_a_time_gets_every_reply() {
    let cluster = shared();
    let stream = connect_with_small_buffer(&cluster, 2);
    let mut sending = stream.try_clone().expect("a second handle");
    let sender = thread::spawn(move || {
        let text = "y".repeat(1000);
        for n in 0..PIPELINED {
            sending.write_all(format!("12|{n} {text}\n").as_bytes())?;
        }
        sending.shutdown(Shutdown::Write)
    });
    let mut expected = String::new();
    for n in 0..PIPELINED {
        writeln!(expected, "ok|ping|{n} {}", "y".repeat(1000)).expect("a String grows");
    }
    let received = read_by_kilobytes(stream);
    sender.join().expect("no panic").expect("everything was taken");
    let (hello, replies) = received.split_once('\n').expect("a greeting");
    assert!(hello.starts_with("hello|1|"));
    assert!(replies == expected, "{} bytes of {} came", replies.len(), expected.len());
    assert!(received.lines().all(|line| line.len() < SERVER_LINE_BYTES_MAX));
}

fn read_by_kilobytes(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece).expect("the server goes on at the speed it is read") {
            0 => return String::from_utf8(received).expect("UTF-8"),
            read => received.extend_from_slice(&piece[..read]),
        }
    }
}

/// A connection whose own kernel takes only a few kilobytes ahead of the reader.
pub fn connect_with_small_buffer(cluster: &Cluster, id: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Before connecting: the window is agreed on then.
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let address: SocketAddr = cluster.address(id);
    socket.connect(&address.into()).expect("the port is open");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}
