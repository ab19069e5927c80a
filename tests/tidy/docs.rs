//! What the documents name must be there: a test that was renamed holds nothing any more.

use std::collections::BTreeSet;

/// The names in code spans of a document that look like a test's, a script's or a file's: words joined by underscores.
pub fn names(document: &str) -> BTreeSet<&str> {
    let spans = document.split('`').skip(1).step_by(2);
    let is_name = |span: &&str| {
        span.contains('_') && span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    spans.filter(is_name).collect()
}

/// Those that no source defines or uses, and no file is called.
pub fn unknown<'a>(names: &BTreeSet<&'a str>, sources: &[String], stems: &BTreeSet<String>) -> Vec<&'a str> {
    let known = |name: &str| stems.contains(name) || sources.iter().any(|text| holds_word(text, name));
    names.iter().copied().filter(|name| !known(name)).collect()
}

fn holds_word(text: &str, word: &str) -> bool {
    let inside = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.match_indices(word).any(|(at, _)| {
        let bytes = text.as_bytes();
        !inside(at.checked_sub(1).and_then(|before| bytes.get(before))) && !inside(bytes.get(at + word.len()))
    })
}
