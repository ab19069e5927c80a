//! The part of the terminal above the prompt.
//!
//! Promises: what is half typed stays as it is; `show` returns when the text is printed, or is next in line to be.
//!
//! The printer has a thread of its own because it blocks while keys come in faster than the prompt reads them. On the
//! client's thread that would be a knot: 1. Lines are pasted; the prompt prefers them to what is to be printed. 2. The
//! client waits in the printer. 3. The prompt waits for the client to take its second line. Nobody ever goes on.

use std::io::{self, Write};
use std::thread;

use rustyline::ExternalPrinter;
use tokio::sync::{mpsc, oneshot};

use super::complete::Shared;
use super::look::Look;
use crate::client::Event;

/// A line that leaves the terminal as it is: up, and down again.
const NOTHING: &str = "\x1b[A\n";

/// A text, and who waits until it is printed.
type Job = (String, oneshot::Sender<io::Result<()>>);

/// Prints above the prompt.
pub(super) struct Screen {
    jobs: mpsc::Sender<Job>,
    look: Look,
    known: Shared,
}

impl Screen {
    /// Starts the printer's thread, which ends with the screen.
    pub(super) fn start(
        mut printer: impl ExternalPrinter + Send + 'static,
        look: Look,
        known: Shared,
    ) -> io::Result<Screen> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(1);
        let print = move || {
            while let Some((text, done)) = waiting.blocking_recv() {
                // The prompt may have ended meanwhile, with its last line; the terminal is still there.
                let printed = printer.print(text.clone()).or_else(|_| print_directly(&text));
                // Whoever left does not want to know.
                let _ = done.send(printed);
            }
        };
        thread::Builder::new().name("printer".to_owned()).spawn(print)?;
        Ok(Screen { jobs, look, known })
    }

    /// Shows an event, if there is anything to be seen of it.
    pub(super) async fn show(&self, event: &Event) -> io::Result<()> {
        self.known.learn(event);
        let notice = self.look.notice(event).map(|notice| format!("plainsong: {notice}"));
        let lines: Vec<String> = notice.into_iter().chain(self.look.lines(event)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        self.print(lines.join("\n") + "\n").await
    }

    /// Waits until everything that was shown is on the terminal: the next text is taken when the one before is printed.
    pub(super) async fn settle(&self) -> io::Result<()> {
        self.print(NOTHING.to_owned()).await
    }

    async fn print(&self, text: String) -> io::Result<()> {
        let gone = || io::Error::other("the printer's thread has ended");
        let (done, printed) = oneshot::channel();
        self.jobs.send((text, done)).await.map_err(|_| gone())?;
        printed.await.map_err(|_| gone())?
    }
}

/// Prints while no prompt is there.
pub(super) fn print_directly(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
