//! The instrumented copy of the package, below the target directory, and its build.
//!
//! It shares the target directory, and with it all that is built of others' packages: those differ in nothing. Ours get
//! another version number, or cargo would take the copy's library for the original's, and overwrite it. Left out are the
//! program, what only the program needs, and what counts its instructions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::insert::insert;
use crate::list::Mutant;

/// What a copy consists of.
const FOLDERS: [&str; 6] = ["src", "chat/src", "tests/core_sim", "tests/sim", "tests/views", "tests/golden"];
/// Parts of the library that no simulation runs.
const LEFT_OUT: [&str; 6] = ["cli", "client", "drill", "logging", "panics", "server"];
const MAIN: &str = "src/main.rs";
const VERSION: (&str, &str) = ("\nversion = \"0.1.0\"", "\nversion = \"0.1.0-mutants\"");
const PROGRAM: [&str; 3] = [
    "default-run = \"plainsong\"\n",
    "[[bin]]\nname = \"plainsong\"\npath = \"src/main.rs\"\n",
    "[[bench]]\nname = \"instructions\"\npath = \"benches/instructions/main.rs\"\nharness = false\ntest = true\n",
];
/// The tests that look for bugs: four test programs, and the library's own tests. Those are built for a full run alone:
/// they find what is pure logic, and nothing of the quick ones is.
pub const HUNTERS: [&str; 5] = ["core_sim", "sim", "views", "golden", UNIT];
/// The library's own tests.
pub const UNIT: &str = "unit";
/// What cargo calls them.
const LIBRARY: &str = "plainsong";

/// The copy.
pub struct Copy {
    pub root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Writes the copy with all mutants in it; a file that is as it was keeps its age, so that little is built again.
    pub fn make(package: &Path, mutants: &[Mutant]) -> Result<Self, String> {
        let program = std::env::current_exe().expect("a test knows its own path");
        let target = program.ancestors().nth(3).expect("target/profile/deps/test").to_owned();
        let copy = Self { root: target.join("mutants"), target };
        let mut written = BTreeSet::new();
        for folder in FOLDERS {
            for path in files(&package.join(folder)).into_iter().filter(|path| !path.ends_with(MAIN)) {
                let name = path.strip_prefix(package).expect("below the package").to_string_lossy().replace('\\', "/");
                let text = fs::read_to_string(&path).map_err(|why| format!("{name}: {why}"))?;
                copy.write(&mut written, &name, &mutated(&name, &text, mutants)?);
            }
        }
        if let Some(edit) = mutants.iter().flat_map(|m| &m.edits).find(|e| !written.contains(&e.file)) {
            return Err(format!("there is no {}, in which {:?} should stand", edit.file, edit.anchor));
        }
        copy.write(&mut written, "src/mutant.rs", include_str!("switch.rs"));
        for name in ["Cargo.toml", "Cargo.lock", "chat/Cargo.toml", "config.yaml"] {
            let text = fs::read_to_string(package.join(name)).map_err(|why| format!("{name}: {why}"))?;
            copy.write(&mut written, name, &manifest(name, &text)?);
        }
        for stale in files(&copy.root).iter().filter(|p| !written.contains(&copy.name(p))) {
            fs::remove_file(stale).expect("what was written can be removed");
        }
        Ok(copy)
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).expect("below the copy").to_string_lossy().replace('\\', "/")
    }

    fn write(&self, written: &mut BTreeSet<String>, name: &str, text: &str) {
        written.insert(name.to_owned());
        let path = self.root.join(name);
        if fs::read_to_string(&path).is_ok_and(|before| before == text) {
            return;
        }
        fs::create_dir_all(path.parent().expect("below the copy")).expect("the target directory can be written");
        fs::write(path, text).expect("the target directory can be written");
    }

    /// Builds the hunters, with the library's own tests or without; gives the path of each, in the order of [`HUNTERS`].
    pub fn build(&self, with_unit: bool) -> Result<Vec<PathBuf>, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--no-run", "--offline", "--message-format=json-render-diagnostics"]);
        let built: Vec<&str> = HUNTERS.into_iter().filter(|hunter| with_unit || *hunter != UNIT).collect();
        command
            .args(built.iter().flat_map(|&hunter| if hunter == UNIT { vec!["--lib"] } else { vec!["--test", hunter] }));
        let output = command.env("CARGO_TARGET_DIR", &self.target).current_dir(&self.root).output();
        let output = output.map_err(|why| format!("cargo does not start: {why}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let name = |hunter: &'static str| if hunter == UNIT { LIBRARY } else { hunter };
        built.iter().map(|hunter| executable(&said, name(hunter)).ok_or(format!("cargo names no {hunter}"))).collect()
    }
}

/// Where cargo put a test: from its messages, one object a line.
fn executable(messages: &str, test: &str) -> Option<PathBuf> {
    let named = format!("\"name\":\"{test}\"");
    let line = messages.lines().find(|line| line.contains(&named) && line.contains("\"executable\":\""))?;
    let (_, path) = line.split_once("\"executable\":\"")?;
    path.split_once('"').map(|(path, _)| PathBuf::from(path.replace("\\\\", "\\")))
}

fn mutated(name: &str, text: &str, mutants: &[Mutant]) -> Result<String, String> {
    let edits: Vec<_> = mutants.iter().flat_map(|m| m.edits.iter().map(|edit| (m.name.as_str(), edit))).collect();
    let here: Vec<_> = edits.into_iter().filter(|(_, edit)| edit.file == name).collect();
    let text = insert(name, text, &here)?;
    if name != "src/lib.rs" {
        return Ok(text);
    }
    let left_out = LEFT_OUT.map(|module| format!("pub mod {module};"));
    let kept = text.lines().filter(|line| !left_out.iter().any(|out| line == out));
    Ok(kept.chain(["#[allow(missing_docs)]", "pub mod mutant;", ""]).collect::<Vec<_>>().join("\n"))
}

fn manifest(name: &str, text: &str) -> Result<String, String> {
    if name != "Cargo.toml" {
        return Ok(text.to_owned());
    }
    let known = text.contains(VERSION.0) && PROGRAM.iter().all(|lines| text.contains(lines));
    let text = PROGRAM.iter().fold(text.replacen(VERSION.0, VERSION.1, 1), |text, lines| text.replacen(lines, "", 1));
    if known { Ok(text) } else { Err("Cargo.toml has changed: tests/mutants/copy.rs must be told".into()) }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
