//! Reading: lines to frames, one line at a time, with bounded memory.

use bytes::{Bytes, BytesMut};
use chat::Name;

use super::{Chunk, Fetch, PeerLine, PeerNews, Presence, limits, members};
use crate::consensus::{
    Base, Body, Boot, ClusterId, DurableIndex, Entry, FoundingState, Frame, Index, Member, ReplicaId, Round, Run,
    Snapshot, Term, ViewFrame,
};
use crate::machine::audit::Checkpoint;
use crate::machine::body::{self, Kind, parse_member};
use crate::machine::view::{parse_view, parse_view_id};

/// A line that is not of the grammar. The link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Longer than any line a replica sends.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
    /// Not a frame.
    #[error("not a line between replicas: {0:?}")]
    Unknown(String),
}

/// A frame whose counted lines have not all come.
#[derive(Debug)]
enum Open {
    Append {
        head: [u64; 4],
        left: u64,
        entries: Vec<Entry>,
    },
    Forward {
        term: Term,
        left: u64,
        payloads: Vec<Bytes>,
    },
    Snapshot {
        term: Term,
        left: u64,
        snapshot: Snapshot,
    },
    /// Counted bytes, then a LF.
    Chunk {
        copy: u64,
        offset: u64,
        len: usize,
        crc: u32,
    },
}

/// Takes a link's bytes and gives its frames.
#[derive(Debug)]
pub struct Decoder {
    line_bytes_max: usize,
    /// How much of the buffer was searched for a LF already.
    searched: usize,
    open: Option<Open>,
}

impl Decoder {
    /// A decoder that refuses lines longer than this, LF included.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, searched: 0, open: None }
    }

    /// The next frame in the buffer, `None` if it holds no whole one. Takes from the buffer what it has read.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<PeerLine>, BadLine> {
        loop {
            if let Some(Open::Chunk { len, .. }) = self.open {
                return self.chunk(len, buffer);
            }
            let Some(line) = self.next_line(buffer)? else { return Ok(None) };
            if let Some(frame) = self.line(line)? {
                return Ok(Some(frame));
            }
        }
    }

    /// The counted bytes of a chunk, once they are all there.
    fn chunk(&mut self, len: usize, buffer: &mut BytesMut) -> Result<Option<PeerLine>, BadLine> {
        if buffer.len() <= len {
            return Ok(None);
        }
        let mut bytes = buffer.split_to(len + 1);
        let ended = bytes.last() == Some(&b'\n');
        bytes.truncate(len);
        match self.open.take() {
            Some(Open::Chunk { copy, offset, crc, .. }) if ended && crc32fast::hash(&bytes) == crc => {
                Ok(Some(PeerLine::Chunk(Chunk { copy, offset, bytes: bytes.freeze() })))
            }
            _ => Err(unknown(&bytes)),
        }
    }

    fn next_line(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BadLine> {
        match buffer[self.searched..].iter().position(|b| *b == b'\n') {
            // Whether its end has come already depends on how the bytes arrive; what is refused must not.
            Some(at) if self.searched + at >= self.line_bytes_max => Err(BadLine::TooLong(self.line_bytes_max)),
            Some(at) => {
                let end = self.searched + at;
                self.searched = 0;
                let mut line = buffer.split_to(end + 1);
                line.truncate(end);
                Ok(Some(line.freeze()))
            }
            None if buffer.len() >= self.line_bytes_max => Err(BadLine::TooLong(self.line_bytes_max)),
            None => {
                self.searched = buffer.len();
                Ok(None)
            }
        }
    }

    fn line(&mut self, line: Bytes) -> Result<Option<PeerLine>, BadLine> {
        match self.open.take() {
            None => self.head(&line),
            Some(Open::Append { head, left, mut entries }) => {
                let next = entry(&line).filter(|next| follows(&head, &entries, next)).ok_or_else(|| unknown(&line))?;
                entries.push(next);
                Ok(self.append(head, left - 1, entries))
            }
            Some(Open::Forward { term, left, mut payloads }) => {
                payloads.push(line);
                Ok(self.forward(term, left - 1, payloads))
            }
            Some(Open::Snapshot { term, left, mut snapshot }) => {
                let next = entry(&line).filter(|next| is_named(&snapshot, next)).ok_or_else(|| unknown(&line))?;
                snapshot.named.push(next);
                Ok(self.snapshot(term, left - 1, snapshot))
            }
            // Taken before any line is looked for.
            Some(Open::Chunk { .. }) => Err(unknown(&line)),
        }
    }

    fn append(&mut self, head: [u64; 4], left: u64, entries: Vec<Entry>) -> Option<PeerLine> {
        if left > 0 {
            self.open = Some(Open::Append { head, left, entries });
            return None;
        }
        let [term, prev, prev_term, commit] = head;
        Some(PeerLine::Frame(Frame::Append {
            term: Term(term),
            prev: Index(prev),
            prev_term: Term(prev_term),
            commit: Index(commit),
            entries,
        }))
    }

    fn forward(&mut self, term: Term, left: u64, payloads: Vec<Bytes>) -> Option<PeerLine> {
        if left > 0 {
            self.open = Some(Open::Forward { term, left, payloads });
            return None;
        }
        Some(PeerLine::Frame(Frame::Forward { term, payloads }))
    }

    fn snapshot(&mut self, term: Term, left: u64, snapshot: Snapshot) -> Option<PeerLine> {
        if left > 0 {
            self.open = Some(Open::Snapshot { term, left, snapshot });
            return None;
        }
        Some(PeerLine::Frame(Frame::Snapshot { term, snapshot }))
    }

    fn head(&mut self, line: &Bytes) -> Result<Option<PeerLine>, BadLine> {
        let text = std::str::from_utf8(line).map_err(|_| unknown(line))?;
        let (word, rest) = text.split_once('|').unwrap_or((text, ""));
        let parsed = match word {
            "append" => match numbers::<5>(rest) {
                Some([term, prev, prev_term, commit, count]) if count <= limits::COUNT_MAX => {
                    return Ok(self.append([term, prev, prev_term, commit], count, Vec::new()));
                }
                _ => None,
            },
            "forward" => match numbers::<2>(rest) {
                Some([term, count]) if count <= limits::COUNT_MAX => {
                    return Ok(self.forward(Term(term), count, Vec::new()));
                }
                _ => None,
            },
            "snapshot" => match snapshot(rest) {
                Some((term, snapshot, count)) => return Ok(self.snapshot(term, count, snapshot)),
                None => None,
            },
            "chunk" => match chunk_head(rest, self.line_bytes_max) {
                Some(open) => {
                    self.open = Some(open);
                    return Ok(None);
                }
                None => None,
            },
            "fetch" => fetch(rest).map(PeerLine::Fetch),
            "presence" => presence(rest).map(PeerLine::Presence),
            "news" => news(rest).map(PeerLine::News),
            "clock" => numbers(rest).map(|[millis]| PeerLine::Clock(millis)),
            "restored" => member_and_run(rest).map(|(member, run)| PeerLine::Restored(member, run)),
            "removed" => member_and_run(rest).map(|(member, run)| PeerLine::Removed(member, run)),
            "change" | "changed" => members::parse_frame(word, rest).map(PeerLine::Frame),
            "found" => found(rest).map(PeerLine::Frame),
            "propose" | "accepted" | "installed" | "views" => view_frame(word, rest).map(PeerLine::view),
            _ => short_frame(word, rest).map(PeerLine::Frame),
        };
        parsed.map(Some).ok_or_else(|| unknown(line))
    }
}

fn unknown(line: &[u8]) -> BadLine {
    const SHOWN_BYTES: usize = 80;
    BadLine::Unknown(String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).into_owned())
}

/// Frames of one line and a fixed number of numbers.
fn short_frame(word: &str, rest: &str) -> Option<Frame> {
    Some(match word {
        "prevote" => {
            let [term, last, last_term] = numbers(rest)?;
            Frame::PreVote { term: Term(term), last: Index(last), last_term: Term(last_term) }
        }
        "prevoted" => {
            let [term, granted] = numbers(rest)?;
            Frame::PreVoteReply { term: Term(term), granted: bit(granted)? }
        }
        "vote" => {
            let [term, last, last_term] = numbers(rest)?;
            Frame::Vote { term: Term(term), last: Index(last), last_term: Term(last_term) }
        }
        "voted" => {
            let [term, granted] = numbers(rest)?;
            Frame::VoteReply { term: Term(term), granted: bit(granted)? }
        }
        "appended" => {
            let [term, matched] = numbers(rest)?;
            Frame::AppendOk { term: Term(term), matched: DurableIndex::claimed_by_peer(Index(matched)) }
        }
        "unmatched" => {
            let [term, prev, hint, hint_term] = numbers(rest)?;
            Frame::AppendReject { term: Term(term), prev: Index(prev), hint: Index(hint), hint_term: Term(hint_term) }
        }
        "stand" => Frame::TimeoutNow { term: Term(numbers::<1>(rest)?[0]) },
        "read" => {
            let [term, id] = numbers(rest)?;
            Frame::ReadIndex { term: Term(term), id }
        }
        "readable" => {
            let [term, id, index] = numbers(rest)?;
            Frame::ReadIndexReply { term: Term(term), id, index: Index(index) }
        }
        "beat" => {
            let [term, round, commit] = numbers(rest)?;
            Frame::Beat { term: Term(term), round: Round(round), commit: Index(commit) }
        }
        "beaten" => {
            let [term, round, received] = numbers(rest)?;
            Frame::BeatReply { term: Term(term), round: Round(round), received: Index(received) }
        }
        "founded" => {
            let (cluster, state) = rest.split_once('|')?;
            Frame::FoundingNews { cluster: cluster_of(cluster)?, state: founding_of(state)? }
        }
        _ => return None,
    })
}

/// Whether an entry goes on from those before it in its append, as entries of one log do. What this replica's own log
/// makes of it is for the core; but no frame that contradicts itself gets that far.
fn follows(head: &[u64; 4], before: &[Entry], next: &Entry) -> bool {
    let [term, prev, prev_term, _] = *head;
    let (last, last_term, last_time) = before.last().map_or((prev, prev_term, 0), |e| (e.index.0, e.term.0, e.time));
    // No number on the wire exceeds 63 bits: there is always one after it.
    next.index.0 == last + 1 && (last_term..=term).contains(&next.term.0) && next.time >= last_time
}

/// The head line of a copy: its term, the copy, and how many entries follow.
fn snapshot(rest: &str) -> Option<(Term, Snapshot, u64)> {
    let fields: Vec<&str> = rest.split('|').collect();
    let [term, index, of, time, digest, bytes, checksum, cluster, count] = fields[..] else { return None };
    let number = |text: &str| decimal(text.as_bytes());
    let base =
        Base { index: Index(number(index)?), term: Term(number(of)?), time: number(time)?, digest: hex(digest)? };
    let (bytes, checksum) = (number(bytes)?, hex(checksum)?);
    let snapshot = Snapshot { base, named: Vec::new(), cluster: cluster_of(cluster)?, bytes, checksum };
    let count = number(count).filter(|count| (1..=limits::NAMED_MAX).contains(count))?;
    Some((Term(number(term)?), snapshot, count))
}

/// Whether an entry may stand there: they name voters, the founding record comes first, and none is behind the base.
fn is_named(snapshot: &Snapshot, next: &Entry) -> bool {
    let last = snapshot.named.last();
    let in_order = next.index <= snapshot.base.index && last.is_none_or(|before| before.index < next.index);
    in_order
        && match next.body {
            Body::Founding(_) => last.is_none() && next.index == Index(1),
            Body::Membership(_) => last.is_some(),
            Body::Noop | Body::Command(_) => false,
        }
}

fn fetch(rest: &str) -> Option<Fetch> {
    let (copy, offset) = rest.split_once('|')?;
    Some(Fetch { copy: hex(copy)?, offset: decimal(offset.as_bytes())? })
}

/// No longer than a line may be: what is kept of one that is not there yet has the same bound.
fn chunk_head(rest: &str, line_bytes_max: usize) -> Option<Open> {
    let (copy, rest) = rest.split_once('|')?;
    let [offset, len, crc] = numbers(rest)?;
    let len = usize::try_from(len).ok().filter(|len| *len <= limits::CHUNK_BYTES_MAX && *len < line_bytes_max)?;
    Some(Open::Chunk { copy: hex(copy)?, offset, len, crc: u32::try_from(crc).ok()? })
}

fn entry(line: &Bytes) -> Option<Entry> {
    let mut at = line.strip_prefix(b"entry|").map(|_| b"entry|".len())?;
    let mut numbers = [0_u64; 4];
    for number in &mut numbers {
        let len = line[at..].iter().position(|b| *b == b'|')?;
        *number = decimal(&line[at..at + len])?;
        at += len + 1;
    }
    let [index, term, time, kind] = numbers;
    let kind = Kind::from_number(u8::try_from(kind).ok()?)?;
    let body = body::parse(kind, line.slice(at..)).ok()?;
    Some(Entry { index: Index(index), term: Term(term), time, body })
}

fn found(rest: &str) -> Option<Frame> {
    match body::parse(Kind::Founding, Bytes::copy_from_slice(rest.as_bytes())).ok()? {
        Body::Founding(record) => Some(Frame::Found(record)),
        Body::Noop | Body::Membership(_) | Body::Command(_) => None,
    }
}

fn view_frame(word: &str, rest: &str) -> Option<ViewFrame> {
    Some(match word {
        "propose" => ViewFrame::Propose(parse_view(rest)?),
        "accepted" => ViewFrame::Accepted(parse_view_id(rest)?),
        "installed" => ViewFrame::Installed(parse_view(rest)?),
        _ => {
            let (ids, warm) = rest.rsplit_once('|')?;
            let (installed, promised) = ids.split_once('|')?;
            ViewFrame::News {
                installed: parse_view_id(installed)?,
                promised: parse_view_id(promised)?,
                warm: bit(decimal(warm.as_bytes())?)?,
            }
        }
    })
}

fn member_and_run(rest: &str) -> Option<(Member, Run)> {
    let (member, run) = rest.split_once('|')?;
    let (boot, nonce) = run.split_once('|')?;
    let run = Run { boot: Boot(decimal(boot.as_bytes())?), nonce: u32::try_from(hex(nonce)?).ok()? };
    Some((parse_member(member)?, run))
}

fn presence(rest: &str) -> Option<Presence> {
    let mut fields = rest.split('|');
    let word = fields.next()?;
    let names = fields.map(|name| Name::fold(name).ok()).collect::<Option<Vec<_>>>()?;
    match word {
        "full" if names.is_empty() => Some(Presence { full: true, ..Presence::default() }),
        "online" => Some(Presence { online: names, ..Presence::default() }),
        "offline" => Some(Presence { offline: names, ..Presence::default() }),
        _ => None,
    }
}

/// id, up, votes, full, applied, and the checkpoint's index and digest.
const NEWS_FIELDS: usize = 7;

fn news(rest: &str) -> Option<Vec<PeerNews>> {
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let fields: Vec<&str> = rest.split('|').collect();
    fields.chunks(NEWS_FIELDS).map(one_news).collect()
}

fn one_news(fields: &[&str]) -> Option<PeerNews> {
    let [id, up, votes, full, applied, at, digest] = fields else { return None };
    let number = |text: &str| decimal(text.as_bytes());
    let checkpoint = Checkpoint { index: Index(number(at)?), digest: hex(digest)? };
    let id = ReplicaId(u16::try_from(number(id)?).ok()?);
    Some(PeerNews {
        id,
        up: bit(number(up)?)?,
        votes: bit(number(votes)?)?,
        full: bit(number(full)?)?,
        applied: Index(number(applied)?),
        checkpoint,
    })
}

/// Exactly `N` decimal numbers between `|`.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut fields = text.split('|');
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = decimal(fields.next()?.as_bytes())?;
    }
    fields.next().is_none().then_some(numbers)
}

/// A decimal number that SQLite's integers hold, without sign, blank or leading plus.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit).filter(|n| i64::try_from(*n).is_ok())
    })
}

pub(super) fn bit(number: u64) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(super) fn hex(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

pub(super) fn cluster_of(word: &str) -> Option<Option<ClusterId>> {
    if word == "-" { Some(None) } else { hex(word).map(|id| Some(ClusterId(id))) }
}

pub(super) fn founding_of(word: &str) -> Option<FoundingState> {
    match word {
        "blank" => Some(FoundingState::Blank),
        "copied" => Some(FoundingState::Copied),
        "sealed" => Some(FoundingState::Sealed),
        _ => None,
    }
}
