//! Streams, digests, and entries that say nothing sensible.

use bytes::Bytes;
use chat::{AccountId, Effect, ErrCode, MessageId, Outcome};
use proptest::prelude::*;

use super::*;
use crate::consensus::{
    Body, Boot, ClusterId, Entry, Founding, Incarnation, Index, Member, Membership, Mode, ReplicaId, Term,
};

fn origin(id: u16, boot: u64, n: u64) -> Origin {
    Origin { member: Member { id: ReplicaId(id), incarnation: Incarnation(0xa0) }, boot: Boot(boot), n }
}

/// Applies bodies one after the other, as a log would bring them.
#[derive(Default)]
struct Log {
    machine: MapMachine,
    effects: Vec<Effect>,
}

impl Log {
    fn body(&mut self, body: Body) -> Applied {
        let index = self.machine.applied().next();
        let entry = Entry { index, term: Term(3), time: 1_000 + index.0, body };
        apply(&mut self.machine, &entry, &mut self.effects).expect("a map does not fail")
    }

    fn command(&mut self, origin: Origin, command: &str) -> Applied {
        self.body(Body::Command(payload::encode(origin, command).freeze()))
    }

    fn create(&mut self, origin: Origin) -> Applied {
        self.command(origin, &format!("|1|user{}", self.machine.applied()))
    }
}

fn done(applied: &Applied) -> bool {
    matches!(applied, Applied::Done { .. })
}

fn expected(applied: &Applied) -> Option<u64> {
    match applied {
        Applied::Skipped { expected, .. } => Some(*expected),
        Applied::Nothing | Applied::Done { .. } => None,
    }
}

#[test]
fn a_conversation_is_applied() {
    let mut log = Log::default();
    let founding = Founding { cluster: ClusterId(1), mode: Mode::Quorum, members: vec![] };
    assert_eq!(log.body(Body::Founding(founding)), Applied::Nothing);
    assert_eq!(log.body(Body::Noop), Applied::Nothing);
    assert_eq!(log.body(Body::Membership(Membership::default())), Applied::Nothing);
    let created = Outcome::Created(AccountId(4));
    assert_eq!(log.command(origin(1, 1, 1), "|1|bob"), Applied::Done { origin: origin(1, 1, 1), outcome: created });
    let sent = payload::encode(origin(1, 1, 2), "bob#4|5|bob|hi");
    let sent = payload::stamp(&sent, chat::Quota::NONE, |_| true);
    let outcome = Outcome::Sent { id: MessageId(5), online: true };
    assert_eq!(log.body(Body::Command(sent)), Applied::Done { origin: origin(1, 1, 2), outcome });
    let [Effect::Push { to: AccountId(4), message }] = &log.effects[..] else { panic!("{:?}", log.effects) };
    assert_eq!(message.line(), "msg|5|bob|1970-01-01T00:00:01.005Z|hi\n");
    assert_eq!(log.machine.applied(), Index(5));
}

#[test]
fn a_proposal_is_applied_once_and_in_its_order() {
    let mut log = Log::default();
    assert!(done(&log.create(origin(1, 5, 1))));
    assert!(done(&log.create(origin(1, 5, 2))));
    assert_eq!(expected(&log.create(origin(1, 5, 2))), Some(3), "a repeat");
    assert_eq!(expected(&log.create(origin(1, 5, 1))), Some(3), "an older repeat");
    assert_eq!(expected(&log.create(origin(1, 5, 4))), Some(3), "a gap");
    assert!(done(&log.create(origin(1, 5, 3))), "the gap is filled");
    assert!(done(&log.create(origin(1, 5, 4))));
    assert_eq!(chat::Storage::accounts_count(log.machine.chat()), Ok(4));
}

#[test]
fn a_newer_boot_begins_at_one_and_ends_the_older() {
    let mut log = Log::default();
    assert!(done(&log.create(origin(1, 5, 1))));
    assert_eq!(expected(&log.create(origin(1, 6, 2))), Some(1), "the newer boot has not begun");
    assert!(done(&log.create(origin(1, 5, 2))), "so the older goes on");
    assert!(done(&log.create(origin(1, 6, 1))));
    assert_eq!(expected(&log.create(origin(1, 5, 3))), Some(0), "the older is over");
    assert!(done(&log.create(origin(1, 6, 2))));
}

#[test]
fn each_member_has_a_stream_of_its_own() {
    let mut log = Log::default();
    let reborn = Origin { member: Member { id: ReplicaId(1), incarnation: Incarnation(0xb1) }, boot: Boot(1), n: 1 };
    assert!(done(&log.create(origin(1, 5, 1))));
    assert!(done(&log.create(origin(2, 1, 1))));
    assert!(done(&log.create(reborn)), "another life of the disk starts anew");
    assert!(done(&log.create(origin(1, 5, 2))));
    assert_eq!(expected(&log.create(origin(3, 1, 0))), Some(1), "streams are numbered from 1");
}

#[test]
fn what_cannot_be_read_has_no_effect_but_its_turn() {
    let mut log = Log::default();
    assert_eq!(log.body(Body::Command(Bytes::from_static(b"\xff\xfe"))), Applied::Nothing);
    let outcome = Outcome::refused(ErrCode::BadRequest);
    let first = origin(1, 1, 1);
    assert_eq!(log.command(first, "|99|from a later version"), Applied::Done { origin: first, outcome });
    assert!(done(&log.create(origin(1, 1, 2))));
    assert_eq!(log.machine.applied(), Index(3));
    assert_eq!(log.effects, []);
}

#[test]
#[should_panic(expected = "entry 2 of term 1 is to be applied, but the state is at entry 0")]
fn an_entry_out_of_order_is_a_bug() {
    let entry = Entry { index: Index(2), term: Term(1), time: 0, body: Body::Noop };
    let _ = apply(&mut MapMachine::new(), &entry, &mut Vec::new());
}

/// These numbers stand in states on disks and are compared between versions. If this test fails, the digest has
/// changed, and a mixed cluster would take its newer replicas for damaged.
#[test]
fn the_digest_never_changes() {
    let mut log = Log::default();
    let mut digests = Vec::new();
    log.body(Body::Noop);
    digests.push(log.machine.digest());
    log.command(origin(1, 1, 1), "|1|bob");
    digests.push(log.machine.digest());
    log.command(origin(1, 1, 1), "|1|bob");
    digests.push(log.machine.digest());
    assert_eq!(digests, [468_728_788_733_368_944, 5_306_104_896_816_731_590, 15_065_983_194_715_070_932]);
}

#[test]
fn the_digest_sees_every_part_of_an_entry() {
    let digest = |change: fn(&mut Entry)| {
        let body = Body::Command(payload::encode(origin(1, 1, 1), "|1|bob").freeze());
        let mut entry = Entry { index: Index(1), term: Term(1), time: 9, body };
        change(&mut entry);
        let mut machine = MapMachine::new();
        apply(&mut machine, &entry, &mut Vec::new()).expect("a map does not fail");
        machine.digest()
    };
    let digests = std::collections::BTreeSet::from([
        digest(|_| ()),
        digest(|entry| entry.term = Term(2)),
        digest(|entry| entry.time = 10),
        digest(|entry| entry.body = Body::Noop),
        digest(|entry| entry.body = Body::Command(Bytes::from_static(b"noop"))),
        digest(|entry| entry.body = Body::Command(Bytes::from_static(b"+1.a0.1.1||1|bob"))),
    ]);
    assert_eq!(digests.len(), 6);
}

proptest! {
    #[test]
    fn any_payload_is_applied_without_a_panic(payloads in proptest::collection::vec(
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[+-]1[.]a[.]1[.][1-4][|][|](1[|]bob|4|5[|]bob[|]x|mark[|][0-9:,;-]{0,12}|9[|].{0,9})".prop_map(String::into_bytes),
            "[+-]1[.]a[.]1[.][1-4][|]bob#1[|](4|5[|]bob[|]x|@k[|]5[|]bob[|]x|8[|][0-9,]{1,5}|13[|][$]x|9[|][0-9]{0,20}[|][0-9,-]{0,12})".prop_map(String::into_bytes),
        ], 0..12))
    {
        let (mut log, mut again) = (Log::default(), Log::default());
        for payload in payloads {
            let body = Body::Command(Bytes::from(payload));
            prop_assert_eq!(log.body(body.clone()), again.body(body));
        }
        prop_assert_eq!(&log.machine, &again.machine);
        prop_assert_eq!(log.effects, again.effects);
    }
}
