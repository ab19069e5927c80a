//! Which messages the user has had, so that each is shown once and none is lost, whatever happens to the connection.
//!
//! The client runs in the protocol's manual mode: a message counts as delivered when the client acknowledges it, and
//! it does that once the user is *done* with the message. What was not acknowledged comes again, with the same id, and is
//! recognised here.
//!
//! Promises
//! - An id is handed out once in the life of a client.
//! - An ack never covers a message that the user is not done with. `9|id` marks everything up to `id` that *the
//!   connection was shown*, so an ack waits while a `deliver` is on its way: what it prints has lower ids than pushes
//!   that came before it.
//! - After a lost connection nobody can tell what was missed, so the whole mailbox is fetched in pages
//!   ([`CatchUp`]), and pushes that arrive ahead of it are left for their page: ids ascend for the user.
//!
//! Leaves out sockets and lines. Memory: what was handed out and is not yet acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat::MessageId;

use super::line::Message;

/// How many messages one page of a catch-up asks for. Few in unit tests, so that many pages are tried.
pub(crate) const PAGE_MESSAGES: u64 = if cfg!(test) { 3 } else { 100 };

/// The catch-up after a reconnect.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// Nothing is missing.
    #[default]
    Done,
    /// A page is wanted. Pushes are dropped: they are not acknowledged, so the page, or a later one, brings them.
    Wanted,
    /// A page is on its way. Pushes and the page's messages look the same until its final line counts them.
    Asked(Vec<Message>),
}

/// One message that went to the user.
#[derive(Debug)]
struct Handed {
    /// Its place among all that was handed out; from 1.
    place: u64,
    /// The era in which the replica last showed it.
    era: u64,
    /// Whose mailbox it was in.
    owner: Arc<str>,
}

/// The mailbox as the client knows it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Handed out and not known to be marked.
    handed: BTreeMap<MessageId, Handed>,
    /// How many messages were handed out so far.
    places: u64,
    /// The user is done with messages up to this place.
    done_to: u64,
    /// Counts connections and changes of account: an ack covers what was shown in the current one.
    era: u64,
    owner: Arc<str>,
    pub(crate) catch_up: CatchUp,
    /// An ack that is on its way, with the era in which it was sent.
    ack: Option<(MessageId, u64)>,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox {
            handed: BTreeMap::new(),
            places: 0,
            done_to: 0,
            era: 0,
            owner: Arc::from(""),
            catch_up: CatchUp::Done,
            ack: None,
        }
    }

    /// Another connection, or another account: what was shown before cannot be acknowledged any more.
    pub(crate) fn new_era(&mut self, owner: &str) {
        self.era += 1;
        self.ack = None;
        self.catch_up = CatchUp::Done;
        if *self.owner != *owner {
            self.owner = Arc::from(owner);
        }
    }

    /// A replica showed this id. Its place, and whether it is new to the user.
    pub(crate) fn hand_out(&mut self, id: MessageId) -> (u64, bool) {
        if let Some(handed) = self.handed.get_mut(&id) {
            handed.era = self.era;
            return (handed.place, false);
        }
        self.places += 1;
        self.handed.insert(id, Handed { place: self.places, era: self.era, owner: Arc::clone(&self.owner) });
        (self.places, true)
    }

    /// How many messages were handed out so far.
    pub(crate) fn places(&self) -> u64 {
        self.places
    }

    /// The user is done with the first `place` messages.
    pub(crate) fn done(&mut self, place: u64) {
        self.done_to = self.done_to.max(place);
    }

    /// Nothing that went out to the user waits for its mark.
    pub(crate) fn is_empty(&self) -> bool {
        self.handed.is_empty()
    }

    /// Nothing is on its way, and nothing is left to acknowledge that could be.
    pub(crate) fn rests(&self) -> bool {
        self.catch_up == CatchUp::Done && self.is_clear()
    }

    /// The id to acknowledge now, which counts as sent. `None` while an ack is on its way.
    pub(crate) fn take_ack(&mut self) -> Option<MessageId> {
        if self.ack.is_some() {
            return None;
        }
        let this_era = self.handed.iter().filter(|(_, handed)| handed.era == self.era);
        let id = *this_era.take_while(|(_, handed)| handed.place <= self.done_to).last()?.0;
        self.ack = Some((id, self.era));
        Some(id)
    }

    /// The ack was answered with `ok`: up to its id, nothing of this era comes again.
    pub(crate) fn acked(&mut self) {
        if let Some((id, era)) = self.ack.take() {
            self.handed.retain(|&handed_id, handed| handed_id > id || handed.era != era);
        }
    }

    /// The ack was not done. It is asked again, unless `for_good`: then this era has nothing to acknowledge.
    pub(crate) fn ack_failed(&mut self, for_good: bool) {
        self.ack = None;
        if for_good {
            self.era += 1;
        }
    }

    /// Nothing of this era is left to acknowledge: the next page begins after what was shown.
    pub(crate) fn is_clear(&self) -> bool {
        self.ack.is_none() && !self.handed.values().any(|handed| handed.era == self.era)
    }

    /// A page was answered: its messages are the last `count` of those that came while it was asked, the others were
    /// pushed ahead of it. What the user is to see now, in order.
    pub(crate) fn page(&mut self, count: u64) -> Vec<Message> {
        let CatchUp::Asked(mut page) = std::mem::take(&mut self.catch_up) else {
            return Vec::new();
        };
        let pushed_len = page.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        let pushed: Vec<Message> = page.drain(..pushed_len).collect();
        if count >= PAGE_MESSAGES {
            // 1. A push with an id beyond this page came ahead of it. 2. Shown now, it would stand before what the next
            // page brings. So it is left for that page.
            self.catch_up = CatchUp::Wanted;
        } else {
            // The page holds everything up to its last id, so these are repeats or newer.
            page.extend(pushed);
        }
        page.retain(|message| self.hand_out(message.id).1);
        if self.catch_up == CatchUp::Done {
            self.forget_marked();
        }
        page
    }

    /// Everything undelivered has been shown again in this era: what was not is marked, its ack took effect although
    /// the answer was lost.
    pub(crate) fn forget_marked(&mut self) {
        let (era, owner) = (self.era, Arc::clone(&self.owner));
        self.handed.retain(|_, handed| handed.era == era || handed.owner != owner);
    }
}

#[cfg(test)]
mod tests {
    use chat::Millis;

    use super::*;

    fn message(id: u64) -> Message {
        Message { id: MessageId(id), from: "a".to_owned(), time: Millis(0), text: "x".to_owned() }
    }

    fn ids(messages: &[Message]) -> Vec<u64> {
        messages.iter().map(|message| message.id.0).collect()
    }

    #[test]
    fn an_ack_never_covers_what_the_user_is_not_done_with() {
        let mut mailbox = Mailbox::new();
        for id in [50, 10, 11] {
            mailbox.hand_out(MessageId(id));
        }
        mailbox.done(1);
        assert_eq!(mailbox.take_ack(), None, "10 and 11 are lower than 50 and not looked at");
        mailbox.done(2);
        assert_eq!(mailbox.take_ack(), Some(MessageId(10)));
        mailbox.done(3);
        assert_eq!(mailbox.take_ack(), None, "one ack at a time");
        mailbox.acked();
        assert_eq!(mailbox.take_ack(), Some(MessageId(50)));
        mailbox.acked();
        assert!(mailbox.is_clear());
    }

    #[test]
    fn what_comes_again_is_recognised_and_acknowledged_again() {
        let mut mailbox = Mailbox::new();
        mailbox.hand_out(MessageId(7));
        mailbox.done(1);
        assert_eq!(mailbox.take_ack(), Some(MessageId(7)));
        mailbox.new_era("");
        assert_eq!(mailbox.take_ack(), None, "this connection was not shown 7");
        assert_eq!(mailbox.hand_out(MessageId(7)), (1, false));
        assert_eq!(mailbox.take_ack(), Some(MessageId(7)));
    }

    #[test]
    fn a_short_page_ends_the_catch_up_with_the_pushes_in_order() {
        let mut mailbox = Mailbox::new();
        mailbox.hand_out(MessageId(4));
        mailbox.new_era("");
        mailbox.catch_up = CatchUp::Asked([6, 12, 4, 6].map(message).to_vec());
        assert_eq!(ids(&mailbox.page(2)), [6, 12]);
        assert_eq!(mailbox.catch_up, CatchUp::Done);
    }

    #[test]
    fn a_full_page_leaves_the_pushes_to_the_next() {
        let mut mailbox = Mailbox::new();
        let page: Vec<Message> = [900, 901].into_iter().chain(1..=PAGE_MESSAGES).map(message).collect();
        mailbox.catch_up = CatchUp::Asked(page);
        assert_eq!(ids(&mailbox.page(PAGE_MESSAGES)), (1..=PAGE_MESSAGES).collect::<Vec<_>>());
        assert_eq!(mailbox.catch_up, CatchUp::Wanted);
        assert!(!mailbox.is_clear(), "the next page waits until the user is done with this one");
    }

    #[test]
    fn a_lost_answer_to_an_ack_leaves_nothing_behind() {
        let mut mailbox = Mailbox::new();
        mailbox.hand_out(MessageId(7));
        mailbox.done(1);
        mailbox.take_ack();
        mailbox.new_era("");
        mailbox.catch_up = CatchUp::Asked(Vec::new());
        mailbox.page(0);
        assert!(mailbox.handed.is_empty());
    }
}
