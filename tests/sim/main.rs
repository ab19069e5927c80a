//! The whole-product simulation, as a test: a few hundred fresh seeds, and every seed that ever failed.

#[path = "mod.rs"]
mod sim;

use sim::hunt::{replay_command, try_seed};
use sim::run::{Summary, run, run_styled};
use sim::style::Style;
use sim::trace::Trace;

/// A second, in the simulation's microseconds.
const SECOND: u64 = 1_000_000;
/// So many seeds each time.
const SEEDS: u64 = 300;

#[test]
fn worlds_keep_their_word() {
    let first = std::env::var("SIM_FROM").ok().map_or(1, |text| text.parse().expect("a number"));
    let mut failed = Vec::new();
    let mut all = Summary::default();
    for seed in first..first + SEEDS {
        match try_seed(seed) {
            Ok(summary) => all = all.with(summary),
            Err(why) => failed.push(format!("{why}\n  {}", replay_command(seed))),
        }
    }
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
    println!("{all:?}");
    // Worlds in which nothing happens keep every promise.
    assert!(all.simulated > SEEDS * 10 * SECOND && all.events > SEEDS * 1_000, "{all:?}");
    assert!(all.committed > SEEDS * 100 && all.acknowledged > SEEDS * 50 && all.reads > SEEDS * 20, "{all:?}");
    assert!(all.over_quota > SEEDS, "{all:?}");
    assert!(all.refused > SEEDS && all.unknown > SEEDS && all.histories > 0, "{all:?}");
}

#[test]
fn a_world_without_faults_leaves_nothing_unknown() {
    let (summary, _) = run_styled(7, Some(Style::plain(20 * SECOND)), Trace::off());
    assert!(summary.acknowledged > 300, "{summary:?}");
    assert_eq!(summary.unknown, 0, "{summary:?}");
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in 1..=5 {
        let (one, other) = (run(seed, Trace::kept()).1, run(seed, Trace::kept()).1);
        assert!(one.text().len() > 10_000, "the trace says nothing");
        assert!(one.text() == other.text(), "seed {seed}");
    }
}

/// One seed, with everything that happens in it: `SIM_SEED`.
#[test]
fn one() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        run(seed.parse().expect("a number"), Trace::printed());
    }
}
