//! Op 6, `deliver`: the undelivered messages, oldest first.

use std::fmt;
use std::num::NonZeroU32;

use super::{Op, Request, last};
use crate::limits::DELIVER_MESSAGES_MAX;
use crate::{Refusal, number};

/// `6` or `6|n`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// At most so many; `None` for all.
    pub limit: Option<NonZeroU32>,
}

pub(super) const OP: Op = Op {
    number: "6",
    name: "deliver",
    help: "6 or 6|n: the undelivered messages, oldest first, at most n",
    parse: |args| Deliver::parse(args).map(Request::Deliver),
};

impl Deliver {
    fn parse(args: &str) -> Result<Self, Refusal> {
        let limit = last(args).map(|count| {
            number::parse(count)
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| *count <= DELIVER_MESSAGES_MAX)
                .and_then(NonZeroU32::new)
                .ok_or_else(|| Refusal::bad_request(format!("n is a number from 1 to {DELIVER_MESSAGES_MAX}")))
        });
        Ok(Self { limit: limit.transpose()? })
    }
}

impl fmt::Display for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            None => f.write_str("6"),
            Some(limit) => write!(f, "6|{limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        let deliver = |limit| Request::Deliver(Deliver { limit: NonZeroU32::new(limit) });
        reads("6", "6", deliver(0));
        reads("6|", "6", deliver(0));
        reads("DELIVER|25", "6|25", deliver(25));
        reads("6|1000000000", "6|1000000000", deliver(DELIVER_MESSAGES_MAX));
        for line in ["6|0", "6|-1", "6|+1", "6|x", "6|1|", "6|1|2", "6| 1", "6|4294967296", "6|99999999999999999999"] {
            refuses(line, ErrCode::BadRequest);
        }
        assert!(matches!(check("6|2"), Ok(Checked::Deliver { limit: Some(limit) }) if limit.get() == 2));
    }
}
