//! The writing task of a connection: takes all pending output at once, one write a batch, and asks the kernel what the
//! peer has acknowledged.
//!
//! It holds no buffer while nothing is to be written, and no timer while nothing is unacknowledged.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Recipient;
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::wire::{FromWire, Watch, Wire};
use crate::actors::kernel::Kernel;

/// The first pause between two questions to the kernel while something waits for it; each next one doubles.
const CLOSE_PAUSE_MIN: Duration = Duration::from_millis(1);
/// The pause between two questions while only pushes wait to be marked: half of the 100 ms that the protocol gives, so
/// that the way through the actors has the other half.
const LAZY_PAUSE: Duration = Duration::from_millis(50);
/// The pause between two questions while nothing rests on the answer but whether the peer is still there.
const ALIVE_PAUSE: Duration = Duration::from_secs(5);

/// The task.
pub(super) struct Writer<W> {
    socket: W,
    chunk: BytesMut,
    wire: Rc<Wire>,
    session: Recipient<FromWire>,
    question: Option<Question>,
}

/// When to ask the kernel next. Boxed parts only while something is unacknowledged.
struct Question {
    watch: Watch,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Question {
    fn new(watch: Watch, pause: Duration) -> Self {
        Self { watch, pause, timer: Box::pin(sleep(pause)) }
    }

    /// The next one, with the same timer.
    fn again(&mut self, watch: Watch, pause: Duration) {
        (self.watch, self.pause) = (watch, pause);
        self.timer.as_mut().reset(Instant::now() + pause);
    }
}

impl<W: AsyncWrite + Kernel + Unpin> Writer<W> {
    pub(super) fn new(socket: W, wire: Rc<Wire>, session: Recipient<FromWire>) -> Self {
        Self { socket, chunk: BytesMut::new(), wire, session, question: None }
    }

    /// Writes what there is. Ready when the sending side is closed.
    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.chunk.is_empty() {
                self.chunk = self.wire.take();
            }
            if self.chunk.is_empty() {
                if self.wire.is_finishing() {
                    return Pin::new(&mut self.socket).poll_shutdown(cx);
                }
                return Poll::Pending;
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.chunk) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn advance(&mut self, n: usize) {
        self.chunk.advance(n);
        if self.chunk.is_empty() {
            self.chunk = BytesMut::new();
        }
        if self.wire.add_written(n) {
            self.session.do_send(FromWire::Progress);
        }
    }

    /// Asks the kernel when it is time to. Always pending, or an error.
    fn poll_kernel(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let watch = self.wire.watched();
            if self.owes_nothing() {
                self.question = None;
                return Ok(());
            }
            let question = match &mut self.question {
                Some(question) if question.watch >= watch => question,
                _ => self.question.insert(Question::new(watch, first_pause(watch))),
            };
            if question.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let pause = question.pause;
            let news = self.wire.set_unacknowledged(self.socket.unacknowledged()?);
            if news && self.wire.must_tell_acknowledged() {
                self.session.do_send(FromWire::Progress);
            }
            if !self.owes_nothing()
                && let Some(question) = &mut self.question
            {
                question.again(watch, next_pause(watch, pause, news));
            }
        }
    }

    /// The peer has everything.
    fn owes_nothing(&self) -> bool {
        self.wire.is_all_acknowledged() && self.chunk.is_empty()
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

impl<W: AsyncWrite + Kernel + Unpin> Future for Writer<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.wire.register_writer(cx);
        let last = match this.poll_write_all(cx) {
            Poll::Ready(Ok(())) => FromWire::Finished,
            Poll::Ready(Err(error)) => FromWire::Gone(error.kind()),
            Poll::Pending => match this.poll_kernel(cx) {
                Ok(()) => return Poll::Pending,
                Err(error) => FromWire::Gone(error.kind()),
            },
        };
        this.session.do_send(last);
        Poll::Ready(())
    }
}
