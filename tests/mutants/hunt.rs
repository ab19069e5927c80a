//! One mutant in one hunter: a process of its own, over so many seeds, until something is broken.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::copy::UNIT;

/// A hunt that takes longer goes round in circles, or the machine is busy: nothing was found.
const HUNT_MAX: Duration = Duration::from_secs(600);
/// What a hunter prints of the first seed that breaks something.
const BROKEN: &str = "broken|";

/// What a hunt came to.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which seed; of scripts, which.
    pub seed: String,
    /// Which checker spoke, or which assertion of the product.
    pub checker: String,
    /// What it said.
    pub text: String,
    pub took: Duration,
}

/// Lets `hunter` look for what `mutant` breaks (no name: for what the copy breaks without any) in the
/// seeds that failed once, and 1 to `seeds`.
pub fn hunt(copy: &Path, hunter: &Path, name: &str, mutant: &str, seeds: u64) -> Result<Option<Found>, String> {
    let began = Instant::now();
    let mut command = Command::new(hunter);
    match name {
        "golden" | UNIT => command.arg("--test-threads=1"),
        _ => command.args(["first_broken", "--exact", "--ignored", "--nocapture", "--test-threads=1"]),
    };
    command.env("PLAINSONG_MUTANT", mutant).env("HUNT_SEEDS", seeds.to_string());
    command.current_dir(copy).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|why| format!("{name} does not start: {why}"))?;
    let mut out = child.stdout.take().expect("it is piped");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = out.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned());
        let _ = tell.send(read);
    });
    let said = told.recv_timeout(HUNT_MAX);
    if said.is_err() {
        child.kill().map_err(|why| format!("{name} cannot be ended: {why}"))?;
    }
    let status = child.wait().map_err(|why| format!("{name} does not end: {why}"))?;
    let found = |seed: &str, checker: String, text: &str| {
        let (seed, text) = (seed.to_owned(), text.to_owned());
        Ok(Some(Found { seed, checker, text, took: began.elapsed() }))
    };
    let said = match said {
        Ok(said) => said.map_err(|why| format!("{name} cannot be read: {why}"))?,
        Err(_) => return Err(format!("{name} did not end in {} s", HUNT_MAX.as_secs())),
    };
    if let Some(broken) = said.lines().find_map(|line| line.split_once(BROKEN).map(|(_, rest)| rest)) {
        let mut words = broken.splitn(3, '|');
        let mut next = || words.next().unwrap_or_default();
        let (seed, law, text) = (next(), next(), next());
        return found(seed, checker(copy, name, law), text);
    }
    if name == UNIT && !status.success() {
        let failed =
            said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).unwrap_or("?");
        let test = failed.rsplit("::").next().unwrap_or(failed);
        return found(
            test,
            format!("unit {}", failed.trim_end_matches(test).trim_end_matches("::")),
            "a unit test fails",
        );
    }
    if name == "golden" && !status.success() {
        return found(script(&said), "golden".into(), "another conversation than the script's");
    }
    if status.success() { Ok(None) } else { Err(format!("{name} ends with {status}:\n{said}")) }
}

/// A law is a name; of a place in the source, the function is.
fn checker(copy: &Path, hunter: &str, law: &str) -> String {
    let place = law.strip_prefix("assertion in ").and_then(|place| place.rsplit_once(':'));
    let Some((file, line)) = place else { return format!("{hunter}: {law}") };
    let line = line.parse().unwrap_or(usize::MAX);
    let text = fs::read_to_string(copy.join(file)).unwrap_or_default();
    let function = text.lines().take(line).filter_map(|line| line.split_once("fn ")).last();
    let function = function.and_then(|(_, rest)| rest.split(['(', '<']).next()).unwrap_or("?");
    let file = file.strip_prefix("tests/").or(file.strip_prefix("src/")).unwrap_or(file);
    if file.starts_with(hunter) {
        format!("{file}, {function}")
    } else {
        format!("{hunter}: assertion in {file}, {function}")
    }
}

/// The first script that differs.
fn script(said: &str) -> &str {
    let path = said.lines().find_map(|line| line.split_once(".txt:").map(|(path, _)| path)).unwrap_or("?");
    path.rsplit('/').next().unwrap_or(path)
}
