//! Writers and a reader that go on while the test hurts replicas.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plainsong::drill::judge::judge;
use plainsong::drill::{DrillError, KeyedWriter, LineClient, Msg, wait_until};

use crate::harness::PATIENCE;

/// A message is acknowledged within this, whatever dies.
pub const ACK_WAIT: Duration = Duration::from_secs(20);
/// A reader gets to the end within this, however often it has to begin again.
const READER_WAIT: Duration = Duration::from_secs(120);
/// A reader that has heard nothing for so long asks whether it is done.
const QUIET: Duration = Duration::from_millis(300);
/// How many messages a reader takes before it acks them.
const ACK_EVERY: usize = 25;

/// Raised once something is over, also if it is over by a panic: a thread scope waits for its other threads.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Raises the flag after `work`, whatever comes of it.
    pub fn raise_after<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Raise<'a>(&'a AtomicBool);
        impl Drop for Raise<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let _raise = Raise(&self.0);
        work()
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How far the writers are, and whether they shall end.
#[derive(Default)]
pub struct Load {
    /// Raise it to end the writers.
    pub ended: Flag,
    acked: AtomicUsize,
}

impl Load {
    /// Waits for so many more acknowledgements.
    pub fn await_acks(&self, more: usize) {
        let goal = self.acked.load(Ordering::Acquire) + more;
        wait_until("the writers get on", ACK_WAIT, || (self.acked.load(Ordering::Acquire) >= goal).then_some(()))
            .expect("acknowledgements keep coming");
    }

    /// Writes one message after the other until the load ends; each is tried until it is acknowledged.
    pub fn write(&self, name: &str, mut writer: KeyedWriter) -> Written {
        let mut written = Written { name: name.to_owned(), texts: Vec::new(), times: Vec::new() };
        while !self.ended.is_raised() {
            let n = written.texts.len();
            let text = format!("{name} {n}");
            let sent = writer.send(&format!("{name}-{n}"), &text, ACK_WAIT);
            sent.unwrap_or_else(|error| panic!("{name} cannot go on: {error}"));
            written.times.push(Instant::now());
            written.texts.push(text);
            self.acked.fetch_add(1, Ordering::AcqRel);
        }
        written
    }
}

/// What one writer did: every message was acknowledged in the end.
pub struct Written {
    name: String,
    /// In the order of sending.
    pub texts: Vec<String>,
    /// When each was acknowledged.
    pub times: Vec<Instant>,
}

impl Written {
    /// All of it stands among `read`, once and in order.
    pub fn assert_kept(&self, read: &[String]) {
        let prefix = format!("{} ", self.name);
        let own: Vec<String> = read.iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
        let verdict = judge(&self.texts, &self.texts, &own);
        assert!(verdict.passes(), "{}: {verdict:?}", self.name);
        assert!(!self.texts.is_empty(), "{} wrote nothing", self.name);
    }
}

/// A careful reader that moves from replica to replica: manual mode, and it acks what it has written down.
pub struct CarefulReader {
    account: String,
    addresses: Vec<SocketAddr>,
    seen: BTreeMap<u64, String>,
}

impl CarefulReader {
    /// Reads for `account` at these replicas, in turn.
    pub fn new(account: &str, addresses: Vec<SocketAddr>) -> Self {
        Self { account: account.to_owned(), addresses, seen: BTreeMap::new() }
    }

    /// Reads until `done`, and what there is then; returns the texts in id order.
    pub fn read_until(mut self, done: &Flag) -> Vec<String> {
        let mut turn = 0;
        wait_until("the reader gets to the end", READER_WAIT, || {
            let address = self.addresses[turn % self.addresses.len()];
            turn += 1;
            match self.session(address, done) {
                Ok(()) => Some(()),
                Err(DrillError::Protocol { what, line }) => panic!("{what}: {line}"),
                Err(_) => None,
            }
        })
        .expect("one replica or another serves to the end");
        self.seen.into_values().collect()
    }

    /// Reads over one connection until it breaks, or until there is no more after `done`.
    fn session(&mut self, address: SocketAddr, done: &Flag) -> Result<(), DrillError> {
        let mut client = LineClient::connect(address, PATIENCE)?;
        ask(&mut client, "9|0")?;
        ask(&mut client, &format!("2|{}", self.account))?;
        let mut pushed = 0;
        loop {
            // Looked at before the mailbox: what was acknowledged by then must be in what follows.
            let last = done.is_raised();
            let messages = ask(&mut client, "6")?;
            self.write_down(&messages);
            self.ack(&mut client)?;
            if last {
                return Ok(());
            }
            self.take_pushes(&mut client, &mut pushed)?;
        }
    }

    fn take_pushes(&mut self, client: &mut LineClient, pushed: &mut u64) -> Result<(), DrillError> {
        client.set_timeout(QUIET);
        for _ in 0..ACK_EVERY {
            match client.push() {
                Ok(push) => {
                    assert!(push.id > *pushed, "pushes of a connection ascend, and none comes twice: {push:?}");
                    *pushed = push.id;
                    self.write_down(&[push]);
                }
                Err(DrillError::Timeout { .. }) => break,
                Err(other) => return Err(other),
            }
        }
        client.set_timeout(PATIENCE);
        Ok(())
    }

    fn write_down(&mut self, messages: &[Msg]) {
        for message in messages {
            let before = self.seen.insert(message.id, message.text.clone());
            assert!(before.is_none_or(|text| text == message.text), "one id, one text: {message:?}");
        }
    }

    fn ack(&self, client: &mut LineClient) -> Result<(), DrillError> {
        let Some(latest) = self.seen.keys().next_back() else {
            return Ok(());
        };
        ask(client, &format!("9|{latest}")).map(drop)
    }
}

fn ask(client: &mut LineClient, request: &str) -> Result<Vec<Msg>, DrillError> {
    let reply = client.request(request)?;
    if !reply.is_ok() {
        return Err(DrillError::Refused { request: request.to_owned(), answer: reply.last });
    }
    reply.messages()
}
