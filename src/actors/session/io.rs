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
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{ActorContext, Context};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::actor::Session;
use super::core::Core;
use super::reader::{Heard, Reader};
use super::writer::Writer;
use crate::actors::kernel::Kernel;

/// Turns in a row, before other connections of the thread have theirs. Each reads at most
/// [`READ_BYTES_MAX`](super::reader::READ_BYTES_MAX), and answers little more than
/// [`OUTPUT_BYTES_MAX`](super::limits::OUTPUT_BYTES_MAX).
const TURNS_MAX: usize = 4;

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
        if !self.has_said_all && self.writer.ask(&mut session.outgoing, session.core.watch(), now)? {
            session.turn(ctx, |_| ());
        }
        self.write(session, ctx, task)?;
        let mut turns = 0;
        while turns < TURNS_MAX && self.take_turn(session, ctx, task)? {
            self.write(session, ctx, task)?;
            turns += 1;
        }
        // After reading: a line that waited in the socket was not late.
        let was_due = session.look_at_the_time(now, ctx);
        if was_due || turns == TURNS_MAX {
            // What comes of it is looked at when others have had their turn.
            task.waker().wake_by_ref();
        }
        // What is closed is not asked about: that time would never move on, and the alarm ring without end.
        let asks_at =
            if self.has_said_all { None } else { self.writer.asks_at(&session.outgoing, session.core.watch(), now) };
        self.alarm.set([session.wakes_at(), asks_at].into_iter().flatten().min(), task);
        Ok(())
    }

    /// Writes what there is.
    fn write(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut TaskContext<'_>,
    ) -> io::Result<()> {
        if !self.has_said_all
            && let Poll::Ready(closed) = self.writer.poll_write(&mut session.outgoing, task)
        {
            closed?;
            self.has_said_all = true;
            if self.has_heard_all {
                ctx.stop();
            }
            // Else its end of input, or the end of the patience, stops this.
        }
        Ok(())
    }

    /// A turn, where there is room again for more output, or something was heard. Whether there may be another.
    fn take_turn(
        &mut self,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut TaskContext<'_>,
    ) -> io::Result<bool> {
        let unsent = session.outgoing.unsent();
        if session.core.waits_for_unsent().is_some_and(|enough| unsent <= enough) {
            session.turn(ctx, |_| ());
            return Ok(true);
        }
        self.read(session, ctx, task)
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
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Has the task woken at the time that is wanted, or earlier.
    pub(super) fn set(&mut self, wanted: Option<Instant>, task: &mut TaskContext<'_>) {
        let Some(at) = wanted.map(Into::into) else {
            self.0.take_if(|timer| timer.is_elapsed());
            return;
        };
        let timer = match &mut self.0 {
            Some(timer) if !timer.is_elapsed() && timer.deadline() <= at => return,
            Some(timer) => {
                timer.as_mut().reset(at);
                timer
            }
            none => none.insert(Box::pin(sleep_until(at))),
        };
        // Not held to the task's budget: one that is not polled now wakes nobody, and it is not polled again.
        if pin!(unconstrained(timer.as_mut())).poll(task).is_ready() {
            task.waker().wake_by_ref();
        }
    }
}
