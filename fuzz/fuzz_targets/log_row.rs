//! See `plainsong_fuzz::log_row`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plainsong_fuzz::log_row::run(input));
