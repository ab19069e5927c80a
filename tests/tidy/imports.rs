//! What a text imports of ours.

use crate::source::{is_word, uses};

/// The module of ours that a file belongs to: `src/storage/log/mod.rs` to `storage`.
pub fn module(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// What a text imports of ours, with positions: the name after `crate::`, each name of `crate::{…}`, and `chat`.
pub fn imports(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for start in uses(code, "crate::") {
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (start, name))),
            None => found.push((start, word(rest))),
        }
    }
    found.extend(uses(code, "chat::").filter(|&at| !code[..at].ends_with(':')).map(|at| (at, "chat")));
    // A name in capitals is an item of the root, which belongs to nobody.
    found.retain(|(_, name)| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn word(text: &str) -> &str {
    &text[..text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len())]
}

/// The first names of the members of a group `{a::…, b::{…}, c}`, from after its brace.
fn group_heads(group: &str) -> Vec<&str> {
    let (mut depth, mut heads, mut expected) = (0, Vec::new(), true);
    for (position, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if depth == 0 && expected && !c.is_whitespace() => {
                heads.push(word(&group[position..]));
                expected = false;
            }
            _ => {}
        }
    }
    heads
}
