//! Op 3, `logout`: the connection speaks for no account any more.

use std::fmt;

use super::{Op, Request, no_args};

/// `3`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logout;

pub(super) const OP: Op = Op {
    number: "3",
    name: "logout",
    help: "3: this connection speaks for no account any more",
    parse: |args| no_args(args).map(|()| Request::Logout(Logout)),
};

impl fmt::Display for Logout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        for line in ["3", "3|", "LOGOUT", "Logout|"] {
            reads(line, "3", Request::Logout(Logout));
        }
        refuses("3|x", ErrCode::BadRequest);
        refuses("3||", ErrCode::BadRequest);
        assert!(matches!(check("3"), Ok(Checked::Logout)));
    }
}
