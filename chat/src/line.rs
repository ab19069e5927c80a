//! From bytes to lines: the splitter of client connections.
//!
//! It promises that a bad line costs one item and nothing more: an over-long one is skipped to its LF in constant
//! memory, whatever its length, and the next line is served as usual. No byte is searched twice, and an empty buffer is
//! given back, so that idle connections hold none. It knows no request: it hands out lines.
//!
//! The buffer is the caller's, so that a `tokio_util` decoder and a plain read loop are both three lines.

use std::fmt;
use std::ops::Deref;

use bytes::{Buf, Bytes, BytesMut};

/// One line without its end, known to be UTF-8. Holds a part of the read buffer alive; take what you need and drop it.
#[derive(Clone, PartialEq, Eq)]
pub struct Line(Bytes);

/// What comes of the bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineItem {
    /// A line to serve.
    Line(Line),
    /// A line over the limit was skipped.
    TooLong,
    /// A line that is not UTF-8 was skipped.
    NotUtf8,
    /// The first line is that of an HTTP request: say `bye|NOT_HTTP` and close, serve nothing that follows.
    Http,
}

/// Splits the bytes of one connection into lines.
#[derive(Clone, Debug)]
pub struct Framer {
    line_bytes_max: usize,
    /// Bytes at the start of the buffer that hold no LF.
    searched: usize,
    /// Inside an over-long line: its beginning is gone, its LF has not come.
    skipping: Option<Tail>,
    /// No line has come yet that was not empty.
    first: bool,
}

impl Framer {
    /// A splitter for lines of at most `line_bytes_max` bytes, end included.
    ///
    /// # Panics
    /// If no line could be short enough. The configuration allows at least [`crate::limits::LINE_BYTES_MIN`].
    pub fn new(line_bytes_max: usize) -> Self {
        assert!(line_bytes_max > 0, "a line has at least its LF");
        Self { line_bytes_max, searched: 0, skipping: None, first: true }
    }

    /// The next item of what was read so far; `None` asks for more bytes. Call it until then: what stays in the buffer
    /// afterwards is less than one line.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Option<LineItem> {
        while let Some(end) = self.find_end(buffer) {
            self.searched = 0;
            let line = buffer.split_to(end + 1);
            if let Some(item) = self.item(line) {
                return Some(item);
            }
        }
        self.hold_back(buffer);
        None
    }

    /// Like [`Framer::next`], once the peer has closed its sending side: a last line counts without its LF.
    pub fn next_at_eof(&mut self, buffer: &mut BytesMut) -> Option<LineItem> {
        if let Some(item) = self.next(buffer) {
            return Some(item);
        }
        // Shorter than the limit, or else it would be skipped by now: its LF always has room.
        let rest = std::mem::take(buffer);
        if rest.is_empty() && self.skipping.is_none() { None } else { self.item(rest) }
    }

    /// Where the next LF stands.
    fn find_end(&mut self, buffer: &BytesMut) -> Option<usize> {
        let searched = self.searched.min(buffer.len());
        self.searched = buffer.len();
        memchr::memchr(b'\n', &buffer[searched..]).map(|at| searched + at)
    }

    /// Keeps the beginning of a line that may still become one; lets go of one that cannot, and of an empty buffer.
    fn hold_back(&mut self, buffer: &mut BytesMut) {
        // With its LF, a line that has come this far without one is over the limit.
        if self.skipping.is_some() || buffer.len() >= self.line_bytes_max {
            self.skipping.get_or_insert_default().push(buffer);
            buffer.clear();
            self.searched = 0;
        }
        if buffer.is_empty() {
            *buffer = BytesMut::new();
        }
    }

    /// What a whole line is; `line` is its last part, with its LF where it had one. `None` for an empty line.
    fn item(&mut self, mut line: BytesMut) -> Option<LineItem> {
        if self.skipping.is_some() || line.len() > self.line_bytes_max {
            let mut tail = self.skipping.take().unwrap_or_default();
            tail.push(&line);
            let http = std::mem::replace(&mut self.first, false) && is_http(without_end(&tail.bytes));
            return Some(if http { LineItem::Http } else { LineItem::TooLong });
        }
        line.truncate(without_end(&line).len());
        if line.is_empty() {
            return None;
        }
        if std::mem::replace(&mut self.first, false) && is_http(&line) {
            return Some(LineItem::Http);
        }
        Some(Line::new(line.freeze()).map_or(LineItem::NotUtf8, LineItem::Line))
    }
}

/// The last bytes of a line that is being skipped: enough to tell an HTTP request line, which would otherwise hide its
/// end behind a long path.
#[derive(Clone, Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

/// ` HTTP/1.1` with CR and LF.
const TAIL_BYTES: usize = 11;

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        bytes.advance(bytes.len().saturating_sub(TAIL_BYTES));
        self.bytes.extend_from_slice(bytes);
        self.bytes.drain(..self.bytes.len().saturating_sub(TAIL_BYTES));
    }
}

/// The line without its LF and one CR before it.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_http(line: &[u8]) -> bool {
    line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/1.1")
}

impl Line {
    fn new(bytes: Bytes) -> Option<Self> {
        str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The line.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("checked when the line was made")
    }
}

impl Deref for Line {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line may hold a password.
        write!(f, "Line({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
