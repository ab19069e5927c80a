//! Many seeds: one after the other, each under a net that catches what it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::run::{Summary, run};
use super::trace::Trace;

/// The command that shows everything that happens in a seed.
pub fn replay_command(seed: u64) -> String {
    format!("SIM_SEED={seed} cargo test --test sim one -- --nocapture")
}

/// Runs a seed; gives what it broke, if anything. Needs unwinding panics: the dev profile.
pub fn try_seed(seed: u64) -> Result<Summary, String> {
    let run = catch_unwind(AssertUnwindSafe(|| run(seed, Trace::off()).0));
    run.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default()
    })
}
