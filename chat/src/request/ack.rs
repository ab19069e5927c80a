//! Op 9, `ack`: what this connection was shown, up to an id, has reached its reader.

use std::fmt;

use super::{Checked, Op, Request};
use crate::limits::MESSAGE_ID_MAX;
use crate::{MessageId, Refusal, number};

/// `9|id`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Up to which message; 0 only turns the connection to manual mode.
    pub id: MessageId,
}

pub(super) const OP: Op = Op {
    number: "9",
    name: "ack",
    help: "9|id: what was shown here up to id has reached me; from now on only this marks messages delivered",
    parse: |args| Ack::parse(args).map(Request::Ack),
};

impl Ack {
    fn parse(args: &str) -> Result<Self, Refusal> {
        number::parse(args)
            .filter(|id| *id <= MESSAGE_ID_MAX)
            .map(|id| Self { id: MessageId(id) })
            .ok_or_else(|| Refusal::bad_request(format!("id is a number from 0 to {MESSAGE_ID_MAX}: 9|id")))
    }

    pub(super) fn check(self) -> Checked {
        if self.id == MessageId(0) { Checked::Manual } else { Checked::Ack { id: self.id } }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "9|{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    #[test]
    fn syntax() {
        let ack = |id| Request::Ack(Ack { id: MessageId(id) });
        reads("9|0", "9|0", ack(0));
        reads("Ack|77", "9|77", ack(77));
        reads("9|9223372036854775807", "9|9223372036854775807", ack(i64::MAX as u64));
        for line in ["9", "9|", "9|x", "9|-1", "9|1|", "9|1,2", "9|9223372036854775808"] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn id_0_is_only_a_change_of_mode() {
        assert!(matches!(check("9|0"), Ok(Checked::Manual)));
        assert!(matches!(check("9|5"), Ok(Checked::Ack { id: MessageId(5) })));
    }
}
