//! A log as any replica might hold it: bodies and rows read to what they were printed from, damage is seen, and
//! applying them is total and the same on two machines.
//!
//! Each line of an input becomes an entry. `0` to `3` before a body's line names its kind. `!` stands for the next
//! number of a stream, so that the command behind it takes effect; every other line is a payload as it is.

use bytes::Bytes;
use chat::{Command, Quota};
use plainsong::consensus::{Body, Boot, Entry, Incarnation, Index, Member, ReplicaId, Term};
use plainsong::machine::body::{self, Kind};
use plainsong::machine::payload::{self, Origin, PREFIX_BYTES_MAX, Proposal};
use plainsong::machine::{Applied, MachineStorage, MapMachine, apply};
use plainsong::storage::Cells;

const ORIGIN: Member = Member { id: ReplicaId(1), incarnation: Incarnation(0xa0) };
/// Rather many short logs than few long ones.
const ENTRIES_MAX: usize = 256;

/// Panics where a promise is broken.
pub fn run(input: &[u8]) {
    let mut machines = [MapMachine::new(), MapMachine::new()];
    let lines = input.split(|byte| *byte == b'\n').take(ENTRIES_MAX);
    for line in lines {
        let Some(body) = body_of(line, &machines[0]) else { continue };
        let index = machines[0].applied().next();
        let entry = Entry { index, term: Term(index.0 / 7), time: 1_795_185_601_000 + index.0 / 3, body };
        let stored = row(&entry);
        let before = machines[0].digest();
        let done = machines.each_mut().map(|machine| {
            let mut effects = Vec::new();
            let Ok(applied) = apply(machine, &stored, &mut effects);
            (applied, effects)
        });
        assert_eq!(done[0], done[1], "equal states and entries have equal outcomes");
        assert_eq!((machines[0].applied(), machines[0].digest()), (index, machines[1].digest()));
        assert_ne!(machines[0].digest(), before, "every entry moves the digest");
        printable(&done[0].0, &entry);
    }
    assert!(machines[0] == machines[1]);
}

fn body_of(line: &[u8], machine: &MapMachine) -> Option<Body> {
    let (first, rest) = line.split_first()?;
    let kind = match first {
        b'!' => {
            let command = std::str::from_utf8(rest).ok()?;
            return Some(Body::Command(next_payload(command, machine)));
        }
        digit @ b'0'..=b'3' => Kind::from_number(digit - b'0')?,
        _ => {
            read_payload(line);
            return Some(Body::Command(Bytes::copy_from_slice(line)));
        }
    };
    let body = body::parse(kind, Bytes::copy_from_slice(rest)).ok()?;
    assert_eq!(*body::line(&body), *rest, "what is read prints to the same bytes");
    assert_eq!(Kind::of(&body), kind);
    Some(body)
}

/// The command, with the next number of its stream; half of them to a recipient that is online.
fn next_payload(command: &str, machine: &MapMachine) -> Bytes {
    let (boot, last) = machine.stream(ORIGIN).unwrap_or((Boot(1), 0));
    let payload = payload::encode(Origin { member: ORIGIN, boot, n: last.saturating_add(1) }, command);
    assert!(payload.len() <= command.len() + PREFIX_BYTES_MAX);
    let stamped = payload::stamp(&payload, quota(last), |_| last % 2 == 0);
    read_payload(&stamped);
    stamped
}

/// Limits that are met soon, and now and then none.
fn quota(last: u64) -> Quota {
    let limit = |every: u64, max: u64| last.is_multiple_of(every).then_some(max);
    Quota { mailbox_messages: limit(2, 3), mailbox_bytes: limit(3, 20), accounts: limit(5, 2), retention: limit(7, 0) }
}

/// A payload prints to one that reads the same, and so does its command.
fn read_payload(bytes: &[u8]) {
    let stamped = payload::stamp(bytes, quota(6), |_| true);
    let Ok(proposal) = payload::decode(bytes) else { return };
    let to = chat::recipient(proposal.command);
    let again = Proposal { online: to.is_some(), quota: quota(6).for_command(proposal.command), ..proposal };
    assert_eq!(payload::decode(&stamped), Ok(again), "one stamp takes the place of another");
    let printed = payload::encode(proposal.origin, proposal.command);
    let plain = Proposal { online: false, quota: Quota::NONE, ..proposal };
    assert_eq!(payload::decode(&printed), Ok(plain));
    let Ok(command) = Command::parse(proposal.command) else { return };
    assert_eq!(Command::parse(&command.to_string()).as_ref(), Ok(&command));
    let sent_to = if let Command::Send { to, .. } = &command { Some(to.as_str()) } else { None };
    assert_eq!(to, sent_to, "the leader stamps for whom the machine will send to");
}

/// The entry as its row gives it back; no neighbour of that row is taken for it.
fn row(entry: &Entry) -> Entry {
    let cells = Cells::of(entry);
    let at = entry.index.0 % 8;
    let bit = 1_u64 << at;
    let mut harmed_line = cells.line.to_vec();
    let byte = usize::try_from(entry.index.0).expect("a small number") * 5 % harmed_line.len().max(1);
    harmed_line.get_mut(byte).into_iter().for_each(|byte| *byte ^= 1 << at);
    for harmed in [
        Cells { term: cells.term ^ bit, ..cells.clone() },
        Cells { time: cells.time ^ bit, ..cells.clone() },
        Cells { kind: cells.kind ^ bit, ..cells.clone() },
        Cells { crc: cells.crc ^ bit, ..cells.clone() },
    ] {
        assert!(harmed.entry(entry.index).is_err(), "one bit is wrong in {cells:?}");
    }
    if !cells.line.is_empty() {
        let harmed = Cells { line: harmed_line.into(), ..cells.clone() };
        assert!(harmed.entry(entry.index).is_err(), "one bit is wrong in {cells:?}");
    }
    assert!(cells.clone().entry(Index(entry.index.0 ^ bit)).is_err(), "a row of another index");
    let read = cells.entry(entry.index).expect("a row that was just made is unharmed");
    assert_eq!(read, *entry);
    read
}

/// The outcome is kept and compared as text.
fn printable(applied: &Applied, entry: &Entry) {
    match (applied, &entry.body) {
        (Applied::Done { outcome, .. }, Body::Command(_)) => {
            assert_eq!(chat::Outcome::parse(&outcome.to_string()).as_ref(), Ok(outcome));
        }
        (Applied::Skipped { .. } | Applied::Nothing, _) => {}
        (Applied::Done { .. }, _) => panic!("only a command has an outcome: {entry:?}"),
    }
}
