//! What a message says: at least one byte, no control characters but tab. Anything else may stand in it, `|` included.

use std::fmt;
use std::sync::Arc;

use crate::control::has_control_but_tab;
use crate::{ErrCode, Refusal};

/// The text of a message. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Arc<str>);

/// Why something is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Nothing was said.
    #[error("a text has at least 1 byte")]
    Empty,
    /// It would act on the reader's terminal, or break a line.
    #[error("a text is without control characters other than tab")]
    Control,
}

impl From<BadText> for Refusal {
    fn from(bad: BadText) -> Self {
        Refusal::new(ErrCode::BadText, bad.to_string())
    }
}

impl Text {
    /// Checks what was typed. Its length is bounded by the line it came in.
    pub fn new(typed: &str) -> Result<Self, BadText> {
        if typed.is_empty() {
            return Err(BadText::Empty);
        }
        if has_control_but_tab(typed) {
            return Err(BadText::Control);
        }
        Ok(Self(typed.into()))
    }

    /// A text read back from our own storage, where only checked ones are. Checked in debug builds only.
    pub fn from_stored(stored: &str) -> Self {
        debug_assert!(Self::new(stored).is_ok(), "{stored:?} was stored as a text");
        Self(stored.into())
    }

    /// What was said.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_text() {
        for good in ["x", " ", "\t", "a|b", "hé ☺", "\u{202e}", "\u{2028}"] {
            assert_eq!(Text::new(good).map(|text| text.to_string()), Ok(good.to_owned()));
        }
        assert_eq!(Text::new(""), Err(BadText::Empty));
        for bad in ["a\0", "\u{1b}[2J", "a\rb", "\u{7f}", "é\u{9b}2J"] {
            assert_eq!(Text::new(bad), Err(BadText::Control), "{bad:?}");
        }
    }
}
