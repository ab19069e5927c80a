//! The core, model-checked: every order of deliveries, fsyncs, crashes and cuts within small bounds.
mod replica;
mod world;

use stateright::{Checker, Model};
use world::Budget;

fn explore(budget: Budget) {
    let start = std::time::Instant::now();
    let checker = budget.checker().spawn_bfs().join();
    println!("{budget:?}: {} states ({} seen), depth {}, {:.1?}", checker.unique_state_count(), checker.state_count(), checker.max_depth(), start.elapsed());
    checker.assert_properties();
}

fn env(name: &str) -> u8 { std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(0) }

#[test]
fn try_it() {
    explore(Budget { campaigns: env("C"), proposals: env("P"), reads: env("R"), crashes: env("X"), cuts: env("K"), fast_disks: env("F") == 1 });
}
