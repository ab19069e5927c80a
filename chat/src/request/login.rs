//! Op 2, `login`: the connection speaks for an account.

use std::fmt;

use super::{Checked, Op, Request, Typed, name_and_password};
use crate::{Name, Password, Refusal};

/// `2|name[|password]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// As typed.
    pub name: &'a str,
    /// As typed; takes the rest of the line.
    pub password: Option<Typed<'a>>,
}

pub(super) const OP: Op = Op {
    number: "2",
    name: "login",
    help: "2|name or 2|name|password: this connection speaks for the account",
    parse: |args| Login::parse(args).map(Request::Login),
};

impl<'a> Login<'a> {
    fn parse(args: &'a str) -> Result<Self, Refusal> {
        let (name, password) = name_and_password(&OP, args)?;
        Ok(Self { name, password })
    }

    pub(super) fn check(self) -> Result<Checked, Refusal> {
        let name = Name::fold(self.name)?;
        Ok(Checked::Login { name, password: self.password.and_then(|typed| Password::new(typed.0)) })
    }
}

impl fmt::Display for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.password {
            None => write!(f, "2|{}", self.name),
            Some(Typed(password)) => write!(f, "2|{}|{password}", self.name),
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
        let login =
            |name, password: Option<&'static str>| Request::Login(Login { name, password: password.map(Typed) });
        reads("2|Bob", "2|Bob", login("Bob", None));
        reads("2|bob|", "2|bob", login("bob", None));
        reads("Login|bob|a|b", "2|bob|a|b", login("bob", Some("a|b")));
        reads("2|bob||", "2|bob||", login("bob", Some("|")));
        reads("2||pw", "2||pw", login("", Some("pw")));
        for line in ["2", "2|", "2||"] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn fields() {
        let Ok(Checked::Login { name, password: Some(password) }) = check("2|Bob|Pass Word") else {
            panic!("the fields are good")
        };
        assert_eq!((name.as_str(), password.as_bytes()), ("bob", &b"Pass Word"[..]));
        assert!(matches!(check("2|bob"), Ok(Checked::Login { password: None, .. })));
        for line in ["2||pw", "2|a b", "2|#a", "2|a>b"] {
            assert_eq!(check(line).map_err(|refusal| refusal.code).err(), Some(ErrCode::BadName), "{line}");
        }
    }
}
