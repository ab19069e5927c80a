//! What happened, as text (for people, and to compare two runs byte by byte) or not at all (for speed).

use std::fmt::Write as _;

use super::world::Time;

/// See the module's header.
#[derive(Default)]
pub struct Trace {
    text: Option<String>,
    prints: bool,
}

impl Trace {
    /// Writes nothing down.
    pub fn off() -> Self {
        Self::default()
    }

    /// Keeps the text.
    pub fn kept() -> Self {
        Self { text: Some(String::new()), prints: false }
    }

    /// Prints each line as it comes, so that a run that dies has told its story.
    pub fn printed() -> Self {
        Self { text: Some(String::new()), prints: true }
    }

    pub fn note(&mut self, now: Time, what: impl FnOnce() -> String) {
        let Some(text) = &mut self.text else { return };
        if self.prints {
            text.clear();
        }
        let (ms, us) = (now / 1_000, now % 1_000);
        writeln!(text, "{ms:>8}.{us:03}  {}", what()).expect("a String takes any text");
        if self.prints {
            print!("{text}");
        }
    }

    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}
