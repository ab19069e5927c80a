//! The second core (`plainsong::views`) as a cluster of three, now and then of five, walked at random: what may happen
//! next is drawn, not timed.
//!
//! Replicas crash in the middle of a turn, lose what was not fsynced, start again, lose links and what was in them, are
//! told of deaths (only of real ones, at any time after them), are asked to campaign for no reason. `oracle.rs` checks
//! from outside: nothing acknowledged is lost or reordered, no older view acknowledges after a newer one, the last to
//! fail is the first to lead, reads are current, everything said is durable; and after each walk everybody comes back,
//! and all serve together.
//!
//! ```text
//! cargo test --test views -- --nocapture                              how many steps, and what happened in them
//! VIEWS_SEEDS=100000 cargo test --release --test views walks          more
//! VIEWS_SEED=4711 cargo test --test views one -- --nocapture          one, with everything that happens
//! FORKS_SEEDS=100000 cargo test --release --test views lose_nothing   walks in which silence counts: `forks.rs`
//! MEET_SEEDS=100000 cargo test --release --test views two_sides_meet  two sides serve, and meet once: `meet.rs`
//! ```

#[path = "../core_sim/disk.rs"]
#[allow(dead_code, reason = "the other simulation reads more of its disks")]
mod disk;
mod faults;
mod forks;
mod meet;
mod oracle;
mod orders;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Counts, World};

/// Walks of `cargo test`.
const SEEDS: u64 = 2_000;
/// Of the walks of a hunt, every so many-th is one with silence.
const FORKS_EVERY: u64 = 4;
/// A hunt counts in larger seeds than these walks are.
const WALKS_A_SEED: u64 = 4;
/// Steps of each, before everybody comes back.
const STEPS: u64 = 1_500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn walk(seed: u64, verbose: bool) -> Counts {
    let mut world = World::new(if seed.is_multiple_of(8) { 5 } else { 3 }, seed, verbose);
    world.found();
    for _ in 0..STEPS {
        world.step();
    }
    world.calm();
    world.counts.committed = world.oracle.committed.len() as u64;
    world.counts
}

#[test]
fn walks() {
    let mut sum = Counts::default();
    for seed in 1..=number("VIEWS_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| walk(seed, false))) {
            Ok(counts) => sum.add(&counts),
            Err(_) => panic!("seed {seed}: VIEWS_SEED={seed} cargo test --test views one -- --nocapture"),
        }
    }
    println!("{sum:?}");
    sum.assert_that_something_happened();
}

/// The first seed that breaks something: what a hunt for a deliberate bug runs.
#[test]
#[ignore = "for tests/mutants"]
fn first_broken() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("assertion in {}:{}", at.file(), at.line())).unwrap_or_default();
        LAST.set(format!("{place}|{}", info.payload_as_str().unwrap_or_default().replace('\n', " ")));
    }));
    let is_broken = |seed: &u64| {
        catch_unwind(AssertUnwindSafe(|| match seed {
            0 => {
                orders::told_one_alone();
                orders::news_come_late(false);
                orders::news_come_late(true);
                orders::wrongly_proven();
                forks::isolated_ones_stop();
                forks::the_older_view_yields();
                forks::no_read_from_what_goes();
                forks::outbid_too_late();
                forks::who_holds_more_stands();
                forks::the_head_is_heard_again();
                forks::the_head_falls_silent_again();
            }
            _ if seed.is_multiple_of(FORKS_EVERY) => drop(forks::walk(*seed, false)),
            _ => drop(walk(*seed, false)),
        }))
        .is_err()
    };
    if let Some(seed) = (0..=WALKS_A_SEED * number("HUNT_SEEDS").unwrap_or(SEEDS)).find(is_broken) {
        println!("\nbroken|{seed}|{}", LAST.take());
    }
}

thread_local! {
    static LAST: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// One seed, with everything that happens in it: `VIEWS_SEED`.
#[test]
fn one() {
    walk(number("VIEWS_SEED").unwrap_or(1), std::env::var("VIEWS_SEED").is_ok());
}
