//! The sessions of this replica: where their news go, and for whom they speak. News of one turn go out together, one
//! message a session.

use std::collections::HashMap;

use actix::Recipient;
use chat::{AccountId, Effect, Name};

use crate::actors::messages::{Done, News, RetryLater, SessionId, SessionNews, Slot};

/// See the module's header.
#[derive(Default)]
pub struct Hub {
    sessions: HashMap<SessionId, Entry>,
    by_account: HashMap<AccountId, Vec<SessionId>>,
    /// Sessions with news of this turn.
    stirred: Vec<SessionId>,
}

struct Entry {
    to: Recipient<SessionNews>,
    speaks_for: Option<(Name, AccountId)>,
    news: Vec<News>,
}

impl Hub {
    /// A connection.
    pub fn open(&mut self, session: SessionId, to: Recipient<SessionNews>) {
        self.sessions.insert(session, Entry { to, speaks_for: None, news: Vec::new() });
    }

    /// The connection is gone. Gives whom it spoke for.
    pub fn close(&mut self, session: SessionId) -> Option<Name> {
        let left = self.leave(session);
        self.sessions.remove(&session);
        left
    }

    /// Whether the connection is still there.
    pub fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// From now on the session speaks for the account. Gives whom it spoke for before.
    pub fn enter(&mut self, session: SessionId, name: Name, account: AccountId) -> Option<Name> {
        let left = self.leave(session);
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.speaks_for = Some((name, account));
            self.by_account.entry(account).or_default().push(session);
        }
        left
    }

    /// The session speaks for nobody. Gives whom it spoke for before.
    pub fn leave(&mut self, session: SessionId) -> Option<Name> {
        let (name, account) = self.sessions.get_mut(&session)?.speaks_for.take()?;
        if let Some(sessions) = self.by_account.get_mut(&account) {
            sessions.retain(|s| *s != session);
            if sessions.is_empty() {
                self.by_account.remove(&account);
            }
        }
        Some(name)
    }

    /// Tells a session something, at the end of this turn.
    pub fn tell(&mut self, session: SessionId, news: News) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            if entry.news.is_empty() {
                self.stirred.push(session);
            }
            entry.news.push(news);
        }
    }

    /// Answers a request.
    pub fn answer(&mut self, session: SessionId, slot: Slot, answer: Result<Done, RetryLater>) {
        self.tell(session, News::Answered(slot, answer));
    }

    /// Tells every session something.
    pub fn tell_all(&mut self, news: &News) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.tell(session, news.clone());
        }
    }

    /// Shows the sessions of an account what an applied entry means for them. Gives the names that are no longer
    /// online here.
    pub fn effect(&mut self, effect: Effect) -> Vec<Name> {
        match effect {
            Effect::Push { to, id, line } => {
                for session in self.by_account.get(&to).cloned().unwrap_or_default() {
                    self.tell(session, News::Push { account: to, id, line: line.clone() });
                }
                Vec::new()
            }
            Effect::Gone { account } => {
                let sessions = self.by_account.get(&account).cloned().unwrap_or_default();
                sessions
                    .into_iter()
                    .filter_map(|session| {
                        self.tell(session, News::LoggedOut(account));
                        self.leave(session)
                    })
                    .collect()
            }
        }
    }

    /// Sends what this turn gathered.
    pub fn flush(&mut self) {
        for session in self.stirred.drain(..) {
            if let Some(entry) = self.sessions.get_mut(&session) {
                entry.to.do_send(SessionNews(std::mem::take(&mut entry.news)));
            }
        }
    }
}
