//! The whole-product simulation, as a test: fresh seeds each time, and every seed that ever failed.

#[path = "mod.rs"]
#[allow(dead_code)] // the example uses the rest
mod sim;

use sim::hunt::{keep_panics, replay_command, seeds_that_failed, try_seed};
use sim::run::{Summary, run, run_styled};
use sim::style::{SILENCE_FROM, Style, VIEWS_FROM};
use sim::survives;
use sim::trace::Trace;
use sim::world::SECOND;

/// So many seeds each time.
const SEEDS: u64 = 500;
/// And so many of the other mode.
const SEEDS_WITH_VIEWS: u64 = 300;
/// And so many in which silence counts as death.
const SEEDS_OF_SILENCE: u64 = 150;

fn run_all(seeds: impl Iterator<Item = u64>) -> Summary {
    keep_panics();
    let (mut all, mut failed) = (Summary::default(), Vec::new());
    for seed in seeds {
        match try_seed(seed) {
            Ok(summary) => all = all.with(summary),
            Err(broken) => failed.push(format!("{}: {}\n  {}", broken.law, broken.text, replay_command(seed))),
        }
    }
    // Printed: while panics are kept, an assertion's own text is not shown.
    failed.iter().for_each(|text| println!("{text}"));
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
    all
}

/// Fresh seeds each time; `SIM_FROM`, with the first that was printed, repeats a run.
fn drawn_seed() -> u64 {
    let said = std::env::var("SIM_FROM").ok().map(|text| text.parse().expect("a number"));
    said.unwrap_or_else(|| fastrand::u64(..1 << 40))
}

#[test]
fn worlds_keep_their_word() {
    let first = drawn_seed();
    println!("seeds from {first}");
    let all = run_all(first..first + SEEDS);
    println!("{all:?}");
    // Worlds in which nothing happens keep every promise.
    assert!(all.simulated > SEEDS * 10 * SECOND && all.events > SEEDS * 1_000, "{all:?}");
    assert!(all.committed > SEEDS * 100 && all.acknowledged > SEEDS * 50 && all.reads > SEEDS * 20, "{all:?}");
    assert!(all.over_quota > SEEDS && all.expired > SEEDS && all.shown > SEEDS * 50, "{all:?}");
    assert!(all.refused > SEEDS && all.unknown > SEEDS && all.histories > 0, "{all:?}");
}

/// The same in the mode `primary-backup`: whoever is silent is waited for, whoever is dead is not.
#[test]
fn worlds_with_views_keep_their_word() {
    let first = VIEWS_FROM + drawn_seed() % VIEWS_FROM;
    println!("seeds from {first}");
    let all = run_all(first..first + SEEDS_WITH_VIEWS);
    println!("{all:?}");
    assert!(all.simulated > SEEDS_WITH_VIEWS * 10 * SECOND && all.events > SEEDS_WITH_VIEWS * 1_000, "{all:?}");
    assert!(all.committed > SEEDS_WITH_VIEWS * 100 && all.acknowledged > SEEDS_WITH_VIEWS * 30, "{all:?}");
    assert!(all.reads > SEEDS_WITH_VIEWS * 10 && all.expired > SEEDS_WITH_VIEWS && all.histories > 0, "{all:?}");
}

/// Where silence counts as death, two sides may serve: what one of them gives up is kept aside. Of those who are cut off alone
/// none ever serves.
#[test]
fn worlds_in_which_silence_counts_keep_their_word() {
    let first = SILENCE_FROM + drawn_seed() % SILENCE_FROM;
    println!("seeds from {first}");
    let all = run_all(first..first + SEEDS_OF_SILENCE);
    println!("{all:?}");
    assert!(all.committed > SEEDS_OF_SILENCE * 100 && all.acknowledged > SEEDS_OF_SILENCE * 30, "{all:?}");
    assert!(all.forks > SEEDS_OF_SILENCE / 15 && all.given_up > SEEDS_OF_SILENCE, "{all:?}");
    assert!(all.anew > SEEDS_OF_SILENCE, "{all:?}");
}

#[test]
fn a_world_without_faults_leaves_nothing_unknown() {
    let style = Style::plain(20 * SECOND);
    let (summary, _) = run_styled(7, Some(style.clone()), Trace::off());
    assert!(summary.acknowledged > 300, "{summary:?}");
    // What was on its way when everybody hung up at the end.
    assert!(summary.unknown <= style.clients as u64, "{summary:?}");
}

/// Times never fall, so an hour ahead would stay for an hour, whoever leads then.
#[test]
fn a_leader_whose_clock_is_wrong_stamps_by_the_others() {
    const HOUR_MS: i64 = 3_600_000;
    // What clocks differ by when nothing is wrong, and what is not taken for wrong.
    const USUAL_MS: i64 = 5_000 + 2_000;
    for clock_off in [HOUR_MS, -HOUR_MS] {
        let style = Style { clock_off, ..Style::plain(20 * SECOND) };
        let (summary, _) = run_styled(7, Some(style), Trace::off());
        assert!(summary.acknowledged > 300 && summary.ahead_ms.abs() < USUAL_MS, "{clock_off}: {summary:?}");
    }
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    run_all(seeds_that_failed().into_iter());
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in (1..=5).chain(VIEWS_FROM..VIEWS_FROM + 3).chain(SILENCE_FROM..SILENCE_FROM + 3) {
        let (one, other) = (run(seed, Trace::kept()).1, run(seed, Trace::kept()).1);
        assert!(one.text().len() > 10_000, "the trace says nothing");
        assert!(one.text() == other.text(), "seed {seed}");
    }
}

#[test]
fn so_many_of_1_3_5_and_7_may_die_one_after_the_other() {
    survives::one_after_the_other();
}

#[test]
fn so_many_of_1_3_5_and_7_may_die_at_once() {
    survives::at_once();
}

#[test]
fn after_all_have_died_so_many_of_1_3_5_and_7_must_be_back() {
    survives::all();
}

#[test]
fn one_that_hangs_stops_primary_backup_alone() {
    survives::one_hangs();
}

#[test]
fn where_silence_counts_one_that_hangs_is_gone_on_without() {
    survives::one_is_silent();
}

#[test]
fn where_silence_counts_one_that_is_cut_off_alone_does_not_serve() {
    survives::one_is_cut_off();
}

#[test]
fn where_silence_counts_a_cut_of_any_length_is_survived() {
    survives::cuts_of_any_length();
}

#[test]
fn one_that_lost_its_disk_is_refilled_in_both_modes() {
    survives::one_is_wiped();
}

/// The first seed that breaks something, those that failed once first, and what says so: for `tests/mutants`, which puts bugs in.
#[test]
#[ignore = "tests/mutants runs it, of a copy with a bug"]
fn first_broken() {
    keep_panics();
    let seeds = std::env::var("HUNT_SEEDS").ok().map_or(SEEDS, |text| text.parse().expect("a number"));
    let with_views = VIEWS_FROM..VIEWS_FROM + seeds / 4;
    let of_silence = SILENCE_FROM..SILENCE_FROM + seeds / 4;
    let mut seeds = seeds_that_failed().into_iter().chain(1..=seeds).chain(with_views).chain(of_silence);
    if let Some((seed, broken)) = seeds.find_map(|seed| try_seed(seed).err().map(|broken| (seed, broken))) {
        println!("\nbroken|{seed}|{}|{}", broken.law, broken.text.replace('\n', " "));
    }
}
