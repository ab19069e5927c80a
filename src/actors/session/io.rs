//! What moves the bytes of a connection: a future of the Session's own, polled with it.
//!
//! ```text
//! socket ── Reader ── lines ──> Core ── Outgoing ──> Writer ── socket
//!                                ^──── progress ────────┘
//! ```
//!
//! It is polled after each message to the session, and whenever the socket or the alarm is ready. So whatever a turn
//! wants (output written, lines read, a time told) it finds out by looking, and nobody has to be told: reader, session
//! and writer are one task. As three tasks that woke each other they cost more time, and a fifth more memory (NOTEBOOK,
//! "Speed").
//!
//! The push-back: nothing is read while [`Core::may_read`] says no. A peer that sends faster than it is served, or reads
//! slower than it asks, is stopped by TCP.
//!
//! [`Core::may_read`]: super::core::Core::may_read

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{ActorContext, Context};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep_until};

use super::actor::Session;
use super::core::Core;
use super::reader::{Heard, Reader};
use super::writer::Writer;
use crate::actors::kernel::Kernel;

/// Reads in a row, before other connections of the thread have their turn.
const READS_MAX: usize = 4;

/// See the module's header.
pub(super) struct Io<R, W> {
    reader: Reader<R>,
    writer: Writer<W>,
    /// The peer has closed its sending side.
    has_heard_all: bool,
    /// Our sending side is closed.
    has_said_all: bool,
    alarm: Alarm,
}

impl<R, W> Io<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Kernel + Unpin,
{
    pub(super) fn new(reader: Reader<R>, writer: Writer<W>) -> Self {
        Self { reader, writer, has_heard_all: false, has_said_all: false, alarm: Alarm::default() }
    }

    fn run(&mut self, session: &mut Session, ctx: &mut Context<Session>, task: &mut TaskContext<'_>) -> io::Result<()> {
        let now = Instant::now();
        session.look_at_the_time(now, ctx);
        let mut reads = 0;
        loop {
            self.write(session, ctx, task)?;
            if reads < READS_MAX && self.read(session, ctx, task)? {
                reads += 1;
            } else if !self.has_said_all && self.writer.ask(&mut session.outgoing, session.core.watch(), now)? {
                session.turn(ctx, |_| ());
            } else {
                break;
            }
        }
        if reads == READS_MAX {
            task.waker().wake_by_ref();
        }
        let wanted = [session.wakes_at(), self.writer.asks_at()].into_iter().flatten().min();
        self.alarm.set(wanted, now, task);
        Ok(())
    }

    /// Writes what there is, and what is said because there is room again.
    fn write(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut TaskContext<'_>,
    ) -> io::Result<()> {
        while !self.has_said_all {
            if let Poll::Ready(closed) = self.writer.poll_write(&mut session.outgoing, task) {
                closed?;
                self.has_said_all = true;
                if self.has_heard_all {
                    ctx.stop();
                }
                // Else its end of input, or the end of the patience, stops this.
            }
            let unsent = session.outgoing.unsent();
            if !session.core.waits_for_unsent().is_some_and(|enough| unsent <= enough) {
                break;
            }
            session.turn(ctx, |_| ());
        }
        Ok(())
    }

    /// Reads once. Whether it is worth to try again.
    fn read(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut TaskContext<'_>,
    ) -> io::Result<bool> {
        if self.has_heard_all || !session.may_read() {
            return Ok(false);
        }
        let Poll::Ready(heard) = self.reader.poll_read(task)? else { return Ok(false) };
        if session.is_closed() {
            self.reader.forget();
        } else {
            let mut lines = self.reader.lines().peekable();
            if lines.peek().is_some() {
                session.turn(ctx, |core| core.lines(lines));
            }
        }
        if heard == Heard::Eof {
            self.has_heard_all = true;
            self.heard_all(session, ctx);
        }
        Ok(true)
    }

    fn heard_all(&mut self, session: &mut Session, ctx: &mut Context<Session>) {
        if session.is_closed() {
            return ctx.stop();
        }
        let mut lines = self.reader.last_lines().peekable();
        if lines.peek().is_some() {
            session.turn(ctx, |core| core.lines(lines));
        }
        session.turn(ctx, Core::eof);
    }
}

impl<R, W> ActorFuture<Session> for Io<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Kernel + Unpin,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        match self.get_mut().run(session, ctx, task) {
            Ok(()) => Poll::Pending,
            Err(error) => {
                session.broken(&error, ctx);
                Poll::Ready(())
            }
        }
    }
}

/// The one timer of a connection. It is set as rarely as can be: one that goes off too early is set again then, and one
/// that is not wanted any more goes off for nothing.
#[derive(Default)]
struct Alarm(Option<Armed>);

struct Armed {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Has the task woken at the time that is wanted, or earlier.
    fn set(&mut self, wanted: Option<Instant>, now: Instant, task: &mut TaskContext<'_>) {
        self.0.take_if(|armed| armed.at <= now && wanted.is_none());
        let Some(at) = wanted else { return };
        let armed = match &mut self.0 {
            Some(armed) if now < armed.at && armed.at <= at => return,
            Some(armed) => {
                armed.at = at;
                armed.timer.as_mut().reset(at.into());
                armed
            }
            none => none.insert(Armed { at, timer: Box::pin(sleep_until(at.into())) }),
        };
        if armed.timer.as_mut().poll(task).is_ready() {
            task.waker().wake_by_ref();
        }
    }
}
