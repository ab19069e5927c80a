//! What people do with what was said: they read it again, erase some of it, and change their passwords.

use chat::{AccountId, Answer, Command, HistoryPage, Key, MessageId, MessageIds, PasswordHash, Query, Speaker};
use plainsong::actors::messages::What;
use plainsong::consensus::Index;

use super::checkers::{Law, Past, broken, ensure};
use super::clients::{ALL, Keyed, Kind, Wish, name};
use super::world::World;

/// Messages in one page: so few that there are others.
const PAGE_MAX: usize = 12;
/// A page of lines ends after this many bytes, now and then.
const PAGE_BYTES: usize = 150;

impl World {
    pub fn read_history(&mut self, client: usize, account: AccountId) {
        let with = self.rng.bool().then(|| name(self.any_name()));
        let seen = self.clients[client].seen.clone();
        let somewhere = MessageId(if seen.is_empty() { 0 } else { seen[self.rng.usize(0..seen.len())] });
        let page = match self.rng.u8(0..4) {
            0 => HistoryPage::Before(somewhere),
            1 => HistoryPage::After(somewhere),
            2 => HistoryPage::After(MessageId(0)),
            _ => HistoryPage::Before(MessageId(u64::MAX)),
        };
        let limit = if self.rng.bool() { ALL } else { self.rng.usize(1..PAGE_MAX) };
        let bytes_max = if self.rng.bool() { usize::MAX } else { PAGE_BYTES };
        let kind = Kind::History { account, with: with.clone(), page, limit };
        self.ask(client, vec![(What::Read(Query::History { account, with, page, limit, bytes_max }), kind)]);
    }

    /// Erases some of what was seen; now and then something that is not there.
    pub fn erase(&mut self, client: usize, speaker: Speaker) {
        let count = self.rng.usize(1..4);
        let seen = &self.clients[client].seen;
        let mut ids: Vec<MessageId> = seen.iter().rev().take(count).copied().map(MessageId).collect();
        if ids.is_empty() {
            return self.read_history(client, speaker.id);
        }
        if self.rng.u8(0..10) == 0 {
            ids.push(MessageId(self.rng.u64(0..200)));
        }
        let ids = MessageIds::new(ids).expect("at least one");
        let op = self.judge.request();
        self.erase_keyed(client, Keyed { op, speaker, wish: Wish::Erase(ids) });
    }

    /// For the first time, or again.
    pub fn erase_keyed(&mut self, client: usize, keyed: Keyed) {
        let Wish::Erase(ids) = &keyed.wish else { panic!("it is an erase") };
        let (op, ids, speaker) = (keyed.op, ids.clone(), keyed.speaker.clone());
        self.judge.requests.attempt(op);
        let key = Some(Key::new(&format!("e{op}")).expect("a good key"));
        self.ask(client, vec![(What::Write(Command::Erase { speaker, key, ids }), Kind::Erase { op, keyed })]);
    }

    pub fn change_password(&mut self, client: usize, speaker: Speaker) {
        let op = self.judge.request();
        self.judge.requests.attempt(op);
        let password = PasswordHash::new(&format!("$sim${op}")).expect("short");
        self.ask(client, vec![(What::Write(Command::Passwd { speaker, password }), Kind::Passwd { op })]);
    }

    /// A history must be what the committed log says, at the moment that it is of.
    pub fn history_is_right(&mut self, client: usize, kind: Kind, answer: Answer, at: Index) {
        let (Kind::History { account, with, page, limit }, Answer::History { messages, rest }) = (kind, answer) else {
            broken(Law::Mailbox, "a history is answered with something else");
        };
        let with = with.as_ref().map(|name| name.as_str());
        let past: Vec<&Past> = self.judge.told[self.side_of_client(client).0]
            .model
            .past(account.0, at)
            .filter(|p| with.is_none_or(|w| w == p.with))
            .collect();
        let wanted = match page {
            HistoryPage::Before(id) => {
                let older = &past[..past.partition_point(|p| p.id < id.0)];
                &older[older.len().saturating_sub(limit)..]
            }
            HistoryPage::After(id) => {
                let newer = &past[past.partition_point(|p| p.id <= id.0)..];
                &newer[..newer.len().min(limit)]
            }
        };
        let told: Vec<u64> = messages.iter().map(|m| m.id).chain(rest.iter().copied()).map(|id| id.0).collect();
        let right: Vec<u64> = wanted.iter().map(|p| p.id).collect();
        ensure!(
            Linearizable,
            told == right,
            "{account} with {with:?}, {page:?}: {told:?} at {at}, and it is {right:?}"
        );
        for (message, past) in messages.iter().zip(wanted) {
            let line = String::from_utf8_lossy(&message.line);
            let ends = line.ends_with(&format!("|{}\n", past.text)) && line.starts_with(&format!("past|{}|", past.id));
            ensure!(Mailbox, ends, "{line:?} stands for {past:?}");
        }
        self.clients[client].seen = told;
    }
}
