//! What the prompt knows: where it is connected, for whom it speaks, and which names and ops the Tab key can complete.
//!
//! Promises: a name that could command the terminal is never offered; memory is bounded.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chat::{Done, NoteCode, ServerLine};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::look::harmless;
use super::words::{NAMELESS, OPS, WORDS};
use crate::client::Event;

/// Names that are kept for completion; later ones are not.
const NAMES_MAX: usize = 10_000;

/// What the events so far have told.
#[derive(Debug, Default)]
pub(super) struct Known {
    replica: Option<u64>,
    account: Option<String>,
    names: BTreeSet<String>,
    /// Replies so far.
    replies: u64,
}

/// Shared by whoever shows events and whoever reads the keyboard.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Monitor>);

#[derive(Debug, Default)]
struct Monitor {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Shared {
    /// Takes note of an event.
    pub(super) fn learn(&self, event: &Event) {
        self.with(|known| known.learn(event));
        self.0.changed.notify_all();
    }

    /// How many replies have come.
    pub(super) fn replies(&self) -> u64 {
        self.with(|known| known.replies)
    }

    /// Waits until so many replies have come, or no longer than `limit`.
    pub(super) fn await_replies(&self, count: u64, limit: Duration) {
        let known = self.0.known.lock().expect("no holder panics");
        let waited = self.0.changed.wait_timeout_while(known, limit, |known| known.replies < count);
        drop(waited.expect("no holder panics"));
    }

    /// What stands before a typed line: the replica, the account, and who plain text goes to.
    pub(super) fn prompt(&self, to: Option<&str>) -> String {
        self.with(|known| known.prompt(to))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.0.known.lock().expect("no holder panics"))
    }
}

impl Known {
    fn learn(&mut self, event: &Event) {
        match event {
            Event::Connected { replica, .. } => self.replica = Some(*replica),
            Event::Disconnected { .. } | Event::Ended(_) => self.replica = None,
            Event::LoginLost(_) => self.account = None,
            Event::Note(remark) if remark.code == NoteCode::LoggedOut.as_str() => self.account = None,
            Event::Message(message) => self.add(&message.from),
            Event::Reply(reply) => {
                self.replies += 1;
                for line in &reply.data {
                    match ServerLine::parse(line) {
                        ServerLine::User(name) => self.add(name),
                        ServerLine::Past { from, to, .. } => [from, to].into_iter().for_each(|name| self.add(name)),
                        _ => {}
                    }
                }
                match reply.final_line.done() {
                    Some(Done::Login { name, .. } | Done::Create { name }) => {
                        self.account = Some(harmless(name).into_owned());
                        self.add(name);
                    }
                    Some(Done::Logout { .. } | Done::Delete { .. }) => self.account = None,
                    Some(Done::Sent { to, .. }) => self.add(to),
                    _ => {}
                }
            }
            Event::Note(_) | Event::Bye(_) | Event::Other(_) => {}
        }
    }

    fn add(&mut self, name: &str) {
        let is_safe = harmless(name) == name && !name.contains(['|', ' ']);
        if is_safe && self.names.len() < NAMES_MAX {
            self.names.insert(name.to_owned());
        }
    }

    fn prompt(&self, to: Option<&str>) -> String {
        let replica = self.replica.map_or("-".to_owned(), |id| id.to_string());
        let account = self.account.as_ref().map_or(String::new(), |name| format!(" {name}"));
        let to = to.map_or(String::new(), |name| format!(" to {}", harmless(name)));
        format!("[{replica}]{account}{to}> ")
    }

    /// What could stand at the end of `line`, and where it would begin.
    fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let named = |begun: &str| -> Vec<String> {
            let names = self.names.range(begun.to_owned()..).take_while(|name| name.starts_with(begun));
            names.cloned().collect()
        };
        if line.starts_with('/') {
            return match line.split_once(' ') {
                Some((_, begun)) => (line.len() - begun.len(), named(begun)),
                None => {
                    let words = WORDS.iter().map(|(word, _)| format!("{word} "));
                    (0, words.filter(|word| word.starts_with(line)).collect())
                }
            };
        }
        let key_bytes = match line.strip_prefix('@').and_then(|keyed| keyed.find('|')) {
            Some(bar) => bar + "@|".len(),
            None => 0,
        };
        match line[key_bytes..].split_once('|') {
            None => {
                let begun = line[key_bytes..].to_ascii_lowercase();
                let ops = OPS.iter().map(|op| format!("{op}|")).chain(NAMELESS.iter().map(|op| (*op).to_owned()));
                (key_bytes, ops.filter(|op| op.starts_with(&begun)).collect())
            }
            Some((op, begun)) if is_send(op) && !begun.contains('|') => {
                (line.len() - begun.len(), named(begun).into_iter().map(|name| name + "|").collect())
            }
            Some((op, begun)) if takes_name(op) && !begun.contains('|') => (line.len() - begun.len(), named(begun)),
            Some(_) => (line.len(), Vec::new()),
        }
    }
}

fn is_send(op: &str) -> bool {
    op == "5" || op.eq_ignore_ascii_case("send")
}

/// Whether the only argument of this op, or the first of those that may be left out, is a name.
fn takes_name(op: &str) -> bool {
    ["1", "create", "2", "login", "7", "history"].iter().any(|known| known.eq_ignore_ascii_case(op))
}

/// What rustyline asks.
#[derive(Debug)]
pub(super) struct Aid(pub(super) Shared);

impl Completer for Aid {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.0.with(|known| known.complete(&line[..pos])))
    }
}

impl Hinter for Aid {
    type Hint = String;
}

impl Highlighter for Aid {}

impl Validator for Aid {}

impl Helper for Aid {}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Known {
        let mut known = Known::default();
        names.iter().for_each(|name| known.add(name));
        known
    }

    #[test]
    fn ops_words_and_names_are_completed_where_they_belong() {
        let known = known(&["alice", "alan", "bob"]);
        for (line, start, found) in [
            ("se", 0, &["send|"][..]),
            ("@k|se", 3, &["send|"]),
            ("qu", 0, &["quit"]),
            ("/st", 0, &["/status "]),
            ("/to al", 4, &["alan", "alice"]),
            ("5|b", 2, &["bob|"]),
            ("send|al", 5, &["alan|", "alice|"]),
            ("7|al", 2, &["alan", "alice"]),
            ("send|alice|b", 12, &[]),
            ("12|b", 4, &[]),
        ] {
            let found: Vec<String> = found.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(known.complete(line), (start, found), "{line}");
        }
    }

    #[test]
    fn a_name_that_could_command_the_terminal_is_not_offered() {
        assert!(known(&["\u{1b}[2J", "a|b", "a b", "\u{202e}x"]).names.is_empty());
    }

    #[test]
    fn the_prompt_says_where_and_who() {
        let mut known = Known::default();
        assert_eq!(known.prompt(None), "[-]> ");
        known.learn(&Event::Connected { replica: 2, server: "h:1".to_owned(), again: false });
        known.account = Some("alice".to_owned());
        assert_eq!(known.prompt(Some("bob")), "[2] alice to bob> ");
        known.learn(&Event::Disconnected { server: "h:1".to_owned(), why: "gone".to_owned() });
        assert_eq!(known.prompt(None), "[-] alice> ");
    }
}
