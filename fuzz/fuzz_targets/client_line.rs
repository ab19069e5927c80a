//! See `plainsong_fuzz::client_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plainsong_fuzz::client_line::run(input));
