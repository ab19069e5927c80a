//! A program in a pseudo-terminal. A thread reads what it shows, so that waiting costs nothing.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;

use crate::PATIENCE;

/// The terminal, and what it has shown.
pub struct Terminal {
    session: OsSession,
    chunks: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    /// How much of `shown` was expected already.
    passed: usize,
    _state: tempfile::TempDir,
}

impl Terminal {
    /// Runs `plainsong` with these arguments, in a terminal that echoes.
    pub fn run(args: &[&str]) -> Terminal {
        let state = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "stty echo && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_plainsong")]).args(args);
        command.env("XDG_STATE_HOME", state.path()).env("TERM", "xterm").env("NO_COLOR", "1").env_remove("RUST_LOG");
        let session = OsSession::spawn(command).expect("a pseudo-terminal");
        let mut screen = session.get_process().get_raw_handle().expect("its other end");
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The end comes as an error, once nobody holds the terminal.
            while let Ok(length @ 1..) = screen.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { session, chunks, shown: Vec::new(), passed: 0, _state: state }
    }

    /// Presses these keys.
    pub fn type_in(&mut self, keys: &str) {
        self.session.write_all(keys.as_bytes()).expect("the terminal is there");
        self.session.flush().expect("the terminal is there");
    }

    /// Waits until this is shown, after what was expected before.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let unseen = &self.shown[self.passed..];
            if let Some(at) = unseen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.passed += at + text.len();
                return;
            }
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.shown.extend(chunk),
                Err(why) => panic!("{text:?} is not shown ({why}), but {:?}", self.unseen()),
            }
        }
    }

    /// Waits for the program's end; its exit code.
    pub fn end(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.shown.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end, but shows {:?}", self.unseen()),
            }
        }
        match self.session.get_process().wait().expect("our own child") {
            WaitStatus::Exited(_, code) => code,
            other => panic!("it ended with {other:?}"),
        }
    }

    /// All that was shown.
    pub fn everything(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    fn unseen(&self) -> String {
        String::from_utf8_lossy(&self.shown[self.passed..]).into_owned()
    }
}
