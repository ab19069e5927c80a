//! The payload of a command entry: one line of text that says where the command came from.
//!
//! ```text
//! <flag><id>.<incarnation>.<boot>.<n>[;<quota>]|<command>
//! +1.a0.7.41|bob#12|5|alice|hi
//! +1.a0.7.42;m1000|bob#12|5|alice|hi
//! ```
//!
//! The leader stamps the flag, `+` when the recipient of a `send` is online somewhere in the cluster, `-` when not, or
//! when there is no recipient; and, where the command is limited, the quota (see [`chat::Quota`]). Everything else is
//! written by the replica that the client spoke to, and passes through the leader unchanged.

use std::fmt::{self, Write as _};

use bytes::{Bytes, BytesMut};
use chat::Quota;

use super::body::{parse_decimal, parse_member};
use crate::consensus::{Boot, Member};

const ONLINE: u8 = b'+';
const NOT_ONLINE: u8 = b'-';

/// The longest text of an [`Origin`], flag, quota and `|`: what a payload is longer than its command.
pub const PREFIX_BYTES_MAX: usize =
    "+65535.ffffffffffffffff.9223372036854775807.9223372036854775807;|".len() + Quota::TEXT_BYTES_MAX;

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
    /// The leader's stamp.
    pub quota: Quota,
    /// Where it came from.
    pub origin: Origin,
    /// What [`chat::Command`] prints.
    pub command: &'a str,
}

/// The bytes are no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not '<flag><id>.<incarnation>.<boot>.<n>[;<quota>]|<command>'")]
pub struct BadPayload;

/// A payload that is not stamped yet: as if the recipient were not online.
pub fn encode(origin: Origin, command_line: &str) -> BytesMut {
    let mut payload = BytesMut::with_capacity(PREFIX_BYTES_MAX + command_line.len());
    payload.extend_from_slice(&[NOT_ONLINE]);
    write!(payload, "{origin}|").expect("a BytesMut grows");
    payload.extend_from_slice(command_line.as_bytes());
    payload
}

/// The leader's stamps: whether the recipient of a `send` is online, and what of the limits the command needs. A stamp
/// that is there already is replaced; what is no payload is left as it is.
pub fn stamp(payload: &[u8], quota: Quota, is_online: impl Fn(&str) -> bool) -> Bytes {
    let mut block = BytesMut::with_capacity(payload.len() + quota.text_bytes());
    stamp_into(&mut block, payload, quota, is_online);
    block.freeze()
}

/// The same, behind what stands in the block already.
pub fn stamp_into(block: &mut BytesMut, payload: &[u8], quota: Quota, is_online: impl Fn(&str) -> bool) {
    // Where it came from is not looked at: a payload that cannot be read has no effect, whatever its stamp.
    let halves = std::str::from_utf8(payload).ok().and_then(chat::split_field);
    let prefix = halves.and_then(|(prefix, command)| Some((prefix.strip_prefix(['+', '-'])?, command)));
    let Some((prefix, command)) = prefix else {
        block.extend_from_slice(payload);
        return;
    };
    let (origin, _stamped_before) = prefix.split_once(';').unwrap_or((prefix, ""));
    let online = chat::recipient(command).is_some_and(is_online);
    block.extend_from_slice(&[if online { ONLINE } else { NOT_ONLINE }]);
    block.extend_from_slice(origin.as_bytes());
    let quota = quota.for_command(command);
    if quota != Quota::NONE {
        write!(block, ";{quota}").expect("a BytesMut grows");
    }
    block.extend_from_slice(b"|");
    block.extend_from_slice(command.as_bytes());
}

/// Reads a payload. Total on any bytes.
pub fn decode(payload: &[u8]) -> Result<Proposal<'_>, BadPayload> {
    let text = std::str::from_utf8(payload).map_err(|_| BadPayload)?;
    let (online, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(BadPayload),
    };
    let (origin, command) = chat::split_field(rest).ok_or(BadPayload)?;
    let (origin, quota) = match origin.split_once(';') {
        Some((origin, quota)) => (origin, Quota::parse(quota).ok_or(BadPayload)?),
        None => (origin, Quota::NONE),
    };
    Ok(Proposal { online, quota, origin: parse_origin(origin).ok_or(BadPayload)?, command })
}

fn parse_origin(text: &str) -> Option<Origin> {
    let (rest, n) = rsplit_dot(text)?;
    let (member, boot) = rsplit_dot(rest)?;
    Some(Origin { member: parse_member(member)?, boot: Boot(parse_decimal(boot)?), n: parse_decimal(n)? })
}

/// As `rsplit_once`, without its search: a number is a few bytes.
fn rsplit_dot(text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == b'.')?;
    Some((&text[..at], &text[at + 1..]))
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
        fn what_is_encoded_is_decoded(
            origin in origin(),
            command in "(|1[|]|b#1[|]5[|]).{0,40}",
            online in any::<bool>(),
            mailbox_bytes in any::<Option<u64>>(),
            accounts in any::<Option<u64>>(),
        ) {
            let payload = encode(origin, &command);
            prop_assert_eq!(decode(&payload), Ok(Proposal { online: false, quota: Quota::NONE, origin, command: &command }));
            let all = Quota { mailbox_messages: Some(1), mailbox_bytes, accounts, retention: Some(1) };
            let stamped = stamp(&payload, all, |_| online);
            prop_assert!(stamped.len() <= PREFIX_BYTES_MAX + command.len());
            let (online, quota) = (online && chat::recipient(&command).is_some(), all.for_command(&command));
            prop_assert_eq!(decode(&stamped), Ok(Proposal { online, quota, origin, command: &command }));
            prop_assert_eq!(&stamp(&stamped, Quota::NONE, |_| false)[..], &payload[..]);
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (decode(&bytes), stamp(&bytes, Quota::NONE, |_| true));
        }

        #[test]
        fn what_is_nearly_a_payload_is_decoded_without_a_panic(text in "[+-]?[0-9]{0,20}[.][0-9a-f]{0,17}[.|]{1,3}[0-9]{0,20}[.;m|#5]{0,9}") {
            let _ = (decode(text.as_bytes()), stamp(text.as_bytes(), Quota::NONE, |_| true));
        }
    }

    #[test]
    fn the_text_is_the_one_promised() {
        let origin =
            Origin { member: Member { id: ReplicaId(1), incarnation: Incarnation(0xa0) }, boot: Boot(7), n: 41 };
        let payload = encode(origin, "bob#12|5|alice|a|b");
        assert_eq!(&stamp(&payload, Quota::NONE, |name| name == "alice")[..], b"+1.a0.7.41|bob#12|5|alice|a|b");
        let quota = Quota { mailbox_messages: Some(9), accounts: Some(3), ..Quota::NONE };
        assert_eq!(&stamp(&payload, quota, |_| false)[..], b"-1.a0.7.41;m9|bob#12|5|alice|a|b");
        assert_eq!(&stamp(&encode(origin, "|1|bob"), quota, |_| true)[..], b"-1.a0.7.41;a3||1|bob");
        assert_eq!(&stamp(&encode(origin, "bob#12|4"), quota, |_| true)[..], b"-1.a0.7.41|bob#12|4");
    }

    #[test]
    fn what_is_not_a_payload_is_refused() {
        let bad: [&[u8]; 12] = [
            b"+1.a0.7.41;x9|x",
            b"+1.a0.7;m9.41|x",
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
