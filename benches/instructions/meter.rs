//! Counting: this program under callgrind, which counts only inside one function.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Given to each part, which hands it what is to be counted.
pub struct Meter;

impl Meter {
    /// Counts what happens inside, in addition to what was counted before.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let (mut work, mut result) = (Some(work), None);
        counted_by_callgrind(&mut || result = work.take().map(|work| work()));
        result.expect("it was called once")
    }
}

/// The function that callgrind is told of by name: never inlined, and not generic, so that it has one.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    std::hint::black_box(&mut *work)();
}

/// The version of valgrind, if there is one.
pub fn valgrind() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The instructions that a part takes.
pub fn count(name: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_by_callgrind*"])
        .arg(std::env::current_exe()?)
        .args([super::COUNTED, name])
        .output()
        .context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed under valgrind: {said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    let counted = counted.with_context(|| format!("valgrind tells no count: {said}"))?;
    ensure!(counted > 0, "{name}: nothing was counted, so its name was not found in the program's symbols");
    Ok(counted)
}
