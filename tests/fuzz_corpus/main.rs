//! The fuzzer's bodies over the inputs that are kept: what was found once is found again, on any toolchain, and the bodies
//! are compiled in every build.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod bodies;

/// What a target keeps: enough to reach all of it, little enough to read and to run always.
const FILES_MAX: usize = 50;
const BYTES_MAX: usize = 50_000;

/// Every kept input of the target, through its body.
fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("its folder can be read").path())
        .collect();
    paths.sort();
    let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).expect("an input can be read")).collect();
    assert!((1..=FILES_MAX).contains(&inputs.len()), "{target}: {} inputs are kept", inputs.len());
    assert!(inputs.iter().map(Vec::len).sum::<usize>() <= BYTES_MAX, "{target}: `cargo fuzz cmin` what is kept");
    for (path, input) in paths.iter().zip(&inputs) {
        // Captured, and so shown for the input that fails alone.
        println!("{}", path.display());
        body(input);
    }
}

#[test]
fn client_lines() {
    run("client_line", bodies::client_line::run);
}

#[test]
fn peer_lines() {
    run("peer_line", bodies::peer_line::run);
}

#[test]
fn log_rows() {
    run("log_row", bodies::log_row::run);
}

#[test]
fn configs() {
    run("config", bodies::config::run);
}

#[test]
fn server_lines() {
    run("server_line", bodies::server_line::run);
}
