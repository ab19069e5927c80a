//! Many clients, and slow ones.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::drill::judge::{Verdict, judge};
use crate::drill::stage::{READER, Stage, create_accounts};
use crate::drill::{Cluster, DrillError, LineClient, read_mailbox};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// What the slow reader's kernel takes.
const RECEIVE_BYTES: usize = 4096;
/// Some megabytes of mail.
const UNREAD: usize = 2000;
/// How much its replica may grow meanwhile.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// Between two lines of a reader that reads.
const LINE_WAIT: Duration = Duration::from_secs(30);
/// The clients that come back at once.
const CLIENTS: usize = 500;
/// All of them are served within this.
const STORM_WAIT: Duration = Duration::from_secs(60);
/// Whom they all write to.
const HALL: &str = "hall";

pub fn slow_reader(stage: &mut Stage) -> Result<(), DrillError> {
    let (_, followers) = stage.roles()?;
    stage.flow(BETWEEN)?;
    let mut reader = login_with_small_buffer(&stage.cluster, followers[1])?;
    let mut texts = backlog(&mut reader)?;
    stage.hit("a reader stops reading", |_| Ok(()))?;
    let before = stage.cluster.resident_bytes(followers[1])?;
    stage.flow(UNREAD)?;
    let grown = stage.cluster.resident_bytes(followers[1])?.saturating_sub(before);
    stage.fact("grown_kib", grown >> 10);
    stage.promise(grown <= GROWTH_BYTES_MAX, "a reader that does not read costs memory");
    stage.heal("it reads", |_| Ok(()))?;
    let written = stage.end_of_writing()?.len();
    while texts.len() < written {
        texts.push(reader.push()?.text);
    }
    stage.has_read(texts);
    Ok(())
}

/// Logs in, in automatic mode, over a connection whose kernel buffers next to nothing.
fn login_with_small_buffer(cluster: &Cluster, id: u16) -> Result<LineClient, DrillError> {
    let address: SocketAddr = cluster.address(id);
    let connect = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Before connecting: the window is agreed on then.
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        socket.connect(&address.into())?;
        Ok(TcpStream::from(socket))
    };
    let stream = connect().map_err(DrillError::io("connect with a small buffer"))?;
    let mut client = LineClient::greet(stream, LINE_WAIT)?;
    let request = format!("2|{READER}");
    let answer = client.request(&request)?;
    match answer.is_ok() {
        true => Ok(client),
        false => Err(DrillError::Refused { request, answer: answer.last }),
    }
}

/// What waited for the reader from before its login. Pushes of what came later stand beside it, and stay for later.
fn backlog(reader: &mut LineClient) -> Result<Vec<String>, DrillError> {
    let waiting = reader.request("6|")?;
    let mut messages = waiting.messages()?;
    messages.extend(reader.pushes_so_far());
    // The reader sorts by id, as it may: each mailbox is in id order, and pushes go ahead of a backlog.
    messages.sort_by_key(|message| message.id);
    Ok(messages.into_iter().map(|message| message.text).collect())
}

pub fn reconnect_storm(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    let names: Vec<String> = (1..=CLIENTS).map(|n| format!("client{n}")).collect();
    create_accounts(&stage.cluster, leader, &[HALL])?;
    create_accounts(&stage.cluster, leader, &names)?;
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    stage.hit(&format!("kill -9 leader {leader}"), |cluster| cluster.kill(leader))?;
    let addresses: Vec<SocketAddr> = followers.iter().map(|&id| stage.cluster.address(id)).collect();
    let (began, mut served) = (Instant::now(), 0);
    let mut waiting: Vec<&str> = names.iter().map(String::as_str).collect();
    while !waiting.is_empty() && began.elapsed() < STORM_WAIT {
        let still = storm(&addresses, &waiting);
        served += waiting.len() - still.len();
        waiting = still;
    }
    stage.fact("clients", served);
    stage.fact("storm_ms", began.elapsed().as_millis());
    stage.promise(waiting.is_empty(), "not every client that came back was served");
    stage.flow(BETWEEN)?;
    let read = read_mailbox(addresses[0], HALL)?;
    let verdict = judge_crowd(&names, &waiting, read.into_iter().map(|message| (message.from, message.text)));
    stage.judge_also(verdict);
    stage.heal(&format!("start {leader}"), |cluster| cluster.restart(leader))?;
    stage.recover()
}

fn text_of(name: &str) -> String {
    format!("{name} is back")
}

/// Each connects, logs in and sends, none waiting for another; returns who was not acknowledged.
fn storm<'a>(addresses: &[SocketAddr], names: &[&'a str]) -> Vec<&'a str> {
    let open = |(n, name): (usize, &&str)| {
        let mut stream = TcpStream::connect_timeout(&addresses[n % addresses.len()], LINE_WAIT)?;
        stream.write_all(format!("2|{name}\n@back|5|{HALL}|{}\n", text_of(name)).as_bytes())?;
        std::io::Result::Ok(stream)
    };
    let streams: Vec<_> = names.iter().enumerate().map(open).collect();
    let mut refused = Vec::new();
    for (name, stream) in names.iter().zip(streams) {
        let acknowledged = stream.map_err(DrillError::io("connect")).and_then(|stream| {
            let mut client = LineClient::greet(stream, LINE_WAIT)?;
            Ok(client.reply()?.is_ok() && client.reply()?.is_ok())
        });
        if !matches!(acknowledged, Ok(true)) {
            refused.push(*name);
        }
    }
    refused
}

/// Each client is a writer of one message.
fn judge_crowd(names: &[String], unserved: &[&str], read: impl Iterator<Item = (String, String)>) -> Verdict {
    let mut by_writer: HashMap<String, Vec<String>> = HashMap::new();
    read.for_each(|(from, text)| by_writer.entry(from).or_default().push(text));
    let mut verdict = Verdict::default();
    for name in names {
        let attempted = [text_of(name)];
        let acknowledged = if unserved.contains(&name.as_str()) { &[] } else { &attempted[..] };
        let read = by_writer.remove(name).unwrap_or_default();
        verdict = verdict.plus(judge(&attempted, acknowledged, &read));
    }
    verdict.unexpected += by_writer.values().map(Vec::len).sum::<usize>();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &[&str]) -> Vec<(String, String)> {
        list.iter().map(|&name| (name.to_owned(), text_of(name))).collect()
    }

    #[test]
    fn every_client_is_judged_by_its_own_message() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert!(judge_crowd(&names, &[], read(&["c", "a", "b"]).into_iter()).passes());
        let bad = judge_crowd(&names, &["c"], read(&["a", "a", "x"]).into_iter());
        assert_eq!((bad.sent, bad.acked, bad.lost, bad.doubled, bad.unexpected), (3, 2, 1, 1, 1));
    }
}
