//! Applying one entry: exactly once, the same everywhere, whatever it says.

use std::io::Write as _;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::{self, Kind};
use super::payload::{self, Origin};
use crate::consensus::{Body, Boot, Entry, Index, Member, Mode};

/// What the machine keeps beside the chat's state. All of it changes in one transaction with that state.
///
/// None of these can fail: they are few numbers, and a storage on a disk keeps them in memory between commits.
pub trait MachineStorage: chat::Storage {
    /// The last entry applied.
    fn applied(&self) -> Index;

    /// The rolling digest after it; 0 at first.
    fn digest(&self) -> u64;

    /// An entry was applied.
    fn advance(&mut self, index: Index, digest: u64);

    /// The last proposal that was applied of this replica's stream: in which boot, and its number.
    fn stream(&self, member: Member) -> Option<(Boot, u64)>;

    /// A proposal of the stream was applied.
    fn set_stream(&mut self, member: Member, boot: Boot, n: u64);

    /// How the log is replicated, which says what ids look like. As the founding record says, on every replica.
    fn mode(&self) -> Mode;

    /// The founding record says so: it is applied, or the log that is applied from here on has it.
    fn set_mode(&mut self, mode: Mode);
}

/// What applying an entry did. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// No command, or a payload that nobody can read.
    Nothing,
    /// A command took effect, or was refused by the rules: its origin may answer its client.
    Done {
        /// Where it came from.
        origin: Origin,
        /// What came of it.
        outcome: chat::Outcome,
    },
    /// Not the next of its stream: no effect. The origin finds here where to go on.
    Skipped {
        /// Where it came from.
        origin: Origin,
        /// The number that would have been applied: a lower one had its effect before, a higher one comes after a gap.
        /// 0 when nothing of that boot will ever be applied again.
        expected: u64,
    },
}

/// Applies a committed entry to the state, and adds what it means for this replica's connections to `effects`.
///
/// The caller commits the storage's transaction or, after an error, rolls it back and applies the same entries again.
///
/// # Panics
/// If the entry is not the next one: that is a bug that no input can cause, and the state must not be touched.
pub fn apply<S: MachineStorage>(
    storage: &mut S,
    entry: &Entry,
    effects: &mut Vec<chat::Effect>,
) -> Result<Applied, S::Error> {
    let applied = storage.applied();
    assert!(
        entry.index == applied.next(),
        "entry {} of term {} is to be applied, but the state is at entry {applied}",
        entry.index,
        entry.term
    );
    let done = match &entry.body {
        Body::Founding(record) => {
            storage.set_mode(record.mode);
            Applied::Nothing
        }
        Body::Noop | Body::Membership(_) => Applied::Nothing,
        Body::Command(payload) => apply_payload(storage, entry, payload, effects)?,
    };
    let digest = digest(storage.digest(), entry, &done);
    storage.advance(entry.index, digest);
    Ok(done)
}

fn apply_payload<S: MachineStorage>(
    storage: &mut S,
    entry: &Entry,
    payload: &[u8],
    effects: &mut Vec<chat::Effect>,
) -> Result<Applied, S::Error> {
    let Ok(proposal) = payload::decode(payload) else {
        return Ok(Applied::Nothing);
    };
    let origin = proposal.origin;
    let expected = expected(storage.stream(origin.member), origin.boot);
    if origin.n != expected || expected == 0 {
        return Ok(Applied::Skipped { origin, expected });
    }
    storage.set_stream(origin.member, origin.boot, origin.n);
    // What cannot be read has no effect on the chat, but it has had its turn in the stream: otherwise its origin would
    // propose it for ever.
    let outcome = match chat::Command::parse(proposal.command) {
        Ok(command) => {
            let time = chat::Millis(entry.time);
            let (online, quota) = (proposal.online, proposal.quota);
            let id = storage.mode().id(entry.term, entry.index);
            chat::apply_within(storage, id, time, online, &quota, &command, effects)?
        }
        Err(_) => chat::Outcome::refused(chat::ErrCode::BadRequest),
    };
    Ok(Applied::Done { origin, outcome })
}

/// The only number of a stream that may be applied now. A replica that starts anew begins again at 1, and what it
/// forwarded before is over: its clients were told `UNKNOWN`, or nothing.
fn expected(last: Option<(Boot, u64)>, boot: Boot) -> u64 {
    match last {
        Some((last_boot, _)) if boot < last_boot => 0,
        Some((last_boot, n)) if boot == last_boot => n.saturating_add(1),
        Some(_) | None => 1,
    }
}

/// Room for what came of an entry, as text.
const RESULT_BYTES_USUAL: usize = "ok|queued|9223372036854775807".len();

/// Chains an entry and what came of it to everything before: two replicas with equal digests at an index have applied
/// the same entries with the same outcomes.
///
/// XXH3-64, seeded with the digest before, over: index, term, time (each 8 bytes, little endian), the kind (1 byte),
/// the length of the body's line (8 bytes), the line, and what came of it as text: nothing, an outcome as it prints,
/// or `skipped|<expected>`. Replicas of different versions compare it: it must never change.
fn digest(previous: u64, entry: &Entry, applied: &Applied) -> u64 {
    let line = body::line(&entry.body);
    let mut said = Vec::with_capacity(4 * size_of::<u64>() + 1 + line.len() + RESULT_BYTES_USUAL);
    for number in [entry.index.0, entry.term.0, entry.time] {
        said.extend_from_slice(&number.to_le_bytes());
    }
    said.push(Kind::of(&entry.body) as u8);
    said.extend_from_slice(&(line.len() as u64).to_le_bytes());
    said.extend_from_slice(&line);
    match applied {
        Applied::Nothing => Ok(()),
        Applied::Done { outcome, .. } => write!(said, "{outcome}"),
        Applied::Skipped { expected, .. } => write!(said, "skipped|{expected}"),
    }
    .expect("a Vec takes any bytes");
    xxh3_64_with_seed(&said, previous)
}
