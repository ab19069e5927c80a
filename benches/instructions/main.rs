//! How many instructions the write path takes, part by part, counted by callgrind and so the same on a busy machine.
//!
//! ```text
//! cargo bench --bench instructions              the release build
//! cargo test --bench instructions               the tests' build, as every `cargo test` does
//! cargo bench --bench instructions -- --renew   takes what is counted as the new baseline of that build
//! ```
//!
//! A part that takes more than 15 % above `baseline.txt` is an error. Counts depend on the compiler and the profile: the
//! file names both, and with another compiler, or without valgrind, nothing is compared, and a line says so. What no
//! count shows: system calls, cache misses, waiting. `examples/measure` is for these.
//!
//! The program runs itself under valgrind, once for each part. Only what [`meter::Meter::measure`] is given is counted,
//! not what leads up to it.

mod baseline;
mod cases;
mod cores;
mod meter;

use std::process::ExitCode;

use baseline::Baseline;
use cases::CASES;

/// Runs one part; the mode in which the program starts itself under valgrind.
const COUNTED: &str = "--counted";
const RENEW: &str = "--renew";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, name] = arguments.as_slice()
        && mode == COUNTED
    {
        let case = CASES.iter().find(|case| case.name == name).expect("only this program asks, and knows the names");
        (case.run)(&meter::Meter);
        return ExitCode::SUCCESS;
    }
    // As `cargo test` does for all its targets: a word that is no option chooses by name.
    let wanted = |name: &str| {
        let mut words = arguments.iter().filter(|word| !word.starts_with('-')).peekable();
        words.peek().is_none() || words.any(|word| name.contains(word.as_str()))
    };
    let chosen: Vec<_> = CASES.iter().filter(|case| wanted(case.name)).collect();
    if chosen.is_empty() || arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    match run(&chosen, arguments.iter().any(|word| word == RENEW)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is within bounds.
fn run(chosen: &[&cases::Case], renew: bool) -> anyhow::Result<bool> {
    let Some(valgrind) = meter::valgrind() else {
        println!("instructions: skipped: no valgrind here (Debian: `apt-get install valgrind`)");
        return Ok(true);
    };
    let mut baseline = Baseline::read()?;
    if !renew && !baseline.is_of_this_compiler() {
        println!("instructions: skipped: the baseline is of {}; `-- {RENEW}` takes a new one", baseline.compiler());
        return Ok(true);
    }
    println!("instructions for each of what is named, {valgrind}, profile {}:", baseline::PROFILE);
    let mut within = true;
    for case in chosen {
        let each = meter::count(case.name)? as f64 / case.units as f64;
        let verdict = baseline.judge(case.name, each);
        println!("{:<24} {each:>9.0} a {:<8} {verdict}", case.name, case.unit);
        within &= verdict.is_within();
        baseline.set(case.name, each);
    }
    if renew {
        baseline.write()?;
        return Ok(true);
    }
    if !within {
        println!("if the new count is right, say why in the commit, and renew with `-- {RENEW}`");
    }
    Ok(within)
}
