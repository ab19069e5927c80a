//! Op 10, `who`: accounts with a live session, as far as this replica knows.

use std::fmt;

use super::list::compile;
use super::{Checked, Op, Request, last};
use crate::Refusal;

/// `10` or `10|regex`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The regex, as typed; takes the rest of the line. None matches every name.
    pub regex: Option<&'a str>,
}

pub(super) const OP: Op = Op {
    number: "10",
    name: "who",
    help: "10 or 10|regex: the accounts with a live session, as far as this replica knows (empty: all)",
    parse: |args| Ok(Request::Who(Who { regex: last(args) })),
};

impl Who<'_> {
    pub(super) fn check(self) -> Result<Checked, Refusal> {
        Ok(Checked::Who { regex: self.regex.map(compile).transpose()? })
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.regex {
            None => f.write_str("10"),
            Some(regex) => write!(f, "10|{regex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads};

    #[test]
    fn syntax() {
        let who = |regex| Request::Who(Who { regex });
        reads("10", "10", who(None));
        reads("10|", "10", who(None));
        reads("WHO|^a|b$", "10|^a|b$", who(Some("^a|b$")));
        reads("10|>bob", "10|>bob", who(Some(">bob")));
    }

    #[test]
    fn fields() {
        assert!(matches!(check("10"), Ok(Checked::Who { regex: None })));
        assert!(matches!(check("10|^a|b$"), Ok(Checked::Who { regex: Some(regex) }) if regex.as_str() == "^a|b$"));
        assert_eq!(check("10|(").map_err(|refusal| refusal.code).err(), Some(ErrCode::BadRegex));
    }
}
