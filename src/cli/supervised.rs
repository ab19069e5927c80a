//! The other end of the line that ties a replica to `plainsong cluster`: standard input.
//!
//! The supervisor holds the writing end of a pipe and never writes. However it ends (also by SIGKILL, when it can say
//! nothing) the system closes that end, and this process sees the end of its input. No signal of the parent's death is
//! used: that one follows the parent's thread, is lost if the parent is gone before it is asked for, and is Linux's own.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// How long an orphan may take to drain before it ends the hard way.
const ORPHAN_DRAIN_MAX: Duration = Duration::from_secs(10);

/// From now on the process ends when its standard input does: first as on SIGTERM, then, if that takes too long, at once.
pub(super) fn end_with_standard_input() -> io::Result<()> {
    thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        wait_for_end(io::stdin().lock());
        log::warn!("the supervisor is gone: ending");
        // Without a handler this ends the process here; with one, the server drains and `main` returns.
        let _ = kill_process(getpid(), Signal::TERM);
        thread::sleep(ORPHAN_DRAIN_MAX);
        let _ = kill_process(getpid(), Signal::KILL);
    })?;
    Ok(())
}

fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
