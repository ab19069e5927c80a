//! Bytes on the internal port: the handshake's lines, then frames. What is read prints to lines that read the same, and
//! the decoder keeps to its budget however the bytes are cut.
//!
//! The first byte of an input says how the rest is cut. The budget is a small one, so that a short input can exceed it.

use bytes::BytesMut;
use plainsong::consensus::{Frame, Member};
use plainsong::wire::handshake::{Hello, Refused};
use plainsong::wire::{BadLine, Decoder, PeerLine, Presence, encode, limits};

use super::chunks::chunks;

const LINE_BYTES_MAX: usize = 512;
/// The largest number that SQLite keeps: what enters here may be stored, and may be counted up from.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Panics where a promise is broken.
pub fn run(input: &[u8]) {
    let [seed, stream @ ..] = input else { return };
    if let Ok(text) = std::str::from_utf8(stream) {
        text.split('\n').for_each(handshake);
    }
    let (lines, end) = read(&[stream], LINE_BYTES_MAX);
    assert_eq!(
        (&lines, &end),
        (&read(&chunks(*seed, stream), LINE_BYTES_MAX).0, &end),
        "the cuts changed what was read"
    );
    if !matches!(end, Some(BadLine::TooLong(_))) {
        assert_eq!(read(&chunks(*seed, stream), LINE_BYTES_MAX).1, end, "the cuts changed how it ended");
    }
    let mut printed = BytesMut::new();
    lines.iter().for_each(|line| encode(line, &mut printed));
    let (again, bad) = read(&[&printed], limits::LINE_BYTES_MAX);
    assert_eq!(bad, None, "our own lines are good");
    assert_eq!(merged(again), merged(lines));
}

/// All frames up to the first bad line, and that.
fn read(pieces: &[&[u8]], line_bytes_max: usize) -> (Vec<PeerLine>, Option<BadLine>) {
    let mut decoder = Decoder::new(line_bytes_max);
    let mut buffer = BytesMut::new();
    let mut lines = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(line)) => {
                    sound(&line);
                    lines.push(line);
                }
                Ok(None) => break,
                Err(bad) => return (lines, Some(bad)),
            }
        }
        assert!(buffer.len() < line_bytes_max, "{} bytes are kept of an unfinished line", buffer.len());
    }
    (lines, None)
}

/// What the core relies on: it counts up from what it is told, and the store keeps it.
fn sound(line: &PeerLine) {
    match line {
        PeerLine::Frame(Frame::Append { term, prev, prev_term, commit, entries }) => {
            assert!([term.0, prev.0, prev_term.0, commit.0].iter().all(|number| *number <= NUMBER_MAX));
            let (mut index, mut of_term, mut time) = (*prev, *prev_term, 0);
            for entry in entries {
                assert!(entry.index == index.next() && entry.term >= of_term && entry.time >= time);
                assert!(entry.index.0 <= NUMBER_MAX && entry.term <= *term && entry.time <= NUMBER_MAX);
                (index, of_term, time) = (entry.index, entry.term, entry.time);
            }
        }
        PeerLine::Restored(_, run) | PeerLine::Removed(_, run) => assert!(run.boot.0 <= NUMBER_MAX),
        PeerLine::Clock(millis) => assert!(*millis <= NUMBER_MAX),
        PeerLine::Fetch(fetch) => assert!(fetch.offset <= NUMBER_MAX),
        PeerLine::Chunk(chunk) => assert!(chunk.offset <= NUMBER_MAX),
        PeerLine::Frame(Frame::Snapshot { snapshot, .. }) => {
            assert!(snapshot.record().is_some() && snapshot.named.iter().all(|e| e.index <= snapshot.base.index));
        }
        PeerLine::News(news) => assert!(news.iter().all(|one| one.applied.0 <= NUMBER_MAX)),
        PeerLine::Frame(_) | PeerLine::Presence(_) => {}
    }
}

/// A list of names may be printed as several lines, and an empty one as none: what counts is who is where in the end.
fn merged(lines: Vec<PeerLine>) -> Vec<PeerLine> {
    let mut merged: Vec<PeerLine> = Vec::new();
    for line in lines {
        match (merged.last_mut(), line) {
            (Some(PeerLine::Presence(before)), PeerLine::Presence(next)) if joins(before, &next) => {
                before.online.extend(next.online);
                before.offline.extend(next.offline);
            }
            (_, PeerLine::Presence(empty)) if empty == Presence::default() => {}
            (_, line) => merged.push(line),
        }
    }
    merged
}

fn joins(before: &Presence, next: &Presence) -> bool {
    !next.full && !before.full && (next.online.is_empty() == before.online.is_empty() || *next == Presence::default())
}

fn handshake(line: &str) {
    let Ok((hello, proof)) = Hello::parse(line).inspect_err(|refused| assert!(!refused.to_string().is_empty())) else {
        return;
    };
    assert!(hello.who.run.boot.0 <= NUMBER_MAX && hello.who.last.0 <= NUMBER_MAX, "{hello:?}");
    let printed = match proof {
        Some(proof) => format!("{}|{proof}", hello.print()),
        None => hello.print(),
    };
    assert_eq!(Hello::parse(&printed), Ok((hello.clone(), proof)), "printed as {printed:?}");
    // Whatever else it says of itself, it is not accepted under this replica's own id.
    let me = Member { id: hello.to, incarnation: hello.who.member.incarnation };
    let mine = Hello { who: plainsong::consensus::founding::Introduction { member: me, ..hello.who.clone() }, ..hello };
    let checked = mine.check(&mine, |_| false);
    assert!(matches!(checked, Err(Refused::UnknownReplica(_))), "{checked:?}");
}
