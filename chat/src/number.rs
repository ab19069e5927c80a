//! Decimal numbers as the protocol and the log write them: digits, nothing else. `str::parse` would take `+5` too.

/// The number that `digits` writes, if it fits.
pub(crate) fn parse(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn digits_and_nothing_else() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("007"), Some(7));
        assert_eq!(parse("18446744073709551615"), Some(u64::MAX));
        for text in ["", "+5", "-1", " 5", "5 ", "5a", "0x5", "٥", "18446744073709551616"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
