//! Links between replicas: dialing, the handshake, and the two tasks that move bytes.
//!
//! One connection a pair and kind, dialed by the higher id, used in both directions: so that both ends agree on when the
//! link is up, and nothing sent after the handshake is lost while it stands.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::admin;
use super::directory::{Book, Doom, LinkTable};
use super::internal::{Ending, Shared};
use crate::consensus::{ReplicaId, Run};
use crate::wire::admin::Question;
use crate::wire::handshake::{GONE, Hello, Kind, Refused, Side, TWIN, parse_refusal, proof, proof_is_right};
use crate::wire::{self, Decoder, PeerLine};

/// A handshake that takes longer is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1_000);
/// The first pause after a failed dial; it doubles up to [`REDIAL_MAX`].
pub const REDIAL_MIN: Duration = Duration::from_millis(10);
/// The longest pause between dials.
pub const REDIAL_MAX: Duration = Duration::from_millis(500);
/// A link with so many unsent bytes is cut: the peer does not read.
pub const LINK_OUT_BYTES_MAX: usize = 64 << 20;
/// Whether the process whose id another one shows is alive is found out within this.
pub const TWIN_PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// Bytes sent to a peer that its kernel has not acknowledged for so long end the link.
pub const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// A link's writing buffer that grew beyond this is given back once it is written.
const BUFFER_BYTES_KEPT: usize = 128 << 10;
/// A link reads into blocks of memory: each as large as what is already there of an unfinished line, within these bounds,
const BLOCK_BYTES_MIN: usize = 64 << 10;
const BLOCK_BYTES_MAX: usize = 256 << 10;
/// and left for the next when there is less room in it.
const READ_BYTES_MIN: usize = 4 << 10;

/// Why a link did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// This side refuses the other.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The other side refuses this one, in its words.
    #[error("refused: {0}")]
    RefusedByPeer(String),
    /// No answer in time.
    #[error("no answer within {} ms", HANDSHAKE_TIMEOUT.as_millis())]
    Timeout,
}

/// What a handshake needs to know of this side.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's name in the config.
    pub cluster_name: String,
    /// The shared secret.
    pub secret: String,
    /// Where everybody is.
    pub book: watch::Receiver<Book>,
    /// This replica as it may be shown.
    pub shared: Arc<Shared>,
    /// Which data links stand.
    pub links: Arc<LinkTable>,
    /// Told when the others say that this process must end.
    pub doom: Doom,
}

/// A connection whose other end has proved itself.
#[derive(Debug)]
pub enum Accepted {
    /// A replica's.
    Link(TcpStream, Hello),
    /// Of somebody who asks something.
    Admin(TcpStream, Question),
}

impl Identity {
    fn hello(&self, kind: Kind, to: ReplicaId) -> Hello {
        Hello {
            kind,
            cluster_name: self.cluster_name.clone(),
            to,
            who: self.shared.introduction(),
            nonce: getrandom::u64().expect("the operating system gives random numbers"),
        }
    }

    /// Connects to a replica and shakes hands.
    pub async fn dial(&self, address: &str, to: ReplicaId, kind: Kind) -> Result<(TcpStream, Hello), LinkError> {
        let dialing = async {
            let mut stream = TcpStream::connect(address).await?;
            tune(&stream)?;
            let mine = self.hello(kind, to);
            send_line(&mut stream, &mine.print()).await?;
            let line = receive_line(&mut stream).await?;
            if let Some(why) = line.strip_prefix("refuse|") {
                return Err(self.refused(parse_refusal(why, &self.secret, &mine)?));
            }
            let (theirs, their_proof) = Hello::parse(&line)?;
            let proven = proof_is_right(their_proof.unwrap_or(""), &self.secret, Side::Acceptor, &mine, &theirs);
            theirs.check(&mine, |id| self.knows(id))?;
            if theirs.who.member.id != to {
                return Err(Refused::OtherReplica(to).into());
            }
            if !proven {
                // In place of this side's proof, so that the other one's operator is told as well; it may be gone.
                let _ = send_line(&mut stream, &format!("refuse|{}", Refused::WrongSecret)).await;
                return Err(Refused::WrongSecret.into());
            }
            let proof = proof(&self.secret, Side::Dialer, &mine, &theirs);
            send_line(&mut stream, &format!("proof|{proof}")).await?;
            Ok((stream, theirs))
        };
        timeout(HANDSHAKE_TIMEOUT, dialing).await.unwrap_or(Err(LinkError::Timeout))
    }

    /// Some refusals are meant for the process, not for the link.
    fn refused(&self, why: &str) -> LinkError {
        if why.starts_with(TWIN) {
            self.doom.speak(Ending::Twin);
        } else if why.starts_with(GONE) {
            self.doom.speak(Ending::Removed);
        }
        LinkError::RefusedByPeer(why.to_owned())
    }

    fn knows(&self, id: ReplicaId) -> bool {
        self.book.borrow().knows(id)
    }

    /// Whether the run that is linked under that id is another one than `run`, and answers where it is said to be. A
    /// restarted replica finds that its former run does not answer any more, though its connection may still seem to
    /// stand; a second process under the id finds that the first does, and does not fight with it for the link.
    async fn has_twin(&self, id: ReplicaId, run: Run) -> bool {
        let Some(linked) = self.links.run(id).filter(|linked| *linked != run) else { return false };
        let Some(address) = self.book.borrow().internal(id).map(str::to_owned) else { return false };
        // Boxed: a handshake within a handshake. It ends there, because a probe of this very run has no twin.
        let probing = Box::pin(self.dial(&address, id, Kind::Probe));
        matches!(timeout(TWIN_PROBE_TIMEOUT, probing).await, Ok(Ok((_, hello))) if hello.who.run == linked)
    }

    /// Shakes hands with whoever connected. What is no replica, or the wrong one, is told so in one line.
    pub async fn accept(&self, mut stream: TcpStream) -> Result<Accepted, LinkError> {
        tune(&stream)?;
        let shaken = timeout(HANDSHAKE_TIMEOUT, self.shake(&mut stream)).await.unwrap_or(Err(LinkError::Timeout));
        match shaken {
            Ok(Shaken::Link(hello)) => Ok(Accepted::Link(stream, hello)),
            Ok(Shaken::Admin(question)) => Ok(Accepted::Admin(stream, question)),
            Err(error) => {
                let told = match &error {
                    // A stranger, or one who waits to be greeted: in the words of the client protocol.
                    LinkError::Refused(Refused::NotAReplica) | LinkError::Timeout => {
                        format!("err|BAD_REQUEST|{}", Refused::NotAReplica)
                    }
                    // Told already, with a proof.
                    LinkError::Refused(refused) if refused.ends_the_process() => return Err(error),
                    LinkError::Refused(refused) => format!("refuse|{refused}"),
                    LinkError::Io(_) | LinkError::RefusedByPeer(_) => return Err(error),
                };
                // Best effort: it may be gone already.
                let _ = timeout(HANDSHAKE_TIMEOUT, send_line(&mut stream, &told)).await;
                Err(error)
            }
        }
    }

    /// Tells a process that it has to end.
    async fn dismiss(&self, stream: &mut TcpStream, why: Refused, dialer: &Hello) -> Result<Shaken, LinkError> {
        send_line(stream, &why.print_proven(&self.secret, dialer)).await?;
        Err(why.into())
    }

    async fn shake(&self, stream: &mut TcpStream) -> Result<Shaken, LinkError> {
        let line = match receive_line(stream).await {
            // `nc -N` without a whole line: it can still read.
            Err(LinkError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Refused::NotAReplica.into());
            }
            line => line?,
        };
        if line.starts_with("admin|") {
            return admin::listen_to(stream, &line, &self.cluster_name, &self.secret).await.map(Shaken::Admin);
        }
        let (theirs, _) = Hello::parse(&line)?;
        let mine = self.hello(theirs.kind, theirs.who.member.id);
        let member = theirs.who.member;
        if self.book.borrow().gone.contains(&member) {
            return self.dismiss(stream, Refused::Gone(member), &theirs).await;
        }
        theirs.check(&mine, |id| self.knows(id))?;
        if self.has_twin(member.id, theirs.who.run).await {
            return self.dismiss(stream, Refused::Twin(member.id), &theirs).await;
        }
        let proof = proof(&self.secret, Side::Acceptor, &theirs, &mine);
        send_line(stream, &format!("{}|{proof}", mine.print())).await?;
        let line = receive_line(stream).await?;
        let given = line.strip_prefix("proof|").unwrap_or("");
        if !proof_is_right(given, &self.secret, Side::Dialer, &theirs, &mine) {
            return Err(Refused::WrongSecret.into());
        }
        Ok(Shaken::Link(theirs))
    }
}

/// What a first line led to.
enum Shaken {
    Link(Hello),
    Admin(Question),
}

pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let keepalive = socket2::TcpKeepalive::new().with_time(USER_TIMEOUT).with_interval(Duration::from_secs(1));
    socket.set_tcp_keepalive(&keepalive)
}

pub(super) async fn send_line(stream: &mut TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).await
}

/// One line of a handshake, read byte by byte as far as the stream is concerned: nothing behind its LF is taken.
pub(super) async fn receive_line(stream: &mut TcpStream) -> Result<String, LinkError> {
    let mut line = Vec::new();
    let limit = wire::limits::HANDSHAKE_LINE_BYTES;
    loop {
        let mut peeked = [0_u8; wire::limits::HANDSHAKE_LINE_BYTES];
        let len = stream.peek(&mut peeked).await?;
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let end = peeked[..len].iter().position(|b| *b == b'\n');
        let take = end.map_or(len, |at| at + 1);
        stream.read_exact(&mut peeked[..take]).await?;
        line.extend_from_slice(&peeked[..take]);
        if line.len() > limit {
            return Err(Refused::NotAReplica.into());
        }
        if end.is_some() {
            line.pop();
            return String::from_utf8(line).map_err(|_| Refused::NotAReplica.into());
        }
    }
}

/// Pauses between dials: double each time, with jitter, so that replicas that start together do not dial in step.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(REDIAL_MIN)
    }
}

impl Backoff {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(REDIAL_MAX);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// A dial succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Bytes on their way out of a link: filled by the actor, taken whole by the writer task.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Mutex<BytesMut>,
    filled: Notify,
}

impl Outbox {
    /// Adds lines. Returns how many bytes are unsent now.
    pub fn put(&self, lines: &[PeerLine]) -> usize {
        let mut bytes = self.bytes.lock().expect("nobody panics while holding it: a panic aborts");
        for line in lines {
            wire::encode(line, &mut bytes);
        }
        let len = bytes.len();
        drop(bytes);
        self.filled.notify_one();
        len
    }

    /// How many bytes are unsent.
    pub fn len(&self) -> usize {
        self.bytes.lock().expect("nobody panics while holding it: a panic aborts").len()
    }

    /// Whether nothing is unsent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is put, until the connection fails: one write for all that has gathered. Two buffers take turns, so
    /// that a busy link allocates nothing.
    pub async fn write_to(&self, mut socket: OwnedWriteHalf) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        loop {
            std::mem::swap(
                &mut bytes,
                &mut *self.bytes.lock().expect("nobody panics while holding it: a panic aborts"),
            );
            if bytes.is_empty() {
                self.filled.notified().await;
                continue;
            }
            socket.write_all(&bytes).await?;
            bytes.clear();
            if bytes.capacity() > BUFFER_BYTES_KEPT {
                bytes = BytesMut::new();
            }
        }
    }
}

/// Reads a link's frames until it ends, handing each chunk's over at once. `hand_over` waits while its reader is
/// busy: then the socket is not read, and TCP pushes back.
pub async fn read_from<F, Fut>(mut socket: OwnedReadHalf, line_bytes_max: usize, mut hand_over: F) -> io::Result<()>
where
    F: FnMut(Vec<PeerLine>) -> Fut,
    Fut: Future<Output = bool>,
{
    let mut decoder = Decoder::new(line_bytes_max);
    let mut buffer = BytesMut::new();
    loop {
        make_room(&mut buffer, line_bytes_max);
        if socket.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut lines = Vec::new();
        while let Some(line) = decoder.next(&mut buffer).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
            lines.push(line);
        }
        if !lines.is_empty() && !hand_over(lines).await {
            return Ok(());
        }
    }
}

/// A block lives as long as any entry in it, and entries are kept for followers that are behind. So it is filled before
/// another is taken: were each read given its own, an entry of 250 bytes that came alone would keep a page at least, and
/// 8 MiB of them 130 MiB.
fn make_room(buffer: &mut BytesMut, line_bytes_max: usize) {
    if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
        buffer.reserve(buffer.len().clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX).min(line_bytes_max));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::consensus::{Frame, Term};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (dialed.expect("it listens"), accepted.expect("a connection waits").0)
    }

    #[test]
    fn small_lines_share_a_block_of_memory_and_long_ones_get_larger_blocks() {
        let mut buffer = BytesMut::new();
        let (mut kept, mut blocks) = (Vec::new(), std::collections::BTreeSet::new());
        let lines = 1000;
        for _ in 0..lines {
            make_room(&mut buffer, wire::limits::LINE_BYTES_MAX);
            blocks.insert(buffer.as_ptr() as usize + buffer.capacity());
            buffer.extend_from_slice(&[b'x'; 250]);
            kept.push(buffer.split().freeze());
        }
        assert!(blocks.len() <= 2 + 250 * lines / (BLOCK_BYTES_MIN - READ_BYTES_MIN), "{} blocks", blocks.len());
        buffer.extend_from_slice(&vec![b'x'; 10 * BLOCK_BYTES_MIN]);
        make_room(&mut buffer, wire::limits::LINE_BYTES_MAX);
        assert!(buffer.capacity() - buffer.len() >= READ_BYTES_MIN);
    }

    /// Marks of a few hundred connections in one command once made a line longer than a client's: it ended the link, and
    /// each new one, because it was sent again.
    #[actix_rt::test]
    async fn a_line_longer_than_any_client_line_does_not_end_the_link() {
        let (near, far) = pair().await;
        let payload = Bytes::from(vec![b'x'; crate::actors::replicator::MARKS_BYTES_MAX]);
        let sent = PeerLine::Frame(Frame::Forward { term: Term(1), payloads: vec![payload; 3] });
        let outbox = Outbox::default();
        outbox.put(std::slice::from_ref(&sent));
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let reading = read_from(far.into_split().0, wire::limits::LINE_BYTES_MAX, |lines| {
            let told = told.send(lines);
            async move { told.is_ok() }
        });
        let (_unused, near) = near.into_split();
        tokio::select! {
            ended = reading => panic!("the link ended: {ended:?}"),
            ended = outbox.write_to(near) => panic!("the link ended: {ended:?}"),
            lines = heard.recv() => assert_eq!(lines, Some(vec![sent])),
        }
    }
}
