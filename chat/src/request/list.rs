//! Op 0, `list`: accounts by name.
//!
//! A regex that begins with `>` has to be written `[>]`: the field after `0|` is then a name to go on after. No name
//! holds a `>`, so nothing is lost.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::{Checked, Op, Request, last};
use crate::control::Quoted;
use crate::limits::{REGEX_COMPILED_BYTES_MAX, REGEX_NEST_LEVELS_MAX};
use crate::{ErrCode, Name, Refusal};

/// `0|[>after|]regex`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a> {
    /// The name to go on after, as typed.
    pub after: Option<&'a str>,
    /// The regex, as typed; none matches every name.
    pub regex: Option<&'a str>,
}

pub(super) const OP: Op = Op {
    number: "0",
    name: "list",
    help: "0|regex or 0|>after|regex: the accounts whose name the regex finds, in order (empty: all)",
    parse: |args| Ok(Request::List(List::parse(args))),
};

impl<'a> List<'a> {
    fn parse(args: &'a str) -> Self {
        match args.strip_prefix('>') {
            Some(paged) => {
                let (after, regex) = paged.split_once('|').unwrap_or((paged, ""));
                Self { after: Some(after), regex: last(regex) }
            }
            None => Self { after: None, regex: last(args) },
        }
    }

    pub(super) fn check(self) -> Result<Checked, Refusal> {
        let after = self.after.map(Name::fold).transpose()?;
        let regex = self.regex.map(compile).transpose()?;
        Ok(Checked::List { regex, after })
    }
}

/// Compiles within limits: a pattern of a few bytes can ask for gigabytes.
pub(super) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
        .nest_limit(REGEX_NEST_LEVELS_MAX)
        .build()
        .map_err(|error| Refusal::new(ErrCode::BadRegex, explain(pattern, &error)))
}

/// The parser draws the pattern with a caret over several lines; the last of them says what is wrong.
fn explain(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!("the regex {} is too big", Quoted(pattern)),
        other => {
            let drawn = other.to_string();
            let reason = drawn.lines().last().unwrap_or_default();
            format!("in the regex {}: {}", Quoted(pattern), reason.strip_prefix("error: ").unwrap_or(reason))
        }
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.after, self.regex) {
            (None, None) => f.write_str("0"),
            (None, Some(regex)) => write!(f, "0|{regex}"),
            (Some(after), None) => write!(f, "0|>{after}"),
            (Some(after), Some(regex)) => write!(f, "0|>{after}|{regex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads};

    #[test]
    fn syntax() {
        let list = |after, regex| Request::List(List { after, regex });
        reads("0", "0", list(None, None));
        reads("0|", "0", list(None, None));
        reads("LIST|^a|b$", "0|^a|b$", list(None, Some("^a|b$")));
        reads("0|>bob", "0|>bob", list(Some("bob"), None));
        reads("0|>bob|", "0|>bob", list(Some("bob"), None));
        reads("0|>bob|x|y", "0|>bob|x|y", list(Some("bob"), Some("x|y")));
        reads("0|[>]", "0|[>]", list(None, Some("[>]")));
    }

    #[test]
    fn fields() {
        let Ok(Checked::List { regex: Some(regex), after: Some(after) }) = check("0|>Bob|^a|b$") else {
            panic!("the fields are good")
        };
        assert_eq!((regex.as_str(), after.as_str()), ("^a|b$", "bob"));
        for (line, code) in [
            ("0|>", ErrCode::BadName),
            ("0|>#x|a", ErrCode::BadName),
            ("0|(", ErrCode::BadRegex),
            ("0|>bob|a**{", ErrCode::BadRegex),
            (r"0|\w{1000}", ErrCode::BadRegex),
            (r"0|((a{100}){100}){100}", ErrCode::BadRegex),
        ] {
            assert_eq!(check(line).map_err(|refusal| refusal.code).err(), Some(code), "{line}");
        }
        let nested = format!("0|{}a{}", "(".repeat(200), ")".repeat(200));
        assert_eq!(check(&nested).map_err(|refusal| refusal.code).err(), Some(ErrCode::BadRegex));
    }

    #[test]
    fn a_bad_regex_is_explained_in_one_line() {
        let refusal = check("0|a(b").expect_err("unclosed");
        assert_eq!(refusal.text, "in the regex 'a(b': unclosed group");
        assert_eq!(check(r"0|\w{999}").expect_err("too big").text, r"the regex '\w{999}' is too big");
    }
}
