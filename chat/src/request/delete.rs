//! Op 4, `delete`: the account and its mailbox go.

use std::fmt;

use super::{Op, Request, no_args};

/// `4`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete;

pub(super) const OP: Op = Op {
    number: "4",
    name: "delete",
    help: "4: the account and its mailbox go; what it sent stays with the recipients",
    parse: |args| no_args(args).map(|()| Request::Delete(Delete)),
};

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("4")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        for line in ["4", "4|", "DELETE", "Delete|"] {
            reads(line, "4", Request::Delete(Delete));
        }
        refuses("4|x", ErrCode::BadRequest);
        refuses("4||", ErrCode::BadRequest);
        assert!(matches!(check("4"), Ok(Checked::Delete)));
    }
}
