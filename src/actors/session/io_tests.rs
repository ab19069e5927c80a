//! What moves the bytes, where it could sleep too long, never sleep, or keep others waiting: by streams that count.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::coop::{has_budget_remaining, poll_proceed};
use tokio::time::timeout;

use super::bench::{Bench, Client, Pipe, run};
use super::io::Alarm;
use super::limits::{DRAIN, LINGER, OUTPUT_BYTES_MAX};
use super::testkit::config;
use super::{Session, SessionConfig};
use crate::actors::kernel::Kernel;
use crate::actors::messages::{News, SessionId};

/// A pipe's end that counts how often it is asked for bytes.
struct Counted {
    half: ReadHalf<DuplexStream>,
    polls: Rc<Cell<usize>>,
    /// Dropped with the session.
    _lives: oneshot::Sender<()>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.polls.set(self.polls.get() + 1);
        Pin::new(&mut self.half).poll_read(cx, buf)
    }
}

/// A connection whose session can be watched.
struct Watched {
    client: Client<DuplexStream>,
    /// How often the session was polled while it was to read.
    polls: Rc<Cell<usize>>,
    unacknowledged: Rc<Cell<u64>>,
    /// Told of each question to the kernel.
    asked: Rc<Notify>,
    gone: oneshot::Receiver<()>,
}

impl Watched {
    fn start(bench: &Bench, bytes: usize, config: SessionConfig) -> Self {
        let (near, far) = tokio::io::duplex(bytes);
        let (half, written) = tokio::io::split(far);
        let (lives, gone) = oneshot::channel();
        let (polls, unacknowledged, asked) = (Rc::default(), Rc::default(), Rc::<Notify>::default());
        let reader = Counted { half, polls: Rc::clone(&polls), _lives: lives };
        let writer = Pipe { half: written, unacknowledged: Rc::clone(&unacknowledged), asked: Rc::clone(&asked) };
        Session::start(bench.peer(), reader, writer, Arc::new(config), bench.links.clone());
        Self { client: Client::new(near), polls, unacknowledged, asked, gone }
    }

    /// Bob, who was sent a message, and whose kernel leaves so many bytes unacknowledged.
    async fn pushed_a_message(bench: &Bench, unacknowledged: u64) -> Self {
        let mut eve = bench.pipe(1000);
        let mut bob = Self::start(bench, 1000, config());
        eve.line().await;
        bob.client.line().await;
        eve.ask("1|eve").await;
        bob.client.ask("1|bob").await;
        bob.unacknowledged.set(unacknowledged);
        eve.ask("5|bob|hi").await;
        assert!(bob.client.line().await.starts_with("msg|"));
        bob
    }

    /// Until the session is no more.
    async fn until_gone(&mut self) {
        timeout(Duration::from_secs(20), &mut self.gone).await.expect("in time").expect_err("it is only dropped");
    }
}

#[test]
fn a_connection_that_lingers_sleeps_and_is_given_up() {
    run(async {
        let bench = Bench::new();
        // All but the last line is acknowledged: the kernel is watched closely when the session is over.
        let mut bob = Watched::pushed_a_message(&bench, "ok|quit\n".len() as u64).await;
        let quit = Instant::now();
        bob.client.say("quit").await;
        assert_eq!(bob.client.rest().await, "ok|quit\n", "and the end of the output");
        assert_eq!(bench.undelivered("bob").await, 0, "marked before it ended");
        let before = bob.polls.get();
        bob.until_gone().await;
        let polls = bob.polls.get() - before;
        assert!(polls < 20, "{polls} polls of a session that waits for nothing but a time");
        assert!(quit.elapsed() >= LINGER, "what the peer still sends must not reset the connection");
    });
}

#[test]
fn an_end_is_told_once_the_kernel_has_acknowledged_what_was_pushed() {
    run(async {
        let bench = Bench::new();
        let mut bob = Watched::pushed_a_message(&bench, 1000).await;
        bob.client.stream.get_mut().shutdown().await.expect("open");
        // It has nothing to write and nothing to read: only the clock can wake it. What came of the answer to a question
        // is submitted before the next one.
        for _ in 0..4 {
            timeout(Duration::from_secs(10), bob.asked.notified()).await.expect("it goes on asking");
        }
        assert_eq!(bench.undelivered("bob").await, 1);
        bob.unacknowledged.set(0);
        bob.until_gone().await;
        assert_eq!(bench.undelivered("bob").await, 0);
    });
}

#[test]
fn a_drained_connection_that_takes_nothing_is_given_up() {
    run(async {
        let bench = Bench::new();
        let mut client = Watched::start(&bench, 10, config());
        client.client.stream.read_u8().await.expect("it has begun");
        let told = Instant::now();
        bench
            .on_replica(|replicator| replicator.tell(vec![(SessionId(1), News::Drain(chat::ByeCode::Draining))]))
            .await;
        client.until_gone().await;
        assert!(told.elapsed() >= DRAIN, "it had time");
        bench.until_closed(1).await;
    });
}

#[test]
fn what_only_the_clock_brings_comes_to_a_connection_where_nothing_else_happens() {
    run(async {
        let bench = Bench::new();
        let (rate, idle) = (NonZeroU32::new(20), Some(Duration::from_millis(500)));
        let config = SessionConfig { requests_per_second: rate, idle, ..config() };
        let mut client = Watched::start(&bench, 10_000, config);
        client.client.say(&["12|x"; 30].join("\n")).await;
        let all = client.client.rest().await;
        let mut lines = all.lines().filter(|line| *line != "ok|ping|x");
        assert!(lines.next().expect("a greeting").starts_with("hello|"));
        assert!(lines.next().expect("silence was noticed").starts_with("bye|IDLE|"));
        assert_eq!((lines.next(), all.matches("ok|ping|x\n").count()), (None, 30));
        assert!(client.polls.get() < 100, "{} polls", client.polls.get());
    });
}

#[test]
fn a_peer_that_takes_a_byte_at_a_time_gets_every_reply() {
    run(async {
        let bench = Bench::new();
        let mut client = Watched::start(&bench, 1, config());
        let (mut reader, mut writer) = tokio::io::split(client.client.stream.into_inner());
        tokio::task::spawn_local(async move {
            for n in 0..200 {
                writer.write_all(format!("help\n12|{n}\n").as_bytes()).await.expect("open");
            }
            writer.write_all(b"quit\n12|ignored\n").await.expect("open");
            writer.shutdown().await.expect("open");
        });
        let mut heard = String::new();
        timeout(Duration::from_secs(20), reader.read_to_string(&mut heard)).await.expect("in time").expect("open");
        let finals: Vec<_> = heard.lines().filter(|line| line.starts_with("ok|")).collect();
        let want = (0..200).flat_map(|n| ["ok|help".to_owned(), format!("ok|ping|{n}")]);
        assert_eq!(finals, want.chain(["ok|quit".to_owned()]).collect::<Vec<_>>());
        timeout(Duration::from_secs(20), &mut client.gone).await.expect("it heard the end").expect_err("dropped");
    });
}

#[test]
fn a_reset_is_noticed_by_a_connection_that_owes_nothing() {
    run(async {
        let bench = Bench::new();
        let mut client = bench.tcp().await;
        client.line().await;
        client.ask("12").await;
        let stream = client.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(stream);
        bench.until_closed(1).await;
    });
}

/// Asks for help without end, and takes all of it at once.
struct Flood {
    reads_left: usize,
    taken: Rc<Cell<u64>>,
}

impl AsyncRead for Flood {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(left) = self.reads_left.checked_sub(1) {
            self.reads_left = left;
            buf.put_slice(&b"help\n".repeat(buf.remaining() / 5));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.set(self.taken.get() + bytes.len() as u64);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Kernel for Flood {
    fn unacknowledged(&self) -> io::Result<u64> {
        Ok(0)
    }
}

#[test]
fn a_flood_leaves_its_thread_to_others_after_a_few_turns() {
    run(async {
        let bench = Bench::new();
        let taken: Rc<Cell<u64>> = Rc::default();
        let end = || Flood { reads_left: 200, taken: Rc::clone(&taken) };
        Session::start(bench.peer(), end(), end(), Arc::new(config()), bench.links.clone());
        let mut quiet = bench.pipe(1000);
        // A task like the others, so that each has its turn.
        let asked = Rc::clone(&taken);
        let most = tokio::task::spawn_local(async move {
            quiet.line().await;
            let mut most = 0;
            for _ in 0..20 {
                let before = asked.get();
                assert_eq!(quiet.ask("12|there?").await, "ok|ping|there?");
                most = most.max(asked.get() - before);
            }
            most
        });
        let most = most.await.expect("it is answered");
        assert!(
            most < 32 * OUTPUT_BYTES_MAX,
            "the flood was given {most} bytes before another one's line was answered"
        );
        assert!(taken.get() > 0, "and was served beside it");
    });
}

#[test]
fn an_alarm_wakes_a_task_whose_budget_was_used_up_when_it_was_set() {
    run(async {
        let at = Instant::now() + Duration::from_millis(20);
        let mut alarm = Alarm::default();
        let rings = poll_fn(move |cx| {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            while has_budget_remaining() {
                ready!(poll_proceed(cx)).made_progress();
            }
            alarm.set(Some(at), cx);
            Poll::Pending
        });
        timeout(Duration::from_secs(10), tokio::task::spawn_local(rings)).await.expect("it rang").expect("no panic");
    });
}
