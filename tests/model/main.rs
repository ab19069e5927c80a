//! The core, model-checked: not some orders of what may happen, as a simulation draws them, but every one within small
//! bounds, with the shortest way to whatever breaks a promise.
//!
//! Three replicas of the real [`plainsong::consensus::Node`], founded and linked, over links that are ordered and may
//! break, and disks that lose what they were not done with. A property that must hold *always* is checked in every state;
//! one that must hold *sometimes* keeps the model from being true because nothing happens in it.
//!
//! Left out: founding, wiped disks, and changes of voters (`tests/core_sim` has them); time, so that whoever campaigns finds
//! that the others miss the leader too; how a replica behaves while a link or a peer is away, which is as if nothing
//! arrived.
//!
//! ```text
//! cargo test --test model -- --nocapture                                   states, depth and time of each
//! cargo test --release --test model -- --ignored --nocapture --test-threads 1    the larger bounds
//! ```

mod replica;
mod world;

use std::time::Instant;

use stateright::{Checker, Model};
use world::Budget;

/// One replica campaigns, and nothing else happens: what the other budgets add to.
const ONE_ELECTION: Budget = Budget { campaigns: 1, proposals: 0, reads: 0, crashes: 0, cuts: 0, fast_disks: false };
const TWO_ELECTIONS: Budget = Budget { campaigns: 2, fast_disks: true, ..ONE_ELECTION };

fn explore(budget: Budget) {
    let start = Instant::now();
    let checker = budget.checker().spawn_bfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{budget:?}: {states} states, {steps} steps, depth {depth}, {:.1?}", start.elapsed());
    checker.assert_properties();
}

#[test]
fn two_elections_in_every_order() {
    explore(TWO_ELECTIONS);
}

#[test]
fn a_crash_at_any_moment_of_an_election_and_its_first_commit() {
    explore(Budget { crashes: 1, ..ONE_ELECTION });
}

#[test]
#[ignore = "nightly: a third of a million states"]
fn two_elections_and_a_proposal() {
    explore(Budget { proposals: 1, ..TWO_ELECTIONS });
}

#[test]
#[ignore = "nightly: so many states that nobody has seen the last of them yet; minutes at least"]
fn two_elections_and_a_broken_link() {
    explore(Budget { cuts: 1, ..TWO_ELECTIONS });
}

#[test]
#[ignore = "nightly: so many states that nobody has seen the last of them yet; minutes at least"]
fn two_elections_and_a_read() {
    explore(Budget { reads: 1, ..TWO_ELECTIONS });
}

#[test]
#[ignore = "nightly: a quarter of a million states"]
fn two_elections_over_slow_disks() {
    explore(Budget { fast_disks: false, ..TWO_ELECTIONS });
}
