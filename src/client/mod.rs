//! The client library: one connection's worth of chat that outlives the replica it is connected to.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use plainsong::client::{Client, ClientOptions, Event};
//!
//! let servers = vec!["127.0.0.1:5001".to_owned(), "127.0.0.1:5002".to_owned()];
//! let (client, mut events) = Client::connect(ClientOptions::new(servers)).await?;
//! client.create("alice", None).await?;
//! client.send("alice", "a note to myself").await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {}", message.from, message.text);
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Promises, as long as a replica comes back within [`ClientOptions::give_up`]:
//! - **A request is done once**, whatever dies meanwhile, and its reply says what came of it. How: `session`.
//! - **A message is shown once**, and is not marked as delivered before its reader has come back for the next event.
//!   How: `mailbox`. Coming back is the acknowledgement; a reader that crashed over a message will be shown it again
//!   by its successor.
//! - After a reconnect the account is logged in again, and what arrived meanwhile is fetched: the whole undelivered
//!   mailbox, because nobody can tell the missed from the older.
//! - Requests take effect in the order in which they were asked. Sends are pipelined (`in_flight_max`); if one is refused
//!   for now while others behind it are on their way, those may overtake it. `in_flight_max: 1` rules that out.
//!
//! [`Events`] is a [`Stream`], too. `examples/answering_bot.rs` is a whole program.
//!
//! Memory is bounded: by the requests and events that may wait, by what the largest reply holds, and by the messages that
//! the caller has not come back from. A caller who keeps [`Events`] must read them, or the client stops reading from the
//! replica; one who does not want them drops them. So whoever reads events in a loop asks there with [`Client::submit`], and
//! leaves [`Client::request`], which waits for a reply that could stand behind a thousand messages, to another task.
//!
//! Leaves out TLS, and any opinion on how a message looks.

mod line;
mod link;
mod mailbox;
mod options;
mod request;
mod session;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot, watch};

use chat::{Done, ErrCode, MessageId, Refusal};
pub use line::{FinalLine, Message, Remark, Verdict};
use link::{Ask, Link};
pub use options::{ClientOptions, ConnectError, RequestError};
pub use request::{Credentials, holds_password};
pub use session::Reply;

/// Requests that wait to be taken by the link; those it has taken are bounded by `session::REQUESTS_MAX`.
const ASKS_MAX: usize = 64;

/// Events that wait for their reader.
const EVENTS_MAX: usize = 256;

/// What happens to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wrote. Each message comes once.
    Message(Message),
    /// The reply to a [`Client::submit`], in the order of the requests, and after the messages of its `deliver`.
    Reply(Reply),
    /// The replica says something unasked.
    Note(Remark),
    /// The replica closes the connection and says why; the client moves on.
    Bye(Remark),
    /// A replica serves this client.
    Connected {
        /// Its id.
        replica: u64,
        /// Its address, as it was given.
        server: String,
        /// Not the first one.
        again: bool,
    },
    /// The replica is lost; the client looks for another.
    Disconnected {
        /// Its address.
        server: String,
        /// What happened.
        why: String,
    },
    /// After a reconnect the account was refused: it is gone, or has another password.
    LoginLost(FinalLine),
    /// A line that belongs to nothing the client knows.
    Other(String),
    /// The last event.
    Ended(End),
}

/// How a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As asked: every reply has come, and what was read is acknowledged.
    Closed,
    /// The replica closed after a `quit`.
    Quit,
    /// There was no replica in time.
    GaveUp,
}

/// What a send came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendReceipt {
    /// Stored; the recipient is online.
    Sent {
        /// The message's id.
        id: MessageId,
    },
    /// Stored; the recipient is not online.
    Queued {
        /// The message's id.
        id: MessageId,
    },
    /// Not stored, or (`retry|UNKNOWN`, after the time was up) perhaps stored.
    Refused(FinalLine),
}

/// A handle to a client. Clones share the connection, the account and the order of requests.
#[derive(Clone, Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
}

/// The events of a client. Dropping them says that nobody reads: messages then stay undelivered.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
    /// How many messages the reader is done with.
    done: watch::Sender<u64>,
    /// How many it was given.
    given: u64,
}

impl Client {
    /// Connects to the first replica that greets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When no replica does within [`ClientOptions::connect_give_up`].
    pub async fn connect(options: ClientOptions) -> Result<(Client, Events), ConnectError> {
        if options.servers.is_empty() {
            return Err(ConnectError::NoServers);
        }
        let (asks, link_asks) = mpsc::channel(ASKS_MAX);
        let (link_events, events) = mpsc::channel(EVENTS_MAX);
        let (done, link_done) = watch::channel(0);
        let (link_up, up) = oneshot::channel();
        let link = Link::new(options, link_asks, link_events, link_done, link_up);
        tokio::spawn(link.run());
        // A link that ends without a word was torn down with its runtime.
        let nobody = || ConnectError::NoReplica { servers: String::new(), why: "the runtime is gone".to_owned() };
        up.await.unwrap_or_else(|_| Err(nobody()))?;
        Ok((Client { asks }, Events { events, done, given: 0 }))
    }

    /// Sends one protocol line and waits for its reply. 5, 8 and 9 get a key unless the line has one.
    ///
    /// # Errors
    /// When the line is no request, or the client has ended before the reply.
    pub async fn request(&self, line: impl AsRef<[u8]>) -> Result<Reply, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.ask(line.as_ref(), Some(reply)).await?;
        answer.await.map_err(|_| RequestError::Ended)
    }

    /// Sends one protocol line; its reply will be an [`Event::Reply`]. This keeps replies and messages in one order.
    ///
    /// # Errors
    /// When the line is no request, or the client has ended.
    pub async fn submit(&self, line: impl AsRef<[u8]>) -> Result<(), RequestError> {
        self.ask(line.as_ref(), None).await
    }

    /// Puts a refusal in the order of replies, for what cannot be sent at all.
    pub(crate) async fn submit_refusal(&self, code: ErrCode) -> Result<(), RequestError> {
        let last = FinalLine::new(Refusal::of(code));
        self.asks.send(Ask::Refused(last)).await.map_err(|_| RequestError::Ended)
    }

    async fn ask(&self, line: &[u8], reply: Option<oneshot::Sender<Reply>>) -> Result<(), RequestError> {
        if line.contains(&b'\n') {
            return Err(RequestError::LineFeed);
        }
        // A replica drops it too; kept, it would end a remembered password.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(RequestError::Empty);
        }
        self.asks.send(Ask::Request { line: line.to_vec(), reply }).await.map_err(|_| RequestError::Ended)
    }

    /// Creates an account and speaks for it, here and after every reconnect.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn create(&self, name: &str, password: Option<&str>) -> Result<FinalLine, RequestError> {
        let reply = self.request(account_line("1", name, password)).await?;
        Ok(reply.final_line)
    }

    /// Speaks for an account, here and after every reconnect.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn login(&self, name: &str, password: Option<&str>) -> Result<FinalLine, RequestError> {
        let reply = self.request(account_line("2", name, password)).await?;
        Ok(reply.final_line)
    }

    /// Sends a message, once.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn send(&self, to: &str, text: &str) -> Result<SendReceipt, RequestError> {
        let last = self.request(format!("5|{to}|{text}")).await?.final_line;
        Ok(match last.done() {
            Some(Done::Sent { id, online: true, .. }) => SendReceipt::Sent { id },
            Some(Done::Sent { id, online: false, .. }) => SendReceipt::Queued { id },
            _ => SendReceipt::Refused(last),
        })
    }

    /// Asks for the oldest `n` undelivered messages, or for all of them. They come as events, and are acknowledged like
    /// those; the final line counts what was new.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn deliver(&self, n: Option<u32>) -> Result<FinalLine, RequestError> {
        let line = n.map_or("6|".to_owned(), |n| format!("6|{n}"));
        Ok(self.request(line).await?.final_line)
    }

    /// Acknowledges messages up to `id` by hand, ahead of their reader. Messages that were read are acknowledged
    /// without this.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn ack(&self, id: MessageId) -> Result<FinalLine, RequestError> {
        Ok(self.request(format!("9|{id}")).await?.final_line)
    }

    /// The accounts whose names `regex` finds, as `user|<name>` lines.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn list(&self, regex: &str) -> Result<Reply, RequestError> {
        self.request(format!("0|{regex}")).await
    }

    /// Messages sent and received, as `past|…` lines: of `name` only where it is given, the newest `n`, older than
    /// `before` where that is given.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn history(
        &self,
        name: Option<&str>,
        before: Option<MessageId>,
        n: Option<u32>,
    ) -> Result<Reply, RequestError> {
        let (name, n) = (name.unwrap_or_default(), n.map_or(String::new(), |n| n.to_string()));
        let before = before.map_or(String::new(), |before| before.to_string());
        self.request(format!("7|{name}|{before}|{n}")).await
    }

    /// Removes messages from the account's own view, all or none, once.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn erase(&self, ids: &[MessageId]) -> Result<FinalLine, RequestError> {
        let ids: Vec<String> = ids.iter().map(MessageId::to_string).collect();
        Ok(self.request(format!("8|{}", ids.join(","))).await?.final_line)
    }

    /// The accounts with a live session whose names `regex` finds, as `user|<name>` lines.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn who(&self, regex: &str) -> Result<Reply, RequestError> {
        self.request(format!("10|{regex}")).await
    }

    /// Sets a new password, and logs in with it from then on.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn passwd(&self, new: &str) -> Result<FinalLine, RequestError> {
        Ok(self.request(format!("13|{new}")).await?.final_line)
    }

    /// The cluster, as `replica|…` lines.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn status(&self) -> Result<Reply, RequestError> {
        self.request("11|").await
    }

    /// Asks whether the replica is there.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn ping(&self, text: &str) -> Result<FinalLine, RequestError> {
        Ok(self.request(format!("12|{text}")).await?.final_line)
    }

    /// Ends the client when every earlier request is answered and every message that was read is acknowledged. The
    /// last event is [`Event::Ended`]; until then events have to be read.
    pub async fn close(&self) {
        // A client that has ended already is closed.
        let _ = self.asks.send(Ask::Close).await;
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(context)
    }
}

fn account_line(op: &str, name: &str, password: Option<&str>) -> String {
    match password {
        Some(password) => format!("{op}|{name}|{password}"),
        None => format!("{op}|{name}"),
    }
}

impl Events {
    /// The next event; `None` after [`Event::Ended`]. To come back for it is to say that the one before has been dealt
    /// with: a message is acknowledged then, and not sooner. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The next event, as a stream gives it: see [`Events::next`].
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.done.send_if_modified(|done| std::mem::replace(done, self.given) != self.given);
        let event = std::task::ready!(self.events.poll_recv(context));
        if let Some(Event::Message(_)) = event {
            self.given += 1;
        }
        Poll::Ready(event)
    }

    /// The next event if it is there already. It does not say that the one before has been dealt with.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok();
        if let Some(Event::Message(_)) = event {
            self.given += 1;
        }
        event
    }
}
