//! See `plainsong_fuzz::peer_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| plainsong_fuzz::peer_line::run(input));
