//! Op 12, `ping`: answers with what it was given.

use std::fmt;

use super::{Checked, Op, Request, last};
use crate::{Refusal, Text};

/// `12` or `12|text`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// As typed; takes the rest of the line.
    pub text: Option<&'a str>,
}

pub(super) const OP: Op = Op {
    number: "12",
    name: "ping",
    help: "12 or 12|text: answers with the text",
    parse: |args| Ok(Request::Ping(Ping { text: last(args) })),
};

impl Ping<'_> {
    pub(super) fn check(self) -> Result<Checked, Refusal> {
        Ok(Checked::Ping { text: self.text.map(Text::new).transpose()? })
    }
}

impl fmt::Display for Ping<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            None => f.write_str("12"),
            Some(text) => write!(f, "12|{text}"),
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
        let ping = |text| Request::Ping(Ping { text });
        reads("12", "12", ping(None));
        reads("12|", "12", ping(None));
        reads("ping|a|b|", "12|a|b|", ping(Some("a|b|")));
    }

    #[test]
    fn fields() {
        assert!(matches!(check("12"), Ok(Checked::Ping { text: None })));
        assert!(matches!(check("12|a\tb"), Ok(Checked::Ping { text: Some(text) }) if text.as_str() == "a\tb"));
        let refusal = check("12|\u{7}").expect_err("a bell");
        assert_eq!(refusal.code, ErrCode::BadText);
    }
}
