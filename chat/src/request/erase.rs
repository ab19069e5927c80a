//! Op 8, `erase`: removes messages from my view, all of them or none.
//!
//! What is named is a set: the order of the ids says nothing, and an id that is there twice is there once.

use std::fmt;

use super::{Checked, Op, Request};
use crate::limits::MESSAGE_ID_MAX;
use crate::{MessageId, MessageIds, Refusal, number};

/// `8|id,id,…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erase {
    /// As typed; at least one.
    pub ids: Vec<MessageId>,
}

pub(super) const OP: Op = Op {
    number: "8",
    name: "erase",
    help: "8|id or 8|id,id: removes these messages from my view, all or none",
    parse: |args| Erase::parse(args).map(Request::Erase),
};

impl Erase {
    fn parse(args: &str) -> Result<Self, Refusal> {
        let id = |digits| number::parse(digits).filter(|id| *id <= MESSAGE_ID_MAX).map(MessageId);
        let ids: Option<Vec<MessageId>> = args.split(',').map(id).collect();
        let ids = ids.ok_or_else(|| {
            Refusal::bad_request(format!("each id is a number from 0 to {MESSAGE_ID_MAX}: 8|id or 8|id,id"))
        })?;
        Ok(Self { ids })
    }

    pub(super) fn check(self) -> Checked {
        Checked::Erase { ids: MessageIds::new(self.ids).expect("the syntax asks for one at least") }
    }
}

impl fmt::Display for Erase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.ids.iter().enumerate() {
            write!(f, "{}{id}", if at == 0 { "8|" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    #[test]
    fn syntax() {
        let erase = |ids: &[u64]| Request::Erase(Erase { ids: ids.iter().copied().map(MessageId).collect() });
        reads("8|77", "8|77", erase(&[77]));
        reads("Erase|9,007,9", "8|9,7,9", erase(&[9, 7, 9]));
        reads("8|0", "8|0", erase(&[0]));
        for line in ["8", "8|", "8|x", "8|1,", "8|,1", "8|1,,2", "8|1, 2", "8|1|2", "8|1|", "8|-1", "8|1-2"] {
            refuses(line, ErrCode::BadRequest);
        }
        refuses("8|9223372036854775808", ErrCode::BadRequest);
    }

    #[test]
    fn what_is_named_is_a_set() {
        let Ok(Checked::Erase { ids }) = check("8|9,7,9") else { panic!("the fields are good") };
        assert_eq!(ids.as_slice(), [MessageId(7), MessageId(9)]);
    }
}
