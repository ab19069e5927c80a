//! Somebody at a connection: a [`LineClient`] for tests, where every failure is a panic that shows the dialogue.

use std::time::Duration;

use plainsong::drill::{Cluster, DrillError, LineClient, Msg, Reply};

use crate::harness::PATIENCE;

/// One connection.
pub struct Person {
    client: LineClient,
}

impl Person {
    /// Connects, and is nobody yet.
    pub fn at(cluster: &Cluster, id: u16) -> Self {
        Self::over(cluster.connect(id, PATIENCE).expect("a running replica greets"))
    }

    /// Connects and creates an account.
    pub fn new(cluster: &Cluster, id: u16, name: &str) -> Self {
        let mut person = Self::at(cluster, id);
        person.expect(&format!("1|{name}"), &format!("ok|create|{name}"));
        person
    }

    /// Connects and logs in; also returns how much awaits.
    pub fn back(cluster: &Cluster, id: u16, name: &str) -> (Self, u64) {
        let mut person = Self::at(cluster, id);
        let waiting = person.logs_in(name);
        (person, waiting)
    }

    /// As [`Person::back`], in manual mode from the start.
    pub fn back_in_manual_mode(cluster: &Cluster, id: u16, name: &str) -> (Self, u64) {
        let mut person = Self::at(cluster, id);
        person.expect("9|0", "ok|ack|0");
        let waiting = person.logs_in(name);
        (person, waiting)
    }

    /// Over a connection made elsewhere.
    pub fn over(client: LineClient) -> Self {
        Self { client }
    }

    /// The connection.
    pub fn client(&mut self) -> &mut LineClient {
        &mut self.client
    }

    /// Logs in; returns how much awaits.
    pub fn logs_in(&mut self, name: &str) -> u64 {
        let answer = self.asks(&format!("2|{name}"));
        let waiting = answer.strip_prefix(&format!("ok|login|{name}|")).and_then(|count| count.parse().ok());
        waiting.unwrap_or_else(|| panic!("login as {name} was answered {answer:?}"))
    }

    /// The whole reply to a request.
    pub fn reply_to(&mut self, request: &str) -> Reply {
        let reply = self.client.request(request);
        reply.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// The final line, with its key.
    pub fn asks(&mut self, request: &str) -> String {
        with_key(self.reply_to(request))
    }

    /// The final line must match (see [`matches`]).
    pub fn expect(&mut self, request: &str, pattern: &str) {
        let answer = self.asks(request);
        assert!(matches(pattern, &answer), "{request:?} should be answered {pattern:?}, not {answer:?}");
    }

    /// A dialogue: `> ` is sent, `< ` is the next line and must match. Indentation does not count.
    pub fn talk(&mut self, dialogue: &str) {
        for step in dialogue.lines().map(str::trim_start).filter(|step| !step.is_empty()) {
            match step.split_at_checked(2) {
                Some(("> ", request)) => self.client.send(request).expect("the connection is there"),
                Some(("< ", pattern)) => {
                    let line = self.client.line().unwrap_or_else(|error| panic!("{step:?}: {error}"));
                    assert!(matches(pattern, &line), "expected {pattern:?}, got {line:?}, in: {dialogue}");
                }
                _ => panic!("no step of a dialogue: {step:?}"),
            }
        }
    }

    /// Sends a message that must be accepted; tells whether the recipient was online, and the id.
    pub fn sends(&mut self, to: &str, text: &str) -> (Presence, u64) {
        let answer = self.asks(&format!("5|{to}|{text}"));
        sent(to, &answer)
    }

    /// The next push.
    pub fn hears(&mut self) -> Msg {
        self.client.push().unwrap_or_else(|error| panic!("no push: {error}"))
    }

    /// A deliver request: its messages and how many are left.
    pub fn delivers(&mut self, request: &str) -> (Vec<Msg>, u64) {
        let reply = self.reply_to(request);
        let messages = reply.messages().expect("a deliver shows messages");
        let left = reply.last.strip_prefix(&format!("ok|deliver|{}|", messages.len()));
        let left = left.and_then(|left| left.parse().ok());
        (messages, left.unwrap_or_else(|| panic!("{request:?} was answered {:?}", reply.last)))
    }

    /// Nothing has been pushed: the answer to a ping comes first. Only for what would have come before.
    pub fn has_heard_nothing(&mut self) {
        self.expect("12|still here", "ok|ping|still here");
        assert_eq!(self.client.pushes_so_far(), [], "nothing should have been pushed");
    }

    /// The server ends the connection; the lines until then.
    pub fn sees_the_end(&mut self) -> Vec<String> {
        self.client.drain().expect("the server closes")
    }

    /// The answer to what was asked before, if it comes in time.
    pub fn answer_within(&mut self, timeout: Duration) -> Option<String> {
        self.client.set_timeout(timeout);
        let reply = self.client.reply();
        self.client.set_timeout(PATIENCE);
        match reply {
            Ok(reply) => Some(with_key(reply)),
            Err(DrillError::Timeout { .. }) => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// Whether the recipient was online when a message was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// `ok|sent|…`
    Online,
    /// `ok|queued|…`
    Offline,
}

/// Reads the final line of a send.
pub fn sent(to: &str, answer: &str) -> (Presence, u64) {
    let presence = match answer {
        _ if answer.starts_with(&format!("ok|sent|{to}|")) => Presence::Online,
        _ if answer.starts_with(&format!("ok|queued|{to}|")) => Presence::Offline,
        _ => panic!("a message to {to} was answered {answer:?}"),
    };
    let id = answer.rsplit('|').next().and_then(|id| id.parse().ok());
    (presence, id.unwrap_or_else(|| panic!("no id in {answer:?}")))
}

/// A `*` field stands for one field that is not empty; as the last field, for the rest of the line.
pub fn matches(pattern: &str, line: &str) -> bool {
    let mut rest = Some(line);
    let mut fields = pattern.split('|').peekable();
    while let Some(field) = fields.next() {
        let Some(tail) = rest else { return false };
        if fields.peek().is_none() {
            return if field == "*" { !tail.is_empty() } else { tail == field };
        }
        let (head, next) = tail.split_once('|').map_or((tail, None), |(head, next)| (head, Some(next)));
        if head.is_empty() && field == "*" || field != "*" && head != field {
            return false;
        }
        rest = next;
    }
    rest.is_none()
}

fn with_key(reply: Reply) -> String {
    match reply.key {
        Some(key) => format!("@{key}|{}", reply.last),
        None => reply.last,
    }
}

#[test]
fn a_pattern_matches_field_by_field() {
    for (pattern, line) in
        [("ok|a|b", "ok|a|b"), ("err|X|*", "err|X|why | not"), ("a|*|c", "a|b|c"), ("ok|ping|", "ok|ping|")]
    {
        assert!(matches(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in [
        ("ok|a", "ok|a|b"),
        ("ok|a|b", "ok|a"),
        ("err|X|*", "err|X|"),
        ("err|X|*", "err|X"),
        ("a|*|c", "a||c"),
        ("a|b", "a|c"),
    ] {
        assert!(!matches(pattern, line), "{pattern} {line}");
    }
}
