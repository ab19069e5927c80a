//! Messages: pushed, fed from the mailbox to a reader that fell behind, printed by `deliver`, and marked.
//!
//! What a connection was shown is two ranges of ids, because both grow in id order ([`chat::Shown`]). A push that may not
//! be written now is dropped, and the connection is *behind*: [`Mailbox::missed_to`] is past `shown.pushed_to`. From then
//! on every push is dropped, and once there is room the mailbox is asked for what came after `pushed_to`, page by page.
//! So a slow reader costs one number, and nothing comes twice or out of order.
//!
//! **`deliver`** goes in four steps, all with nothing begun beside it:
//! 1. *Sync*: a linearizable read of what came after the last push; with it, whatever was acknowledged to a sender before
//!    this request is either pushed here or part of the backlog. Without this step a message that this replica has
//!    applied, but whose push is still on its way, would be printed now and pushed again.
//! 2. *Page*: the backlog is printed, page by page as the socket drains. Pushes wait. Messages newer than the sync are not
//!    printed: they come as pushes.
//! 3. *Acknowledge* (automatic mode): the peer's kernel acknowledges it, then the marks take effect.
//! 4. The final line; then whatever was missed is fed.

use std::num::NonZeroU32;
use std::time::Instant;

use bytes::Bytes;
use chat::{AccountId, Answer, Done as Granted, IdRange, MessageId, Query, Rendered, Reply, Shown};

use super::core::{Core, Phase, Step};
use super::limits::{OUTPUT_BYTES_LOW, OUTPUT_BYTES_MAX, PAGE_BYTES, PAGE_MESSAGES};
use super::marks::UNACKNOWLEDGED_MAX;
use crate::actors::messages::{Done, RetryLater, Slot, What};

/// What the connection was shown of the mailbox of the account it speaks for.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) account: AccountId,
    pub(super) shown: Shown,
    /// The newest push that was dropped.
    missed_to: MessageId,
    feed: Option<Feed>,
    /// How often in a row the mailbox did not have what was missed.
    vain_feeds: u8,
    /// What this connection was shown when it spoke for the account before. `6|` does not repeat it.
    before: Vec<(AccountId, Shown)>,
}

/// Mailboxes whose [`Shown`] is remembered after the connection left them.
const REMEMBERED_MAX: usize = 8;

/// Tries to find a missed message, [`super::limits::RETRY_PAUSE`] apart, before it counts as removed.
const VAIN_FEEDS_MAX: u8 = 8;

/// An ask for what was missed.
#[derive(Clone, Copy, Debug)]
struct Feed {
    slot: Slot,
    /// What was known to be missed when it was asked.
    missed_to: MessageId,
}

/// Marks under way.
#[derive(Debug)]
pub(super) struct Marking {
    pub(super) slot: Slot,
    account: AccountId,
    ranges: Vec<IdRange>,
}

/// A `deliver` under way.
#[derive(Debug)]
pub(super) struct Deliver {
    /// How many may still be printed.
    room: u64,
    count: u64,
    /// The newest one printed.
    printed_to: MessageId,
    step: DeliverStep,
}

#[derive(Debug)]
enum DeliverStep {
    /// The linearizable read is asked.
    Sync,
    /// It is answered; where there was more than one page of it, the rest is fed.
    Feed,
    /// The next page can be asked.
    Page,
    /// It is asked, for so many.
    Asked { limit: usize },
    /// All is printed.
    Acknowledge { end: u64, left: u64 },
}

impl Mailbox {
    fn is_behind(&self) -> bool {
        self.missed_to > self.shown.pushed_to
    }

    pub(super) fn is_fed_by(&self, slot: Slot) -> bool {
        self.feed.is_some_and(|feed| feed.slot == slot)
    }

    fn miss(&mut self, id: MessageId) {
        self.missed_to = self.missed_to.max(id);
    }

    fn was_shown_before(&self, id: MessageId) -> bool {
        self.before.iter().any(|(account, shown)| *account == self.account && shown.covers(id))
    }
}

impl Deliver {
    /// None of it is done.
    pub(super) fn new(limit: Option<NonZeroU32>) -> Self {
        let room = limit.map_or(u64::MAX, |limit| limit.get().into());
        Self { room, count: 0, printed_to: MessageId(0), step: DeliverStep::Sync }
    }
}

impl Core {
    // ---- whose mailbox

    /// The connection speaks for the account from now on.
    pub(super) fn enter_mailbox(&mut self, account: AccountId, pushes_after: MessageId) {
        if self.speaker.as_ref().is_some_and(|speaker| speaker.id == account) {
            // Logged in again: pushes never stopped, so nothing was missed, and nothing shown is forgotten.
            return;
        }
        self.leave_mailbox();
        self.mailbox.account = account;
        self.mailbox.shown = Shown { backlog_to: MessageId(0), pushes_after, pushed_to: pushes_after };
    }

    /// The connection no longer speaks for its account. What is on its way to the peer is still marked.
    pub(super) fn leave_mailbox(&mut self) {
        let Mailbox { account, shown, mut before, .. } = std::mem::take(&mut self.mailbox);
        let something = shown.backlog_to > MessageId(0) || shown.pushed_to > shown.pushes_after;
        if something && !self.manual {
            before.push((account, shown));
            if before.len() > REMEMBERED_MAX {
                before.remove(0);
            }
        }
        self.mailbox.before = before;
    }

    /// From now on only `ack` marks: what the peer's kernel holds, but was not submitted, is the client's to ack.
    pub(super) fn turn_manual(&mut self) {
        self.manual = true;
        self.marks.forget();
        self.mailbox.before = Vec::new();
    }

    // ---- pushes

    pub(super) fn push(&mut self, account: AccountId, id: MessageId, line: &Bytes) {
        if self.speaker.as_ref().is_none_or(|speaker| speaker.id != account) || id <= self.mailbox.shown.pushed_to {
            return;
        }
        let room = self.unsent() < OUTPUT_BYTES_MAX && self.marks.has_room();
        if self.mailbox.is_behind() || self.is_printing() || !room {
            self.mailbox.miss(id);
        } else {
            self.show_push(id, line);
        }
    }

    fn show_push(&mut self, id: MessageId, line: &Bytes) {
        self.turn.output.extend_from_slice(line);
        let after = std::mem::replace(&mut self.mailbox.shown.pushed_to, id);
        self.mark_later(after, id);
    }

    /// The output ends with a message; everything of the account between `after` and it was shown, or needs no mark.
    fn mark_later(&mut self, after: MessageId, id: MessageId) {
        if !self.manual {
            let ids = IdRange { from: MessageId(after.0.saturating_add(1)), to: id };
            self.marks.shown(self.end_of_output(), self.mailbox.account, ids);
        }
    }

    /// Whether lines of a reply are out, or about to be, without its final line.
    pub(super) fn is_printing(&self) -> bool {
        match self.barrier.as_ref().map(|barrier| &barrier.step) {
            Some(Step::Deliver(deliver)) => match deliver.step {
                DeliverStep::Sync | DeliverStep::Feed => false,
                DeliverStep::Page | DeliverStep::Asked { .. } | DeliverStep::Acknowledge { .. } => true,
            },
            Some(Step::History(history)) => history.is_begun(),
            Some(Step::Who(who)) => who.is_begun(),
            _ => false,
        }
    }

    // ---- feeding

    /// Asks for what was missed, when there is room for it.
    pub(super) fn continue_feed(&mut self) {
        let wanted = self.speaker.is_some() && self.mailbox.is_behind() && self.mailbox.feed.is_none();
        if wanted && !self.paused && !self.is_printing() && self.has_room_for_page() {
            let query = self.received(PAGE_MESSAGES);
            let slot = self.ask(self.now, What::ReadLocal(query));
            self.mailbox.feed = Some(Feed { slot, missed_to: self.mailbox.missed_to });
        }
    }

    fn received(&self, limit: usize) -> Query {
        let (account, after) = (self.mailbox.account, self.mailbox.shown.pushed_to);
        Query::Received { account, after, limit, bytes_max: PAGE_BYTES }
    }

    fn has_room_for_page(&self) -> bool {
        self.unsent() <= OUTPUT_BYTES_LOW && self.marks.room() >= UNACKNOWLEDGED_MAX / 2
    }

    pub(super) fn fed(&mut self, result: Result<Done, RetryLater>) {
        let Some(feed) = self.mailbox.feed.take() else { return };
        match result {
            Ok(Done::Answer(Answer::Received { messages, exhausted })) => {
                self.take_received(&messages, exhausted, feed.missed_to);
            }
            Ok(other) => debug_assert!(false, "{other:?} is no feed"),
            Err(later) => {
                self.paused = true;
                if self.deliver().is_some_and(|deliver| matches!(deliver.step, DeliverStep::Feed)) {
                    self.finish_barrier(&Reply::retry(later.code, later.text));
                }
            }
        }
    }

    /// Messages after the last push. They are pushed, except where they would come between the lines of a reply.
    fn take_received(&mut self, messages: &[Rendered], exhausted: bool, missed_to: MessageId) {
        if self.is_printing() {
            if let Some(last) = messages.last() {
                self.mailbox.miss(last.id);
            }
            return;
        }
        for Rendered { id, line } in messages {
            if *id > self.mailbox.shown.pushed_to {
                self.show_push(*id, line);
            }
        }
        let pushed_to = self.mailbox.shown.pushed_to;
        if exhausted {
            self.settle_missed(missed_to);
            if let Some(Step::Deliver(deliver)) = self.barrier.as_mut().map(|barrier| &mut barrier.step)
                && matches!(deliver.step, DeliverStep::Feed)
            {
                // Not while the sync is asked: a feed is answered from a state that may be older than the request.
                deliver.step = DeliverStep::Page;
            }
        } else {
            self.mailbox.miss(MessageId(pushed_to.0.saturating_add(1)));
        }
    }

    /// The mailbox has nothing more. What was known to be missed when it was asked, and is not there, is either not yet
    /// visible to reads, and comes with a later try, or was removed meanwhile, and is given up after a while.
    fn settle_missed(&mut self, missed_to: MessageId) {
        if missed_to <= self.mailbox.shown.pushed_to {
            self.mailbox.vain_feeds = 0;
            return;
        }
        self.mailbox.vain_feeds += 1;
        if self.mailbox.vain_feeds < VAIN_FEEDS_MAX {
            self.paused = true;
        } else {
            self.mailbox.vain_feeds = 0;
            self.mailbox.shown.pushed_to = missed_to;
        }
    }

    // ---- deliver

    /// Step 1.
    pub(super) fn ask_sync(&mut self, arrived: Instant, account: AccountId) -> Slot {
        debug_assert_eq!(account, self.mailbox.account);
        // Where there is no room, one message: the answer must come, and the bound is a soft one.
        let limit = if self.has_room_for_page() { PAGE_MESSAGES } else { 1 };
        let query = self.received(limit);
        self.ask(arrived, What::Read(query))
    }

    pub(super) fn deliver_answered(&mut self, answer: Answer) {
        let Some(deliver) = self.deliver() else { return };
        match (&deliver.step, answer) {
            (DeliverStep::Sync, Answer::Received { messages, exhausted }) => {
                deliver.step = DeliverStep::Feed;
                self.take_received(&messages, exhausted, MessageId(0));
            }
            (DeliverStep::Asked { limit }, Answer::Undelivered { messages, left, cut }) => {
                let more = cut || messages.len() >= *limit;
                self.print_page(&messages, left, more);
            }
            (step, answer) => debug_assert!(false, "{answer:?} is no answer to {step:?}"),
        }
    }

    fn deliver(&mut self) -> Option<&mut Deliver> {
        match self.barrier.as_mut().map(|barrier| &mut barrier.step) {
            Some(Step::Deliver(deliver)) => Some(deliver),
            _ => None,
        }
    }

    /// Goes on with a `deliver`. Whether it is finished.
    pub(super) fn continue_deliver(&mut self) -> bool {
        let room = self.has_room_for_page();
        match self.deliver().map(|deliver| &deliver.step) {
            Some(DeliverStep::Page) if room => {
                self.ask_page();
                false
            }
            Some(DeliverStep::Acknowledge { end, left }) => {
                let (end, left) = (*end, *left);
                let done = self.acknowledged >= end && !self.marks.are_ready() && self.marking.is_none();
                if done {
                    self.finish_deliver(left);
                } else if self.acknowledged >= end {
                    // Its final line waits for them: no pause.
                    self.paused = false;
                }
                done
            }
            _ => false,
        }
    }

    /// Step 2. The replica is current enough since the sync.
    fn ask_page(&mut self) {
        let (account, shown, manual) = (self.mailbox.account, self.mailbox.shown, self.manual);
        let Some(deliver) = self.deliver() else { return };
        let limit = usize::try_from(deliver.room).unwrap_or(usize::MAX).min(PAGE_MESSAGES);
        let again_after = manual.then_some(deliver.printed_to);
        deliver.step = DeliverStep::Asked { limit };
        let query = Query::Undelivered { account, shown, again_after, limit, bytes_max: PAGE_BYTES };
        let slot = self.ask(self.now, What::ReadLocal(query));
        self.barrier.as_mut().expect("it is the deliver").slot = slot;
    }

    fn print_page(&mut self, messages: &[Rendered], left: u64, more: bool) {
        let pushed_to = self.mailbox.shown.pushed_to;
        // Ids ascend: from the first that came after the sync on, all did.
        let of_the_backlog = messages.partition_point(|message| message.id <= pushed_to);
        let mut printed = 0;
        for Rendered { id, line } in &messages[..of_the_backlog] {
            let again = self.mailbox.was_shown_before(*id);
            if !again {
                self.turn.output.extend_from_slice(line);
                printed += 1;
            }
            self.printed(*id, again);
        }
        let newer = of_the_backlog < messages.len();
        let end = self.end_of_output();
        let manual = self.manual;
        let Some(deliver) = self.deliver() else { return };
        deliver.count += printed;
        deliver.room -= printed;
        if more && !newer && deliver.room > 0 {
            deliver.step = DeliverStep::Page;
            return;
        }
        // What is newer than the sync was sent while this request was served, and is pushed after it.
        let left = if newer { 0 } else { left };
        deliver.step = DeliverStep::Acknowledge { end, left };
        if manual || deliver.count == 0 {
            self.finish_deliver(left);
        }
    }

    /// A line of the backlog is in the output, or was before; and so is everything undelivered before it.
    fn printed(&mut self, id: MessageId, again: bool) {
        let shown = &mut self.mailbox.shown;
        let after = shown.backlog_to;
        shown.backlog_to = after.max(id.min(shown.pushes_after));
        if !again {
            self.mark_later(after, id);
        }
        if let Some(deliver) = self.deliver() {
            deliver.printed_to = id;
        }
    }

    fn finish_deliver(&mut self, left: u64) {
        if let Some(Step::Deliver(Deliver { count, .. })) = self.barrier.as_ref().map(|barrier| &barrier.step) {
            let count = *count;
            self.finish_barrier(&Reply::Ok(Granted::Deliver { count, left }));
        }
    }

    // ---- marks

    /// Whether the peer's acknowledgements hold something up.
    pub(super) fn hurries(&self) -> bool {
        let delivering = matches!(self.barrier.as_ref().map(|barrier| &barrier.step), Some(Step::Deliver(_)));
        self.phase == Phase::Ending || delivering || self.marks.room() < UNACKNOWLEDGED_MAX / 2
    }

    fn deliver_awaits_acknowledgement(&self) -> bool {
        match self.barrier.as_ref().map(|barrier| &barrier.step) {
            Some(Step::Deliver(deliver)) => matches!(deliver.step, DeliverStep::Acknowledge { .. }),
            _ => false,
        }
    }

    /// Submits what is ready: one account at a time, one submission under way.
    pub(super) fn submit_marks(&mut self) {
        if self.phase == Phase::Ending {
            self.submit_last_marks();
        } else if self.marking.is_none()
            && !self.paused
            && let Some((account, ranges)) = self.marks.take_ready()
        {
            let slot = self.ask(self.now, What::Mark { account, ranges: ranges.clone() });
            self.marking = Some(Box::new(Marking { slot, account, ranges }));
        }
    }

    /// Submits everything that is ready. Nobody waits for the answers.
    pub(super) fn submit_last_marks(&mut self) {
        while let Some((account, ranges)) = self.marks.take_ready() {
            self.ask(self.now, What::Mark { account, ranges });
        }
    }

    pub(super) fn marked(&mut self, result: Result<Done, RetryLater>) {
        let Some(marking) = self.marking.take() else { return };
        let Err(later) = result else { return };
        if self.manual {
            return;
        }
        self.marks.give_back(marking.account, marking.ranges);
        self.paused = true;
        if self.deliver_awaits_acknowledgement() {
            // What it printed is not marked yet; the marks are tried again, and `6|` does not repeat it here.
            self.finish_barrier(&Reply::retry(later.code, later.text));
        }
    }
}
