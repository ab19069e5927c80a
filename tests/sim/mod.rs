//! The whole product in one thread: a cluster under simulated time, network, disks and clients, driven by one seed.
//!
//! Real: the core (`Node`, `Origin`), the tables and timers around it (`Requests`, `View`, `Online`, `Timers`), the
//! machine and the chat's rules, and in some worlds the grammar between replicas. Simulated: time, sockets, disks,
//! processes, and people. [`replica`] stands for the actors: it drives the real parts by the same steps as
//! `src/actors/replicator` does.
//!
//! ```text
//! clients ── asks ──> replica ── jobs ──> log, state        everything that takes time is an event in one queue,
//!    ^                   │  └── lines ──> links ──> others     ordered by (time, number): see world.rs
//!    └──── answers ──────┘
//!              checkers/ look at what leaves each part, and know none of its code
//! ```
//!
//! Two kinds of clients: [`clients`] ask what a session would ask; [`people`] type lines at real session cores, over
//! sockets whose kernels take and acknowledge bytes as the seed will have it.
//!
//! Seeds say which mode: from 2^41 on worlds with views, and from 2^42 on such in which silence counts as death
//! (`drop_silent_after_ms`): cuts are longer there, two sides may serve, and one of them gives up what only it has
//! ([`checkers`], sides).
//!
//! Left out: SQLite (a disk here is what its
//! promises say); with views, disks that are lost or put back; where there were two histories, the judge of linearizability
//! that knows no index.

mod answers;
mod carry;
mod checkers;
mod clients;
mod connect;
mod copies;
#[path = "../core_sim/disk.rs"]
mod disk;
mod faults;
mod heart;
mod hosts;
pub mod hunt;
pub mod members;
mod net;
mod past;
mod people;
mod replica;
pub mod run;
mod stores;
pub mod style;
pub mod survives;
mod talk;
pub mod trace;
pub mod world;
