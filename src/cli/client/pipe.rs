//! Lines in, lines out: the client without a prompt.
//!
//! Promises: output in the order of the requests; every reply is written before this returns; a message is acknowledged
//! after it was written and flushed. Leaves out how lines look.

use std::io;

use chat::ErrCode;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use super::look::Look;
use super::{ClientExit, tell};
use crate::client::{Client, End, Event, Events, RequestError, Verdict};
use crate::config::LINE_BYTES_MAX;

/// A line beyond what any replica takes is not kept.
const INPUT_LINE_BYTES_MAX: usize = LINE_BYTES_MAX as usize;

/// What one call takes from the input.
enum Input {
    Line,
    TooLong,
    End,
}

/// Runs until the input has ended and everything is answered, or until a `quit`.
pub(super) async fn run(
    client: Client,
    mut events: Events,
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin,
    look: Look,
) -> Result<(), ClientExit> {
    let feeding = async {
        let fed = feed(&client, input).await;
        client.close().await;
        fed
    };
    let printing = print(&mut events, output, look);
    tokio::pin!(feeding, printing);
    tokio::select! {
        printed = &mut printing => printed,
        fed = &mut feeding => {
            printing.await?;
            Ok(fed?)
        }
    }
}

/// Submits every line of the input.
async fn feed(client: &Client, mut input: impl AsyncBufRead + Unpin) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        let submitted = match read_line(&mut input, &mut line).await? {
            Input::End => return Ok(()),
            Input::TooLong => client.submit_refusal(ErrCode::TooLong).await,
            Input::Line => client.submit(&line).await,
        };
        match submitted {
            Ok(()) | Err(RequestError::Empty | RequestError::LineFeed) => {}
            // The events say how.
            Err(RequestError::Ended) => return Ok(()),
        }
    }
}

/// Reads one line, without its LF. A last line without LF counts.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Input> {
    line.clear();
    let mut is_too_long = false;
    let mut is_begun = false;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() && !is_begun {
            return Ok(Input::End);
        }
        is_begun = true;
        let lf = available.iter().position(|&byte| byte == b'\n');
        let taken = lf.unwrap_or(available.len());
        is_too_long |= line.len() + taken > INPUT_LINE_BYTES_MAX;
        if !is_too_long {
            line.extend_from_slice(&available[..taken]);
        }
        let is_last = lf.is_some() || available.is_empty();
        input.consume(taken + usize::from(lf.is_some()));
        if is_last {
            return Ok(if is_too_long { Input::TooLong } else { Input::Line });
        }
    }
}

/// Writes events until there are no more.
async fn print(events: &mut Events, mut output: impl AsyncWrite + Unpin, look: Look) -> Result<(), ClientExit> {
    let mut gave_up = false;
    // Coming back for the next event acknowledges the ones before: by then they must be out.
    while let Some(first) = events.next().await {
        let mut text = String::new();
        let mut waiting = Some(first);
        while let Some(event) = waiting {
            if let Some(notice) = look.notice(&event) {
                tell(&notice);
            }
            gave_up |= is_giving_up(&event);
            for line in look.lines(&event) {
                text.push_str(&line);
                text.push('\n');
            }
            waiting = if text.len() < INPUT_LINE_BYTES_MAX { events.try_next() } else { None };
        }
        output.write_all(text.as_bytes()).await?;
        output.flush().await?;
    }
    if gave_up { Err(ClientExit::GaveUp) } else { Ok(()) }
}

fn is_giving_up(event: &Event) -> bool {
    match event {
        Event::Reply(reply) => matches!(reply.final_line.verdict(), Verdict::Retry(_)),
        Event::Ended(end) => *end == End::GaveUp,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::ClientOptions;

    /// A replica that greets and has one answer to everything.
    async fn replica_that_says(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let (from, mut to) = stream.split();
            to.write_all(b"hello|1|1|test|c0ffee\n").await.expect("the client is there");
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = if line == "9|0" { "ok|ack|0" } else { answer };
                to.write_all(format!("{answer}\n").as_bytes()).await.expect("the client is there");
            }
        });
        address
    }

    async fn converse(answer: &'static str, input: &[u8]) -> (String, Result<(), ClientExit>) {
        let mut options = ClientOptions::new(vec![replica_that_says(answer).await]);
        options.give_up = Duration::from_millis(20);
        let (client, events) = Client::connect(options).await.expect("a replica");
        let (output, mut read) = tokio::io::duplex(1 << 20);
        let ended = run(client, events, BufReader::new(input), output, Look::pipe()).await;
        let mut printed = String::new();
        read.read_to_string(&mut printed).await.expect("UTF-8");
        (printed, ended)
    }

    #[tokio::test]
    async fn a_reply_that_stayed_a_retry_is_giving_up() {
        let (printed, ended) = converse("retry|NO_LEADER|wait", b"0|\n").await;
        assert_eq!(printed, "retry|NO_LEADER|wait\n");
        assert!(matches!(ended, Err(ClientExit::GaveUp)));
    }

    #[tokio::test]
    async fn a_line_beyond_all_bounds_is_refused_in_its_place() {
        let mut input = b"12|a\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', INPUT_LINE_BYTES_MAX + 1));
        input.extend(b"\n12|b");
        let (printed, ended) = converse("ok|ping|x", &input).await;
        let lines: Vec<&str> = printed.lines().collect();
        let [_, refused, _] = &lines[..] else { panic!("three replies, not {lines:?}") };
        assert!(refused.starts_with("err|TOO_LONG|"), "{refused}");
        assert!(ended.is_ok());
    }
}
