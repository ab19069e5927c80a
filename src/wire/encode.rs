//! Printing: frames to lines. Numbers are written without allocating; entries are the bulk of all traffic.

use bytes::{BufMut, BytesMut};

use super::{Chunk, PeerLine, PeerNews, Presence, limits, members};
use crate::consensus::{ClusterId, Entry, FoundingState, Frame, Snapshot, Term, ViewFrame};
use crate::machine::body::{self, Kind};

/// What a line is usually longer than the bytes it carries: room is made for a whole frame at once.
const LINE_OVERHEAD_BYTES: usize = 48;

/// Appends the lines of one frame, each with its LF.
pub fn encode(line: &PeerLine, out: &mut BytesMut) {
    match line {
        PeerLine::Frame(frame) => encode_frame(frame, out),
        PeerLine::Presence(presence) => encode_presence(presence, out),
        PeerLine::Restored(member, run) => {
            out.put_slice(format!("restored|{member}|{}|{:x}\n", run.boot, run.nonce).as_bytes());
        }
        PeerLine::Removed(member, run) => {
            out.put_slice(format!("removed|{member}|{}|{:x}\n", run.boot, run.nonce).as_bytes());
        }
        PeerLine::News(news) => encode_news(news, out),
        PeerLine::Fetch(fetch) => out.put_slice(format!("fetch|{:x}|{}\n", fetch.copy, fetch.offset).as_bytes()),
        PeerLine::Chunk(chunk) => encode_chunk(chunk, out),
        PeerLine::Clock(millis) => head(out, "clock", &[*millis]),
    }
}

fn encode_frame(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::PreVote { term, last, last_term } => head(out, "prevote", &[term.0, last.0, last_term.0]),
        Frame::PreVoteReply { term, granted } => head(out, "prevoted", &[term.0, u64::from(*granted)]),
        Frame::Vote { term, last, last_term } => head(out, "vote", &[term.0, last.0, last_term.0]),
        Frame::VoteReply { term, granted } => head(out, "voted", &[term.0, u64::from(*granted)]),
        Frame::Append { term, prev, prev_term, commit, entries } => {
            out.reserve(LINE_OVERHEAD_BYTES + entries.iter().map(|e| LINE_OVERHEAD_BYTES + e.size()).sum::<usize>());
            head(out, "append", &[term.0, prev.0, prev_term.0, commit.0, entries.len() as u64]);
            entries.iter().for_each(|entry| encode_entry(entry, out));
        }
        Frame::Snapshot { term, snapshot } => encode_snapshot(*term, snapshot, out),
        Frame::AppendOk { term, matched } => head(out, "appended", &[term.0, matched.index().0]),
        Frame::AppendReject { term, prev, hint, hint_term } => {
            head(out, "unmatched", &[term.0, prev.0, hint.0, hint_term.0]);
        }
        Frame::TimeoutNow { term } => head(out, "stand", &[term.0]),
        Frame::ReadIndex { term, id } => head(out, "read", &[term.0, *id]),
        Frame::ReadIndexReply { term, id, index } => head(out, "readable", &[term.0, *id, index.0]),
        Frame::Change { term, id, change } => {
            out.put_slice(format!("change|{term}|{id}|{}\n", members::change_text(change)).as_bytes());
        }
        Frame::ChangeReply { term, id, verdict } => {
            out.put_slice(format!("changed|{term}|{id}|{}\n", members::verdict_text(*verdict)).as_bytes());
        }
        Frame::Forward { term, payloads } => {
            out.reserve(LINE_OVERHEAD_BYTES + payloads.iter().map(|payload| payload.len() + 1).sum::<usize>());
            head(out, "forward", &[term.0, payloads.len() as u64]);
            for payload in payloads {
                out.put_slice(payload);
                out.put_u8(b'\n');
            }
        }
        Frame::Beat { term, round, commit } => head(out, "beat", &[term.0, round.0, commit.0]),
        Frame::BeatReply { term, round, received } => head(out, "beaten", &[term.0, round.0, received.0]),
        Frame::Found(record) => {
            out.put_slice(b"found|");
            out.put_slice(&body::line(&crate::consensus::Body::Founding(record.clone())));
            out.put_u8(b'\n');
        }
        Frame::FoundingNews { cluster, state } => {
            out.put_slice(format!("founded|{}|{}\n", cluster_word(*cluster), founding_word(*state)).as_bytes());
        }
        Frame::View(frame) => encode_view(frame, out),
    }
}

fn encode_view(frame: &ViewFrame, out: &mut BytesMut) {
    let line = match frame {
        ViewFrame::Propose(view) => format!("propose|{view}\n"),
        ViewFrame::Accepted(id) => format!("accepted|{id}\n"),
        ViewFrame::Installed(view) => format!("installed|{view}\n"),
        ViewFrame::News { installed, promised, warm } => format!("views|{installed}|{promised}|{}\n", u8::from(*warm)),
    };
    out.put_slice(line.as_bytes());
}

fn encode_snapshot(term: Term, snapshot: &Snapshot, out: &mut BytesMut) {
    let Snapshot { base, named, cluster, bytes, checksum } = snapshot;
    let cluster = cluster_word(*cluster);
    out.put_slice(b"snapshot");
    fields(out, &[term.0, base.index.0, base.term.0, base.time]);
    out.put_slice(format!("|{:x}|{bytes}|{checksum:x}|{cluster}|{}\n", base.digest, named.len()).as_bytes());
    named.iter().for_each(|entry| encode_entry(entry, out));
}

/// Its bytes are no text, and may hold LF: they are counted.
fn encode_chunk(chunk: &Chunk, out: &mut BytesMut) {
    let Chunk { copy, offset, bytes } = chunk;
    out.reserve(LINE_OVERHEAD_BYTES + bytes.len());
    let crc = crc32fast::hash(bytes);
    out.put_slice(format!("chunk|{copy:x}|{offset}|{}|{crc}\n", bytes.len()).as_bytes());
    out.put_slice(bytes);
    out.put_u8(b'\n');
}

fn encode_entry(entry: &Entry, out: &mut BytesMut) {
    out.put_slice(b"entry");
    let kind = Kind::of(&entry.body) as u64;
    fields(out, &[entry.index.0, entry.term.0, entry.time, kind]);
    out.put_u8(b'|');
    out.put_slice(&body::line(&entry.body));
    out.put_u8(b'\n');
}

/// Names are folded and hold no `|`; they are cut into lines of a bounded length.
fn encode_presence(presence: &Presence, out: &mut BytesMut) {
    if presence.full {
        out.put_slice(b"presence|full\n");
    }
    for (word, names) in [("online", &presence.online), ("offline", &presence.offline)] {
        for some in names.chunks(limits::PRESENCE_NAMES_PER_LINE) {
            out.put_slice(b"presence|");
            out.put_slice(word.as_bytes());
            for name in some {
                out.put_u8(b'|');
                out.put_slice(name.as_str().as_bytes());
            }
            out.put_u8(b'\n');
        }
    }
}

fn encode_news(news: &[PeerNews], out: &mut BytesMut) {
    out.put_slice(b"news");
    for one in news {
        let PeerNews { id, up, votes, full, applied, checkpoint } = one;
        fields(out, &[u64::from(id.0), u64::from(*up), u64::from(*votes), u64::from(*full), applied.0]);
        fields(out, &[checkpoint.index.0]);
        out.put_slice(format!("|{:x}", checkpoint.digest).as_bytes());
    }
    out.put_u8(b'\n');
}

fn head(out: &mut BytesMut, word: &str, numbers: &[u64]) {
    out.put_slice(word.as_bytes());
    fields(out, numbers);
    out.put_u8(b'\n');
}

fn fields(out: &mut BytesMut, numbers: &[u64]) {
    for number in numbers {
        out.put_u8(b'|');
        put_decimal(out, *number);
    }
}

fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// The cluster's id, or `-` before there is one.
pub(super) fn cluster_word(cluster: Option<ClusterId>) -> String {
    cluster.map_or_else(|| "-".to_owned(), |c| c.to_string())
}

/// The word for a state of the founding.
pub(super) fn founding_word(state: FoundingState) -> &'static str {
    match state {
        FoundingState::Blank => "blank",
        FoundingState::Copied => "copied",
        FoundingState::Sealed => "sealed",
    }
}
