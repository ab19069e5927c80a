//! See `plainsong_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plainsong_fuzz::config::run(input));
