//! A writer in the background: it sends one keyed message after the other while the drill hurts replicas, and keeps
//! what a careful client would write down: what it tried, what was acknowledged, and when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{DrillError, KeyedWriter, wait_until};

/// A message that is not acknowledged within this is given up, and with it the drill.
pub const ACK_WAIT: Duration = Duration::from_secs(30);
/// The writer may use up the whole wait for the message it is at, and must then be seen to have given up.
const PROGRESS_WAIT: Duration = Duration::from_secs(40);
/// The most messages one drill writes: bounds its memory whatever the pace.
const MESSAGES_MAX: usize = 200_000;

/// How the writer writes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The pause after each acknowledgement.
    pub between: Duration,
    /// Each text is at least so long.
    pub text_bytes: usize,
}

impl Pace {
    /// A lively conversation that leaves a shared machine room to breathe.
    pub const STEADY: Self = Self { between: Duration::from_millis(4), text_bytes: 0 };
}

/// One acknowledged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was first tried.
    pub began: Instant,
    /// When it was answered `ok`.
    pub acked: Instant,
}

/// What the writer did.
#[derive(Debug, Default)]
pub struct Written {
    /// Every text it tried, in order. All differ.
    pub attempted: Vec<String>,
    /// For each acknowledged one, when: the first ones of `attempted`, as many as there are.
    pub sent: Vec<Sent>,
    /// Why it ended before it was told to.
    pub gave_up: Option<DrillError>,
}

impl Written {
    /// The texts that were acknowledged.
    pub fn acknowledged(&self) -> &[String] {
        &self.attempted[..self.sent.len()]
    }
}

/// What the drill may change, and see, while the writer writes.
#[derive(Debug, Default)]
struct Shared {
    acked: AtomicUsize,
    refusals: AtomicUsize,
    route: Mutex<Option<Vec<SocketAddr>>>,
}

/// The writer's thread. Dropping it tells the writer to end and waits for nothing.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    /// Dropped to end it.
    go_on: Sender<()>,
    thread: JoinHandle<Written>,
}

impl Load {
    /// Begins to write, at least `least` messages in all.
    pub fn start(writer: KeyedWriter, pace: Pace, least: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let (go_on, ending) = mpsc::channel();
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || write(writer, pace, least, &shared, &ending)
        });
        Self { shared, go_on, thread }
    }

    /// How many messages were acknowledged so far.
    pub fn acked(&self) -> usize {
        self.shared.acked.load(Ordering::Acquire)
    }

    /// How often the writer was refused so far.
    pub fn refusals(&self) -> usize {
        self.shared.refusals.load(Ordering::Acquire)
    }

    /// From the next message on, write through these. The connection stays if it leads to one of them.
    pub fn redirect(&self, addresses: Vec<SocketAddr>) {
        *self.shared.route.lock().expect("no holder panics") = Some(addresses);
    }

    /// Waits for so many more acknowledgements.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] when the writer has given up, or makes no such progress.
    pub fn await_acks(&self, more: usize) -> Result<(), DrillError> {
        let mut seen = self.acked();
        let goal = seen + more;
        let what = "the writer's messages are acknowledged";
        // Each acknowledgement begins the wait anew: what is waited for is progress, however slow.
        while seen < goal {
            let ended = wait_until(what, PROGRESS_WAIT, || {
                (self.acked() > seen || self.thread.is_finished()).then(|| self.thread.is_finished())
            })?;
            seen = self.acked();
            if ended && seen < goal {
                return Err(DrillError::Timeout { what: what.to_owned(), waited: ACK_WAIT });
            }
        }
        Ok(())
    }

    /// Ends it after at least one further message, and tells what it did.
    pub fn finish(self) -> Written {
        drop(self.go_on);
        self.thread.join().expect("the writer returns what it has, it does not panic")
    }
}

fn write(mut writer: KeyedWriter, pace: Pace, least: usize, shared: &Shared, ending: &Receiver<()>) -> Written {
    let mut written = Written::default();
    let mut last = false;
    while written.attempted.len() < MESSAGES_MAX {
        if let Some(route) = shared.route.lock().expect("no holder panics").take() {
            writer.redirect(route);
        }
        let n = written.attempted.len() + 1;
        let text = padded(&format!("message {n}"), pace.text_bytes);
        written.attempted.push(text.clone());
        let began = Instant::now();
        if let Err(error) = writer.send(&format!("message-{n}"), &text, ACK_WAIT) {
            written.gave_up = Some(error);
            break;
        }
        let acked = Instant::now();
        written.sent.push(Sent { began, acked });
        shared.refusals.store(writer.refusals(), Ordering::Release);
        shared.acked.store(written.sent.len(), Ordering::Release);
        if last && written.sent.len() >= least {
            break;
        }
        // One more follows after the end was announced: however fast the writer is, that one shows that the cluster
        // goes on after whatever was done last.
        last = last || ending.recv_timeout(pace.between) == Err(RecvTimeoutError::Disconnected);
    }
    written
}

fn padded(text: &str, bytes: usize) -> String {
    format!("{text} {}", "z".repeat(bytes.saturating_sub(text.len() + 1))).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_makes_a_text_so_long_and_leaves_a_longer_one() {
        assert_eq!(padded("message 1", 12), "message 1 zz");
        assert_eq!(padded("message 1", 3), "message 1");
    }
}
