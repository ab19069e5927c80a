//! How events look on a page of text: raw, or in words.
//!
//! Promises: what goes to a terminal has passed [`harmless`], whoever wrote it. Times are UTC, as on the wire.
//! Leaves out where the text goes.

use std::borrow::Cow;

use chat::{Done, ServerLine};

use crate::client::{Event, FinalLine, Message, Reply, Verdict};

/// Escape sequences for a faint and a bold piece of text.
const FAINT: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The protocol's lines instead of words.
    is_raw: bool,
    /// A terminal reads it: nothing in it may be a command to the terminal.
    is_terminal: bool,
    has_colour: bool,
}

/// Makes text safe to show: control characters (Unicode Cc) other than tab, line and paragraph separators, and what
/// reorders or hides text (bidirectional and other format overrides) become visible as `\u{…}`. Joiners, which scripts and
/// emoji need, stay.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |char: char| {
        (char.is_control() && char != '\t')
            || matches!(char,
                '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_harmful(char) {
            safe.extend(char.escape_unicode());
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

impl Look {
    /// Lines for a program, as they came.
    pub(super) fn pipe() -> Look {
        use std::io::IsTerminal;
        // Piped input, but a person reads what comes out.
        Look { is_raw: true, is_terminal: std::io::stdout().is_terminal(), has_colour: false }
    }

    /// Words for a person, or safe lines.
    pub(super) fn terminal(is_raw: bool) -> Look {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Look { is_raw, is_terminal: true, has_colour: !is_raw && !is_dumb && !is_set("NO_COLOR") }
    }

    /// What of this belongs on standard output.
    pub(super) fn lines(self, event: &Event) -> Vec<String> {
        let lines = match event {
            Event::Message(message) => vec![self.message(message)],
            Event::Reply(reply) => self.reply(reply),
            Event::Note(remark) if self.is_raw => vec![self.safe(&format!("note|{remark}"))],
            Event::Note(remark) => vec![self.aside(&format!("{} ({})", remark.text, remark.code))],
            Event::Other(line) => vec![self.safe(line)],
            Event::Bye(_)
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::LoginLost(_)
            | Event::Ended(_) => Vec::new(),
        };
        debug_assert!(lines.iter().all(|line| !line.contains('\n')), "one line each");
        lines
    }

    /// What of this belongs on standard error.
    pub(super) fn notice(self, event: &Event) -> Option<String> {
        let notice = match event {
            Event::Connected { replica, server, again: true } => format!("now on replica {replica} ({server})"),
            Event::Connected { replica, server, again: false } if self.is_terminal && !self.is_raw => {
                format!("connected to replica {replica} ({server}); /help lists what can be typed")
            }
            Event::Disconnected { server, why } => format!("lost {server}: {why}; looking for another replica"),
            Event::Bye(remark) => format!("the replica says goodbye: {} ({})", remark.text, remark.code),
            Event::LoginLost(last) => format!("could not log in again, so nobody is logged in: {last}"),
            _ => return None,
        };
        Some(harmless(&notice).into_owned())
    }

    fn safe(self, text: &str) -> String {
        if self.is_terminal { harmless(text).into_owned() } else { text.to_owned() }
    }

    /// Something beside the talk. The colours are put around what has been made safe.
    fn aside(self, text: &str) -> String {
        let text = self.safe(text);
        if self.has_colour { format!("{FAINT}{text}{PLAIN}") } else { text }
    }

    fn message(self, message: &Message) -> String {
        if self.is_raw {
            return self.safe(&message.to_string());
        }
        let (time, from, text) = (self.aside(&minute(message)), self.safe(&message.from), self.safe(&message.text));
        if self.has_colour { format!("{time} {BOLD}{from}:{PLAIN} {text}") } else { format!("{time} {from}: {text}") }
    }

    fn reply(self, reply: &Reply) -> Vec<String> {
        if self.is_raw {
            let key = reply.key.as_ref().map_or(String::new(), |key| format!("@{key}|"));
            let last = format!("{key}{}", reply.final_line);
            return reply.data.iter().chain([&last]).map(|line| self.safe(line)).collect();
        }
        let data = reply.data.iter().map(|line| self.safe(&data_in_words(line)));
        data.chain([self.aside(&final_in_words(&reply.final_line))]).collect()
    }
}

/// `14:40` of an RFC 3339 time.
fn minute(message: &Message) -> String {
    let time = message.time.to_string();
    time.get(11..16).unwrap_or(&time).to_owned()
}

fn data_in_words(line: &str) -> String {
    match ServerLine::parse(line) {
        ServerLine::User(name) => format!("  {name}"),
        ServerLine::Help(help) => format!("  {help}"),
        ServerLine::Past { id, time, from, to, text } => {
            let time = time.to_string();
            let (day, minute) = (time.get(..10).unwrap_or(&time), time.get(11..16).unwrap_or_default());
            format!("  {day} {minute} {from} to {to}: {text} ({id})")
        }
        ServerLine::Replica(replica) => {
            let state = if replica.up { "up" } else { "down" };
            let (id, role, address, lag) = (replica.id, replica.role.as_str(), replica.address, replica.lag);
            format!("  replica {id} at {address}: {state}, {role}, {lag} entries behind")
        }
        _ => line.to_owned(),
    }
}

fn final_in_words(last: &FinalLine) -> String {
    let done = match (last.verdict(), last.done()) {
        (_, Some(done)) => done,
        (Verdict::Err(_), _) => return format!("refused: {}", remark(last, "err|")),
        (Verdict::Retry(_) | Verdict::Ok, _) => return format!("not done for now: {}", remark(last, "retry|")),
    };
    match done {
        Done::List { shown, matching } => format!("{shown} of {matching} shown"),
        Done::Create { name } => format!("{name} is created and logged in"),
        Done::Login { name, undelivered: 0 } => format!("logged in as {name}"),
        Done::Login { name, undelivered } => format!("logged in as {name}; {undelivered} undelivered: `6|` shows them"),
        Done::Logout { name } => format!("{name} is logged out"),
        Done::Delete { name } => format!("{name} is deleted"),
        Done::Sent { to, id, online: true } => format!("sent to {to} ({id})"),
        Done::Sent { to, id, online: false } => format!("stored for {to}, who is not online ({id})"),
        Done::Deliver { count, left: 0 } => format!("{count} delivered"),
        Done::Deliver { count, left } => format!("{count} delivered, {left} left"),
        Done::History { count } => format!("{count} shown; `7|name|before` goes on to older ones"),
        Done::Erase { count } => format!("{count} removed from your view"),
        Done::Who { count } => format!("{count} online"),
        Done::Passwd { name } => format!("{name} has a new password"),
        Done::Ack { id } => format!("acknowledged up to {id}"),
        Done::Status { replica, leader, term, survives } => {
            let leader = leader.map_or("no leader".to_owned(), |id| format!("replica {id} leads"));
            let failures = if survives == 1 { "failure" } else { "failures" };
            format!(
                "{leader} in term {term}; this is replica {replica}; the cluster survives {survives} more {failures}"
            )
        }
        Done::Ping { text: "" } => "it is there".to_owned(),
        Done::Ping { text } => format!("it is there: {text}"),
        Done::Help => "a line is `op|arguments`; an op may be a number or a word".to_owned(),
        Done::Quit => "goodbye".to_owned(),
        Done::Later(words) => format!("done: {words}"),
    }
}

/// `CODE|text` as `text (CODE)`.
fn remark(last: &FinalLine, word: &str) -> String {
    let line = last.to_string();
    let rest = line.strip_prefix(word).unwrap_or(&line);
    let (code, text) = rest.split_once('|').unwrap_or((rest, ""));
    format!("{text} ({code})")
}

#[cfg(test)]
mod tests {
    use chat::{MessageId, Millis};

    use super::*;

    const PERSON: Look = Look { is_raw: false, is_terminal: true, has_colour: false };
    const RAW: Look = Look { is_raw: true, is_terminal: true, has_colour: false };
    const PIPE: Look = Look { is_raw: true, is_terminal: false, has_colour: false };

    fn message(text: &str) -> Event {
        let time = Millis::parse("2026-11-21T14:40:05.678Z").expect("a time");
        Event::Message(Message { id: MessageId(7), from: "bob".to_owned(), time, text: text.to_owned() })
    }

    fn reply(data: &[&str], reply: chat::Reply<'_>) -> Event {
        let data = data.iter().map(|line| (*line).to_owned()).collect();
        Event::Reply(Reply { data, key: Some("k".to_owned()), final_line: FinalLine::new(reply) })
    }

    #[test]
    fn nothing_that_others_wrote_can_command_the_terminal() {
        for (text, safe) in [
            ("hi", "hi"),
            ("a\tb|c", "a\tb|c"),
            ("\x1b]0;owned\x07", r"\u{1b}]0;owned\u{7}"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("a\rb\nc\x7f", r"a\u{d}b\u{a}c\u{7f}"),
            ("\u{202e}gpj.exe\u{2069}", r"\u{202e}gpj.exe\u{2069}"),
            ("\u{feff}\u{200b}\u{e0041}", r"\u{feff}\u{200b}\u{e0041}"),
            ("👩\u{200d}🚀 क्\u{200d}ष é", "👩\u{200d}🚀 क्\u{200d}ष é"),
        ] {
            assert_eq!(harmless(text), safe);
        }
        let hostile = message("\x1b[31mred\u{202e}");
        assert_eq!(PERSON.lines(&hostile), [r"14:40 bob: \u{1b}[31mred\u{202e}"]);
        assert_eq!(RAW.lines(&hostile), [r"msg|7|bob|2026-11-21T14:40:05.678Z|\u{1b}[31mred\u{202e}"]);
        assert_eq!(PIPE.lines(&hostile), ["msg|7|bob|2026-11-21T14:40:05.678Z|\x1b[31mred\u{202e}"]);
        let why = Event::Disconnected { server: "\x1b[2J".to_owned(), why: "x".to_owned() };
        assert!(!PIPE.notice(&why).expect("told").contains('\x1b'), "standard error may be a terminal");
    }

    #[test]
    fn words_for_a_person() {
        assert_eq!(PERSON.lines(&message("hi")), ["14:40 bob: hi"]);
        let coloured = Look { has_colour: true, ..PERSON }.lines(&message("hi"));
        assert_eq!(coloured, ["\x1b[2m14:40\x1b[0m \x1b[1mbob:\x1b[0m hi"]);
        let list = reply(&["user|al", "user|bob"], Done::List { shown: 2, matching: 5 }.into());
        assert_eq!(PERSON.lines(&list), ["  al", "  bob", "2 of 5 shown"]);
        let past = reply(&["past|9|al|bob|2026-11-21T14:40:05.678Z|a|b\u{202e}"], Done::Ping { text: "" }.into());
        assert_eq!(PERSON.lines(&past)[0], r"  2026-11-21 14:40 al to bob: a|b\u{202e} (9)");
        let refused = reply(&[], chat::Reply::err(chat::ErrCode::NoSuchUser));
        let [words] = &PERSON.lines(&refused)[..] else { panic!("one line") };
        assert!(words.starts_with("refused: ") && words.ends_with("(NO_SUCH_USER)"), "{words}");
    }

    #[test]
    fn raw_lines_are_the_protocols_own() {
        let list = reply(&["user|al"], Done::List { shown: 1, matching: 1 }.into());
        assert_eq!(RAW.lines(&list), ["user|al", "@k|ok|list|1|1"]);
    }
}
