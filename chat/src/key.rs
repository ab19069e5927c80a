//! Idempotency keys: the client's own name for one request.

use std::fmt;
use std::sync::Arc;

use crate::Refusal;
use crate::control::has_control;
use crate::limits::KEY_BYTES_MAX;

/// An idempotency key, without its `@`. Taken as it is: neither folded nor trimmed. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {KEY_BYTES_MAX} bytes, without '|', space and control characters")]
pub struct BadKey;

impl From<BadKey> for Refusal {
    fn from(bad: BadKey) -> Self {
        Refusal::bad_request(bad.to_string())
    }
}

impl Key {
    /// Checks the word after the `@`. Control characters are refused because the final line carries the key back.
    pub fn new(word: &str) -> Result<Self, BadKey> {
        let fits = (1..=KEY_BYTES_MAX).contains(&word.len());
        if fits && !word.contains(['|', ' ']) && !has_control(word) { Ok(Self(word.into())) } else { Err(BadKey) }
    }

    /// A key read back from our own storage, where only checked ones are. Checked in debug builds only.
    pub fn from_stored(stored: &str) -> Self {
        debug_assert!(Self::new(stored).is_ok(), "{stored:?} was stored as a key");
        Self(stored.into())
    }

    /// The key without its `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_key() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        for good in ["1", "@", "a>b#c", "ключ", &longest] {
            assert_eq!(Key::new(good).map(|key| key.to_string()), Ok(good.to_owned()));
        }
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for bad in ["", "a b", "a|b", "a\tb", "a\0", "\u{85}", &long] {
            assert_eq!(Key::new(bad), Err(BadKey), "{bad:?}");
        }
    }
}
