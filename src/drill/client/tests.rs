//! The client against a fake server that says one prepared thing.

use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const HELLO: &str = "hello|1|1|test|0\n";

/// Says `script` and closes; returns everything it was told.
fn fake(script: &[u8]) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let script = script.to_vec();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        stream.write_all(&script).expect("the client reads");
        stream.shutdown(Shutdown::Write).expect("the client is there");
        let mut told = Vec::new();
        // A client that leaves with unread bytes resets the connection; what it told before still counts.
        let _ = stream.read_to_end(&mut told);
        told
    });
    (address, server)
}

fn client(script: &str) -> LineClient {
    let (address, _) = fake(format!("{HELLO}{script}").as_bytes());
    LineClient::connect(address, PATIENCE).expect("greeted")
}

#[test]
fn sends_lines_and_carries_keys() {
    let (address, server) = fake(format!("{HELLO}@k|ok|ping|x\n").as_bytes());
    let mut client = LineClient::connect(address, PATIENCE).expect("greeted");
    let reply = client.request("@k|12|x").expect("answered");
    assert_eq!((reply.key.as_deref(), reply.last.as_str()), (Some("k"), "ok|ping|x"));
    drop(client);
    assert_eq!(server.join().expect("no panic"), b"@k|12|x\n");
}

#[test]
fn tells_a_push_from_the_data_of_deliver() {
    let mut client = client("msg|3|a|t|push\nnote|QUORUM_BACK|x\nmsg|1|a|t|one|\nmsg|2|b|t|two\nok|deliver|2|0\n");
    let reply = client.reply().expect("answered");
    let texts: Vec<String> = reply.messages().expect("messages").into_iter().map(|m| m.text).collect();
    assert_eq!(texts, ["one|", "two"]);
    assert_eq!(client.push().expect("kept").id, 3);
    assert_eq!(client.note().expect("kept"), "note|QUORUM_BACK|x");
    assert!(matches!(client.push(), Err(DrillError::Closed)));
}

#[test]
fn refuses_a_push_inside_a_reply_and_a_false_count() {
    for script in ["user|a\nmsg|1|a|t|x\nok|list|1|1\n", "msg|1|a|t|x\nok|deliver|2|0\n", "what\n"] {
        assert!(matches!(client(script).reply(), Err(DrillError::Protocol { .. })), "{script}");
    }
}

#[test]
fn refuses_an_endless_line_and_foreign_bytes() {
    let endless = "x".repeat(SERVER_LINE_BYTES_MAX + 1);
    assert!(matches!(client(&endless).line(), Err(DrillError::Protocol { what: "a line too long", .. })));
    let (address, _) = fake(&[HELLO.as_bytes(), b"\xff\n"].concat());
    let mut client = LineClient::connect(address, PATIENCE).expect("greeted");
    assert!(matches!(client.line(), Err(DrillError::Protocol { .. })));
}

#[test]
fn a_silent_server_is_a_timeout_and_a_bye_is_a_bye() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    assert!(matches!(LineClient::connect(address, Duration::from_millis(20)), Err(DrillError::Timeout { .. })));
    assert!(matches!(client("bye|DRAINING|x\n").push(), Err(DrillError::Bye(_))));
    let (address, _) = fake(b"bye|TOO_MANY_CONNECTIONS|x\n");
    assert!(matches!(LineClient::connect(address, PATIENCE), Err(DrillError::Bye(_))));
}

#[test]
fn lines_that_arrive_in_one_piece_are_taken_one_by_one() {
    let many: String = (0..20_000).map(|n| format!("ok|ping|{n}\n")).collect();
    let mut client = client(&many);
    for n in 0..20_000 {
        assert_eq!(client.reply().expect("answered").last, format!("ok|ping|{n}"));
    }
    assert!(client.drain().expect("ends").is_empty());
}
