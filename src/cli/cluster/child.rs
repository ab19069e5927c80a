//! One replica as a child process: started, minded, ended.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::story::Event;

/// What every child is started with.
pub(super) struct Launcher {
    pub executable: PathBuf,
    pub config: PathBuf,
    pub data_dir: PathBuf,
}

/// What the supervisor wants of all children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Run on.
    Run,
    /// End in order: SIGTERM.
    End,
    /// End now: SIGKILL.
    Kill,
}

impl Launcher {
    /// Starts a replica.
    pub(super) fn start(&self, id: u16) -> io::Result<Child> {
        Command::new(&self.executable)
            .arg("server")
            .args(["--id", &id.to_string(), "--supervised"])
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(&self.data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a terminal sends Ctrl-C to the whole group in front, and it is ours to pass on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Waits for the child's end, carries orders out meanwhile, and tells how it ended.
pub(super) async fn mind(id: u16, mut child: Child, mut orders: watch::Receiver<Order>, events: mpsc::Sender<Event>) {
    // Held open until the child has ended; `Child::wait` would close it, and the child would end itself.
    let lifeline = child.stdin.take();
    let mut supervisor_is_there = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            changed = orders.changed(), if supervisor_is_there => {
                supervisor_is_there = changed.is_ok();
                carry_out(*orders.borrow_and_update(), &mut child);
            }
        }
    };
    drop(lifeline);
    let status = status.map_err(|error| error.to_string());
    // With the supervisor gone there is nobody to tell.
    let _ = events.send(Event::Ended { id, status }).await;
}

/// `Child::id` is `None` from the moment the child has been reaped, so that no stranger with the same number is hit. A
/// child that has ended otherwise, and so cannot be signalled, is where the order wanted it.
fn carry_out(order: Order, child: &mut Child) {
    match order {
        Order::Run => {}
        Order::End => {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
                // A paused process takes SIGTERM only when it goes on.
                let _ = kill_process(pid, Signal::CONT);
            }
        }
        Order::Kill => {
            let _ = child.start_kill();
        }
    }
}
