//! Which entries `plainsong log` prints. Pure: an entry in, yes or no out.

use chat::{Command, Millis, Name};
use clap::{Args, ValueEnum};

use crate::consensus::{Body, Entry, Index};
use crate::machine::payload;

/// What an entry is, by the word that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EntryKind {
    /// The start of a term
    Noop,
    /// The founding record
    Founding,
    /// A change of the voters
    Voters,
    /// A new account
    Create,
    /// The end of one
    Delete,
    /// A message
    Send,
    /// Messages taken out of a view
    Erase,
    /// A new password
    Passwd,
    /// Messages that a client marked
    Ack,
    /// Messages that replicas marked
    Mark,
    /// Messages that the retention removed
    Expire,
    /// What this version cannot read
    Other,
}

/// What is asked for. All of it must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// From this entry on
    #[arg(long, value_name = "INDEX")]
    pub from: Option<u64>,
    /// Up to this entry
    #[arg(long, value_name = "INDEX")]
    pub to: Option<u64>,
    /// From this time on, as the log writes it: 2026-11-21T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Millis>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Millis>,
    /// Only what this account does, and what is sent to it (delivered marks name no accounts, and are left out)
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub account: Option<Name>,
    /// Only entries of this kind; may be repeated
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<EntryKind>,
}

/// A time on the command line.
pub(in crate::cli) fn time(text: &str) -> Result<Millis, String> {
    Millis::parse(text).ok_or_else(|| "a time as the log writes it, like 2026-11-21T09:30:00Z".to_owned())
}

/// A name on the command line, as typed by a person.
pub(in crate::cli) fn name(text: &str) -> Result<Name, String> {
    Name::fold(text).map_err(|error| error.to_string())
}

impl Filter {
    /// Whether only places and times are asked for, so that every entry between the bounds is wanted.
    pub fn is_range(&self) -> bool {
        self.account.is_none() && self.kind.is_empty()
    }

    /// Whether no later entry is wanted: indexes and times never fall.
    pub fn ends_before(&self, entry: &Entry) -> bool {
        self.to.is_some_and(|to| entry.index > Index(to)) || self.until.is_some_and(|until| entry.time > until.0)
    }

    /// Whether the entry is asked for.
    pub fn wants(&self, entry: &Entry) -> bool {
        let starts =
            self.from.is_none_or(|from| entry.index >= Index(from)) && self.since.is_none_or(|s| entry.time >= s.0);
        if !starts || self.ends_before(entry) {
            return false;
        }
        if self.is_range() {
            return true;
        }
        let command = command(&entry.body);
        let of_kind = self.kind.is_empty() || self.kind.contains(&kind(&entry.body, command.as_ref()));
        let of_account = |account: &Name| command.as_ref().is_some_and(|command| concerns(command, account));
        of_kind && self.account.as_ref().is_none_or(of_account)
    }
}

fn command(body: &Body) -> Option<Command> {
    match body {
        Body::Command(bytes) => Command::parse(payload::decode(bytes).ok()?.command).ok(),
        Body::Noop | Body::Founding(_) | Body::Membership(_) => None,
    }
}

fn kind(body: &Body, command: Option<&Command>) -> EntryKind {
    match (body, command) {
        (Body::Noop, _) => EntryKind::Noop,
        (Body::Founding(_), _) => EntryKind::Founding,
        (Body::Membership(_), _) => EntryKind::Voters,
        (Body::Command(_), None) => EntryKind::Other,
        (Body::Command(_), Some(command)) => match command {
            Command::Create { .. } => EntryKind::Create,
            Command::Delete { .. } => EntryKind::Delete,
            Command::Send { .. } => EntryKind::Send,
            Command::Erase { .. } => EntryKind::Erase,
            Command::Passwd { .. } => EntryKind::Passwd,
            Command::Ack { .. } => EntryKind::Ack,
            Command::Mark { .. } => EntryKind::Mark,
            Command::Expire => EntryKind::Expire,
        },
    }
}

/// Whether the account does this, or is sent it.
fn concerns(command: &Command, account: &Name) -> bool {
    match command {
        Command::Create { name, .. } => name == account,
        Command::Send { speaker, to, .. } => speaker.name == *account || to == account,
        Command::Delete { speaker }
        | Command::Erase { speaker, .. }
        | Command::Passwd { speaker, .. }
        | Command::Ack { speaker, .. } => speaker.name == *account,
        Command::Mark { .. } | Command::Expire => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Membership, Term};

    /// One entry of each kind, a second apart.
    fn entries() -> Vec<Entry> {
        let commands = [
            "|1|bob",
            "bob#5|@k|5|alice|hi",
            "alice#3|5|bob|hi",
            "bob#5|8|7",
            "alice#3|9|7|",
            "|mark|5:7-7",
            "|expire",
        ];
        let bodies = [Body::Noop, Body::Membership(Membership::default()), Body::Command("what".into())];
        let commands = commands.map(|line| Body::Command(format!("+1.a0.7.41|{line}").into()));
        let entry =
            |(body, index): (Body, u64)| Entry { index: Index(index), term: Term(1), time: 1_000 * index, body };
        bodies.into_iter().chain(commands).zip(1..).map(entry).collect()
    }

    fn wanted(filter: &Filter) -> Vec<u64> {
        entries().iter().filter(|entry| filter.wants(entry)).map(|entry| entry.index.0).collect()
    }

    #[test]
    fn without_a_filter_all_is_wanted() {
        assert_eq!(wanted(&Filter::default()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn bounds_are_part_of_what_they_bound() {
        assert_eq!(wanted(&Filter { from: Some(3), to: Some(5), ..Filter::default() }), [3, 4, 5]);
        let times = Filter { since: Some(Millis(4_000)), until: Some(Millis(6_999)), ..Filter::default() };
        assert_eq!(wanted(&times), [4, 5, 6]);
        let past: Vec<bool> = entries().iter().map(|entry| times.ends_before(entry)).collect();
        assert_eq!(past, [false, false, false, false, false, false, true, true, true, true]);
    }

    #[test]
    fn an_account_is_who_does_it_or_is_sent_it() {
        let of = |name: &str| Filter { account: Some(Name::from_stored(name)), ..Filter::default() };
        assert_eq!(wanted(&of("bob")), [4, 5, 6, 7]);
        assert_eq!(wanted(&of("alice")), [5, 6, 8]);
        assert_eq!(wanted(&of("nobody")), [] as [u64; 0]);
    }

    #[test]
    fn kinds_are_told_apart_and_go_together_with_all_else() {
        let of = |kind: &[EntryKind]| Filter { kind: kind.to_vec(), ..Filter::default() };
        let all = EntryKind::value_variants();
        let each: Vec<Vec<u64>> = all.iter().map(|kind| wanted(&of(&[*kind]))).collect();
        assert_eq!(
            each,
            [
                vec![1],
                vec![],
                vec![2],
                vec![4],
                vec![],
                vec![5, 6],
                vec![7],
                vec![],
                vec![8],
                vec![9],
                vec![10],
                vec![3]
            ]
        );
        assert_eq!(wanted(&of(&[EntryKind::Noop, EntryKind::Send])), [1, 5, 6]);
        let both = Filter { account: Some(Name::from_stored("bob")), from: Some(6), ..of(&[EntryKind::Send]) };
        assert_eq!(wanted(&both), [6]);
    }
}
