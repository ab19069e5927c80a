//! A replica that lets everything through: what the real one refuses must be harmless in the client too.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use crate::pty::Terminal;

/// Longer than any line of the protocol.
const LONG: usize = 20_000;

/// What a hostile sender would like to do to a terminal: retitle it, clear it, move about in it, answer for it, reorder
/// the text, hide it, begin a new line.
const HOSTILE: &[&[u8]] = &[
    b"\x1b]0;owned\x07",
    b"\x1b[2J\x1b[H",
    "\u{9b}31m".as_bytes(),
    b"\x1bP+q\x1b\\",
    "\u{202e}gpj.exe\u{2069}".as_bytes(),
    "\u{200b}\u{feff}hidden".as_bytes(),
    b"one\rtwo\x08\x7f",
    b"bad \xff\xfe utf",
];

/// Serves one client: it greets, logs anybody in, and pushes what no replica would have taken.
fn serve(listener: TcpListener) -> JoinHandle<()> {
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut to = stream.try_clone().expect("two handles");
        to.write_all(b"hello|1|1|evil\x1b[31m|c0ffee\n").expect("the client is there");
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut answer = match line.as_str() {
                "9|0" => b"ok|ack|0\n".to_vec(),
                "11|" => b"replica|1|leader|\x1b[5m:1|up|1|0\nok|status|1|1|1|0\n".to_vec(),
                "2|alice" => b"ok|login|alice|0\n".to_vec(),
                "quit" => b"ok|quit\n".to_vec(),
                "go" => pushes(),
                _ => b"ok|ack|1\n".to_vec(),
            };
            if line == "go" {
                answer.extend_from_slice(
                    b"note|ODD\x1b[1m|\x1b[7mnote\nuser|\x1b[2Jeve\nwhat\x1b[0m\nerr|BAD\x1b[4m|\x1b[9mno\n",
                );
            }
            if to.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

fn pushes() -> Vec<u8> {
    let mut lines = Vec::new();
    let long = vec![b'x'; LONG];
    for (id, text) in (1..).zip(HOSTILE.iter().copied().chain([&long[..], b"the last one"])) {
        lines.extend_from_slice(format!("msg|{id}|e\u{1b}[8mve|2026-11-21T14:40:00.000Z|").as_bytes());
        lines.extend_from_slice(text);
        lines.push(b'\n');
    }
    lines
}

#[test]
fn nothing_that_a_hostile_replica_lets_through_reaches_the_terminal_as_a_command() {
    for raw in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let replica = serve(listener);
        let mut args = vec!["client", "--server", &address, "--login", "alice"];
        if raw {
            args.push("--raw");
        }
        let mut alice = Terminal::run(&args);
        alice.expect("[1] alice> ");
        alice.type_in("go\r");
        alice.expect(r"\u{1b}]0;owned\u{7}");
        alice.expect(r"\u{202e}gpj.exe\u{2069}");
        alice.expect("bad \u{fffd}\u{fffd} utf");
        alice.expect("the last one");
        alice.type_in("quit\r");
        assert_eq!(alice.end(), 0);
        let shown = alice.everything();
        // The prompt's own commands are among it; these are none of them.
        for command in
            ["\x1b]0", "\x1b[2J", "\u{9b}", "\x1bP", "\u{202e}", "\u{2069}", "\u{200b}", "\u{feff}", "\x07", "\x7f"]
                .into_iter()
                .chain(["\x1b[8m", "\x1b[5m", "\x1b[1m", "\x1b[7m", "\x1b[4m", "\x1b[9m", "\x1b[31m"])
        {
            assert!(!shown.contains(command), "{command:?} is in {shown:?}");
        }
        assert!(shown.contains(&"x".repeat(70)), "the long line is shown, however it is wrapped");
        replica.join().expect("the script ends with the client");
    }
}
