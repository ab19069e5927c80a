//! `quit`: closes the connection once earlier replies are out.

use std::fmt;

use super::{Op, Request, no_args};

/// `quit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quit;

pub(super) const OP: Op = Op {
    number: "quit",
    name: "quit",
    help: "quit: closes the connection once earlier replies are out",
    parse: |args| no_args(args).map(|()| Request::Quit(Quit)),
};

impl fmt::Display for Quit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("quit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        for line in ["quit", "quit|", "QUIT", "Quit|"] {
            reads(line, "quit", Request::Quit(Quit));
        }
        refuses("quit|x", ErrCode::BadRequest);
        refuses("quit||", ErrCode::BadRequest);
        assert!(matches!(check("quit"), Ok(Checked::Quit)));
    }
}
