//! Plainsong from outside: real processes, real sockets, `kill -9`, judged by what clients see.
//!
//! Written against the protocol page and the command line alone. Tests that only use accounts of their own share one
//! cluster ([`harness::shared`]); a test that hurts replicas has its own. One that measures time or memory runs
//! while no other does.

mod harness;
mod load;
mod person;

mod addresses;
mod bench;
mod damage;
mod delivery;
mod disaster;
mod durability;
mod failover;
mod founding;
mod keys;
mod limits;
mod lines;
mod members;
mod ops;
mod outages;
mod page;
mod past;
mod presence;
mod processes;
mod robustness;
mod slow_readers;
mod snapshots;
mod transcript;
mod views;
