//! Names of accounts: folded, so that `Alice` and `alice` are one, and shaped, so that no name breaks a line.
//!
//! A [`Name`] is made by [`Name::fold`] from what a person typed. Folding is PRECIS `UsernameCaseMapped` (RFC 8265,
//! section 3.3), whose tables follow the Unicode version of the build. Therefore folding happens once, before a name
//! enters the log; whoever reads a name back checks its shape only, and all replicas read the same.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation;

use crate::control::has_control;
use crate::limits::NAME_BYTES_MAX;
use crate::{ErrCode, Refusal};

/// The folded name of an account. Cheap to clone; ordered by bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why no account can have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing is left of it.
    #[error("a name has at least 1 byte")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`] once folded.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It would read as something else in a line.
    #[error("a name does not begin with '#' or '@'")]
    Leading,
    /// It would break a line.
    #[error("a name is without '|', '>', space and control characters")]
    Forbidden,
    /// PRECIS refuses it.
    #[error("a name is made of letters, digits and ASCII signs (PRECIS UsernameCaseMapped, RFC 8265)")]
    Precis,
}

impl From<BadName> for Refusal {
    fn from(bad: BadName) -> Self {
        Refusal::new(ErrCode::BadName, bad.to_string())
    }
}

/// How often a folded name is folded again before it counts as unstable (RFC 8264, section 7).
const FOLDS_MAX: usize = 4;

impl Name {
    /// Folds what a person typed.
    pub fn fold(typed: &str) -> Result<Self, BadName> {
        if typed.is_ascii() { Self::fold_ascii(typed) } else { Self::fold_any(typed) }
    }

    /// What [`Name::fold_any`] does to ASCII, without its tables: PRECIS allows `!` to `~` and lowers the case.
    fn fold_ascii(typed: &str) -> Result<Self, BadName> {
        check_shape(typed)?;
        let name: Arc<str> = if typed.bytes().any(|byte| byte.is_ascii_uppercase()) {
            typed.to_ascii_lowercase().into()
        } else {
            typed.into()
        };
        Ok(Self(name))
    }

    fn fold_any(typed: &str) -> Result<Self, BadName> {
        if typed.is_empty() {
            return Err(BadName::Empty);
        }
        let mut folded = Cow::Borrowed(typed);
        for _ in 0..FOLDS_MAX {
            // Owned, because PRECIS may hand back a borrow of its argument.
            let again = UsernameCaseMapped::enforce(folded.as_ref()).map_err(|_| BadName::Precis)?.into_owned();
            if again == folded {
                // Only now: folding makes a plain `|`, `>`, `#` or `@` of their full-width forms.
                check_shape(&folded)?;
                return Ok(Self(folded.into()));
            }
            folded = Cow::Owned(again);
        }
        Err(BadName::Precis)
    }

    /// A name read back from our own storage or log, where only folded ones are. Checked in debug builds only.
    pub fn from_stored(stored: &str) -> Self {
        debug_assert_eq!(check_shape(stored), Ok(()), "{stored:?} was stored as a name");
        Self(stored.into())
    }

    /// A name from a line of the log: shape only, see the header.
    pub(crate) fn from_log(word: &str) -> Result<Self, BadName> {
        check_shape(word)?;
        Ok(Self(word.into()))
    }

    /// The folded name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What keeps lines readable, whatever PRECIS allows.
fn check_shape(name: &str) -> Result<(), BadName> {
    match name.as_bytes() {
        [] => Err(BadName::Empty),
        [b'#' | b'@', ..] => Err(BadName::Leading),
        bytes if bytes.len() > NAME_BYTES_MAX => Err(BadName::TooLong),
        bytes if bytes.iter().any(|byte| b"|> ".contains(byte)) || has_control(name) => Err(BadName::Forbidden),
        _ => Ok(()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folding() {
        for (typed, folded) in [
            ("bob", "bob"),
            ("Alice", "alice"),
            ("A-1_x.y!~", "a-1_x.y!~"),
            ("bob#1", "bob#1"),
            ("bob@home", "bob@home"),
            ("ÄRGER", "ärger"),
            ("e\u{301}", "é"),
            ("ＡＢＣ", "abc"),
            ("ΑΣ", "ασ"),
            ("Straße", "straße"),
        ] {
            let name = Name::fold(typed).unwrap_or_else(|bad| panic!("{typed}: {bad}"));
            assert_eq!(name.as_str(), folded, "{typed}");
        }
    }

    #[test]
    fn refusals() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (typed, bad) in [
            ("", BadName::Empty),
            ("#a", BadName::Leading),
            ("@a", BadName::Leading),
            ("＃a", BadName::Leading),
            ("＠a", BadName::Leading),
            (&long, BadName::TooLong),
            ("a|b", BadName::Forbidden),
            ("a｜b", BadName::Forbidden),
            ("a>b", BadName::Forbidden),
            ("＞b", BadName::Forbidden),
            ("a b", BadName::Forbidden),
            ("a\tb", BadName::Forbidden),
            ("a\u{7f}", BadName::Forbidden),
            ("é b", BadName::Precis),
            ("a\u{a0}b", BadName::Precis),
            ("a\u{200b}b", BadName::Precis),
            ("☺", BadName::Precis),
            ("a\u{85}", BadName::Precis),
        ] {
            assert_eq!(Name::fold(typed), Err(bad), "{typed:?}");
        }
        assert!(Name::fold(&"x".repeat(NAME_BYTES_MAX)).is_ok());
    }

    #[test]
    fn the_limit_counts_folded_bytes() {
        let wide = "Ａ".repeat(NAME_BYTES_MAX);
        assert_eq!(Name::fold(&wide).map(|name| name.as_str().len()), Ok(NAME_BYTES_MAX));
        assert_eq!(Name::fold(&"é".repeat(NAME_BYTES_MAX / 2 + 1)), Err(BadName::TooLong));
    }

    /// Every character there is, alone and beside a letter of either direction: no panic in PRECIS, and what it folds
    /// to folds to itself.
    #[test]
    fn every_character_folds_to_itself_or_not_at_all() {
        for char in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            for typed in [format!("{char}"), format!("a{char}"), format!("א{char}")] {
                if let Ok(name) = Name::fold(&typed) {
                    assert_eq!(Name::fold(name.as_str()).as_ref(), Ok(&name), "{typed:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn both_paths_agree_on_ascii(typed in "[ -~]{0,70}") {
            prop_assert_eq!(Name::fold_ascii(&typed).ok(), Name::fold_any(&typed).ok());
        }

        #[test]
        fn both_paths_agree_on_ascii_with_controls(typed in "[\\x00-\\x7f]{0,6}") {
            prop_assert_eq!(Name::fold_ascii(&typed).ok(), Name::fold_any(&typed).ok());
        }

        #[test]
        fn folding_is_stable_and_shaped(typed in "\\PC{0,12}") {
            if let Ok(name) = Name::fold(&typed) {
                prop_assert_eq!(Name::fold(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::from_log(name.as_str()), Ok(name));
            }
        }
    }
}
