//! See `plainsong_fuzz::server_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plainsong_fuzz::server_line::run(input));
