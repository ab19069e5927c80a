//! Retention: a message goes from both views some time after it was delivered. What is undelivered stays, however old.
//!
//! Where a retention is in force, each mark leaves a [`Delivery`]: when it was, of which account, which ids. Ids that are
//! marked once are never marked again, so deliveries do not overlap, and the oldest is the first whose time is over. The
//! command [`crate::Command::Expire`] takes them from that end, a bounded step each, and says whether there is more.
//!
//! The cut-off is the entry's time less the retention stamped on it, both the leader's: no replica asks its own clock or
//! config file. (1. Replica 1 keeps messages for 30 days, replica 2 for 60. 2. Each takes away what its own file says.
//! 3. A reader who changes replicas sees messages go and come back.)
//!
//! What was delivered while no retention was in force left no trace, and stays. So does the sender's copy of a message
//! that its recipient erased, or took along when the account was deleted: only its owner can take that away.

use crate::limits::{EXPIRE_DELIVERIES_MAX, EXPIRE_PAGE_MESSAGES};
use crate::{AccountId, Delivery, IdRange, Message, MessageId, Millis, Outcome, Quota, Storage};

/// Remembers what an entry delivers, if a retention is in force.
pub(crate) struct Noting {
    at: u64,
    time: Millis,
    wanted: bool,
    n: u64,
}

impl Noting {
    pub(crate) fn new(index: u64, time: Millis, quota: &Quota) -> Self {
        Self { at: index, time, wanted: quota.retention.is_some(), n: 0 }
    }

    /// So many messages of the range became delivered.
    pub(crate) fn delivered<S: Storage>(
        &mut self,
        storage: &mut S,
        account: AccountId,
        range: IdRange,
        messages: u64,
    ) -> Result<(), S::Error> {
        if !self.wanted || messages == 0 {
            return Ok(());
        }
        self.n += 1;
        storage.insert_delivery(&Delivery { at: self.at, n: self.n, time: self.time, account, range })
    }
}

/// One step.
pub(crate) fn expire<S: Storage>(storage: &mut S, time: Millis, quota: &Quota) -> Result<Outcome, S::Error> {
    let mut messages = 0;
    let kept = quota.retention.map(|seconds| seconds.saturating_mul(1_000));
    let Some(until) = kept.and_then(|kept| time.0.checked_sub(kept)).map(Millis) else {
        return Ok(Outcome::Expired { messages, more: false });
    };
    for _ in 0..EXPIRE_DELIVERIES_MAX {
        let Some(delivery) = storage.oldest_delivery()?.filter(|delivery| delivery.time <= until) else {
            return Ok(Outcome::Expired { messages, more: false });
        };
        messages += take_page(storage, delivery)?;
    }
    Ok(Outcome::Expired { messages, more: true })
}

/// Takes a page of a delivery away, and the delivery, once nothing of it is left.
fn take_page<S: Storage>(storage: &mut S, delivery: Delivery) -> Result<u64, S::Error> {
    let Delivery { at, n, account, range, .. } = delivery;
    let before = MessageId(range.from.0.saturating_sub(1));
    let page = storage.received(account, before, EXPIRE_PAGE_MESSAGES)?;
    let of_it = page.iter().take_while(|message| message.id <= range.to).count();
    for message in &page[..of_it] {
        take(storage, account, message)?;
    }
    match page.last().filter(|last| last.id < range.to && page.len() == EXPIRE_PAGE_MESSAGES) {
        None => storage.remove_delivery(at, n)?,
        Some(last) => {
            let range = IdRange::new(MessageId(last.id.0 + 1), range.to);
            storage.insert_delivery(&Delivery { range, ..delivery })?;
        }
    }
    Ok(of_it as u64)
}

/// From both views. Who has the sender's name now is the sender, or has nothing of the sender's in view.
fn take<S: Storage>(storage: &mut S, recipient: AccountId, message: &Message) -> Result<(), S::Error> {
    storage.erase(recipient, message.id)?;
    if let Some(sender) = storage.account(&message.from)?
        && storage.in_view(sender.id, message.id)?.is_some()
    {
        storage.erase(sender.id, message.id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
