//! The texts of the repository, and code without what only looks like code.
//!
//! Comments and the contents of strings are blanked, so that both may name what is forbidden. What stands from a file's
//! first `#[cfg(test)]` on, in a file `…tests.rs` or under a folder `tests`, is test code.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are made, not written.
const MADE: [&str; 5] = ["target", "data", "fuzz/target", "fuzz/artifacts", "fuzz/found"];

/// One file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The text with comments and the contents of strings blanked, for Rust; else empty.
    pub code: String,
    /// How much of the code is not test code.
    production: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blanked(text) } else { String::new() };
        let is_test = path.ends_with("tests.rs") || path.split('/').any(|part| part == "tests");
        let production = if is_test { 0 } else { code.find("#[cfg(test)]").unwrap_or(code.len()) };
        Self { path: path.to_owned(), text: text.to_owned(), code, production }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn production(&self) -> &str {
        &self.code[..self.production]
    }

    /// `path:line` of a position in the text.
    pub fn at(&self, position: usize) -> String {
        format!("{}:{}", self.path, self.text[..position].matches('\n').count() + 1)
    }
}

/// Rust code with comments and the contents of strings and characters as spaces; as long as before, line by line.
pub fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at + 2, b"*/") + 2,
            b'"' => quoted_end(bytes, at, b'"'),
            b'r' if !at.checked_sub(1).is_some_and(|before| is_word(bytes[before]) && bytes[before] != b'b') => {
                raw_string_end(bytes, at).unwrap_or(at)
            }
            b'\'' if is_character(text, at) => quoted_end(bytes, at, b'\''),
            _ => at,
        };
        let end = end.min(bytes.len());
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole characters are blanked, or none of their bytes")
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the needle begins, or the end of the text.
fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.windows(needle.len()).position(|window| window == needle).map_or(bytes.len(), |position| from + position)
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = start + 1 + hashes;
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    (bytes.get(open) == Some(&b'"')).then(|| find(bytes, open + 1, &close) + close.len())
}

/// A quote begins a character, and not a lifetime, if an escape follows, or a quote right after the next character.
fn is_character(text: &str, quote: usize) -> bool {
    let mut after = text[quote + 1..].chars();
    matches!((after.next(), after.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// Positions at which the code has the word, not as the end of a longer one.
pub fn uses<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word)
        .map(|(position, _)| position)
        .filter(|&position| position == 0 || !is_word(code.as_bytes()[position - 1]))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text of the repository that people write: Rust, scripts, documents, configs.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root(), &root(), &mut sources);
    assert!(sources.iter().any(|source| source.path == "tests/tidy/main.rs"), "the walk has lost its way");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder of the repository can be read")
        .map(|entry| entry.expect("so can its entries").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        if path.is_dir() {
            // Hidden folders are the tools'.
            if relative == ".ci" || !(name.starts_with('.') || MADE.contains(&relative.as_str())) {
                collect(root, &path, sources);
            }
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("rs" | "sh" | "md" | "yaml" | "toml"))
            || relative == ".ci/run"
        {
            let text = fs::read_to_string(&path).expect("our texts are UTF-8");
            sources.push(Source::new(&relative, &text));
        }
    }
}
