//! What is wrong with a config file, told so that it can be put right: file, line, column, what, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::check::Violation;
use super::locate::{Place, locate, locate_repeated_key};

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: no such file: name one with --config FILE, or start in the folder of config.yaml", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is one, and it cannot be read.
    #[error("{}: cannot be read ({said}): check that it is a file and that you may read it", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said. Not the `source` of this error: it would be told twice.
        said: io::Error,
    },
    /// It was read and is refused.
    #[error("{}", lines(path, problems))]
    Bad {
        /// Which file.
        path: PathBuf,
        /// All that was found, by line. Never empty.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    pub(super) fn bad(path: &Path, problems: Vec<Problem>) -> Self {
        Self::Bad { path: path.to_owned(), problems }
    }
}

/// One thing wrong with the text of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.line, self.column, self.what, self.advice)
    }
}

/// One problem a line, each with the file before it, as compilers do and editors understand.
fn lines(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
    lines.join("\n")
}

/// Gives each violation its place in the text.
pub(super) fn located(text: &str, violations: Vec<Violation>) -> Vec<Problem> {
    let mut problems: Vec<_> = violations
        .into_iter()
        .map(|Violation { paths, what, advice }| problem(locate(text, &paths), what, &advice))
        .collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

/// What the YAML parser or serde refused. Both give only words, so the advice is chosen by them.
pub(super) fn from_yaml(text: &str, error: &serde_yaml::Error) -> Problem {
    let location = error.location();
    let mut place = location.map_or(Place::TOP, |location| Place { line: location.line(), column: location.column() });
    // The words repeat the position; ours stands in front, where editors look for it.
    let said = error.to_string();
    let suffix = format!(" at line {} column {}", place.line, place.column);
    let what = said.strip_suffix(&suffix).unwrap_or(&said).to_owned();
    if what.contains("duplicate field") {
        // Serde has found the second one, and names the start of the mapping around it.
        place = locate_repeated_key(text).unwrap_or(place);
    }
    let advice = match () {
        () if what.contains("unknown field") => "correct its name, or remove it",
        () if what.contains("missing field") => "a replica needs id, host, port and internal_port: add it",
        () if what.contains("duplicate field") => "keep one of them",
        () if what.contains("unknown variant") => "write one of those words",
        () if what.contains("expected u16") => "write a whole number from 0 to 65535",
        () if what.contains("invalid value") && what.contains("expected u") => "write a whole number, 0 or greater",
        () if what.contains("invalid type") || what.contains("invalid value") => "write a value of that kind",
        () if what.contains("invalid IP address") => "write an address such as 0.0.0.0, or leave `bind` out",
        () => "this is not YAML: look for a missing space after a colon, a bracket, a quote or a tab just before here",
    };
    problem(place, what, advice)
}

/// The text of a file, unless it is none: bytes that are not UTF-8, or control characters, which YAML forbids too but
/// tells without a line.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        problem(Place::after(&before), "not UTF-8".to_owned(), "save the file as UTF-8")
    })?;
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.char_indices().find(|&(_, c)| !is_allowed(c)) {
        None => Ok(text),
        Some((position, c)) => Err(problem(
            Place::after(&text[..position]),
            format!("control character U+{:04X}", u32::from(c)),
            "remove it, or write it as an escape in double quotes",
        )),
    }
}

fn problem(Place { line, column }: Place, what: String, advice: &str) -> Problem {
    // It may quote a key that holds line feeds, or worse for a terminal.
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let (what, advice) = (what.chars().map(escaped).collect(), advice.to_owned());
    Problem { line, column, what, advice }
}
