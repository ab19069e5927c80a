//! The sessions of this replica: where their news go, and for whom they speak. News of one turn go out together, one
//! message a session.
//!
//! Pushes to a connection that waits for the answer to a write are *held* until that answer, for [`HELD_MAX`] at the
//! most: one write to its socket instead of two, and writes to sockets are most of what a message costs. A connection
//! that only listens is shown everything at once.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use actix::Recipient;
use chat::{AccountId, Effect, Name};

use crate::actors::messages::{Done, News, RetryLater, SessionId, SessionNews, Slot};

/// Pushes are held no longer than this.
pub const HELD_MAX: Duration = Duration::from_millis(25);

/// See the module's header.
#[derive(Default)]
pub struct Hub {
    sessions: HashMap<SessionId, Entry>,
    by_account: HashMap<AccountId, Vec<SessionId>>,
    /// Sessions with news that go out at the end of this turn.
    stirred: Vec<SessionId>,
    /// Sessions with pushes that are held since this turn.
    newly_held: Vec<SessionId>,
    /// Those of earlier turns, each with the time of its turn, and some whose pushes have gone out meanwhile.
    held: VecDeque<(Instant, SessionId)>,
}

struct Entry {
    to: Recipient<SessionNews>,
    speaks_for: Option<(Name, AccountId)>,
    news: Vec<News>,
    /// Writes that are not answered.
    writes: usize,
    place: Place,
    /// Since when its pushes are held, or were.
    held_at: Option<Instant>,
}

/// Where a session with news stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has none.
    Nowhere,
    Stirred,
    Held,
}

impl Hub {
    /// A connection.
    pub fn open(&mut self, session: SessionId, to: Recipient<SessionNews>) {
        let entry = Entry { to, speaks_for: None, news: Vec::new(), writes: 0, place: Place::Nowhere, held_at: None };
        self.sessions.insert(session, entry);
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
            entry.tell(session, news, &mut self.stirred, &mut self.newly_held);
        }
    }

    /// The session waits for the answer to a write: it will come by [`Hub::answer_write`].
    pub fn await_write(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.writes += 1;
        }
    }

    /// Answers a write.
    pub fn answer_write(&mut self, session: SessionId, slot: Slot, answer: Result<Done, RetryLater>) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.writes = entry.writes.saturating_sub(1);
        }
        self.answer(session, slot, answer);
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
            Effect::Push { to, message } => {
                let Self { sessions, by_account, stirred, newly_held, .. } = self;
                let Some(of_account) = by_account.get(&to) else { return Vec::new() };
                let (id, line) = (message.id, message.line());
                for session in of_account {
                    if let Some(entry) = sessions.get_mut(session) {
                        let news = News::Push { account: to, id, line: line.clone() };
                        entry.tell(*session, news, stirred, newly_held);
                    }
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

    /// Sends what this turn gathered, and what was held for long enough. Returns when to flush again at the latest.
    pub fn flush(&mut self, now: Instant) -> Option<Instant> {
        for session in self.stirred.drain(..) {
            if let Some(entry) = self.sessions.get_mut(&session) {
                entry.send();
            }
        }
        for session in self.newly_held.drain(..) {
            if let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.place == Place::Held) {
                entry.held_at = Some(now);
                self.held.push_back((now, session));
            }
        }
        // Each for its own time: were all to go with the oldest, most would go before the answer that they wait for.
        while let Some(&(at, session)) = self.held.front() {
            let is_held = |entry: &&mut Entry| entry.place == Place::Held && entry.held_at == Some(at);
            if let Some(entry) = self.sessions.get_mut(&session).filter(is_held) {
                if now < at + HELD_MAX {
                    return Some(at + HELD_MAX);
                }
                entry.send();
            }
            self.held.pop_front();
        }
        None
    }
}

impl Entry {
    /// `session` is its own id, for the lists of those with news.
    fn tell(&mut self, session: SessionId, news: News, stirred: &mut Vec<SessionId>, held: &mut Vec<SessionId>) {
        let waits = self.writes > 0 && matches!(news, News::Push { .. });
        self.news.push(news);
        match self.place {
            Place::Nowhere if waits => {
                self.place = Place::Held;
                held.push(session);
            }
            Place::Nowhere | Place::Held if !waits => {
                self.place = Place::Stirred;
                stirred.push(session);
            }
            Place::Nowhere | Place::Held | Place::Stirred => {}
        }
    }

    fn send(&mut self) {
        self.place = Place::Nowhere;
        self.to.do_send(SessionNews(std::mem::take(&mut self.news)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use actix::{Actor, Context, Handler};
    use chat::{Message, MessageId, Millis, Outcome, Text};

    use super::*;

    /// A session that repeats how many pieces of news came together.
    struct Listener(Sender<usize>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<SessionNews> for Listener {
        type Result = ();

        fn handle(&mut self, news: SessionNews, _: &mut Self::Context) {
            self.0.send(news.0.len()).expect("the test listens");
        }
    }

    const BOB: AccountId = AccountId(7);
    const SESSION: SessionId = SessionId(1);

    fn hub() -> (Hub, Receiver<usize>) {
        let (told, heard) = channel();
        let mut hub = Hub::default();
        hub.open(SESSION, Listener(told).start().recipient());
        hub.enter(SESSION, Name::fold("bob").expect("a name"), BOB);
        (hub, heard)
    }

    fn push(hub: &mut Hub, id: u64) {
        let name = || Name::fold("bob").expect("a name");
        let text = Text::new("hi").expect("a text");
        let message = Message { id: MessageId(id), from: name(), to: name(), time: Millis(0), text };
        hub.effect(Effect::Push { to: BOB, message });
    }

    async fn heard(listener: &Receiver<usize>) -> Vec<usize> {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        listener.try_iter().collect()
    }

    #[actix_rt::test]
    async fn a_push_waits_for_the_answer_to_a_write_but_not_for_long() {
        let (mut hub, listener) = hub();
        let start = Instant::now();
        push(&mut hub, 1);
        assert_eq!(hub.flush(start), None);
        assert_eq!(heard(&listener).await, [1], "nothing waits: at once");

        hub.await_write(SESSION);
        push(&mut hub, 2);
        assert_eq!(hub.flush(start), Some(start + HELD_MAX));
        assert!(heard(&listener).await.is_empty());
        hub.answer_write(SESSION, Slot(1), Ok(Done::Outcome(Outcome::Marked)));
        push(&mut hub, 3);
        hub.flush(start);
        assert_eq!(heard(&listener).await, [3], "together with the answer, in order");

        hub.await_write(SESSION);
        push(&mut hub, 4);
        let later = start + HELD_MAX / 2;
        assert_eq!(hub.flush(later), Some(later + HELD_MAX), "from its own push on");
        assert_eq!(hub.flush(start + HELD_MAX), Some(later + HELD_MAX));
        assert!(heard(&listener).await.is_empty());
        assert_eq!(hub.flush(later + HELD_MAX), None);
        assert_eq!(heard(&listener).await, [1], "long enough");
    }

    #[actix_rt::test]
    async fn what_is_no_push_goes_at_once_and_takes_what_is_held_along() {
        let (mut hub, listener) = hub();
        let start = Instant::now();
        hub.await_write(SESSION);
        push(&mut hub, 1);
        hub.flush(start);
        hub.tell(SESSION, News::Drain(chat::ByeCode::Draining));
        hub.flush(start);
        assert_eq!(heard(&listener).await, [2]);
        assert_eq!(hub.flush(start + HELD_MAX), None);
        assert!(heard(&listener).await.is_empty(), "and not again");
    }
}
