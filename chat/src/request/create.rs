//! Op 1, `create`: a new account, for which the connection then speaks.

use std::fmt;

use super::{Checked, Op, Request, Typed, name_and_password};
use crate::{Name, Password, Refusal};

/// `1|name[|password]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create<'a> {
    /// As typed.
    pub name: &'a str,
    /// As typed; takes the rest of the line.
    pub password: Option<Typed<'a>>,
}

pub(super) const OP: Op = Op {
    number: "1",
    name: "create",
    help: "1|name or 1|name|password: a new account; this connection speaks for it",
    parse: |args| Create::parse(args).map(Request::Create),
};

impl<'a> Create<'a> {
    fn parse(args: &'a str) -> Result<Self, Refusal> {
        let (name, password) = name_and_password(&OP, args)?;
        Ok(Self { name, password })
    }

    pub(super) fn check(self) -> Result<Checked, Refusal> {
        let name = Name::fold(self.name)?;
        Ok(Checked::Create { name, password: self.password.and_then(|typed| Password::new(typed.0)) })
    }
}

impl fmt::Display for Create<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.password {
            None => write!(f, "1|{}", self.name),
            Some(Typed(password)) => write!(f, "1|{}|{password}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    #[test]
    fn syntax() {
        let create =
            |name, password: Option<&'static str>| Request::Create(Create { name, password: password.map(Typed) });
        reads("1|Bob", "1|Bob", create("Bob", None));
        reads("1|bob|", "1|bob", create("bob", None));
        reads("Create|bob|a|b", "1|bob|a|b", create("bob", Some("a|b")));
        reads("1|bob||", "1|bob||", create("bob", Some("|")));
        reads("1||pw", "1||pw", create("", Some("pw")));
        for line in ["1", "1|", "1||"] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn fields() {
        let Ok(Checked::Create { name, password: Some(password) }) = check("1|Bob|Pass Word") else {
            panic!("the fields are good")
        };
        assert_eq!((name.as_str(), password.as_bytes()), ("bob", &b"Pass Word"[..]));
        assert!(matches!(check("1|bob"), Ok(Checked::Create { password: None, .. })));
        for line in ["1||pw", "1|a b", "1|#a", "1|a>b"] {
            assert_eq!(check(line).map_err(|refusal| refusal.code).err(), Some(ErrCode::BadName), "{line}");
        }
    }
}
