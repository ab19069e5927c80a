//! Plainsong: a replicated, persistent, fault-tolerant chat server that anyone can speak to with `nc`.
//!
//! The crate `chat` holds what is said; this one how it survives. Start with ARCHITECTURE.md, then read
//! [`consensus`], whose header is an essay on how replicas agree.

pub mod actors;
pub mod cli;
pub mod client;
pub mod config;
pub mod consensus;
pub mod descriptors;
pub mod drill;
pub mod logging;
pub mod machine;
pub mod memory;
pub mod mode;
pub mod panics;
pub mod server;
pub mod storage;
pub mod views;
pub mod wire;
