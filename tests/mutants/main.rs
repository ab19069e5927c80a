//! Deliberate bugs, put into a copy of the source: tests that do not find them would not find an honest one either.
//!
//! `list/*.txt` says where each stands; the source itself knows nothing of them. One copy of the package holds all, each
//! behind a branch on one variable of the environment, so that one build serves all of them. A text of the list that is
//! not in the source any more fails the test: the list cannot rot.
//!
//! ```text
//! cargo test --test mutants                                          some, in a minute
//! PLAINSONG_TIER=full cargo test --test mutants -- --nocapture       all, and the table at the end
//! PLAINSONG_MUTANT=late-ticket cargo test --test mutants -- --nocapture        one, or a,b
//! HUNT_SEEDS=5000 PLAINSONG_MUTANT=…                                 with more seeds
//! ```
//!
//! docs/MUTANTS.md is the table of the last full run.

mod copy;
mod hunt;
mod insert;
mod list;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use copy::{Copy, HUNTERS};
use hunt::{Found, hunt};
use list::Mutant;

/// So many seeds are tried with a mutant.
const SEEDS: u64 = 2_000;
/// So many in `cargo test`, and without any mutant.
const SEEDS_QUICK: u64 = 150;
/// What runs side by side.
const WORKERS: usize = 2;
/// What is killed within `cargo test`: by the simulations, after a few seeds each.
const QUICK: [&str; 18] = [
    "acks-before-fsync",
    "speaks-before-durable",
    "vote-not-persisted",
    "votes-twice",
    "stale-log-wins",
    "wiped-votes",
    "old-pulse-counts",
    "follower-reads-alone",
    "leader-reads-alone",
    "pulse-commits-beyond",
    "origin-forgets",
    "apply-repeats",
    "apply-reads-clock",
    "forgets-keys",
    "reads-before-applied",
    "sent-is-refused",
    "no-union",
    "cold-hears-some",
];

/// What each hunter found of a mutant.
type Result = std::result::Result<Vec<(String, Option<Found>)>, String>;

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hunters_of<'a>(mutant: &'a Mutant, built: &'a [PathBuf]) -> impl Iterator<Item = (&'a str, &'a Path)> {
    let path = |name: &str| HUNTERS.iter().position(|h| *h == name).map(|at| built[at].as_path());
    mutant.hunters.iter().map(move |name| (name.as_str(), path(name).unwrap_or_else(|| panic!("no hunter {name}"))))
}

fn try_mutant(copy: &Copy, built: &[PathBuf], mutant: &Mutant, seeds: u64) -> Result {
    let mut results = Vec::new();
    for (name, path) in hunters_of(mutant, built) {
        let found = hunt(&copy.root, path, name, &mutant.name, seeds)?;
        let killed = found.is_some();
        results.push((name.to_owned(), found));
        if killed {
            break;
        }
    }
    Ok(results)
}

/// One line of the table in docs/MUTANTS.md.
fn row(mutant: &Mutant, results: &[(String, Option<Found>)]) -> String {
    let cells = |of: &dyn Fn(&str, &Found) -> String| {
        let found = results.iter().filter_map(|(hunter, found)| found.as_ref().map(|found| of(hunter, found)));
        found.collect::<Vec<_>>().join("; ")
    };
    let mut checkers = cells(&|_, found| found.checker.clone());
    if let (true, Some(why)) = (checkers.is_empty(), &mutant.lives) {
        checkers = format!("nobody: {why}");
    }
    let seeds = cells(&|hunter, found| format!("{hunter} {}", found.seed));
    let seconds = cells(&|_, found| format!("{:.1}", found.took.as_secs_f64()));
    let none: Vec<_> = results.iter().filter(|(_, found)| found.is_none()).map(|(hunter, _)| hunter.as_str()).collect();
    format!("| `{}` | {} | {checkers} | {seeds} | {seconds} | {} |", mutant.name, mutant.does, none.join(" "))
}

#[test]
fn deliberate_bugs_are_found() {
    let all = list::all(package());
    let chosen = std::env::var("PLAINSONG_MUTANT").ok();
    let full = chosen.is_some() || std::env::var("PLAINSONG_TIER").is_ok_and(|tier| tier == "full");
    let asked = std::env::var("HUNT_SEEDS").ok().map(|text| text.parse().expect("a number"));
    let seeds = asked.unwrap_or(if full { SEEDS } else { SEEDS_QUICK });
    let began = Instant::now();
    let copy = Copy::make(package(), &all).unwrap_or_else(|why| panic!("{why}"));
    let built = copy.build(full).unwrap_or_else(|why| panic!("the copy does not build:\n{why}"));
    println!("{} bugs in one copy, built in {:.0} s", all.len(), began.elapsed().as_secs_f64());
    for (name, path) in HUNTERS.iter().zip(&built) {
        let broken = hunt(&copy.root, path, name, "", SEEDS_QUICK).unwrap_or_else(|why| panic!("{why}"));
        assert!(broken.is_none(), "{name} breaks without any bug: {broken:?}");
    }
    let wanted = |mutant: &&Mutant| match &chosen {
        Some(names) => names.split(',').any(|name| mutant.name == name),
        None => full || QUICK.contains(&mutant.name.as_str()),
    };
    let mut mutants: Vec<&Mutant> = all.iter().filter(wanted).collect();
    let count = mutants.len();
    assert!(count >= if chosen.is_some() { 1 } else { QUICK.len() }, "a bug that is to be found is not in the list");
    mutants.reverse();
    let (waiting, done) = (Mutex::new(mutants), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(mutant) = next(&waiting) {
                    let results = try_mutant(&copy, &built, mutant, seeds);
                    println!("{}", results.as_ref().map_or_else(Clone::clone, |found| row(mutant, found)));
                    done.lock().expect("nobody panics while holding it").push((mutant, results));
                }
            });
        }
    });
    let (mut alive, mut killed) = (Vec::new(), 0);
    println!("| bug | what it does | who speaks | seeds | seconds | not found by |\n|---|---|---|---|---|---|");
    let mut done = done.into_inner().expect("nobody panicked while holding it");
    done.sort_by_key(|(mutant, _)| all.iter().position(|m| m.name == mutant.name));
    for (mutant, results) in done {
        match results {
            Ok(results) => {
                println!("{}", row(mutant, &results));
                if chosen.is_some() {
                    results.iter().flat_map(|(_, found)| found).for_each(|found| println!("{}", found.text));
                }
                killed += usize::from(results.iter().any(|(_, found)| found.is_some()));
                if mutant.lives.is_none() && results.iter().all(|(_, found)| found.is_none()) {
                    alive.push(mutant.name.clone());
                }
            }
            Err(why) => alive.push(format!("{}: {why}", mutant.name)),
        }
    }
    println!("{killed} of {count} found, in {:.0} s", began.elapsed().as_secs_f64());
    assert!(alive.is_empty(), "nothing finds {alive:?} in {seeds} seeds");
}

fn next<'a>(waiting: &Mutex<Vec<&'a Mutant>>) -> Option<&'a Mutant> {
    waiting.lock().expect("nobody panics while holding it").pop()
}

#[test]
fn the_list_and_the_table_name_the_same_bugs() {
    let table = include_str!("../../docs/MUTANTS.md");
    let told: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).collect();
    let told: Vec<_> = told.into_iter().map(|(name, _)| name.to_owned()).collect();
    let listed: Vec<_> = list::all(package()).into_iter().map(|mutant| mutant.name).collect();
    assert_eq!(told, listed, "docs/MUTANTS.md is the table of a full run");
}
