//! Puts all mutants of a file into its text, each as a branch at run time.
//!
//! Anchors are looked for in the text as it is, so the order of the list means nothing. Several mutants may replace the
//! same text, or one a part of what another replaces.

use std::ops::Range;

use crate::list::Edit;

/// The marks around what is replaced.
const MARKS: [char; 2] = ['«', '»'];

/// Where a mutant replaces what.
struct Place<'a> {
    range: Range<usize>,
    mutant: &'a str,
    put: &'a str,
}

/// The text with all edits in it, each with its mutant's name; or which does not fit any more.
pub fn insert(file: &str, text: &str, edits: &[(&str, &Edit)]) -> Result<String, String> {
    let mut places =
        edits.iter().map(|(mutant, edit)| place(file, text, mutant, edit)).collect::<Result<Vec<_>, _>>()?;
    // The outermost first; of the same, in the order of the list.
    places.sort_by_key(|place| (place.range.start, std::cmp::Reverse(place.range.end)));
    let switch = if file.starts_with("tests/") { "plainsong" } else { "crate" };
    branches(text, 0..text.len(), &places, switch)
}

fn place<'a>(file: &str, text: &str, mutant: &'a str, edit: &'a Edit) -> Result<Place<'a>, String> {
    let anchor: String = edit.anchor.chars().filter(|c| !MARKS.contains(c)).collect();
    let found = text.matches(&anchor).count();
    if found != 1 {
        return Err(format!("{mutant}: {file} has {found} times, and not once:\n  {anchor}"));
    }
    let at = text.find(&anchor).expect("it was counted");
    let range = match edit.anchor.split_once(MARKS[0]) {
        None => at..at + anchor.len(),
        Some((before, marked)) => {
            let (inside, _) = marked.split_once(MARKS[1]).ok_or_else(|| format!("{mutant}: « without »"))?;
            at + before.len()..at + before.len() + inside.len()
        }
    };
    Ok(Place { range, mutant, put: &edit.put })
}

/// The text of that range, with the places in it replaced.
fn branches(text: &str, range: Range<usize>, places: &[Place], switch: &str) -> Result<String, String> {
    let (mut out, mut at, mut rest) = (String::new(), range.start, places);
    while let Some((first, _)) = rest.split_first() {
        let here = first.range.clone();
        let within = rest.iter().take_while(|place| place.range.start < here.end).count();
        let (group, others) = rest.split_at(within);
        if let Some(over) = group.iter().find(|place| place.range.end > here.end) {
            return Err(format!("{} and {} overlap", first.mutant, over.mutant));
        }
        let same = group.iter().take_while(|place| place.range == here).count();
        let (these, inner) = group.split_at(same);
        let original = branches(text, here.clone(), inner, switch)?;
        let mut branch = String::new();
        for Place { mutant, put, .. } in these {
            branch += &format!("if {switch}::mutant::active(\"{mutant}\") {{ {put} }} else ");
        }
        let is_statement = text[here.clone()].ends_with(';');
        let (open, close) = if is_statement { ("", "") } else { ("(", ")") };
        out += &format!("{}{open}{branch}{{ {original} }}{close}", &text[at..here.start]);
        (at, rest) = (here.end, others);
    }
    Ok(out + &text[at..range.end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(anchor: &str, put: &str) -> Edit {
        Edit { file: "src/a.rs".into(), anchor: anchor.into(), put: put.into() }
    }

    #[test]
    fn mutants_of_the_same_text_and_of_a_part_of_it_stand_side_by_side() {
        let (all, part, same, done) =
            (edit("a || b", "c"), edit("|| «b»", "d"), edit("a || b", "e"), edit("done();", ""));
        let edits = [("part", &part), ("all", &all), ("same", &same), ("done", &done)];
        let text = insert("src/a.rs", "if a || b { done(); }", &edits).expect("they fit");
        let active = |name: &str| format!("if crate::mutant::active(\"{name}\")");
        let b = format!("({} {{ d }} else {{ b }})", active("part"));
        let condition = format!("({} {{ c }} else {} {{ e }} else {{ a || {b} }})", active("all"), active("same"));
        assert_eq!(text, format!("if {condition} {{ {} {{  }} else {{ done(); }} }}", active("done")));
    }

    #[test]
    fn what_is_not_there_exactly_once_is_named() {
        for text in ["", "a a"] {
            let why = insert("src/a.rs", text, &[("some-bug", &edit("a", "b"))]).expect_err("it does not fit");
            assert!(why.contains("some-bug") && why.contains("src/a.rs"), "{why}");
        }
        let overlap = insert("src/a.rs", "a b c", &[("one", &edit("a b", "")), ("two", &edit("b c", ""))]);
        assert_eq!(overlap, Err("one and two overlap".into()));
    }
}
