//! The reading task of a connection: bytes into lines, one message to the session for each read.
//!
//! It holds no buffer while it waits: bytes are read onto the stack, and only the beginning of an unfinished line is
//! kept. It reads nothing while the gate is shut.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix::Recipient;
use bytes::BytesMut;
use chat::{Framer, LineItem};
use tokio::io::{AsyncRead, ReadBuf};

use super::wire::{FromWire, Gate, Wire};

/// Bytes that one read takes at most.
pub(super) const READ_BYTES_MAX: usize = 16 * 1024;

/// The task.
pub(super) struct Reader<R> {
    pub(super) socket: R,
    pub(super) framer: Framer,
    pub(super) unfinished: BytesMut,
    pub(super) wire: Rc<Wire>,
    pub(super) session: Recipient<FromWire>,
}

impl<R: AsyncRead + Unpin> Future for Reader<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let gate = ready!(self.wire.poll_gate(cx));
            if gate == Gate::Closed {
                return Poll::Ready(());
            }
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES_MAX];
            let mut read = ReadBuf::uninit(&mut bytes);
            let result = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read));
            match self.take(result, read.filled(), gate) {
                Some(last) => {
                    self.session.do_send(last);
                    return Poll::Ready(());
                }
                None => continue,
            }
        }
    }
}

impl<R> Reader<R> {
    /// What was read. The last message, when there is nothing more to read.
    fn take(&mut self, result: io::Result<()>, bytes: &[u8], gate: Gate) -> Option<FromWire> {
        if let Err(error) = result {
            return Some(FromWire::Gone(error.kind()));
        }
        if gate == Gate::Discard {
            return bytes.is_empty().then_some(FromWire::Eof);
        }
        self.unfinished.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(item) = self.framer.next(&mut self.unfinished) {
            lines.push(item);
        }
        if bytes.is_empty() {
            lines.extend(std::iter::from_fn(|| self.framer.next_at_eof(&mut self.unfinished)));
        }
        self.hand_over(lines);
        bytes.is_empty().then_some(FromWire::Eof)
    }

    fn hand_over(&self, lines: Vec<LineItem>) {
        if !lines.is_empty() {
            self.wire.shut_gate();
            self.session.do_send(FromWire::Lines(lines));
        }
    }
}
