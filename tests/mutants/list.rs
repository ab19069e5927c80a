//! The list of deliberate bugs: `list/*.txt`, and how it is read.
//!
//! ```text
//! name: what it does
//!   by core_sim sim               who may find it, the quickest first: tests that can hunt
//!   lives unit test x holds it    no hunter finds it within its seeds, and why that is borne; rarely
//!   in src/consensus/reads.rs
//!   - if «self.quiet» {           what stands there: exactly once in the file; only what is in «» is replaced, if any
//!   + true                        what the bug makes of it; nothing: it is left out
//! ```
//!
//! A bug may consist of several edits. `\n` is a line break. What stands there and ends with `;` is a statement, all else
//! an expression.

use std::fs;
use std::path::Path;

/// One replacement.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub file: String,
    pub anchor: String,
    pub put: String,
}

/// One deliberate bug.
#[derive(Clone, Debug, Default)]
pub struct Mutant {
    pub name: String,
    pub does: String,
    pub hunters: Vec<String>,
    /// Why no hunter finds it, if none does.
    pub lives: Option<String>,
    pub edits: Vec<Edit>,
}

/// All of them, in the order of the files' names and of their text.
pub fn all(root: &Path) -> Vec<Mutant> {
    let folder = root.join("tests/mutants/list");
    let files = fs::read_dir(folder).expect("the folder of lists").map(|file| file.expect("a file of it").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().flat_map(|file| parse(&fs::read_to_string(file).expect("a list is text"))).collect()
}

/// Reads a list.
pub fn parse(text: &str) -> Vec<Mutant> {
    let mut all: Vec<Mutant> = Vec::new();
    let mut file = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(said) = line.strip_prefix("  ") else {
            let (name, does) = line.split_once(": ").unwrap_or_else(|| panic!("no `name: what it does`: {line}"));
            all.push(Mutant { name: name.to_owned(), does: does.to_owned(), ..Mutant::default() });
            continue;
        };
        let mutant = all.last_mut().expect("a list begins with a name");
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word {
            "by" => mutant.hunters = rest.split(' ').map(str::to_owned).collect(),
            "lives" => mutant.lives = Some(rest.to_owned()),
            "in" => file = rest,
            "-" => {
                let anchor = rest.replace("\\n", "\n");
                mutant.edits.push(Edit { file: file.to_owned(), anchor, put: String::new() });
            }
            "+" => mutant.edits.last_mut().expect("`+` stands below `-`").put = rest.to_owned(),
            _ => panic!("{}: what is `{said}`?", mutant.name),
        }
    }
    all
}
