//! Just enough of the line protocol for the command line's own questions: one connection, one question at a time, each
//! step with a deadline, and no line or answer without a bound. (Chatting is the client's business, not this one's.)

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long connecting and being greeted may take, and then each answer. A replica answers from memory; only a paused
/// one, or a network that drops packets, takes longer.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// The longest line a server may send: the longest configurable request, and 256 bytes.
const LINE_BYTES_MAX: u64 = (1 << 20) + 256;

/// The most lines of one answer that are kept; `status` has one a replica.
const ANSWER_LINES_MAX: usize = 2048;

/// A connection that has been greeted.
pub(super) struct Conversation {
    stream: BufReader<TcpStream>,
    /// Who greeted, as its `hello` says.
    pub replica: u16,
    /// Of which cluster; empty if it has none yet.
    pub cluster_id: String,
}

impl Conversation {
    /// Connects, and waits for the greeting.
    pub(super) async fn open(address: &str) -> io::Result<Self> {
        bounded(async {
            let mut stream = BufReader::new(TcpStream::connect(address).await?);
            let greeting = read_line(&mut stream).await?;
            let replica = greeted_by(&greeting).ok_or_else(|| not_ours(&greeting))?;
            let cluster_id = greeting.split('|').nth(4).unwrap_or_default().to_owned();
            Ok(Self { stream, replica, cluster_id })
        })
        .await
    }

    /// The stream, and what was read of it and not looked at.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        let read = self.stream.buffer().to_vec();
        (self.stream.into_inner(), read)
    }

    /// Sends a request and collects its answer: data lines, then the final line. What comes unasked is left out.
    pub(super) async fn ask(&mut self, request: &str) -> io::Result<Vec<String>> {
        bounded(async {
            self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).await?;
            let mut answer = Vec::new();
            while answer.len() < ANSWER_LINES_MAX {
                let line = read_line(&mut self.stream).await?;
                match line.split('|').next().unwrap_or_default() {
                    "note" | "msg" => {}
                    "bye" => return Err(io::Error::other(line)),
                    "ok" | "err" | "retry" => {
                        answer.push(line);
                        return Ok(answer);
                    }
                    _ => answer.push(line),
                }
            }
            Err(io::Error::other(format!("an answer of more than {ANSWER_LINES_MAX} lines")))
        })
        .await
    }
}

/// The replica that a greeting names; `None` for a line that is no greeting of ours.
fn greeted_by(line: &str) -> Option<u16> {
    line.strip_prefix("hello|1|")?.split('|').next()?.parse().ok()
}

fn not_ours(line: &str) -> io::Error {
    let start: String = line.chars().take(60).collect();
    io::Error::other(format!("no replica of plainsong answers there: it says {start:?}"))
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a line"));
    }
    String::from_utf8(line).map_err(|_| io::Error::other("a line that is not UTF-8"))
}

async fn bounded<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", ANSWER_WAIT_MAX.as_secs()));
    timeout(ANSWER_WAIT_MAX, step).await.unwrap_or_else(|_elapsed| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    /// A listener that says `script` to the first who connects, whatever he asks. Returns its address.
    fn says(script: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(script.as_bytes()).expect("written");
            // The other side closes first: wait for its end, so that nothing it sent makes ours a reset.
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        address
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn an_answer_ends_at_its_final_line_and_leaves_out_what_came_unasked() {
        let address = says("hello|1|3|plainsong|00ff\nnote|NO_QUORUM|x\nreplica|1|a\nok|status|3|0|7|0\nok|other\n");
        let (replica, answer) = block_on(async {
            let mut conversation = Conversation::open(&address).await.expect("greeted");
            (conversation.replica, conversation.ask("11|").await.expect("answered"))
        });
        assert_eq!(replica, 3);
        assert_eq!(answer, ["replica|1|a", "ok|status|3|0|7|0"]);
    }

    #[test]
    fn a_stranger_is_called_one() {
        let address = says("SSH-2.0-OpenSSH\n");
        let error = block_on(Conversation::open(&address)).map(|_| ()).expect_err("no greeting");
        assert!(error.to_string().contains("SSH-2.0"), "{error}");
    }

    #[test]
    fn a_bye_is_an_error_with_its_reason() {
        let address = says("hello|1|3|plainsong|00ff\nbye|DRAINING|ends\n");
        let error = block_on(async { Conversation::open(&address).await.expect("greeted").ask("11|").await });
        assert!(error.expect_err("a bye").to_string().contains("DRAINING"));
    }
}
