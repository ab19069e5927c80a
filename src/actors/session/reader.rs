//! The reading side of a connection: bytes into lines.
//!
//! It holds no buffer while it waits: bytes are read onto the stack, and only the beginning of an unfinished line is
//! kept.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use chat::{Framer, LineItem};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that one read takes at most.
pub(super) const READ_BYTES_MAX: usize = 16 * 1024;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Some bytes: [`Reader::lines`].
    Bytes,
    /// The peer has closed its sending side: [`Reader::last_lines`], and nothing more will come.
    Eof,
}

/// See the module's header.
pub(super) struct Reader<R> {
    socket: R,
    framer: Framer,
    unfinished: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(socket: R, line_bytes: usize) -> Self {
        Self { socket, framer: Framer::new(line_bytes), unfinished: BytesMut::new() }
    }

    /// Reads once.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES_MAX];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        self.unfinished.extend_from_slice(read.filled());
        Poll::Ready(Ok(if read.filled().is_empty() { Heard::Eof } else { Heard::Bytes }))
    }

    /// The lines that are finished. To be taken after each read.
    pub(super) fn lines(&mut self) -> impl Iterator<Item = LineItem> + '_ {
        std::iter::from_fn(|| self.framer.next(&mut self.unfinished))
    }

    /// What is left at the end of the input: a line without its LF.
    pub(super) fn last_lines(&mut self) -> impl Iterator<Item = LineItem> + '_ {
        std::iter::from_fn(|| self.framer.next_at_eof(&mut self.unfinished))
    }

    /// Nobody wants to know what was read.
    pub(super) fn forget(&mut self) {
        self.unfinished = BytesMut::new();
    }
}
