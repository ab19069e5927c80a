//! Plainsong: a replicated, persistent, fault-tolerant chat server that anyone can speak to with `nc`.
//!
//! The crate `chat` holds what is said; this one how it survives. Start with ARCHITECTURE.md, then read
//! [`consensus`], whose header is an essay on how replicas agree.

pub mod consensus;
pub mod machine;
pub mod storage;
pub mod wire;
