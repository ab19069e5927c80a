//! Commands: checked requests that change state, in the form in which the replicated log keeps them.
//!
//! A command is printed as one line, so that the replay log reads like the protocol itself:
//!
//! ```text
//! |1|bob|$argon2id$v=19$…            create, with the hash of a password
//! bob#12|4                           delete
//! bob#12|@k1|5|alice|hi              send, under a key
//! bob#12|8|70,77                      erase
//! bob#12|13|$argon2id$v=19$…          passwd, with the hash of the new password
//! bob#12|9|77|70-74,77-77            ack of 77, marking what this connection had been shown
//! |mark|12:70-74,77-77;31:5-5        delivered marks of many accounts, by account id
//! |expire                             some of what was delivered too long ago goes
//! ```
//!
//! What would differ between replicas (time, hashes, folded names, who is online) is decided before a command enters
//! the log. `parse(print(c)) == c` for every command, and `parse` refuses what it does not know without a panic. A
//! name is not folded again when it is read: the tables of another build must not change what the log says.

use std::fmt::{self, Write};

use crate::{AccountId, IdRange, Key, MessageId, MessageIds, Name, PasswordHash, Text, number, split_field};

/// The account a command speaks for, as it was when the command was proposed. Applying refuses a mismatch, so that
/// nobody speaks for a successor of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Speaker {
    /// Its folded name.
    pub name: Name,
    /// Which of the accounts that ever had this name.
    pub id: AccountId,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Op 1.
    Create {
        /// The new account's name.
        name: Name,
        /// Argon2id, made before replication.
        password: Option<PasswordHash>,
    },
    /// Op 4.
    Delete {
        /// Who goes.
        speaker: Speaker,
    },
    /// Op 5.
    Send {
        /// Who sends.
        speaker: Speaker,
        /// The idempotency key, if any.
        key: Option<Key>,
        /// The recipient.
        to: Name,
        /// What is sent.
        text: Text,
    },
    /// Op 8.
    Erase {
        /// From whose view.
        speaker: Speaker,
        /// The idempotency key, if any.
        key: Option<Key>,
        /// Which messages.
        ids: MessageIds,
    },
    /// Op 13.
    Passwd {
        /// Whose password.
        speaker: Speaker,
        /// Argon2id, made before replication.
        password: PasswordHash,
    },
    /// Op 9 with an id other than 0.
    Ack {
        /// Whose mailbox.
        speaker: Speaker,
        /// The idempotency key, if any.
        key: Option<Key>,
        /// As the client gave it; the answer repeats it.
        id: MessageId,
        /// What the connection had been shown up to `id`. Not part of the request a key remembers.
        ranges: Vec<IdRange>,
    },
    /// Delivered marks that a replica gathered from the kernels' acknowledgements. Marks of accounts that are gone
    /// have no effect.
    Mark {
        /// Per account: the ranges to mark.
        marks: Vec<(AccountId, Vec<IdRange>)>,
    },
    /// A step of the retention, see `retention.rs`. Up to when is on the entry's stamp.
    Expire,
}

/// Why a line is no command. A committed line that no version can read has no effect, on any replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// The word before the first `|` is neither empty nor `name#id`.
    #[error("the speaker is not 'name#id'")]
    Speaker,
    /// The op, or an op that does not go with this speaker and key.
    #[error("no such command; was it written by a later version?")]
    Op,
    /// A field is missing, or not what its place asks for.
    #[error("a field is missing or malformed")]
    Field,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Send { speaker, key, .. }
            | Command::Erase { speaker, key, .. }
            | Command::Ack { speaker, key, .. } => {
                write!(f, "{speaker}|")?;
                if let Some(key) = key {
                    write!(f, "@{key}|")?;
                }
            }
            Command::Delete { speaker } | Command::Passwd { speaker, .. } => write!(f, "{speaker}|")?,
            Command::Create { .. } | Command::Mark { .. } | Command::Expire => f.write_char('|')?,
        }
        self.write_request(f)?;
        match self {
            Command::Ack { ranges, .. } => {
                f.write_char('|')?;
                write_ranges(f, ranges)
            }
            _ => Ok(()),
        }
    }
}

impl Command {
    /// Reads one printed command.
    pub fn parse(line: &str) -> Result<Self, BadCommand> {
        let (speaker, request) = split_field(line).ok_or(BadCommand::Speaker)?;
        if speaker.is_empty() {
            return Self::parse_speechless(request);
        }
        let speaker = Speaker::parse(speaker).ok_or(BadCommand::Speaker)?;
        let (key, request) = match request.strip_prefix('@') {
            Some(keyed) => {
                let (key, request) = split_field(keyed).ok_or(BadCommand::Field)?;
                (Some(Key::new(key).map_err(|_| BadCommand::Field)?), request)
            }
            None => (None, request),
        };
        match (split_field(request), key) {
            (Some(("5", args)), key) => Self::parse_send(speaker, key, args).ok_or(BadCommand::Field),
            (Some(("8", args)), key) => {
                let ids = parse_ids(args).ok_or(BadCommand::Field)?;
                Ok(Command::Erase { speaker, key, ids })
            }
            (Some(("13", hash)), None) => {
                let password = PasswordHash::new(hash).map_err(|_| BadCommand::Field)?;
                Ok(Command::Passwd { speaker, password })
            }
            (Some(("9", args)), key) => Self::parse_ack(speaker, key, args).ok_or(BadCommand::Field),
            (None, None) if request == "4" => Ok(Command::Delete { speaker }),
            _ => Err(BadCommand::Op),
        }
    }

    /// The commands that nobody speaks: `create`, marks, and the retention's.
    fn parse_speechless(request: &str) -> Result<Self, BadCommand> {
        match split_field(request) {
            Some(("1", args)) => {
                let (name, hash) = split_field(args).map_or((args, None), |(name, hash)| (name, Some(hash)));
                let name = Name::from_log(name).map_err(|_| BadCommand::Field)?;
                let password = hash.map(PasswordHash::new).transpose().map_err(|_| BadCommand::Field)?;
                Ok(Command::Create { name, password })
            }
            Some(("mark", args)) => Ok(Command::Mark { marks: parse_marks(args).ok_or(BadCommand::Field)? }),
            None if request == "expire" => Ok(Command::Expire),
            _ => Err(BadCommand::Op),
        }
    }

    fn parse_send(speaker: Speaker, key: Option<Key>, args: &str) -> Option<Self> {
        let (to, text) = split_field(args)?;
        Some(Command::Send { speaker, key, to: Name::from_log(to).ok()?, text: Text::new(text).ok()? })
    }

    fn parse_ack(speaker: Speaker, key: Option<Key>, args: &str) -> Option<Self> {
        let (id, ranges) = split_field(args)?;
        Some(Command::Ack { speaker, key, id: MessageId(number::parse(id)?), ranges: parse_ranges(ranges)? })
    }

    /// The idempotency key, where the command carries one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Command::Send { key, .. } | Command::Erase { key, .. } | Command::Ack { key, .. } => key.as_ref(),
            Command::Create { .. }
            | Command::Delete { .. }
            | Command::Passwd { .. }
            | Command::Mark { .. }
            | Command::Expire => None,
        }
    }

    /// A digest of the request's own words: op and arguments, without speaker, key and what the replica added. The
    /// same key with another digest is `KEY_REUSED`.
    ///
    /// FNV-1a, 64 bits, written out below: it stands in stored keys, so it must never change. It is no defence against
    /// someone who seeks a collision; all that would do is confuse two requests of their own.
    pub fn request_digest(&self) -> u64 {
        let mut digest = Fnv1a::new();
        self.write_request(&mut digest).expect("a digest takes everything");
        digest.0
    }

    /// Op and arguments as the client could have typed them.
    fn write_request(&self, out: &mut impl Write) -> fmt::Result {
        match self {
            Command::Create { name, password: None } => write!(out, "1|{name}"),
            Command::Create { name, password: Some(hash) } => write!(out, "1|{name}|{}", hash.as_str()),
            Command::Delete { .. } => out.write_char('4'),
            Command::Send { to, text, .. } => write!(out, "5|{to}|{text}"),
            Command::Erase { ids, .. } => write!(out, "8|{ids}"),
            Command::Passwd { password, .. } => write!(out, "13|{}", password.as_str()),
            Command::Ack { id, .. } => write!(out, "9|{id}"),
            Command::Mark { marks } => {
                out.write_str("mark|")?;
                for (at, (account, ranges)) in marks.iter().enumerate() {
                    write!(out, "{}{account}:", if at == 0 { "" } else { ";" })?;
                    write_ranges(out, ranges)?;
                }
                Ok(())
            }
            Command::Expire => out.write_str("expire"),
        }
    }
}

/// Whether a printed command delivers messages, or takes away what was delivered: these are stamped with the retention.
pub(crate) fn counts_delivery(command_line: &str) -> bool {
    let Some((speaker, mut request)) = split_field(command_line) else { return false };
    if speaker.is_empty() {
        return request.starts_with("mark|") || request == "expire";
    }
    if request.starts_with('@') {
        request = split_field(request).map_or("", |(_, request)| request);
    }
    request.starts_with("9|")
}

/// The recipient of a printed `send`, found without reading the rest: the leader asks who is online before it stamps
/// an entry. `None` for every other command.
pub fn recipient(command_line: &str) -> Option<&str> {
    let (speaker, mut request) = split_field(command_line)?;
    if request.starts_with('@') {
        (_, request) = split_field(request)?;
    }
    let (to, _text) = split_field(request.strip_prefix("5|")?)?;
    if speaker.is_empty() { None } else { Some(to) }
}

impl Speaker {
    fn parse(word: &str) -> Option<Self> {
        // From the right: a name may hold '#', a number may not.
        let (name, id) = word.rsplit_once('#')?;
        Some(Self { name: Name::from_log(name).ok()?, id: AccountId(number::parse(id)?) })
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.id)
    }
}

fn write_ranges(out: &mut impl Write, ranges: &[IdRange]) -> fmt::Result {
    for (at, range) in ranges.iter().enumerate() {
        write!(out, "{}{}-{}", if at == 0 { "" } else { "," }, range.from, range.to)?;
    }
    Ok(())
}

/// Only as they are printed: ascending, each once.
fn parse_ids(words: &str) -> Option<MessageIds> {
    let ids: Vec<MessageId> = words.split(',').map(|id| number::parse(id).map(MessageId)).collect::<Option<_>>()?;
    if ids.is_sorted_by(|one, next| one < next) { MessageIds::new(ids) } else { None }
}

fn parse_ranges(words: &str) -> Option<Vec<IdRange>> {
    let range = |word: &str| {
        let (from, to) = word.split_once('-')?;
        Some(IdRange { from: MessageId(number::parse(from)?), to: MessageId(number::parse(to)?) })
    };
    if words.is_empty() { Some(Vec::new()) } else { words.split(',').map(range).collect() }
}

fn parse_marks(words: &str) -> Option<Vec<(AccountId, Vec<IdRange>)>> {
    let mark = |word: &str| {
        let (account, ranges) = word.split_once(':')?;
        Some((AccountId(number::parse(account)?), parse_ranges(ranges)?))
    };
    if words.is_empty() { Some(Vec::new()) } else { words.split(';').map(mark).collect() }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
struct Fnv1a(u64);

impl Fnv1a {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn new() -> Self {
        Self(Self::OFFSET_BASIS)
    }
}

impl Write for Fnv1a {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
