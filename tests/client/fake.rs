//! A replica that does what the test says, line by line. Every wait is for an event and bounded by `PATIENCE`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plainsong::client::{Client, ClientOptions, Event, Events, Message};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing here takes this long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A replica's address.
pub struct Fake {
    listener: TcpListener,
    id: u32,
    /// Whether each client is expected to ask for the status first.
    is_asked: AtomicBool,
}

/// The replica's end of one connection.
pub struct Peer {
    stream: BufReader<TcpStream>,
    id: u32,
}

/// The options that name these replicas, in this order.
pub fn options(replicas: &[&Fake]) -> ClientOptions {
    ClientOptions::new(replicas.iter().map(|replica| replica.address()).collect())
}

/// A client whose connection `replica` has accepted and greeted.
pub async fn connect(replica: &Fake, options: ClientOptions) -> (Client, Events, Peer) {
    let (client, peer) = tokio::join!(Client::connect(options), replica.greet());
    let (client, mut events) = client.expect("a greeted client is connected");
    assert!(matches!(next(&mut events).await, Event::Connected { again: false, .. }));
    (client, events, peer)
}

/// The next event.
pub async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.next()).await.expect("an event in time").expect("events until the end")
}

/// The next message; notices about connections are passed over.
pub async fn next_message(events: &mut Events) -> Message {
    loop {
        match next(events).await {
            Event::Message(message) => return message,
            Event::Connected { .. } | Event::Disconnected { .. } => {}
            other => panic!("a message was expected, not {other:?}"),
        }
    }
}

/// A `msg` line.
pub fn msg(id: u64, text: &str) -> String {
    format!("msg|{id}|bob|2026-11-21T14:40:00.000Z|{text}")
}

impl Fake {
    /// A replica that listens, on a port of its own.
    pub async fn listen(id: u32) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Fake { listener, id, is_asked: AtomicBool::new(false) }
    }

    /// From now on clients ask where the others are, as those do that were given an address by hand. It does not know.
    pub fn is_asked_for_status(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// Its `host:port`.
    pub fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    /// The next connection, as it comes.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a client in time").expect("accepted");
        Peer { stream: BufReader::new(stream), id: self.id }
    }

    /// The next connection, greeted and in manual mode.
    pub async fn greet(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.say(&format!("hello|1|{}|test|c0ffee", self.id)).await;
        peer.answer("9|0", "ok|ack|0").await;
        if self.is_asked.load(Ordering::Relaxed) {
            peer.answer("11|", &format!("ok|status|{}|0|1|0", self.id)).await;
        }
        peer
    }

    /// The next connection, on which `name` is logged in again with so many messages waiting.
    pub async fn welcome_back(&self, name: &str, undelivered: u32) -> Peer {
        let mut peer = self.greet().await;
        peer.answer(&format!("2|{name}"), &format!("ok|login|{name}|{undelivered}")).await;
        peer
    }
}

impl Peer {
    /// Writes one line.
    pub async fn say(&mut self, line: &str) {
        let sent = self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).await;
        sent.expect("the client is there");
    }

    /// The next line from the client.
    pub async fn hear(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("replica {} waited for a line in vain", self.id)).expect("UTF-8");
        line.trim_end_matches('\n').to_owned()
    }

    /// Hears exactly this.
    pub async fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().await, line);
    }

    /// Hears exactly this and says that.
    pub async fn answer(&mut self, line: &str, reply: &str) {
        self.expect(line).await;
        self.say(reply).await;
    }

    /// Hears this request under some key, which it returns.
    pub async fn hear_keyed(&mut self, request: &str) -> String {
        let line = self.hear().await;
        let key = line.strip_prefix('@').and_then(|keyed| keyed.strip_suffix(&format!("|{request}")));
        key.unwrap_or_else(|| panic!("{request} under a key was expected, not {line}")).to_owned()
    }

    /// Waits until the client has closed the connection.
    pub async fn hear_end(&mut self) {
        assert_eq!(self.hear().await, "", "the end of the connection");
    }
}
