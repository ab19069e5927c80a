//! A body as one line of text, and back.
//!
//! The replay log keeps every body in this form, so that it reads as text; the rolling digest is taken over it, so
//! that no byte of it may ever change for a body that stands in a log:
//!
//! ```text
//! noop
//! founding|00c0ffee00c0ffee|quorum|1.a0,2.b1,3.c2
//! voters|1.a0,2.b1,3.d4|3.c2
//! voters|1.a0,4.e5|3.d4|1 127.0.0.1:5001 127.0.0.1:7001|4 h4:5004 h4:7004      with addresses, since 0.2
//! +1.a0.7.41|bob#12|5|alice|hi          a command: its payload as it is
//! ```
//!
//! Left out: what a command's payload means; see [`crate::machine::payload`].

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;

use crate::consensus::{Address, Body, ClusterId, Founding, Incarnation, Member, Membership, Mode, ReplicaId};

/// Which variant of [`Body`] a line stands for. A command may look like any of the others, so that the line alone
/// does not tell. The numbers are kept for ever; 0 and 1 cost SQLite no byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Body::Noop`].
    Noop = 0,
    /// [`Body::Command`].
    Command = 1,
    /// [`Body::Founding`].
    Founding = 2,
    /// [`Body::Membership`].
    Membership = 3,
}

impl Kind {
    /// The kind of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Noop, Self::Command, Self::Founding, Self::Membership].into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind of a body.
    pub fn of(body: &Body) -> Self {
        match body {
            Body::Noop => Self::Noop,
            Body::Command(_) => Self::Command,
            Body::Founding(_) => Self::Founding,
            Body::Membership(_) => Self::Membership,
        }
    }
}

/// The line is not one that [`line`] prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the line of a {0:?} entry")]
pub struct BadBody(pub Kind);

/// A body's line, without LF.
pub fn line(body: &Body) -> Cow<'_, [u8]> {
    match body {
        Body::Noop => Cow::Borrowed(b"noop"),
        Body::Command(payload) => Cow::Borrowed(payload),
        Body::Founding(f) => {
            let mode = mode_word(f.mode);
            Cow::Owned(format!("founding|{}|{mode}|{}", f.cluster, members(&f.members)).into_bytes())
        }
        Body::Membership(m) => {
            let mut text = format!("voters|{}|{}", members(&m.voters), members(&m.removed));
            for address in &m.addresses {
                write!(text, "|{}", address_text(address)).expect("writing to a String does not fail");
            }
            Cow::Owned(text.into_bytes())
        }
    }
}

/// What [`line`] printed. Total on any bytes.
pub fn parse(kind: Kind, line: Bytes) -> Result<Body, BadBody> {
    let bad = BadBody(kind);
    if kind == Kind::Command {
        return Ok(Body::Command(line));
    }
    let text = std::str::from_utf8(&line).map_err(|_| bad)?;
    let fields: Vec<&str> = text.split('|').collect();
    let body = match (kind, fields.as_slice()) {
        (Kind::Noop, ["noop"]) => Some(Body::Noop),
        (Kind::Founding, ["founding", cluster, mode, list]) => parse_hex(cluster)
            .zip(parse_members(list))
            .zip(parse_mode(mode))
            .map(|((id, members), mode)| Body::Founding(Founding { cluster: ClusterId(id), mode, members })),
        (Kind::Membership, ["voters", voters, removed, addresses @ ..]) => parse_members(voters)
            .zip(parse_members(removed))
            .zip(addresses.iter().map(|text| parse_address(text)).collect::<Option<Vec<_>>>())
            .map(|((voters, removed), addresses)| Body::Membership(Membership { voters, removed, addresses })),
        _ => None,
    };
    // Numbers can be written in more ways than one: only the printed one is kept, or a log would say what none printed.
    body.filter(|body| self::line(body) == text.as_bytes()).ok_or(bad)
}

/// The word for a mode, in the founding record and in the config.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Quorum => "quorum",
        Mode::PrimaryBackup => "primary-backup",
    }
}

fn parse_mode(word: &str) -> Option<Mode> {
    [Mode::Quorum, Mode::PrimaryBackup].into_iter().find(|mode| mode_word(*mode) == word)
}

/// An address as a field: `4 h4:5004 h4:7004`. Neither text holds a blank or a `|`.
pub fn address_text(address: &Address) -> String {
    format!("{} {} {}", address.id, address.clients, address.replicas)
}

/// What [`address_text`] printed.
pub fn parse_address(text: &str) -> Option<Address> {
    let mut words = text.split(' ');
    let mut word = || words.next();
    let id = ReplicaId(u16::try_from(parse_decimal(word()?)?).ok()?);
    let address = Address { id, clients: word()?.to_owned(), replicas: word()?.to_owned() };
    (words.next().is_none() && address.is_sound()).then_some(address)
}

fn members(list: &[Member]) -> String {
    let mut text = String::with_capacity(list.len() * 20);
    for (n, member) in list.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(text, "{comma}{member}").expect("writing to a String does not fail");
    }
    text
}

fn parse_members(list: &str) -> Option<Vec<Member>> {
    if list.is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(parse_member).collect()
}

/// What [`Member`] prints: the id, a dot, the incarnation in hexadecimal.
pub fn parse_member(text: &str) -> Option<Member> {
    let (id, incarnation) = text.split_once('.')?;
    let id = ReplicaId(u16::try_from(parse_decimal(id)?).ok()?);
    Some(Member { id, incarnation: Incarnation(parse_hex(incarnation)?) })
}

/// Digits alone (`u64::from_str` would also take a leading `+`), and below 2^63, which is all that SQLite can keep.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok())??;
    u64::try_from(number).ok()
}

pub(super) fn parse_hex(text: &str) -> Option<u64> {
    const DIGITS_MAX: usize = 16;
    let digits = text.trim_start_matches('0');
    if text.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.bytes().try_fold(0, |number, byte| Some(number << 4 | u64::from(char::from(byte).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member() -> impl Strategy<Value = Member> {
        (any::<u16>(), any::<u64>())
            .prop_map(|(id, incarnation)| Member { id: ReplicaId(id), incarnation: Incarnation(incarnation) })
    }

    fn address() -> impl Strategy<Value = Address> {
        (any::<u16>(), "[a-z0-9.@:\\[\\]é-]{1,40}", "[a-z0-9.@:-]{1,40}").prop_map(|(id, clients, replicas)| Address {
            id: ReplicaId(id),
            clients,
            replicas,
        })
    }

    fn body() -> impl Strategy<Value = Body> {
        let list = || proptest::collection::vec(member(), 0..6);
        prop_oneof![
            Just(Body::Noop),
            (any::<u64>(), list(), any::<bool>()).prop_map(|(id, members, quorum)| {
                let mode = if quorum { Mode::Quorum } else { Mode::PrimaryBackup };
                Body::Founding(Founding { cluster: ClusterId(id), mode, members })
            }),
            (list(), list(), proptest::collection::vec(address(), 0..4)).prop_map(|(voters, removed, addresses)| {
                Body::Membership(Membership { voters, removed, addresses })
            }),
            proptest::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| Body::Command(bytes.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(body in body()) {
            let printed = line(&body).into_owned();
            prop_assert_eq!(parse(Kind::of(&body), printed.into()), Ok(body));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for kind in [Kind::Noop, Kind::Founding, Kind::Membership] {
                let _ = parse(kind, bytes.clone().into());
            }
        }
    }

    #[test]
    fn the_lines_are_the_ones_promised() {
        let list = |text| parse_members(text).expect("a list");
        let founding = Founding { cluster: ClusterId(0xc0ffee), mode: Mode::Quorum, members: list("1.a0,2.b1") };
        assert_eq!(&*line(&Body::Founding(founding)), b"founding|0000000000c0ffee|quorum|1.a0,2.b1");
        let membership = Membership { voters: list("1.a0,3.d4"), removed: list("3.c2"), ..Membership::default() };
        assert_eq!(&*line(&Body::Membership(membership.clone())), b"voters|1.a0,3.d4|3.c2");
        let address = |text| parse_address(text).expect("an address");
        let addresses = vec![address("1 127.0.0.1:5001 127.0.0.1:7001"), address("3 [::1]:5003 [::1]:7003")];
        let printed = "voters|1.a0,3.d4|3.c2|1 127.0.0.1:5001 127.0.0.1:7001|3 [::1]:5003 [::1]:7003";
        assert_eq!(&*line(&Body::Membership(Membership { addresses, ..membership })), printed.as_bytes());
        assert_eq!(&*line(&Body::Noop), b"noop");
    }

    /// Found by the fuzzer: each of these was read, and printed to other bytes than it was read from.
    #[test]
    fn a_number_written_in_another_way_is_refused() {
        for (kind, text) in [
            (Kind::Founding, "founding|c0ffee|quorum|1.a0"),
            (Kind::Founding, "founding|0000000000C0FFEE|quorum|1.a0"),
            (Kind::Membership, "voters|01.a0|"),
            (Kind::Membership, "voters|1.0a0|2.B"),
            (Kind::Membership, "voters|1.a0||01 h:1 h:2"),
            (Kind::Membership, "voters|1.a0||1 h:1  h:2"),
            (Kind::Membership, "voters|1.a0||1 h:1"),
            (Kind::Membership, "voters|1.a0||"),
        ] {
            assert_eq!(parse(kind, text.into()), Err(BadBody(kind)), "{text}");
        }
    }

    #[test]
    fn a_number_of_a_kind_is_its_own() {
        for kind in [Kind::Noop, Kind::Command, Kind::Founding, Kind::Membership] {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(4), None);
    }

    #[test]
    fn signs_and_blanks_are_no_digits() {
        for bad in ["+1.a", "1.+a", "1", "1.", ".a", " 1.a", "70000.a", "1.11112222333344445"] {
            assert_eq!(parse_member(bad), None, "{bad}");
        }
    }
}
