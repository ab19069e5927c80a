//! The rules: what a command does to the state.
//!
//! [`apply`] is deterministic and total. It never panics on any input and reads nothing local: no clock, no
//! configuration, no presence. Everything that could differ between replicas arrives in its arguments; so do limits
//! (see [`Quota`]).
//!
//! **Who speaks.** A command names the account that its connection had logged in to. When that very account is gone by
//! the time the command is applied, its deletion has logged the connection out, and it gets what a connection gets that
//! is not logged in: `NOT_LOGGED_IN`. Only `delete` gets `NO_SUCH_USER` instead, because the protocol
//! promises that this code, after a delete whose answer was lost, means done. A successor of the same name is another
//! account and is never touched.
//!
//! **Keys.** The key is looked up before the state is, so that a repeat gets the first answer also where the request
//! would now be refused: the recipient may be gone meanwhile. Only `ok` is remembered.

use crate::limits::KEYS_PER_ACCOUNT_MAX;
use crate::retention::{self, Noting};
use crate::{
    Account, AccountId, Command, ErrCode, IdRange, Key, KeyMemory, Message, MessageId, MessageIds, Millis, Name,
    Outcome, PasswordHash, Quota, Speaker, Storage, Text,
};

/// What an applied command means for the connections of this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Show the message to every session of the account.
    Push {
        /// The recipient.
        to: AccountId,
        /// What they are shown: its line is made where a session is, and not on every replica.
        message: Message,
    },
    /// The account was deleted: its sessions are logged out.
    Gone {
        /// Whose sessions.
        account: AccountId,
    },
}

/// Applies one committed command where nothing is limited: see [`apply_within`].
pub fn apply<S: Storage>(
    storage: &mut S,
    index: u64,
    time: Millis,
    online: bool,
    command: &Command,
    effects: &mut Vec<Effect>,
) -> Result<Outcome, S::Error> {
    apply_within(storage, index, time, online, &Quota::NONE, command, effects)
}

/// Applies one committed command.
///
/// `index` is the index of its entry, and the id of what it creates; indexes ascend from call to call. `time` and
/// `online` (whether the recipient of a `send` was online) and `quota` are the leader's stamps. What it means for connections is
/// appended to `effects`, in order. An error is the storage's: the caller gives the whole transaction up.
pub fn apply_within<S: Storage>(
    storage: &mut S,
    index: u64,
    time: Millis,
    online: bool,
    quota: &Quota,
    command: &Command,
    effects: &mut Vec<Effect>,
) -> Result<Outcome, S::Error> {
    match command {
        Command::Create { name, password } => {
            let account = Account { id: AccountId(index), name: name.clone(), password: password.clone() };
            create(storage, account, quota)
        }
        Command::Delete { speaker } => delete(storage, speaker, effects),
        Command::Send { speaker, key, to, text } => keyed(storage, index, speaker, key.as_ref(), command, |storage| {
            send(storage, Sending { id: MessageId(index), time, online, from: speaker, to, text }, quota, effects)
        }),
        Command::Erase { speaker, key, ids } => {
            keyed(storage, index, speaker, key.as_ref(), command, |storage| erase(storage, speaker.id, ids))
        }
        Command::Passwd { speaker, password } => passwd(storage, speaker, password),
        Command::Ack { speaker, key, id, ranges } => keyed(storage, index, speaker, key.as_ref(), command, |storage| {
            let newest = (*id).min(newest_before(index));
            mark(storage, speaker.id, ranges, newest, &mut Noting::new(index, time, quota))?;
            Ok(Outcome::Acked(*id))
        }),
        Command::Mark { marks } => {
            let mut noting = Noting::new(index, time, quota);
            for (account, ranges) in marks {
                mark(storage, *account, ranges, newest_before(index), &mut noting)?;
            }
            Ok(Outcome::Marked)
        }
        Command::Expire => retention::expire(storage, time, quota),
    }
}

fn create<S: Storage>(storage: &mut S, account: Account, quota: &Quota) -> Result<Outcome, S::Error> {
    if storage.account(&account.name)?.is_some() {
        return Ok(Outcome::refused(ErrCode::NameTaken));
    }
    if let Some(max) = quota.accounts
        && storage.accounts_count()? >= max
    {
        return Ok(Outcome::refused(ErrCode::Forbidden));
    }
    storage.insert_account(&account)?;
    Ok(Outcome::Created(account.id))
}

fn delete<S: Storage>(storage: &mut S, speaker: &Speaker, effects: &mut Vec<Effect>) -> Result<Outcome, S::Error> {
    let Some(account) = storage.account(&speaker.name)?.filter(|account| account.id == speaker.id) else {
        return Ok(Outcome::refused(ErrCode::NoSuchUser));
    };
    storage.remove_account(&account)?;
    effects.push(Effect::Gone { account: account.id });
    Ok(Outcome::Deleted)
}

/// What a `send` is made of, stamps included.
struct Sending<'a> {
    id: MessageId,
    time: Millis,
    online: bool,
    from: &'a Speaker,
    to: &'a Name,
    text: &'a Text,
}

fn send<S: Storage>(
    storage: &mut S,
    sending: Sending<'_>,
    quota: &Quota,
    effects: &mut Vec<Effect>,
) -> Result<Outcome, S::Error> {
    let Sending { id, time, online, from, to, text } = sending;
    let Some(recipient) = storage.account_id(to)? else {
        return Ok(Outcome::refused(ErrCode::NoSuchUser));
    };
    if !has_room(storage, recipient, text, quota)? {
        return Ok(Outcome::refused(ErrCode::MailboxFull));
    }
    storage.insert_message(id, from.id, recipient, time, text)?;
    let message = Message { id, from: from.name.clone(), to: to.clone(), time, text: text.clone() };
    effects.push(Effect::Push { to: recipient, message });
    Ok(Outcome::Sent { id, online })
}

/// All or none: nothing is erased before all are found.
fn erase<S: Storage>(storage: &mut S, account: AccountId, ids: &MessageIds) -> Result<Outcome, S::Error> {
    for id in ids.as_slice() {
        if storage.in_view(account, *id)?.is_none() {
            return Ok(Outcome::refused(ErrCode::NoSuchMessage));
        }
    }
    for id in ids.as_slice() {
        storage.erase(account, *id)?;
    }
    Ok(Outcome::Erased(ids.as_slice().len() as u64))
}

fn passwd<S: Storage>(storage: &mut S, speaker: &Speaker, password: &PasswordHash) -> Result<Outcome, S::Error> {
    if !lives(storage, speaker)? {
        return Ok(Outcome::refused(ErrCode::NotLoggedIn));
    }
    storage.set_password(speaker.id, password)?;
    Ok(Outcome::PasswordSet)
}

/// Whether one more message fits among the undelivered ones of an account. What is delivered counts no more.
fn has_room<S: Storage>(storage: &S, account: AccountId, text: &Text, quota: &Quota) -> Result<bool, S::Error> {
    if let Some(max) = quota.mailbox_messages
        && storage.undelivered_count(account)? >= max
    {
        return Ok(false);
    }
    match quota.mailbox_bytes {
        Some(max) => Ok(storage.undelivered_bytes(account)?.saturating_add(text.as_str().len() as u64) <= max),
        None => Ok(true),
    }
}

/// Marks what lies in the ranges, up to `newest`. An account that is gone has nothing to mark.
fn mark<S: Storage>(
    storage: &mut S,
    account: AccountId,
    ranges: &[IdRange],
    newest: MessageId,
    noting: &mut Noting,
) -> Result<(), S::Error> {
    for range in ranges {
        let range = IdRange { from: range.from, to: range.to.min(newest) };
        if !range.is_empty() {
            let messages = storage.mark_delivered(account, range)?;
            noting.delivered(storage, account, range, messages)?;
        }
    }
    Ok(())
}

/// What existed before the entry at `index`. A connection cannot have been shown more, but a mark is not believed.
fn newest_before(index: u64) -> MessageId {
    MessageId(index.saturating_sub(1))
}

/// Runs a request of a living speaker at most once under its key.
fn keyed<S: Storage>(
    storage: &mut S,
    index: u64,
    speaker: &Speaker,
    key: Option<&Key>,
    command: &Command,
    run: impl FnOnce(&mut S) -> Result<Outcome, S::Error>,
) -> Result<Outcome, S::Error> {
    if !lives(storage, speaker)? {
        return Ok(Outcome::refused(ErrCode::NotLoggedIn));
    }
    let Some(key) = key else {
        return run(storage);
    };
    let request = command.request_digest();
    if let Some(memory) = storage.key(speaker.id, key)? {
        return Ok(remembered(&memory, request));
    }
    let outcome = run(storage)?;
    if !matches!(outcome, Outcome::Refused(_)) {
        let memory = KeyMemory { request, outcome: outcome.to_string() };
        storage.insert_key(speaker.id, key, index, &memory, KEYS_PER_ACCOUNT_MAX)?;
    }
    Ok(outcome)
}

/// The first answer again, for the same request. A memory that cannot be read stands for some other request: refusing
/// is safe, running the request again is not.
fn remembered(memory: &KeyMemory, request: u64) -> Outcome {
    match Outcome::parse(&memory.outcome) {
        Ok(outcome) if memory.request == request => outcome,
        _ => Outcome::refused(ErrCode::KeyReused),
    }
}

/// Whether the speaker's account is still that very one.
fn lives<S: Storage>(storage: &S, speaker: &Speaker) -> Result<bool, S::Error> {
    Ok(storage.account_id(&speaker.name)? == Some(speaker.id))
}

#[cfg(test)]
mod tests;
