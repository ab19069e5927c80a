//! Fields of a line, `|` between them.

/// What is before the first `|`, and what is behind it.
///
/// As `split_once` says it; but fields are short, and a plain loop has found the `|` before that one has set its search up.
/// A message is taken apart eight times on each replica.
pub fn split_field(line: &str) -> Option<(&str, &str)> {
    let at = line.bytes().position(|byte| byte == b'|')?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split_field;

    proptest! {
        #[test]
        fn it_says_what_split_once_says(line in "[a|é☺]{0,9}") {
            prop_assert_eq!(split_field(&line), line.split_once('|'));
        }
    }
}
