//! What is fuzzed, one body a target: each takes any bytes and panics where a promise is broken.
//!
//! The bodies need no fuzzer. `fuzz_targets/` hands them what libFuzzer makes up, on nightly; `tests/fuzz_corpus` hands
//! them what is kept under `corpus/`, in every `cargo test`, so that neither they nor what was found can rot.
//!
//! Left out: time and memory beyond what a body can see. The fuzzer's own limits (`scripts/fuzz.sh`) hold those.

pub mod chunks;
pub mod client_line;
pub mod config;
pub mod log_row;
pub mod peer_line;
pub mod server_line;
