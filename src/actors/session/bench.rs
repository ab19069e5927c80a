//! What the tests of the actor share: a Replicator of one, pipes and sockets to its sessions, and clients.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Recipient};
use chat::{Answer, MessageId, Name, Query, Shown};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, WriteHalf,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::testkit::{self, config};
use super::{Links, Peer, Session};
use crate::actors::hasher::Hasher;
use crate::actors::kernel::Kernel;
use crate::actors::messages::{News, SessionClosed, SessionId, SessionNews, SessionOpened, Submit};

/// The test's replica as an actor.
pub(super) struct Replicator {
    pub(super) replica: testkit::Replica,
    pub(super) sessions: Vec<(SessionId, Recipient<SessionNews>)>,
    pub(super) closed: Rc<RefCell<Vec<SessionId>>>,
}

impl Actor for Replicator {
    type Context = Context<Self>;
}

impl Handler<SessionOpened> for Replicator {
    type Result = ();
    fn handle(&mut self, SessionOpened { session, to }: SessionOpened, _: &mut Self::Context) {
        self.sessions.push((session, to));
    }
}

impl Handler<SessionClosed> for Replicator {
    type Result = ();
    fn handle(&mut self, SessionClosed { session }: SessionClosed, _: &mut Self::Context) {
        self.sessions.retain(|(id, _)| *id != session);
        self.closed.borrow_mut().push(session);
    }
}

impl Handler<Submit> for Replicator {
    type Result = ();
    fn handle(&mut self, Submit { session, asks }: Submit, _: &mut Self::Context) {
        let mut news = Vec::new();
        for ask in asks {
            news.extend(self.replica.serve(session, ask));
        }
        self.tell(news);
    }
}

impl Replicator {
    pub(super) fn tell(&self, news: Vec<(SessionId, News)>) {
        for (id, to) in &self.sessions {
            let own: Vec<_> = news.iter().filter(|(of, _)| of == id).map(|(_, piece)| piece.clone()).collect();
            if !own.is_empty() {
                to.do_send(SessionNews(own));
            }
        }
    }
}

/// Runs something on the Replicator.
pub(super) struct With(Box<dyn FnOnce(&mut Replicator) + Send>);

impl actix::Message for With {
    type Result = ();
}

impl Handler<With> for Replicator {
    type Result = ();
    fn handle(&mut self, With(run): With, _: &mut Self::Context) {
        run(self);
    }
}

pub(super) struct Bench {
    pub(super) replicator: Addr<Replicator>,
    pub(super) links: Links,
    pub(super) closed: Rc<RefCell<Vec<SessionId>>>,
    pub(super) sessions: Cell<u64>,
}

/// A pipe's end whose kernel acknowledges what it is told to.
pub(super) struct Pipe {
    pub(super) half: WriteHalf<DuplexStream>,
    pub(super) unacknowledged: Rc<Cell<u64>>,
    /// Told of each question.
    pub(super) asked: Rc<Notify>,
}

impl Kernel for Pipe {
    fn unacknowledged(&self) -> io::Result<u64> {
        self.asked.notify_one();
        Ok(self.unacknowledged.get())
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.half).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_shutdown(cx)
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let closed = Rc::default();
        let replicator =
            Replicator { replica: testkit::Replica::default(), sessions: Vec::new(), closed: Rc::clone(&closed) }
                .start();
        let links = Links {
            opened: replicator.clone().recipient(),
            closed: replicator.clone().recipient(),
            submit: replicator.clone().recipient(),
            hasher: Hasher::start().expect("threads"),
            attempts: Arc::new(Mutex::default()),
        };
        Self { replicator, links, closed, sessions: Cell::new(0) }
    }

    pub(super) fn peer(&self) -> Peer {
        self.sessions.set(self.sessions.get() + 1);
        let address = "127.0.0.1".parse().expect("an address");
        Peer { session: SessionId(self.sessions.get()), address, permit: None }
    }

    /// A client over a pipe that holds so many bytes.
    pub(super) fn pipe(&self, bytes: usize) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(bytes);
        let (reader, half) = tokio::io::split(far);
        let writer = Pipe { half, unacknowledged: Rc::default(), asked: Rc::default() };
        Session::start(self.peer(), reader, writer, Arc::new(config()), self.links.clone());
        Client::new(near)
    }

    /// A client over TCP.
    pub(super) async fn tcp(&self) -> Client<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (far, _) = listener.accept().await.expect("it waits");
        let (reader, writer) = far.into_split();
        Session::start(self.peer(), reader, writer, Arc::new(config()), self.links.clone());
        Client::new(near)
    }

    pub(super) async fn on_replica<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Replicator) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = tokio::sync::oneshot::channel();
        let with = With(Box::new(move |replicator| {
            let _ = tell.send(run(replicator));
        }));
        self.replicator.send(with).await.expect("it lives");
        told.await.expect("it ran")
    }

    pub(super) async fn undelivered(&self, name: &'static str) -> u64 {
        self.on_replica(move |replicator| {
            let name = Name::fold(name).expect("a name");
            let Ok(Answer::Account(Some(account))) = chat::answer(&replicator.replica.storage, &Query::Account(name))
            else {
                panic!("no such account")
            };
            let query = Query::Undelivered {
                account: account.id,
                shown: Shown::default(),
                again_after: Some(MessageId(0)),
                limit: usize::MAX,
                bytes_max: usize::MAX,
            };
            match chat::answer(&replicator.replica.storage, &query) {
                Ok(Answer::Undelivered { messages, .. }) => messages.len() as u64,
                Ok(_) => panic!("messages"),
            }
        })
        .await
    }

    /// Until it is so. Gives how long that took.
    pub(super) async fn until_undelivered(&self, name: &'static str, want: u64) -> Duration {
        let start = Instant::now();
        while self.undelivered(name).await != want {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{} undelivered, not {want}",
                self.undelivered(name).await
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    pub(super) async fn until_closed(&self, sessions: usize) {
        let start = Instant::now();
        while self.closed.borrow().len() < sessions {
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", self.closed.borrow());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(super) struct Client<S> {
    pub(super) stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(Duration::from_secs(10), self.stream.read_line(&mut line)).await.expect("in time").expect("open");
        line.trim_end_matches('\n').to_owned()
    }

    pub(super) async fn say(&mut self, lines: &str) {
        self.stream.get_mut().write_all(format!("{lines}\n").as_bytes()).await.expect("open");
    }

    pub(super) async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.line().await
    }

    pub(super) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        timeout(Duration::from_secs(20), self.stream.read_to_string(&mut rest)).await.expect("in time").expect("open");
        rest
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}
