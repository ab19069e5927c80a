//! A client that speaks the line protocol, blocking, with a deadline on every wait.
//!
//! It tells replies from what comes unasked: [`LineClient::reply`] returns one request's data and final line, and
//! keeps the pushes and notes that stood before it for [`LineClient::push`] and [`LineClient::notes`]. It checks the
//! framing the protocol promises (line length, nothing between data and final line, no push twice) and fails loudly.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DrillError;

/// A request line's limit by default, with its LF.
const LINE_BYTES: usize = 8192;
/// The longest line a server may send, with its LF.
pub const SERVER_LINE_BYTES_MAX: usize = LINE_BYTES + 256;
/// What one read takes from the kernel.
const READ_BYTES: usize = 64 * 1024;

/// A message as `msg|<id>|<from>|<time>|<text>` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msg {
    /// Its id.
    pub id: u64,
    /// Who sent it.
    pub from: String,
    /// The leader's clock at acceptance, as printed.
    pub time: String,
    /// What was sent.
    pub text: String,
}

impl Msg {
    /// Reads a `msg|…` line.
    ///
    /// # Errors
    /// [`DrillError::Protocol`] if it is none.
    pub fn parse(line: &str) -> Result<Self, DrillError> {
        let bad = || DrillError::Protocol { what: "a message", line: line.to_owned() };
        let fields: Vec<&str> = line.splitn(5, '|').collect();
        let &["msg", id, from, time, text] = fields.as_slice() else {
            return Err(bad());
        };
        let id = id.parse().map_err(|_| bad())?;
        Ok(Self { id, from: from.to_owned(), time: time.to_owned(), text: text.to_owned() })
    }
}

/// What one request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The idempotency key that the final line carried back.
    pub key: Option<String>,
    /// The data lines before it.
    pub data: Vec<String>,
    /// The final line, without the key.
    pub last: String,
}

impl Reply {
    /// The first word of the final line is `ok`.
    pub fn is_ok(&self) -> bool {
        self.last.starts_with("ok|")
    }

    /// The data lines of a `deliver` as messages.
    ///
    /// # Errors
    /// [`DrillError::Protocol`] if one is no message.
    pub fn messages(&self) -> Result<Vec<Msg>, DrillError> {
        self.data.iter().map(|line| Msg::parse(line)).collect()
    }
}

/// One connection to a replica.
#[derive(Debug)]
pub struct LineClient {
    stream: TcpStream,
    /// Bytes received; those before `taken` were returned as lines.
    received: Vec<u8>,
    taken: usize,
    timeout: Duration,
    hello: String,
    pushes: VecDeque<Msg>,
    notes: VecDeque<String>,
}

impl LineClient {
    /// Connects and reads the greeting. `timeout` bounds this and every later wait for a line.
    ///
    /// # Errors
    /// When nobody listens, or the first line is no `hello|1|…`; [`DrillError::Bye`] when turned away.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, DrillError> {
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(DrillError::io("connect"))?;
        Self::greet(stream, timeout)
    }

    /// As [`LineClient::connect`], over a connection that the caller has opened his own way.
    ///
    /// # Errors
    /// As there.
    pub fn greet(stream: TcpStream, timeout: Duration) -> Result<Self, DrillError> {
        stream.set_nodelay(true).map_err(DrillError::io("set TCP_NODELAY"))?;
        stream.set_write_timeout(Some(timeout)).map_err(DrillError::io("set the write timeout"))?;
        let (received, pushes, notes) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut client = Self { stream, received, taken: 0, timeout, hello: String::new(), pushes, notes };
        let hello = client.line()?;
        if hello.starts_with("bye|") {
            return Err(DrillError::Bye(hello));
        }
        if !hello.starts_with("hello|1|") {
            return Err(DrillError::Protocol { what: "a greeting", line: hello });
        }
        client.hello = hello;
        Ok(client)
    }

    /// The greeting.
    pub fn hello(&self) -> &str {
        &self.hello
    }

    /// How long each wait for a line may take from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone, or the peer takes nothing for the timeout.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), DrillError> {
        self.stream.write_all(bytes).map_err(DrillError::io("send"))
    }

    /// Sends one line.
    ///
    /// # Errors
    /// As [`LineClient::send_bytes`].
    pub fn send(&mut self, line: &str) -> Result<(), DrillError> {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    /// Sends one line and returns its reply. Nothing may be outstanding.
    ///
    /// # Errors
    /// As [`LineClient::send_bytes`] and [`LineClient::reply`].
    pub fn request(&mut self, line: &str) -> Result<Reply, DrillError> {
        self.send(line)?;
        self.reply()
    }

    /// Closes the sending side; what is owed can still be read.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn finish_sending(&mut self) -> Result<(), DrillError> {
        self.stream.shutdown(Shutdown::Write).map_err(DrillError::io("half-close"))
    }

    /// The next reply. What comes unasked before it is kept.
    ///
    /// # Errors
    /// [`DrillError::Bye`], [`DrillError::Closed`] or [`DrillError::Timeout`] when there is none;
    /// [`DrillError::Protocol`] when something stands between data and final line.
    pub fn reply(&mut self) -> Result<Reply, DrillError> {
        let mut data = Vec::new();
        let mut messages = Vec::new();
        loop {
            let line = self.line()?;
            let (key, rest) = split_key(&line);
            match rest.split('|').next().unwrap_or_default() {
                "ok" | "err" | "retry" => {
                    let own = messages.len() - self.split_delivered(rest, &messages)?;
                    data.extend(messages.drain(own..));
                    self.keep_pushes(&messages)?;
                    return Ok(Reply { key: key.map(str::to_owned), data, last: rest.to_owned() });
                }
                "user" | "past" | "replica" | "help" => data.push(line),
                "msg" if data.is_empty() => messages.push(line),
                "note" if data.is_empty() => self.notes.push_back(line),
                "bye" => return Err(DrillError::Bye(line)),
                _ => {
                    return Err(DrillError::Protocol { what: "a line inside a reply", line });
                }
            }
        }
    }

    /// The next push, in the order of arrival.
    ///
    /// # Errors
    /// As [`LineClient::reply`]; [`DrillError::Protocol`] when a reply comes instead.
    pub fn push(&mut self) -> Result<Msg, DrillError> {
        loop {
            if let Some(push) = self.pushes.pop_front() {
                return Ok(push);
            }
            self.unasked()?;
        }
    }

    /// The next note.
    ///
    /// # Errors
    /// As [`LineClient::push`].
    pub fn note(&mut self) -> Result<String, DrillError> {
        loop {
            if let Some(note) = self.notes.pop_front() {
                return Ok(note);
            }
            self.unasked()?;
        }
    }

    /// Pushes that have been read beside replies and not been asked for yet.
    pub fn pushes_so_far(&mut self) -> Vec<Msg> {
        self.pushes.drain(..).collect()
    }

    /// Reads to the end of the stream; the lines on the way, a last `bye` among them.
    ///
    /// # Errors
    /// When the stream does not end in time.
    pub fn drain(&mut self) -> Result<Vec<String>, DrillError> {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                Ok(line) => lines.push(line),
                Err(DrillError::Closed) => return Ok(lines),
                Err(other) => return Err(other),
            }
        }
    }

    /// The next line as it stands, without its LF.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] after the timeout, [`DrillError::Closed`] at the end of the stream or a reset,
    /// [`DrillError::Protocol`] for a line that is too long or not UTF-8.
    pub fn line(&mut self) -> Result<String, DrillError> {
        let deadline = Instant::now() + self.timeout;
        let mut searched = self.taken;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|&byte| byte == b'\n') {
                return self.take_line(searched + end);
            }
            searched = self.received.len();
            if searched - self.taken > SERVER_LINE_BYTES_MAX {
                return self.take_line(searched);
            }
            // Only here, where at most one unfinished line is kept, does the buffer shrink.
            self.received.drain(..self.taken);
            searched -= self.taken;
            self.taken = 0;
            self.receive(deadline)?;
        }
    }

    fn take_line(&mut self, end: usize) -> Result<String, DrillError> {
        let bytes = &self.received[self.taken..end];
        let line = String::from_utf8_lossy(bytes);
        if end - self.taken >= SERVER_LINE_BYTES_MAX {
            return Err(DrillError::Protocol { what: "a line too long", line: line.into_owned() });
        }
        if matches!(line, std::borrow::Cow::Owned(_)) {
            return Err(DrillError::Protocol { what: "a line that is not UTF-8", line: line.into_owned() });
        }
        let line = line.into_owned();
        self.taken = end + 1;
        Ok(line)
    }

    fn receive(&mut self, deadline: Instant) -> Result<(), DrillError> {
        let timeout = || DrillError::Timeout { what: "a line from the server".to_owned(), waited: self.timeout };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timeout());
        }
        self.stream.set_read_timeout(Some(left)).map_err(DrillError::io("set the read timeout"))?;
        let filled = self.received.len();
        self.received.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut self.received[filled..]);
        self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(DrillError::Closed),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(timeout()),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(DrillError::Closed),
                _ => Err(DrillError::Io { what: "receive".to_owned(), source: error }),
            },
        }
    }

    fn unasked(&mut self) -> Result<(), DrillError> {
        let line = self.line()?;
        match line.split('|').next().unwrap_or_default() {
            "msg" => self.keep_pushes(&[line]),
            "note" => {
                self.notes.push_back(line);
                Ok(())
            }
            "bye" => Err(DrillError::Bye(line)),
            _ => Err(DrillError::Protocol { what: "nothing was asked", line }),
        }
    }

    /// How many of the messages before a final line are its data: "the last `<count>` msg lines before it".
    fn split_delivered(&self, last: &str, messages: &[String]) -> Result<usize, DrillError> {
        let Some(counts) = last.strip_prefix("ok|deliver|") else {
            return Ok(0);
        };
        let count = counts.split('|').next().and_then(|count| count.parse().ok());
        count
            .filter(|&count| count <= messages.len())
            .ok_or_else(|| DrillError::Protocol { what: "a count beyond the messages shown", line: last.to_owned() })
    }

    fn keep_pushes(&mut self, lines: &[String]) -> Result<(), DrillError> {
        for line in lines {
            self.pushes.push_back(Msg::parse(line)?);
        }
        Ok(())
    }
}

/// Splits `@key|rest`.
fn split_key(line: &str) -> (Option<&str>, &str) {
    match line.strip_prefix('@').and_then(|tail| tail.split_once('|')) {
        Some((key, rest)) => (Some(key), rest),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests;
