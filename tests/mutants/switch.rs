//! Which deliberate bug is in: read once from the environment. Stands in the instrumented copy only.

use std::cell::Cell;
use std::sync::OnceLock;

static NAME: OnceLock<String> = OnceLock::new();

thread_local! {
    static LOCAL: Cell<usize> = const { Cell::new(0) };
}

/// Whether this bug is in.
pub fn active(name: &str) -> bool {
    NAME.get_or_init(|| std::env::var("PLAINSONG_MUTANT").unwrap_or_default()) == name
}

/// Which host this thread acts for: what a mutant reads that must read nothing local.
pub fn local() -> usize {
    LOCAL.get()
}

/// Says which host this thread acts for.
pub fn set_local(host: usize) {
    LOCAL.set(host);
}
