//! Op 13, `passwd`: a new password for the account that the connection speaks for.

use std::fmt;

use super::{Checked, Op, Request, Typed};
use crate::{Password, Refusal};

/// `13|new`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passwd<'a> {
    /// As typed; takes the rest of the line.
    pub new: Typed<'a>,
}

pub(super) const OP: Op = Op {
    number: "13",
    name: "passwd",
    help: "13|new: sets a new password for the account; every login from then on needs it",
    parse: |args| Passwd::parse(args).map(Request::Passwd),
};

impl<'a> Passwd<'a> {
    fn parse(args: &'a str) -> Result<Self, Refusal> {
        if args.is_empty() {
            return Err(Refusal::bad_request("the new password is missing: 13|new"));
        }
        Ok(Self { new: Typed(args) })
    }

    pub(super) fn check(self) -> Checked {
        Checked::Passwd { new: Password::new(self.new.0).expect("the syntax asks for a byte at least") }
    }
}

impl fmt::Display for Passwd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "13|{}", self.new.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    #[test]
    fn syntax() {
        let passwd = |new: &'static str| Request::Passwd(Passwd { new: Typed(new) });
        reads("13|pass word", "13|pass word", passwd("pass word"));
        reads("Passwd|a|b|", "13|a|b|", passwd("a|b|"));
        reads("13||", "13||", passwd("|"));
        for line in ["13", "13|", "passwd"] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn fields() {
        assert!(matches!(check("13|a|b"), Ok(Checked::Passwd { new }) if new.as_bytes() == b"a|b"));
        assert!(!format!("{:?}", crate::request::parse("13|hunter2")).contains("hunter2"));
    }
}
