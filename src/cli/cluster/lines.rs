//! What the terminal shows: the replicas' lines, each with its id, and the supervisor's own.
//!
//! A thread of its own prints, so that a reader who has stopped (`plainsong cluster | less`) stops neither the replicas'
//! supervision nor Ctrl-C. Replicas' lines are bounded in number and length, and push back on the replicas; the
//! supervisor's own lines are few and never wait.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// How many of the replicas' lines may wait for the terminal.
const LINES_WAITING_MAX: usize = 1024;

/// Longer lines are printed in pieces of this size.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How long the last lines may take to reach the terminal.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(1);

/// Foreground colours that can be read on dark and light alike, taken in turn.
const COLOURS: [&str; 5] = ["\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m"];
const PLAIN: &str = "\x1b[0m";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    Supervisor,
    Replica(u16),
}

struct Line {
    stream: Stream,
    speaker: Speaker,
    text: Vec<u8>,
    /// The place that a replica's line takes until it is printed.
    _place: Option<OwnedSemaphorePermit>,
}

/// Where lines are handed in.
pub(super) struct Lines {
    queue: mpsc::UnboundedSender<Line>,
    places: Arc<Semaphore>,
}

/// The thread that prints.
pub(super) struct Printer(blocking::Receiver<()>);

/// Starts the thread.
pub(super) fn start() -> io::Result<(Lines, Printer)> {
    let (queue, mut lines) = mpsc::unbounded_channel::<Line>();
    let (finished, printer) = blocking::channel();
    thread::Builder::new().name("printer".to_owned()).spawn(move || {
        let colour = no_color_is_unset();
        let (out_colour, err_colour) = (colour && io::stdout().is_terminal(), colour && io::stderr().is_terminal());
        while let Some(line) = lines.blocking_recv() {
            // A terminal that is gone takes nobody with it: the replicas serve on.
            let _ = match line.stream {
                Stream::Out => io::stdout().write_all(&printed(line.speaker, &line.text, out_colour)),
                Stream::Err => io::stderr().write_all(&printed(line.speaker, &line.text, err_colour)),
            };
        }
        let _ = finished.send(());
    })?;
    Ok((Lines { queue, places: Arc::new(Semaphore::new(LINES_WAITING_MAX)) }, Printer(printer)))
}

/// <https://no-color.org>: set and not empty means none.
fn no_color_is_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line as the terminal gets it.
fn printed(speaker: Speaker, text: &[u8], colour: bool) -> Vec<u8> {
    let prefix = match speaker {
        Speaker::Supervisor => "[cluster]".to_owned(),
        Speaker::Replica(id) if colour => format!("{}[{id}]{PLAIN}", COLOURS[usize::from(id) % COLOURS.len()]),
        Speaker::Replica(id) => format!("[{id}]"),
    };
    [prefix.as_bytes(), b" ", text, b"\n"].concat()
}

impl Lines {
    /// Prints a line of the supervisor's own.
    pub(super) fn say(&self, text: &str) {
        for line in text.lines() {
            let text = line.as_bytes().to_vec();
            // The printer ends only after this sender.
            let _ = self.queue.send(Line { stream: Stream::Out, speaker: Speaker::Supervisor, text, _place: None });
        }
    }

    /// Prints what the child prints, until it closes both streams.
    pub(super) fn pass_on(&self, tasks: &mut JoinSet<()>, id: u16, child: &mut Child) {
        if let Some(out) = child.stdout.take() {
            tasks.spawn(pump(out, Stream::Out, id, self.queue.clone(), Arc::clone(&self.places)));
        }
        if let Some(err) = child.stderr.take() {
            tasks.spawn(pump(err, Stream::Err, id, self.queue.clone(), Arc::clone(&self.places)));
        }
    }
}

impl Printer {
    /// Waits until everything is printed, or nobody reads it.
    pub(super) fn finish(self) {
        let _ = self.0.recv_timeout(FINISH_WAIT_MAX);
    }
}

async fn pump(
    source: impl AsyncRead + Unpin,
    stream: Stream,
    id: u16,
    queue: mpsc::UnboundedSender<Line>,
    places: Arc<Semaphore>,
) {
    let mut source = BufReader::new(source);
    loop {
        let mut text = Vec::new();
        // An error of a pipe is its end.
        let Ok(1..) = (&mut source).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).await else {
            return;
        };
        if text.ends_with(b"\n") {
            text.pop();
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        if queue.send(Line { stream, speaker: Speaker::Replica(id), text, _place: Some(place) }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_carries_its_speaker() {
        assert_eq!(printed(Speaker::Replica(3), b"up", false), b"[3] up\n");
        assert_eq!(printed(Speaker::Replica(3), b"up", true), b"\x1b[35m[3]\x1b[0m up\n");
        assert_eq!(printed(Speaker::Supervisor, b"up", true), b"[cluster] up\n");
    }

    #[test]
    fn lines_are_cut_at_their_bound_and_lose_nothing() {
        let long = vec![b'x'; usize::try_from(LINE_BYTES_MAX).expect("fits") + 1];
        let source = [&long[..], b"\n\nlast"].concat();
        let (queue, mut lines) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(LINES_WAITING_MAX));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(pump(&source[..], Stream::Err, 1, queue, places));
        let mut lengths = Vec::new();
        while let Some(line) = lines.blocking_recv() {
            lengths.push(line.text.len());
        }
        assert_eq!(lengths, [long.len() - 1, 1, 0, 4]);
    }
}
