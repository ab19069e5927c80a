//! Op 5, `send`: stores a message and pushes it to every session of the recipient.

use std::fmt;

use super::{Checked, Op, Request, last};
use crate::{Name, Refusal, Text, split_field};

/// `5|name|text`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send<'a> {
    /// The recipient, as typed.
    pub to: &'a str,
    /// As typed; takes the rest of the line.
    pub text: &'a str,
}

pub(super) const OP: Op = Op {
    number: "5",
    name: "send",
    help: "5|name|text: stores the message and pushes it to every session of the recipient",
    parse: |args| Send::parse(args).map(Request::Send),
};

impl<'a> Send<'a> {
    fn parse(args: &'a str) -> Result<Self, Refusal> {
        split_field(args)
            .and_then(|(to, text)| Some(Self { to, text: last(text)? }))
            .ok_or_else(|| Refusal::bad_request("name or text is missing: 5|name|text"))
    }

    pub(super) fn check(self) -> Result<Checked, Refusal> {
        Ok(Checked::Send { to: Name::fold(self.to)?, text: Text::new(self.text)? })
    }
}

impl fmt::Display for Send<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "5|{}|{}", self.to, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    #[test]
    fn syntax() {
        let send = |to, text| Request::Send(Send { to, text });
        reads("5|Alice|hi", "5|Alice|hi", send("Alice", "hi"));
        reads("Send|alice|a|b|", "5|alice|a|b|", send("alice", "a|b|"));
        reads("5||hi", "5||hi", send("", "hi"));
        reads("5|alice| ", "5|alice| ", send("alice", " "));
        for line in ["5", "5|", "5|alice", "5|alice|", "5||"] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn fields() {
        let Ok(Checked::Send { to, text }) = check("5|ALICE|a|b\tc") else { panic!("the fields are good") };
        assert_eq!((to.as_str(), text.as_str()), ("alice", "a|b\tc"));
        for (line, code) in
            [("5||hi", ErrCode::BadName), ("5|a b|\0", ErrCode::BadName), ("5|alice|\u{1b}[2J", ErrCode::BadText)]
        {
            assert_eq!(check(line).map_err(|refusal| refusal.code).err(), Some(code), "{line}");
        }
    }
}
