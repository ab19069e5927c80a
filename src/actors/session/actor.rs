//! The actor around [`Core`]: carries its turns out, and owns the two tasks that move the bytes.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use bytes::BytesMut;
use chat::{AccountId, Framer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::attempts::{Attempts, Origin, SlowDown};
use super::core::{Core, Job, JobDone, Turn};
use super::limits::{DRAIN, LINGER, RETRY_PAUSE};
use super::reader::Reader;
use super::wire::{FromWire, Gate, Wire};
use super::writer::Writer;
use super::{Links, SessionConfig};
use crate::actors::acceptor::Permit;
use crate::actors::hasher::{HashDone, Hashed, Work};
use crate::actors::kernel::Kernel;
use crate::actors::messages::{News, SessionClosed, SessionId, SessionNews, SessionOpened, Slot, Submit};

/// Who is at the other end.
#[derive(Debug)]
pub struct Peer {
    /// The connection's number.
    pub session: SessionId,
    /// Where it comes from: guesses at passwords are counted by it.
    pub address: IpAddr,
    /// Its place among the connections of this replica, given back when it is gone.
    pub permit: Option<Permit>,
}

/// One client connection.
pub struct Session {
    core: Core,
    wire: Rc<Wire>,
    links: Links,
    peer: Peer,
    /// Whose password is being checked.
    checking: Option<AccountId>,
    tasks: [Option<AbortHandle>; 2],
    tick_is_set: bool,
    /// The earliest timer that is set for [`Core::wake`].
    wakes_at: Option<Instant>,
    eof: bool,
    /// The Replicator was told that this session is closed.
    closed: bool,
}

impl Session {
    /// Serves a connection on the current thread, which must run a [`tokio::task::LocalSet`].
    pub fn start<R, W>(peer: Peer, reader: R, writer: W, config: Arc<SessionConfig>, links: Links) -> Addr<Self>
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Kernel + Unpin + 'static,
    {
        Self::create(|ctx| {
            let wire = Wire::new();
            let session = ctx.address().recipient();
            let framer = Framer::new(config.line_bytes);
            let reader = Reader {
                socket: reader,
                framer,
                unfinished: BytesMut::new(),
                wire: Rc::clone(&wire),
                session: session.clone(),
            };
            let writer = Writer::new(writer, Rc::clone(&wire), session);
            let tasks = [
                Some(tokio::task::spawn_local(reader).abort_handle()),
                Some(tokio::task::spawn_local(writer).abort_handle()),
            ];
            let core = Core::new(config, Instant::now());
            Self {
                core,
                wire,
                links,
                peer,
                checking: None,
                tasks,
                tick_is_set: false,
                wakes_at: None,
                eof: false,
                closed: false,
            }
        })
    }

    /// One input: told the time and the progress first, carried out afterwards.
    fn turn(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Core)) {
        self.core.at(Instant::now());
        self.wire.looked();
        self.core.progress(self.wire.written(), self.wire.acknowledged());
        input(&mut self.core);
        self.carry_out(ctx);
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        loop {
            let Turn { output, asks, jobs, closed } = self.core.take_turn();
            self.wire.put(output);
            if !asks.is_empty() {
                self.links.submit.do_send(Submit { session: self.peer.session, asks });
            }
            if closed {
                self.close(ctx);
            }
            if jobs.is_empty() {
                break;
            }
            for (slot, job) in jobs {
                self.start_job(slot, job, ctx);
            }
        }
        if self.closed {
            return;
        }
        self.wire.tell_below(self.core.waits_for_unsent());
        self.wire.watch(self.core.watch());
        self.wire.set_gate(if self.core.may_read() { Gate::Open } else { Gate::Shut });
        if self.core.wants_tick() && !self.tick_is_set {
            self.tick_is_set = true;
            ctx.run_later(RETRY_PAUSE, |session, ctx| {
                session.tick_is_set = false;
                session.turn(ctx, Core::tick);
            });
        }
        self.set_wake(ctx);
    }

    /// One timer at a time, unless an earlier one is needed: while lines come, the end of the idle time moves on, and the
    /// timer that finds it moved is set again.
    fn set_wake(&mut self, ctx: &mut Context<Self>) {
        let Some(at) = self.core.wakes_at() else { return };
        if self.wakes_at.is_none_or(|set| at < set) {
            self.wakes_at = Some(at);
            ctx.run_later(at.saturating_duration_since(Instant::now()), move |session, ctx| {
                if session.wakes_at == Some(at) {
                    session.wakes_at = None;
                }
                if !session.closed {
                    session.turn(ctx, Core::wake);
                }
            });
        }
    }

    // ---- passwords

    fn start_job(&mut self, slot: Slot, job: Job, ctx: &mut Context<Self>) {
        let work = match job {
            Job::Hash(password) => Work::Hash(password),
            Job::Check { account, given, stored } => {
                let begun = self.attempts().begin(account, self.origin(), stored.is_some(), Instant::now());
                match (begun, given, stored) {
                    (Err(SlowDown(pause)), ..) => return self.core.job_done(slot, JobDone::SlowDown(pause)),
                    (Ok(()), Some(given), Some(stored)) => {
                        self.checking = Some(account);
                        Work::Verify(given, stored)
                    }
                    (Ok(()), ..) => return self.core.job_done(slot, JobDone::Wrong),
                }
            }
        };
        if !self.links.hasher.try_queue(slot, work, ctx.address().recipient()) {
            let done = self.job_done(Hashed::Busy);
            self.core.job_done(slot, done);
        }
    }

    fn job_done(&mut self, hashed: Hashed) -> JobDone {
        let checking = self.checking.take();
        match (hashed, checking) {
            (Hashed::Hash(hash), _) => JobDone::Hash(hash),
            (Hashed::Matches(true), account) => {
                if let Some(account) = account {
                    self.attempts().succeeded(account, self.origin());
                }
                JobDone::Right
            }
            (Hashed::Matches(false), _) => JobDone::Wrong,
            (Hashed::Busy, account) => {
                if let Some(account) = account {
                    self.attempts().withdrawn(account, self.origin());
                }
                JobDone::Busy
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.links.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origin(&self) -> Origin {
        self.peer.address.into()
    }

    // ---- the end

    /// All is said. What the peer still sends is read and thrown away for a while: see [`LINGER`].
    fn close(&mut self, ctx: &mut Context<Self>) {
        self.tell_closed();
        self.wire.finish();
        self.wire.set_gate(Gate::Discard);
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    fn tell_closed(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.links.closed.do_send(SessionClosed { session: self.peer.session });
        }
    }

    /// Gives the connection up. What its peer is known to have is still marked.
    fn give_up(&mut self, ctx: &mut Context<Self>) {
        if !self.closed {
            self.turn(ctx, Core::gone);
        }
        ctx.stop();
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let to = ctx.address().recipient();
        self.links.opened.do_send(SessionOpened { session: self.peer.session, to });
        self.carry_out(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.tell_closed();
        self.wire.set_gate(Gate::Closed);
        for task in self.tasks.iter_mut().filter_map(Option::take) {
            task.abort();
        }
    }
}

impl Handler<FromWire> for Session {
    type Result = ();

    fn handle(&mut self, message: FromWire, ctx: &mut Self::Context) {
        match message {
            FromWire::Lines(lines) => self.turn(ctx, |core| core.lines(lines)),
            FromWire::Progress => self.turn(ctx, |_| ()),
            FromWire::Eof if self.closed => ctx.stop(),
            FromWire::Eof => {
                self.eof = true;
                self.turn(ctx, Core::eof);
            }
            FromWire::Finished if self.eof => ctx.stop(),
            // The peer has not closed its side: its end of input, or the end of the patience, stops this.
            FromWire::Finished => {}
            FromWire::Gone(kind) => {
                log::debug!("session {}: the connection broke: {kind}", self.peer.session.0);
                self.give_up(ctx);
            }
        }
    }
}

impl Handler<SessionNews> for Session {
    type Result = ();

    fn handle(&mut self, SessionNews(news): SessionNews, ctx: &mut Self::Context) {
        if news.iter().any(|piece| matches!(piece, News::Drain(_))) {
            ctx.run_later(DRAIN, Session::give_up);
        }
        self.turn(ctx, |core| core.news(news));
    }
}

impl Handler<HashDone> for Session {
    type Result = ();

    fn handle(&mut self, HashDone { slot, hashed }: HashDone, ctx: &mut Self::Context) {
        let done = self.job_done(hashed);
        self.turn(ctx, |core| core.job_done(slot, done));
    }
}
