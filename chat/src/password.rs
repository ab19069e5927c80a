//! Passwords: as typed, on their way to being hashed, and as hashes, the only form that is stored or replicated.
//!
//! Neither form is ever printed by `Debug`, so that no log line can leak one.

use std::fmt;
use std::sync::Arc;

use crate::control::has_control;
use crate::limits::PASSWORD_HASH_BYTES_MAX;

/// A password as typed: one byte or more, up to the end of the line, `|` included.
///
/// Nothing is folded, trimmed or refused: what counts is that the same bytes come again. Hash it and let it go.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl Password {
    /// The password in `typed`; `None` where nothing was typed, which is no password.
    pub fn new(typed: &str) -> Option<Self> {
        if typed.is_empty() { None } else { Some(Self(typed.into())) }
    }

    /// The bytes to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A password as it stands in a request that is still a borrowed line. `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Typed<'a>(pub &'a str);

impl fmt::Debug for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(…)")
    }
}

/// An Argon2id hash in PHC form (`$argon2id$v=19$…`), with all that checking a password against it needs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(Arc<str>);

/// Why something cannot be stored as a password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password hash is a PHC string: '$', 1 to {PASSWORD_HASH_BYTES_MAX} bytes, no '|' and no control characters")]
pub struct BadPasswordHash;

impl PasswordHash {
    /// Checks that the hash fits a line of the log. Whether it is a sound Argon2id hash is for the hasher to know.
    pub fn new(phc: &str) -> Result<Self, BadPasswordHash> {
        let fits = phc.starts_with('$') && phc.len() <= PASSWORD_HASH_BYTES_MAX;
        if fits && !phc.contains('|') && !has_control(phc) { Ok(Self(phc.into())) } else { Err(BadPasswordHash) }
    }

    /// A hash read back from our own storage, where only checked ones are. Checked in debug builds only.
    pub fn from_stored(stored: &str) -> Self {
        debug_assert!(Self::new(stored).is_ok(), "what was stored is no password hash");
        Self(stored.into())
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_prints_one() {
        let password = Password::new("hunter2").expect("not empty");
        let hash = PasswordHash::new("$argon2id$hunter2").expect("a PHC string");
        let printed = format!("{password:?} {:?} {hash:?}", Typed("hunter2"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn a_password_is_taken_as_typed() {
        assert!(Password::new("").is_none());
        for typed in [" ", "a|b", "Ä", "e\u{301}", "\u{1b}"] {
            assert_eq!(Password::new(typed).expect("not empty").as_bytes(), typed.as_bytes());
        }
    }

    #[test]
    fn a_hash_fits_a_line() {
        assert!(PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA").is_ok());
        for bad in ["", "plain", "$a|b", "$a\n", &format!("${}", "x".repeat(PASSWORD_HASH_BYTES_MAX))] {
            assert!(PasswordHash::new(bad).is_err(), "{bad}");
        }
    }
}
