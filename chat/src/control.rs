//! Control characters (Unicode Cc): what no text, name or key may hold, and what no reply may print.

use std::fmt::{self, Write};

use crate::limits::QUOTE_BYTES_MAX;

/// Whether `text` holds a control character other than tab.
pub(crate) fn has_control_but_tab(text: &str) -> bool {
    may_hold_control(text, |byte| byte == b'\t') && text.chars().any(|char| char != '\t' && char.is_control())
}

/// Whether `text` holds any control character.
pub(crate) fn has_control(text: &str) -> bool {
    may_hold_control(text, |_| false) && text.contains(char::is_control)
}

/// `false`: it holds none. Every byte is looked at, without a way out between: that is compiled to a few instructions for
/// sixteen of them, and this is most of what it costs to read a message.
fn may_hold_control(text: &str, but: impl Fn(u8) -> bool) -> bool {
    /// The first byte of U+0080 to U+00BF, the first half of which are control characters.
    const BEFORE_C1: u8 = 0xc2;
    let suspicious = |byte: u8| (byte.is_ascii_control() && !but(byte)) | (byte == BEFORE_C1);
    text.bytes().fold(false, |found, byte| found | suspicious(byte))
}

/// Prints `text` with every control character written as `\u{…}`, cut with `…` before it exceeds `bytes_max`.
pub(crate) fn write_escaped(out: &mut impl Write, text: &str, bytes_max: usize) -> fmt::Result {
    const ELLIPSIS: char = '…';
    if text.len() <= bytes_max && !has_control(text) {
        return out.write_str(text);
    }
    let mut room = bytes_max.saturating_sub(ELLIPSIS.len_utf8());
    for char in text.chars() {
        // Each of these is at most 10 bytes: `\u{10ffff}`.
        let needs = if char.is_control() { char.escape_unicode().len() } else { char.len_utf8() };
        if needs > room {
            return out.write_char(ELLIPSIS);
        }
        room -= needs;
        if char.is_control() { write!(out, "{}", char.escape_unicode())? } else { out.write_char(char)? }
    }
    Ok(())
}

/// A client's own words inside a sentence: in quotes, escaped and cut, so that no refusal can be used to print
/// control characters on a terminal.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        write_escaped(f, self.0, QUOTE_BYTES_MAX)?;
        f.write_char('\'')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str, bytes_max: usize) -> String {
        let mut out = String::new();
        write_escaped(&mut out, text, bytes_max).expect("a String takes everything");
        out
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(escaped("plain ü", 100), "plain ü");
        assert_eq!(escaped("a\nb\u{1b}[2J\u{85}", 100), "a\\u{a}b\\u{1b}[2J\\u{85}");
        assert_eq!(Quoted("x\ty").to_string(), "'x\\u{9}y'");
    }

    #[test]
    fn only_tab_is_allowed_in_a_text() {
        assert!(!has_control_but_tab("a\tb"));
        for bad in ["\0", "a\r", "\u{7f}", "é\u{85}", "\u{9f}ü", "a\nb"] {
            assert!(has_control_but_tab(bad), "{bad:?}");
        }
        assert!(!has_control_but_tab("\u{a0}\u{2028}\u{202e}"), "separators and format characters are not Cc");
    }

    #[test]
    fn every_character_is_told_from_a_control() {
        for char in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = format!("é{char}☺");
            assert_eq!(has_control(&text), char.is_control(), "{char:?}");
            assert_eq!(has_control_but_tab(&text), char != '\t' && char.is_control(), "{char:?}");
        }
    }

    proptest! {
        #[test]
        fn never_over_the_limit_and_never_a_control(text in any::<String>(), bytes_max in 8usize..64) {
            let out = escaped(&text, bytes_max);
            prop_assert!(out.len() <= bytes_max);
            prop_assert!(!has_control(&out));
        }
    }
}
