//! What the three tasks of one connection share: the reader, the actor, and the writer. All on one thread.
//!
//! ```text
//! socket ── reader ── FromWire::Lines ──> Session ── Wire::pending ──> writer ── socket
//!             ^──────── gate ──────────────┘  ^───── FromWire::Progress ──┘
//! ```
//!
//! The gate is the push-back: the reader shuts it with each batch of lines that it hands over, and the session opens it
//! again when its window has room, so at most one batch is ever in the mailbox, and a peer that sends faster than it is
//! served, or reads slower than it asks, is stopped by TCP. Progress is told once until the session has looked, and only
//! when the session asked to hear of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix::Message;
use bytes::BytesMut;
use chat::LineItem;

/// Reader, writer → Session. At most one of each kind is in the mailbox.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(super) enum FromWire {
    /// Lines in the order in which they came. The gate is shut until the session opens it.
    Lines(Vec<LineItem>),
    /// The peer has closed its sending side; nothing more will come.
    Eof,
    /// Bytes were written or acknowledged, as the session asked to hear.
    Progress,
    /// All output was written, and the sending side closed.
    Finished,
    /// The connection broke: nothing can be read or written any more.
    Gone(std::io::ErrorKind),
}

/// How closely the kernel's acknowledgements are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    /// Nothing rests on them; only whether the peer is still there matters.
    #[default]
    No,
    /// Pushes wait to be marked.
    Lazy,
    /// Something waits for them: the final line of a `6|`, the next push, the end of the connection.
    Close,
}

/// What the reader may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Read and hand over.
    Open,
    /// Wait: TCP pushes back.
    Shut,
    /// Read and throw away: the session is over, but closing a socket with unread input would reset the connection
    /// and take the last replies with it.
    Discard,
    /// End.
    Closed,
}

/// The shared part.
#[derive(Debug)]
pub(super) struct Wire {
    gate: Cell<Gate>,
    watch: Cell<Watch>,
    finish: Cell<bool>,
    written: Cell<u64>,
    acknowledged: Cell<u64>,
    tell_below: Cell<Option<u64>>,
    told: Cell<bool>,
    pending: RefCell<BytesMut>,
    produced: Cell<u64>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Wire {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            gate: Cell::new(Gate::Open),
            watch: Cell::default(),
            finish: Cell::default(),
            written: Cell::default(),
            acknowledged: Cell::default(),
            tell_below: Cell::default(),
            told: Cell::default(),
            pending: RefCell::default(),
            produced: Cell::default(),
            reader: RefCell::default(),
            writer: RefCell::default(),
        })
    }

    // ---- the session's side

    /// Appends to what is to be written. Takes the buffer itself where none waits: the usual case copies nothing.
    pub(super) fn put(&self, output: BytesMut) {
        if output.is_empty() {
            return;
        }
        self.produced.set(self.produced.get() + output.len() as u64);
        let mut pending = self.pending.borrow_mut();
        if pending.is_empty() {
            *pending = output
        } else {
            pending.extend_from_slice(&output)
        }
        drop(pending);
        self.wake_writer();
    }

    /// Bytes that the kernel has taken.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Bytes that the peer's kernel has acknowledged, as far as was asked.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// Asks for one [`FromWire::Progress`] once no more than `unsent` bytes wait for the kernel; `None`: none.
    pub(super) fn tell_below(&self, unsent: Option<u64>) {
        self.tell_below.set(unsent);
    }

    /// The session looks at the progress now: the next one is told again.
    pub(super) fn looked(&self) {
        self.told.set(false);
    }

    /// How closely to watch the kernel from now on.
    pub(super) fn watch(&self, watch: Watch) {
        if self.watch.replace(watch) < watch {
            self.wake_writer();
        }
    }

    pub(super) fn set_gate(&self, gate: Gate) {
        if self.gate.replace(gate) != gate
            && gate != Gate::Shut
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }

    /// Close the sending side as soon as all output is written.
    pub(super) fn finish(&self) {
        if !self.finish.replace(true) {
            self.wake_writer();
        }
    }

    // ---- the reader's side

    /// What may be done now. Waits while the gate is shut.
    pub(super) fn poll_gate(&self, cx: &Context<'_>) -> Poll<Gate> {
        match self.gate.get() {
            Gate::Shut => {
                *self.reader.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            gate => Poll::Ready(gate),
        }
    }

    /// Lines were handed over.
    pub(super) fn shut_gate(&self) {
        if self.gate.get() == Gate::Open {
            self.gate.set(Gate::Shut);
        }
    }

    // ---- the writer's side

    /// Everything that waits to be written.
    pub(super) fn take(&self) -> BytesMut {
        self.pending.take()
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finish.get()
    }

    pub(super) fn watched(&self) -> Watch {
        self.watch.get()
    }

    pub(super) fn register_writer(&self, cx: &Context<'_>) {
        let mut writer = self.writer.borrow_mut();
        if writer.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *writer = Some(cx.waker().clone());
        }
    }

    /// The kernel took bytes. Whether the session must be told.
    pub(super) fn add_written(&self, bytes: usize) -> bool {
        self.written.set(self.written.get() + bytes as u64);
        let unsent = self.produced.get() - self.written.get();
        match self.tell_below.get() {
            Some(below) if unsent <= below => {
                self.tell_below.set(None);
                self.must_tell()
            }
            _ => false,
        }
    }

    /// The peer's kernel has acknowledged everything but `unacknowledged` bytes. Whether that is news.
    pub(super) fn set_unacknowledged(&self, unacknowledged: u64) -> bool {
        let acknowledged = self.written.get().saturating_sub(unacknowledged);
        let before = self.acknowledged.get();
        self.acknowledged.set(acknowledged.max(before));
        acknowledged > before
    }

    /// Whether the session must be told of an acknowledgement.
    pub(super) fn must_tell_acknowledged(&self) -> bool {
        self.watch.get() != Watch::No && self.must_tell()
    }

    /// Whether everything written is known to be acknowledged.
    pub(super) fn is_all_acknowledged(&self) -> bool {
        self.acknowledged.get() >= self.written.get()
    }

    fn must_tell(&self) -> bool {
        !self.told.replace(true)
    }

    fn wake_writer(&self) {
        if let Some(writer) = &*self.writer.borrow() {
            writer.wake_by_ref();
        }
    }
}
