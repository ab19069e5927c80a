//! The payload of a command entry: one line of text that says where the command came from.
//!
//! ```text
//! <flag><id>.<incarnation>.<boot>.<n>|<command>
//! +1.a0.7.41|bob#12|5|alice|hi
//! ```
//!
//! The flag is one byte, so that the leader stamps it in place: `+` when the recipient of a `send` is online somewhere
//! in the cluster, `-` when not, or when there is no recipient. Everything else is written by the replica that the
//! client spoke to, and passes through the leader unread.

use std::fmt::{self, Write as _};

use bytes::BytesMut;

use super::body::{parse_decimal, parse_member};
use crate::consensus::{Boot, Member};

const ONLINE: u8 = b'+';
const NOT_ONLINE: u8 = b'-';

/// The longest text of an [`Origin`], flag and `|`: what a payload is longer than its command.
pub const PREFIX_BYTES_MAX: usize = "+65535.ffffffffffffffff.9223372036854775807.9223372036854775807|".len();

/// Where a proposal came from. Each replica numbers what it forwards in one stream, from 1 in each boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Which replica, in which life of its disk.
    pub member: Member,
    /// In which of its starts.
    pub boot: Boot,
    /// Which of the proposals of that start.
    pub n: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.member, self.boot, self.n)
    }
}

/// What a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// The leader's stamp.
    pub online: bool,
    /// Where it came from.
    pub origin: Origin,
    /// What [`chat::Command`] prints.
    pub command: &'a str,
}

/// The bytes are no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not '<flag><id>.<incarnation>.<boot>.<n>|<command>'")]
pub struct BadPayload;

/// A payload that is not stamped yet: as if the recipient were not online.
pub fn encode(origin: Origin, command_line: &str) -> BytesMut {
    let mut payload = BytesMut::with_capacity(PREFIX_BYTES_MAX + command_line.len());
    payload.extend_from_slice(&[NOT_ONLINE]);
    write!(payload, "{origin}|").expect("a BytesMut grows");
    payload.extend_from_slice(command_line.as_bytes());
    payload
}

/// The leader's stamp, in place.
pub fn stamp(payload: &mut [u8], online: bool) {
    if let Some(flag) = payload.first_mut() {
        *flag = if online { ONLINE } else { NOT_ONLINE };
    }
}

/// The folded name that a `send` goes to: whom the leader looks up before it stamps. `None` for everything else.
pub fn recipient(payload: &[u8]) -> Option<&str> {
    // Where it came from is not looked at: a payload that cannot be read has no effect, whatever its stamp.
    let (_origin, command) = std::str::from_utf8(payload).ok()?.split_once('|')?;
    chat::recipient(command)
}

/// Reads a payload. Total on any bytes.
pub fn decode(payload: &[u8]) -> Result<Proposal<'_>, BadPayload> {
    let text = std::str::from_utf8(payload).map_err(|_| BadPayload)?;
    let (online, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(BadPayload),
    };
    let (origin, command) = rest.split_once('|').ok_or(BadPayload)?;
    Ok(Proposal { online, origin: parse_origin(origin).ok_or(BadPayload)?, command })
}

fn parse_origin(text: &str) -> Option<Origin> {
    let (rest, n) = text.rsplit_once('.')?;
    let (member, boot) = rest.rsplit_once('.')?;
    Some(Origin { member: parse_member(member)?, boot: Boot(parse_decimal(boot)?), n: parse_decimal(n)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::consensus::{Incarnation, ReplicaId};

    fn origin() -> impl Strategy<Value = Origin> {
        let count = || 0..=i64::MAX as u64;
        (any::<u16>(), any::<u64>(), count(), count()).prop_map(|(id, incarnation, boot, n)| Origin {
            member: Member { id: ReplicaId(id), incarnation: Incarnation(incarnation) },
            boot: Boot(boot),
            n,
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(origin in origin(), command in ".{0,40}", online in any::<bool>()) {
            let mut payload = encode(origin, &command);
            prop_assert!(payload.len() <= PREFIX_BYTES_MAX + command.len());
            prop_assert_eq!(decode(&payload).map(|proposal| proposal.online), Ok(false));
            stamp(&mut payload, online);
            prop_assert_eq!(decode(&payload), Ok(Proposal { online, origin, command: &command }));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (decode(&bytes), recipient(&bytes));
            stamp(&mut bytes, true);
        }

        #[test]
        fn what_is_nearly_a_payload_is_decoded_without_a_panic(text in "[+-]?[0-9]{0,20}[.][0-9a-f]{0,17}[.|]{1,3}[0-9]{0,20}[.|#5]{0,9}") {
            let _ = (decode(text.as_bytes()), recipient(text.as_bytes()));
        }
    }

    #[test]
    fn the_text_is_the_one_promised() {
        let origin =
            Origin { member: Member { id: ReplicaId(1), incarnation: Incarnation(0xa0) }, boot: Boot(7), n: 41 };
        let mut payload = encode(origin, "bob#12|5|alice|a|b");
        assert_eq!(recipient(&payload), Some("alice"));
        stamp(&mut payload, true);
        assert_eq!(&payload[..], b"+1.a0.7.41|bob#12|5|alice|a|b");
        assert_eq!(recipient(&encode(origin, "bob#12|4")), None);
    }

    #[test]
    fn what_is_not_a_payload_is_refused() {
        let bad: [&[u8]; 10] = [
            b"",
            b"+",
            b"+1.a0.7.41",
            b"1.a0.7.41|x",
            b"*1.a0.7.41|x",
            b"+1.a0.41|x",
            b"+1.a0.+7.41|x",
            b"+1.a0..41|x",
            b"+1.a0.7.9223372036854775808|x",
            b"+1.a0.7.41|\xff",
        ];
        for payload in bad {
            assert_eq!(decode(payload), Err(BadPayload), "{payload:?}");
        }
    }
}
