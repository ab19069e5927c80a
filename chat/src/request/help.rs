//! `help`: one line for each op and word that is served.

use std::fmt;

use super::{Op, Request, no_args};

/// `help`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help;

pub(super) const OP: Op = Op {
    number: "help",
    name: "help",
    help: "help: these lines",
    parse: |args| no_args(args).map(|()| Request::Help(Help)),
};

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("help")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        for line in ["help", "help|", "HELP", "Help|"] {
            reads(line, "help", Request::Help(Help));
        }
        refuses("help|x", ErrCode::BadRequest);
        refuses("help||", ErrCode::BadRequest);
        assert!(matches!(check("help"), Ok(Checked::Help)));
    }
}
