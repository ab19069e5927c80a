//! `plainsong client` on a pipe, as a script would use it.

use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fake::{Fake, PATIENCE, msg};

/// The command, connected to these replicas and with both ends piped.
fn start(replicas: &[&Fake], args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainsong"));
    command.arg("client").args(args).env_remove("RUST_LOG");
    for replica in replicas {
        replica.is_asked_for_status();
        command.args(["--server", &replica.address()]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("the program starts")
}

async fn type_in(child: &mut Child, lines: &str) {
    child.stdin.as_mut().expect("piped").write_all(lines.as_bytes()).await.expect("the client reads");
}

/// Ends the input and waits for the rest.
async fn finish(mut child: Child) -> (Option<i32>, String, String) {
    drop(child.stdin.take());
    let Output { status, stdout, stderr } =
        timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("it ran");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn every_reply_is_printed_in_order_and_the_end_of_input_is_the_end() {
    let one = Fake::listen(1).await;
    let mut child = start(&[&one], &[]);
    type_in(&mut child, "2|alice\r\n\n5|bob|hi\n@mine|5|bob|ho\n0|\nwhat\n6").await;
    let ended = tokio::spawn(finish(child));
    let mut peer = one.greet().await;
    peer.answer("2|alice", "ok|login|alice|1").await;
    let key = peer.hear_keyed("5|bob|hi").await;
    peer.expect("@mine|5|bob|ho").await;
    peer.say(&format!("@{key}|ok|sent|bob|5\n@mine|ok|queued|bob|6")).await;
    peer.expect("0|").await;
    peer.expect("what").await;
    peer.say("user|alice\nuser|bob\nok|list|2|2\nerr|BAD_REQUEST|what?").await;
    peer.expect("6").await;
    peer.say(&msg(4, "\u{1b}[31m as it came")).await;
    peer.say("ok|deliver|1|0").await;
    peer.answer("9|4", "ok|ack|4").await;
    let (code, stdout, stderr) = ended.await.expect("no panic");
    let expected = [
        "ok|login|alice|1",
        "ok|sent|bob|5",
        "@mine|ok|queued|bob|6",
        "user|alice",
        "user|bob",
        "ok|list|2|2",
        "err|BAD_REQUEST|what?",
        &msg(4, "\u{1b}[31m as it came"),
        "ok|deliver|1|0",
    ];
    assert_eq!(stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_failover_is_told_on_standard_error_and_shows_nothing_twice() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let mut child = start(&[&one, &two], &["--login", "alice"]);
    let mut peer = one.greet().await;
    peer.answer("2|alice", "ok|login|alice|0").await;
    peer.say(&msg(7, "once")).await;
    peer.expect("9|7").await;
    type_in(&mut child, "5|bob|hi\n").await;
    let key = peer.hear_keyed("5|bob|hi").await;
    peer.say("bye|DRAINING|\u{1b}[2Jbye").await;
    let ended = tokio::spawn(finish(child));

    let mut peer = two.welcome_back("alice", 1).await;
    // The page, and the first of what has to be repeated.
    peer.expect("6|100").await;
    assert_eq!(peer.hear_keyed("5|bob|hi").await, key);
    peer.say(&format!("{}\nok|deliver|1|0\n@{key}|ok|sent|bob|8", msg(7, "once"))).await;
    peer.answer("9|7", "ok|ack|7").await;
    let (code, stdout, stderr) = ended.await.expect("no panic");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), ["ok|login|alice|0", &msg(7, "once"), "ok|sent|bob|8"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.lines().count() >= 3, "goodbye, loss and arrival are told: {stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("plainsong: ")), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "a replica's words may reach a terminal: {stderr}");
}

#[tokio::test]
async fn quit_ends_it_although_the_input_goes_on() {
    let one = Fake::listen(1).await;
    let mut child = start(&[&one], &[]);
    type_in(&mut child, "quit\n").await;
    let mut peer = one.greet().await;
    peer.answer("quit", "ok|quit").await;
    let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(out.next_line().await.expect("UTF-8").as_deref(), Some("ok|quit"));
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let one = Fake::listen(1).await;
    let mut child = start(&[&one], &[]);
    drop(child.stdout.take());
    type_in(&mut child, "0|\n").await;
    let mut peer = one.greet().await;
    peer.answer("0|", "ok|list|0|0").await;
    let (code, _, stderr) = finish(child).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn nobody_there_is_69() {
    let gone = Fake::listen(1).await;
    let address = gone.address();
    drop(gone);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainsong"));
    let output = command.args(["client", "--server", &address]).stdin(Stdio::null()).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").expect("it ran");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert!(stderr.starts_with("plainsong: ") && stderr.contains(&address), "{stderr}");
}
