//! The writing side of a connection: all pending output in one write, and what the peer's kernel has acknowledged of it.
//!
//! It holds no buffer while nothing is to be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use crate::actors::kernel::Kernel;

/// The first pause between two questions to the kernel while something waits for it; each next one doubles.
const CLOSE_PAUSE_MIN: Duration = Duration::from_millis(1);
/// The pause between two questions while only pushes wait to be marked: half of the 100 ms that the protocol gives, so
/// that the way through the actors has the other half.
const LAZY_PAUSE: Duration = Duration::from_millis(50);
/// The pause between two questions while nothing rests on the answer but whether the peer is still there.
const ALIVE_PAUSE: Duration = Duration::from_secs(5);

/// How closely the kernel's acknowledgements are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    /// Nothing rests on them; only whether the peer is still there matters.
    #[default]
    No,
    /// Pushes wait to be marked.
    Lazy,
    /// Something waits for them: the final line of a `6|`, the next push, the end of the connection.
    Close,
}

/// What is said to the peer, and how far it has got.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pending: BytesMut,
    written: u64,
    acknowledged: u64,
    /// Nothing will be added.
    complete: bool,
}

impl Outgoing {
    /// Appends to what is to be written. Takes the buffer itself where none waits: the usual case copies nothing.
    pub(super) fn put(&mut self, output: BytesMut) {
        if self.pending.is_empty() {
            self.pending = output;
        } else {
            self.pending.extend_from_slice(&output);
        }
    }

    /// Nothing will be added: the sending side is to be closed behind what there is.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Bytes that the kernel has not taken.
    pub(super) fn unsent(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Bytes that the kernel has taken.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that the peer's kernel has acknowledged, as far as was asked.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The kernel took bytes.
    fn took(&mut self, bytes: usize) {
        self.pending.advance(bytes);
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
        self.written += bytes as u64;
    }

    /// The peer's kernel has acknowledged everything but so many bytes. Whether that is news.
    fn set_unacknowledged(&mut self, unacknowledged: u64) -> bool {
        let before = self.acknowledged;
        self.acknowledged = self.written.saturating_sub(unacknowledged).max(before);
        self.acknowledged > before
    }

    /// The peer has everything.
    fn is_all_acknowledged(&self) -> bool {
        self.acknowledged == self.written && self.pending.is_empty()
    }
}

/// See the module's header.
pub(super) struct Writer<W> {
    socket: W,
    question: Option<Question>,
}

/// When to ask the kernel next.
#[derive(Clone, Copy, Debug)]
struct Question {
    watch: Watch,
    pause: Duration,
    at: Instant,
}

impl<W: AsyncWrite + Kernel + Unpin> Writer<W> {
    pub(super) fn new(socket: W) -> Self {
        Self { socket, question: None }
    }

    /// Writes what there is. Ready when the sending side is closed, or broken.
    pub(super) fn poll_write(&mut self, outgoing: &mut Outgoing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !outgoing.pending.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &outgoing.pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => outgoing.took(bytes),
            }
        }
        if outgoing.complete { Pin::new(&mut self.socket).poll_shutdown(cx) } else { Poll::Pending }
    }

    /// Asks the kernel, if it is time to. Whether it has acknowledged more than was known.
    pub(super) fn ask(&mut self, outgoing: &mut Outgoing, watch: Watch, now: Instant) -> io::Result<bool> {
        let Some(question) = self.question.as_mut().filter(|question| question.at <= now) else { return Ok(false) };
        let news = outgoing.set_unacknowledged(self.socket.unacknowledged()?);
        let pause = next_pause(watch, question.pause, news);
        *question = Question { watch, pause, at: now + pause };
        Ok(news)
    }

    /// When [`Writer::ask`] is wanted next. None while the peer has everything.
    pub(super) fn asks_at(&mut self, outgoing: &Outgoing, watch: Watch, now: Instant) -> Option<Instant> {
        if outgoing.is_all_acknowledged() {
            self.question = None;
        } else if self.question.is_none_or(|question| question.watch < watch) {
            let pause = first_pause(watch);
            self.question = Some(Question { watch, pause, at: now + pause });
        }
        self.question.map(|question| question.at)
    }
}

fn first_pause(watch: Watch) -> Duration {
    match watch {
        Watch::Close => CLOSE_PAUSE_MIN,
        Watch::Lazy => LAZY_PAUSE,
        Watch::No => ALIVE_PAUSE,
    }
}

/// While acknowledgements come, the next ones are near.
fn next_pause(watch: Watch, pause: Duration, news: bool) -> Duration {
    match watch {
        Watch::Close if news => CLOSE_PAUSE_MIN,
        Watch::Close => (pause * 2).clamp(CLOSE_PAUSE_MIN, LAZY_PAUSE),
        Watch::Lazy | Watch::No => first_pause(watch),
    }
}
