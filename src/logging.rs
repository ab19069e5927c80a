//! Logging: lines on standard error, at `info` unless `RUST_LOG` says otherwise, without colours where `NO_COLOR` is
//! set or standard error is no terminal.

use env_logger::Env;

/// Starts it. Once, at the start of the process.
pub fn init() {
    env_logger::Builder::from_env(Env::default().default_filter_or("info")).format_timestamp_millis().init();
}
