//! Every frame survives its own lines, in any cutting of the bytes; no bytes make the decoder panic.

use bytes::{Bytes, BytesMut};
use chat::Name;

use super::handshake::{Hello, Kind, Refused, Side, parse_refusal, proof, proof_is_right};
use super::*;
use crate::consensus::founding::Introduction;
use crate::consensus::*;
use crate::machine::audit::Checkpoint;

fn member(id: u16) -> Member {
    Member { id: ReplicaId(id), incarnation: Incarnation(0xa0 + u64::from(id)) }
}

fn address(id: u16) -> Address {
    Address { id: ReplicaId(id), clients: format!("127.0.0.1:500{id}"), replicas: format!("[::1]:700{id}") }
}

fn samples() -> Vec<PeerLine> {
    let record = Founding { cluster: ClusterId(0xbeef), mode: Mode::Quorum, members: vec![member(1), member(2)] };
    let entry = |index, body| Entry { index: Index(index), term: Term(3), time: 1_795_185_601_123, body };
    let entries = vec![
        entry(1, Body::Founding(record.clone())),
        entry(2, Body::Noop),
        entry(
            3,
            Body::Membership(Membership {
                voters: vec![member(1)],
                removed: vec![member(2)],
                addresses: vec![address(1)],
            }),
        ),
        entry(4, Body::Command(Bytes::from_static(b"+1.a0.7.41|bob#12|5|alice|hi|there"))),
    ];
    let snapshot = Snapshot {
        base: Base { index: Index(3), term: Term(3), time: 1_795_185_601_123, digest: u64::MAX },
        named: vec![entries[0].clone(), entries[2].clone()],
        cluster: None,
        bytes: 81_920,
        checksum: 0xdead_beef,
    };
    let name = |n| Name::fold(n).expect("a good name");
    let (term, last, last_term) = (Term(3), Index(9), Term(2));
    let run = |boot| Run { boot: Boot(boot), nonce: 0xbeef };
    let id = ViewId { number: 9, proposer: member(2), boot: Boot(4) };
    let view = View { id, base: ViewId::NONE, members: vec![(member(1), run(3)), (member(2), run(4))] };
    let frames = vec![
        Frame::PreVote { term, last, last_term },
        Frame::PreVoteReply { term, granted: true },
        Frame::Vote { term, last, last_term },
        Frame::VoteReply { term, granted: false },
        Frame::Append { term, prev: Index(0), prev_term: Term(0), commit: Index(2), entries: entries.clone() },
        Frame::Append { term, prev: last, prev_term: last_term, commit: Index(2), entries: vec![] },
        Frame::Snapshot { term, snapshot: Snapshot { named: entries[..1].to_vec(), ..snapshot.clone() } },
        Frame::Snapshot { term, snapshot: Snapshot { cluster: Some(ClusterId(7)), ..snapshot } },
        Frame::AppendOk { term, matched: DurableIndex::claimed_by_peer(Index(7)) },
        Frame::AppendReject { term, prev: last, hint: Index(4), hint_term: Term(1) },
        Frame::TimeoutNow { term },
        Frame::ReadIndex { term, id: 77 },
        Frame::ReadIndexReply { term, id: 77, index: Index(u64::try_from(i64::MAX).expect("positive")) },
        Frame::Forward { term, payloads: vec![Bytes::from_static(b"-1.a0.7.41|x"), Bytes::from_static(b"y|z")] },
        Frame::Forward { term, payloads: vec![] },
        Frame::Change { term, id: 7, change: Change::Join(member(6), address(6)) },
        Frame::Change { term, id: 8, change: Change::Remove(ReplicaId(2)) },
        Frame::ChangeReply { term, id: 7, verdict: Verdict::Noted },
        Frame::ChangeReply { term, id: 8, verdict: Verdict::Refused(Refusal::Unknown(ReplicaId(2))) },
        Frame::Beat { term, round: Round(5), commit: Index(4) },
        Frame::BeatReply { term, round: Round(5), received: Index(4) },
        Frame::Found(record),
        Frame::FoundingNews { cluster: None, state: FoundingState::Blank },
        Frame::FoundingNews { cluster: Some(ClusterId(7)), state: FoundingState::Sealed },
        Frame::View(ViewFrame::Propose(view.clone())),
        Frame::View(ViewFrame::Accepted(id)),
        Frame::View(ViewFrame::Installed(view)),
        Frame::View(ViewFrame::News { installed: ViewId::NONE, promised: id, warm: true }),
    ];
    let news = PeerNews {
        id: ReplicaId(3),
        up: true,
        votes: false,
        full: true,
        applied: Index(12),
        checkpoint: Checkpoint { index: Index(64), digest: u64::MAX },
    };
    frames
        .into_iter()
        .map(PeerLine::Frame)
        .chain([
            PeerLine::Presence(Presence { full: true, ..Presence::default() }),
            PeerLine::Presence(Presence { online: vec![name("alice"), name("bob")], ..Presence::default() }),
            PeerLine::Presence(Presence { offline: vec![name("carol")], ..Presence::default() }),
            PeerLine::Restored(member(2), Run { boot: Boot(3), nonce: 0xdead }),
            PeerLine::Removed(member(2), Run { boot: Boot(3), nonce: 0xdead }),
            PeerLine::Fetch(Fetch { copy: 0xdead_beef, offset: 0 }),
            PeerLine::Chunk(Chunk { copy: u64::MAX, offset: 7, bytes: Bytes::from_static(b"|\n\0news|\xff\n") }),
            PeerLine::Chunk(Chunk { copy: 1, offset: 0, bytes: Bytes::new() }),
            PeerLine::News(vec![]),
            PeerLine::Clock(1_795_000_000_000),
            PeerLine::News(vec![news, news]),
        ])
        .collect()
}

#[test]
fn every_frame_survives_its_lines_however_the_bytes_are_cut() {
    let mut bytes = BytesMut::new();
    samples().iter().for_each(|line| encode(line, &mut bytes));
    for cut in [1, 2, 3, 7, 64, bytes.len()] {
        let mut decoder = Decoder::new(4096);
        let mut buffer = BytesMut::new();
        let mut read = Vec::new();
        for chunk in bytes.chunks(cut) {
            buffer.extend_from_slice(chunk);
            while let Some(line) = decoder.next(&mut buffer).expect("our own lines are good") {
                read.push(line);
            }
        }
        assert_eq!(read, samples(), "cut into pieces of {cut}");
        assert!(buffer.is_empty());
    }
}

#[test]
fn no_bytes_make_the_decoder_panic_and_none_are_kept_without_bound() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut good = BytesMut::new();
    samples().iter().for_each(|line| encode(line, &mut good));
    for _ in 0..2_000 {
        let mut bytes = good.to_vec();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut decoder = Decoder::new(512);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decoder.next(&mut buffer) {}
    }
    let mut endless = BytesMut::from(&vec![b'x'; 600][..]);
    assert_eq!(Decoder::new(512).next(&mut endless), Err(BadLine::TooLong(512)));
}

/// Found by the fuzzer: a line whose end came in the same read was taken whatever its length.
#[test]
fn a_line_over_the_limit_is_refused_however_it_arrives() {
    let lines = format!("forward|1|1\n{}\n", "x".repeat(511));
    let head = "forward|1|1\n".len();
    for (line_bytes_max, taken) in [(512, true), (511, false)] {
        for cut in [1, head, lines.len() - 1, lines.len()] {
            let mut decoder = Decoder::new(line_bytes_max);
            let mut buffer = BytesMut::new();
            let mut read = Ok(None);
            for chunk in lines.as_bytes().chunks(cut) {
                buffer.extend_from_slice(chunk);
                read = decoder.next(&mut buffer);
                if read.is_err() {
                    break;
                }
            }
            assert_eq!(matches!(read, Ok(Some(_))), taken, "{line_bytes_max}, cut into pieces of {cut}");
            assert_eq!(read.is_err(), !taken);
        }
    }
}

/// Found by the fuzzer: a boot count of 2^64 - 1 passed the handshake, and no store could keep it.
#[test]
fn a_hello_has_no_number_that_the_store_could_not_keep() {
    let good = "hello|1|data|plainsong|2|1.a0|7|dead|-|blank|beef|0|41|1234";
    assert!(Hello::parse(good).is_ok());
    for (from, to) in
        [("|7|", "|18446744073709551615|"), ("|41|", "|9223372036854775808|"), ("|2|", "|+2|"), ("|7|", "|+7|")]
    {
        let bad = good.replacen(from, to, 1);
        assert_eq!(Hello::parse(&bad), Err(Refused::NotAReplica), "{bad}");
    }
}

#[test]
fn a_chunk_that_is_spoiled_or_too_long_ends_the_link() {
    let read = |lines: &[u8]| Decoder::new(4096).next(&mut BytesMut::from(lines));
    let mut good = BytesMut::new();
    let chunk = PeerLine::Chunk(Chunk { copy: 1, offset: 0, bytes: Bytes::from_static(b"hello") });
    encode(&chunk, &mut good);
    assert_eq!(read(&good), Ok(Some(chunk)));
    for at in good.len() - 6..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        assert!(read(&bad).is_err(), "byte {at}");
    }
    assert!(read(format!("chunk|1|0|{}|1\n", super::limits::CHUNK_BYTES_MAX + 1).as_bytes()).is_err());
}

/// Each of them once reached an assertion of the log.
#[test]
fn an_append_that_contradicts_itself_is_refused() {
    let read = |lines: &str| Decoder::new(4096).next(&mut BytesMut::from(lines));
    let good = "append|3|41|2|40|2\nentry|42|2|7|0|noop\nentry|43|3|7|0|noop\n";
    assert!(matches!(read(good), Ok(Some(PeerLine::Frame(Frame::Append { .. })))));
    let bad = [
        ("a gap after the entry before", "append|3|41|2|40|1\nentry|43|3|7|0|noop\n"),
        ("a gap between", "append|3|41|2|40|2\nentry|42|3|7|0|noop\nentry|44|3|7|0|noop\n"),
        ("a term that falls", "append|3|41|2|40|2\nentry|42|3|7|0|noop\nentry|43|2|7|0|noop\n"),
        ("a term below that of the entry before", "append|3|41|2|40|1\nentry|42|1|7|0|noop\n"),
        ("a term above the leader's", "append|3|41|2|40|1\nentry|42|4|7|0|noop\n"),
        ("a time that falls", "append|3|41|2|40|2\nentry|42|3|7|0|noop\nentry|43|3|6|0|noop\n"),
        ("no entry can follow", "append|3|9223372036854775807|2|40|1\nentry|9223372036854775807|3|7|0|noop\n"),
    ];
    for (what, lines) in bad {
        assert!(matches!(read(lines), Err(BadLine::Unknown(_))), "{what}");
    }
}

fn hello(from: u16, to: u16) -> Hello {
    Hello {
        kind: Kind::Data,
        cluster_name: "plainsong".into(),
        to: ReplicaId(to),
        who: Introduction {
            member: member(from),
            run: Run { boot: Boot(3), nonce: 0xdead },
            cluster: Some(ClusterId(9)),
            founding: FoundingState::Sealed,
            book: 0xb00c,
            joins: false,
            last: Index(41),
        },
        nonce: 0x1234,
    }
}

#[test]
fn a_hello_survives_its_line_and_what_is_wrong_with_it_is_named() {
    let book = [ReplicaId(1), ReplicaId(2)];
    let (dialer, acceptor) = (hello(2, 1), hello(1, 2));
    assert_eq!(Hello::parse(&dialer.print()), Ok((dialer.clone(), None)));
    let proven = format!("{}|abc", acceptor.print());
    assert_eq!(Hello::parse(&proven), Ok((acceptor.clone(), Some("abc"))));
    assert_eq!(dialer.check(&acceptor, |id| book.contains(&id)), Ok(()));
    assert_eq!(Hello::parse("1|bob"), Err(Refused::NotAReplica));
    assert_eq!(Hello::parse("hello"), Err(Refused::NotAReplica));
    assert_eq!(Hello::parse("hello|9|data"), Err(Refused::Version("9".into())));
    assert_eq!(hello(3, 1).check(&acceptor, |id| book.contains(&id)), Err(Refused::UnknownReplica(ReplicaId(3))));
    assert_eq!(hello(1, 1).check(&acceptor, |id| book.contains(&id)), Err(Refused::UnknownReplica(ReplicaId(1))));
    assert_eq!(hello(2, 2).check(&acceptor, |id| book.contains(&id)), Err(Refused::OtherReplica(ReplicaId(2))));
    let mut other = dialer.clone();
    other.who.cluster = Some(ClusterId(8));
    assert_eq!(other.check(&acceptor, |id| book.contains(&id)), Err(Refused::OtherCluster));
    other.who.cluster = None;
    assert_eq!(
        other.check(&acceptor, |id| book.contains(&id)),
        Ok(()),
        "a blank replica may meet any cluster of its name"
    );
    other.cluster_name = "other".into();
    assert_eq!(other.check(&acceptor, |id| book.contains(&id)), Err(Refused::OtherName("plainsong".into())));
}

#[test]
fn a_proof_is_of_one_side_one_secret_and_one_connection() {
    let (dialer, acceptor) = (hello(2, 1), hello(1, 2));
    let given = proof("s3cret", Side::Dialer, &dialer, &acceptor);
    assert!(proof_is_right(&given, "s3cret", Side::Dialer, &dialer, &acceptor));
    assert!(!proof_is_right(&given, "other", Side::Dialer, &dialer, &acceptor));
    assert!(!proof_is_right(&given, "s3cret", Side::Acceptor, &dialer, &acceptor));
    let mut again = acceptor.clone();
    again.nonce = 0x1235;
    assert!(!proof_is_right(&given, "s3cret", Side::Dialer, &dialer, &again));
    assert!(!proof_is_right("", "s3cret", Side::Dialer, &dialer, &acceptor));
}

/// A wrong address led to a replica of another cluster, which ended a process that had nothing to do with it.
#[test]
fn nobody_ends_a_process_without_the_secret() {
    let (mine, other) = (hello(2, 1), Hello { nonce: 1, ..hello(2, 1) });
    for refused in [Refused::Twin(ReplicaId(2)), Refused::Gone(member(2))] {
        let line = refused.print_proven("mellon", &mine);
        let why = line.strip_prefix("refuse|").expect("it is a refusal");
        assert_eq!(parse_refusal(why, "mellon", &mine), Ok(refused.to_string().as_str()));
        assert_eq!(parse_refusal(why, "friend", &mine), Err(Refused::WrongSecret));
        assert_eq!(parse_refusal(why, "mellon", &other), Err(Refused::WrongSecret), "said to an earlier hello");
        assert_eq!(parse_refusal(&refused.to_string(), "mellon", &mine), Err(Refused::WrongSecret), "unproven");
    }
    // What ends nothing needs no proof: the secrets may be what differs.
    let why = Refused::OtherCluster.to_string();
    assert_eq!(parse_refusal(&why, "friend", &mine), Ok(why.as_str()));
}
