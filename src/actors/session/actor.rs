//! The actor around [`Core`]: carries its turns out. Its future [`Io`] moves the bytes.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use chat::AccountId;
use tokio::io::{AsyncRead, AsyncWrite};

use super::attempts::{Attempts, Origin, SlowDown};
use super::core::{Core, Job, JobDone, Turn};
use super::io::Io;
use super::limits::{DRAIN, LINGER, RETRY_PAUSE};
use super::reader::Reader;
use super::writer::{Outgoing, Writer};
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
    pub(super) core: Core,
    pub(super) outgoing: Outgoing,
    links: Links,
    peer: Peer,
    /// Whose password is being checked.
    checking: Option<AccountId>,
    /// When to tell [`Core::tick`].
    ticks_at: Option<Instant>,
    /// When to wait no longer for the peer.
    ends_at: Option<Instant>,
    /// The Replicator was told that this session is closed. What the peer still sends is thrown away.
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
            ctx.spawn(Io::new(Reader::new(reader, config.line_bytes), Writer::new(writer)));
            Self {
                core: Core::new(config, Instant::now()),
                outgoing: Outgoing::default(),
                links,
                peer,
                checking: None,
                ticks_at: None,
                ends_at: None,
                closed: false,
            }
        })
    }

    /// One input: told the time and the progress first, carried out afterwards. [`Io`] looks at what came of it.
    pub(super) fn turn(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Core)) {
        self.core.at(Instant::now());
        self.core.progress(self.outgoing.written(), self.outgoing.acknowledged());
        input(&mut self.core);
        self.carry_out(ctx);
    }

    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        loop {
            let Turn { output, asks, jobs, closed } = self.core.take_turn();
            self.outgoing.put(output);
            if !asks.is_empty() {
                self.links.submit.do_send(Submit { session: self.peer.session, asks });
            }
            if closed {
                self.close();
            }
            if jobs.is_empty() {
                break;
            }
            for (slot, job) in jobs {
                self.start_job(slot, job, ctx);
            }
        }
        if self.core.wants_tick() && self.ticks_at.is_none() {
            self.ticks_at = Some(Instant::now() + RETRY_PAUSE);
        }
    }

    /// Whether the socket is to be read.
    pub(super) fn may_read(&self) -> bool {
        self.closed || self.core.may_read()
    }

    /// Whether what is read is thrown away: closing a socket with unread input would reset the connection and take the
    /// last replies with it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    // ---- time

    /// When [`Session::look_at_the_time`] is wanted.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let of_core =
            if self.closed { None } else { [self.ticks_at, self.core.wakes_at()].into_iter().flatten().min() };
        [self.ends_at, of_core].into_iter().flatten().min()
    }

    /// Does what it is time for. Whether there was anything.
    pub(super) fn look_at_the_time(&mut self, now: Instant, ctx: &mut Context<Self>) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !is_due(self.wakes_at()) {
            return false;
        }
        if is_due(self.ends_at) {
            self.give_up(ctx);
            return true;
        }
        if is_due(self.ticks_at) {
            self.ticks_at = None;
            self.turn(ctx, Core::tick);
        }
        if is_due(self.core.wakes_at()) {
            self.turn(ctx, Core::wake);
        }
        true
    }

    fn end_after(&mut self, patience: Duration) {
        let at = Instant::now() + patience;
        self.ends_at = Some(self.ends_at.map_or(at, |earlier| earlier.min(at)));
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
    fn close(&mut self) {
        self.tell_closed();
        self.outgoing.complete();
        self.end_after(LINGER);
    }

    fn tell_closed(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.links.closed.do_send(SessionClosed { session: self.peer.session });
        }
    }

    /// The connection broke: nothing can be read or written any more.
    pub(super) fn broken(&mut self, why: &io::Error, ctx: &mut Context<Self>) {
        log::debug!("session {}: the connection broke: {}", self.peer.session.0, why.kind());
        self.give_up(ctx);
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
    }
}

impl Handler<SessionNews> for Session {
    type Result = ();

    fn handle(&mut self, SessionNews(news): SessionNews, ctx: &mut Self::Context) {
        if news.iter().any(|piece| matches!(piece, News::Drain(_))) {
            self.end_after(DRAIN);
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
