//! Many seeds, one after the other, and what they break.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use super::run::{Summary, run};
use super::trace::Trace;

/// What a seed broke.
#[derive(Clone, Debug, Default)]
pub struct Broken {
    /// The law of a checker, or where an assertion of the product stands.
    pub law: String,
    /// The whole sentence.
    pub text: String,
}

impl Broken {
    /// Reads a panic: a checker's begins with its law in brackets.
    pub fn from_panic(info: &PanicHookInfo<'_>) -> Self {
        let text = info.payload_as_str().unwrap_or_default().to_owned();
        let law = text.strip_prefix('[').and_then(|text| text.split_once(']')).map(|(law, _)| law.to_owned());
        let at = info.location().map(|at| format!("assertion in {}:{}", at.file(), at.line()));
        Self { law: law.or(at).unwrap_or_default(), text }
    }
}

thread_local! {
    static LAST: RefCell<Broken> = RefCell::default();
}

/// From now on panics are kept, not printed.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| LAST.set(Broken::from_panic(info))));
}

/// The command that shows everything that happens in a seed.
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --release --example plainsong_sim -- --seed {seed} --trace")
}

/// Runs a seed; gives what it broke, if anything. Needs unwinding panics, and [`keep_panics`].
pub fn try_seed(seed: u64) -> Result<Summary, Broken> {
    let run = catch_unwind(AssertUnwindSafe(|| run(seed, Trace::off()).0));
    run.map_err(|_| LAST.take())
}

/// Every seed that ever failed: `seed # cause`, one a line.
pub fn seeds_that_failed() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a seed")).collect()
}
