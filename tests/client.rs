//! The client against replicas that die, refuse and repeat at the worst moment, each a script over a real socket.

#[path = "client/command.rs"]
mod command;
#[path = "client/fake.rs"]
mod fake;

use std::time::Duration;

use chat::{Done, ErrCode, MessageId, RetryCode};
use fake::{Fake, Peer, connect, msg, next, next_message, options};
use plainsong::client::{Client, ConnectError, End, Event, Reply, RequestError, SendReceipt, Verdict};
use tokio::task::JoinHandle;

/// A request of its own task, so that the script can go on.
fn ask(client: &Client, line: &str) -> JoinHandle<Result<Reply, RequestError>> {
    let (client, line) = (client.clone(), line.to_owned());
    tokio::spawn(async move { client.request(line).await })
}

async fn reply(asked: JoinHandle<Result<Reply, RequestError>>) -> String {
    let reply = tokio::time::timeout(fake::PATIENCE, asked).await.expect("a reply in time").expect("no panic");
    reply.expect("the client lives").final_line.to_string()
}

/// Logs alice in.
async fn log_in(client: &Client, peer: &mut Peer) {
    let asked = ask(client, "2|alice");
    peer.answer("2|alice", "ok|login|alice|0").await;
    assert_eq!(reply(asked).await, "ok|login|alice|0");
}

#[tokio::test]
async fn a_send_cut_off_is_sent_again_under_its_key_by_whom_it_was_sent() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, _events, mut peer) = connect(&one, options(&[&one, &two])).await;
    log_in(&client, &mut peer).await;
    let sending = tokio::spawn(async move { client.send("bob", "hi|there").await });
    let key = peer.hear_keyed("5|bob|hi|there").await;
    drop(peer);

    let mut peer = two.welcome_back("alice", 0).await;
    assert_eq!(peer.hear_keyed("5|bob|hi|there").await, key);
    peer.say(&format!("@{key}|ok|queued|bob|12")).await;
    let receipt = sending.await.expect("no panic").expect("a reply");
    assert_eq!(receipt, SendReceipt::Queued { id: MessageId(12) });
}

#[tokio::test]
async fn order_is_kept_across_a_failover_and_newer_sends_wait() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, mut events, mut peer) = connect(&one, options(&[&one, &two])).await;
    for text in ["a", "b", "c"] {
        client.submit(format!("5|bob|{text}")).await.expect("taken");
    }
    let keys = [peer.hear_keyed("5|bob|a").await, peer.hear_keyed("5|bob|b").await, peer.hear_keyed("5|bob|c").await];
    peer.say(&format!("@{}|ok|sent|bob|1", keys[0])).await;
    let Event::Reply(first) = next(&mut events).await else { panic!("the first reply") };
    assert_eq!((first.key, first.final_line.to_string().as_str()), (None, "ok|sent|bob|1"));
    drop(peer);

    client.submit("5|bob|d").await.expect("taken");
    let mut peer = two.greet().await;
    assert_eq!(peer.hear_keyed("5|bob|b").await, keys[1], "what was on its way goes first, and alone");
    peer.say(&format!("@{}|ok|sent|bob|2", keys[1])).await;
    assert_eq!(peer.hear_keyed("5|bob|c").await, keys[2]);
    let newest = peer.hear_keyed("5|bob|d").await;
    peer.say(&format!("@{}|ok|sent|bob|3\n@{newest}|ok|sent|bob|4", keys[2])).await;
    let mut replies = Vec::new();
    while replies.len() < 3 {
        if let Event::Reply(reply) = next(&mut events).await {
            replies.push(reply.final_line.to_string());
        }
    }
    assert_eq!(replies, ["ok|sent|bob|2", "ok|sent|bob|3", "ok|sent|bob|4"]);
}

#[tokio::test]
async fn unknown_is_asked_again_under_the_same_key() {
    let one = Fake::listen(1).await;
    let (client, _events, mut peer) = connect(&one, options(&[&one])).await;
    let asked = ask(&client, "5|bob|hi");
    let key = peer.hear_keyed("5|bob|hi").await;
    for code in ["UNKNOWN", "NO_LEADER", "BUSY"] {
        peer.say(&format!("@{key}|retry|{code}|wait")).await;
        assert_eq!(peer.hear_keyed("5|bob|hi").await, key);
    }
    peer.say(&format!("@{key}|ok|sent|bob|1")).await;
    assert_eq!(reply(asked).await, "ok|sent|bob|1");
}

#[tokio::test]
async fn a_replica_without_quorum_is_left_for_another() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, _events, mut peer) = connect(&one, options(&[&one, &two])).await;
    let asked = ask(&client, "0|");
    peer.answer("0|", "retry|NO_QUORUM|cut off").await;
    peer.hear_end().await;
    let mut peer = two.greet().await;
    peer.expect("0|").await;
    peer.say("user|bob\nok|list|1|1").await;
    assert_eq!(reply(asked).await, "ok|list|1|1");
}

#[tokio::test]
async fn a_message_is_shown_once_and_marked_after_its_reader_came_back() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, mut events, mut peer) = connect(&one, options(&[&one, &two])).await;
    log_in(&client, &mut peer).await;
    peer.say(&msg(7, "seven")).await;
    assert_eq!(next_message(&mut events).await.text, "seven");
    let reader = tokio::spawn(async move {
        let ids = [next_message(&mut events).await.id, next_message(&mut events).await.id];
        (ids, events)
    });
    peer.expect("9|7").await;
    drop(peer); // The answer is lost: did the mark take effect?

    let mut peer = two.welcome_back("alice", 2).await;
    peer.say(&msg(12, "pushed ahead of the backlog")).await;
    peer.expect("6|100").await;
    for id in [7, 9, 12] {
        peer.say(&msg(id, "again")).await;
    }
    peer.say("ok|deliver|3|0").await;
    let (ids, mut events) = reader.await.expect("no panic");
    assert_eq!(ids, [MessageId(9), MessageId(12)], "7 is not shown again, and ids ascend");
    // 12 is not looked at yet; 7 was shown on this connection too and is marked with 9, or before.
    let mut ack = peer.hear().await;
    if ack == "9|7" {
        peer.say("ok|ack|7").await;
        ack = peer.hear().await;
    }
    assert_eq!(ack, "9|9");
    peer.say("ok|ack|9").await;
    client.close().await;
    let ended = tokio::spawn(async move { next(&mut events).await });
    peer.answer("9|12", "ok|ack|12").await;
    assert_eq!(ended.await.expect("no panic"), Event::Ended(End::Closed));
}

#[tokio::test]
async fn an_ack_waits_for_a_deliver_whose_messages_are_older() {
    let one = Fake::listen(1).await;
    let (client, mut events, mut peer) = connect(&one, options(&[&one])).await;
    log_in(&client, &mut peer).await;
    peer.say(&msg(50, "pushed")).await;
    assert_eq!(next_message(&mut events).await.id, MessageId(50));
    let asked = ask(&client, "6|");
    peer.expect("6|").await;
    let reader = tokio::spawn(async move {
        let first = next_message(&mut events).await;
        (first.id, next_message(&mut events).await.id, events)
    });
    // The reader has come back from 50, but 10 and 11 are on their way: an ack of 50 would mark them unseen.
    for id in [10, 11, 50] {
        peer.say(&msg(id, "backlog")).await;
    }
    peer.say("ok|deliver|3|0").await;
    assert_eq!(reply(asked).await, "ok|deliver|2|0", "50 had been shown before");
    let (ten, eleven, mut events) = reader.await.expect("no panic");
    assert_eq!((ten, eleven), (MessageId(10), MessageId(11)));
    let _reader = tokio::spawn(async move { events.next().await });
    let mut ack = peer.hear().await;
    if ack == "9|10" {
        peer.say("ok|ack|10").await;
        ack = peer.hear().await;
    }
    assert_eq!(ack, "9|50");
}

#[tokio::test]
async fn a_bye_is_told_and_followed_by_another_replica() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (_client, mut events, mut peer) = connect(&one, options(&[&one, &two])).await;
    peer.say("bye|DRAINING|back in a minute").await;
    let Event::Bye(remark) = next(&mut events).await else { panic!("the bye") };
    assert_eq!(remark.code, "DRAINING");
    assert!(matches!(next(&mut events).await, Event::Disconnected { .. }));
    peer.hear_end().await;
    let _peer = two.greet().await;
    assert!(matches!(next(&mut events).await, Event::Connected { replica: 2, again: true, .. }));
}

#[tokio::test]
async fn an_unkeyed_create_is_looked_up_by_logging_in() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, _events, mut peer) = connect(&one, options(&[&one, &two])).await;
    let asked = ask(&client, "1|Alice|pass|word");
    peer.expect("1|Alice|pass|word").await;
    drop(peer);
    let mut peer = two.greet().await;
    peer.answer("2|Alice|pass|word", "retry|NO_LEADER|wait").await;
    peer.answer("2|Alice|pass|word", "ok|login|alice|0").await;
    assert_eq!(reply(asked).await, "ok|create|alice");
    drop(peer);
    let mut peer = one.greet().await;
    peer.expect("2|alice|pass|word").await;
}

#[tokio::test]
async fn a_create_that_was_not_done_is_sent_again() {
    let one = Fake::listen(1).await;
    let (client, _events, mut peer) = connect(&one, options(&[&one])).await;
    let asked = ask(&client, "1|alice");
    peer.answer("1|alice", "retry|UNKNOWN|contact lost").await;
    peer.answer("2|alice", "err|NO_SUCH_USER|no").await;
    peer.answer("1|alice", "ok|create|alice").await;
    assert_eq!(reply(asked).await, "ok|create|alice");
}

#[tokio::test]
async fn a_delete_whose_account_is_gone_was_done() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, _events, mut peer) = connect(&one, options(&[&one, &two])).await;
    log_in(&client, &mut peer).await;
    let asked = ask(&client, "4");
    peer.expect("4").await;
    drop(peer);
    let mut peer = two.greet().await;
    peer.answer("2|alice", "err|NO_SUCH_USER|no").await;
    peer.answer("2|alice", "err|NO_SUCH_USER|no").await;
    assert_eq!(reply(asked).await, "ok|delete|alice");
}

#[tokio::test]
async fn what_depends_on_a_login_is_not_sent_before_its_answer() {
    let one = Fake::listen(1).await;
    let (client, mut events, mut peer) = connect(&one, options(&[&one])).await;
    for line in ["2|alice", "5|bob|hi", "0|"] {
        client.submit(line).await.expect("taken");
    }
    peer.answer("2|alice", "retry|NO_LEADER|wait").await;
    peer.answer("2|alice", "ok|login|alice|0").await;
    let key = peer.hear_keyed("5|bob|hi").await;
    peer.say(&format!("@{key}|ok|sent|bob|1")).await;
    peer.answer("0|", "ok|list|0|0").await;
    for expected in ["ok|login|alice|0", "ok|sent|bob|1", "ok|list|0|0"] {
        let Event::Reply(reply) = next(&mut events).await else { panic!("a reply") };
        assert_eq!(reply.final_line.to_string(), expected);
    }
}

#[tokio::test]
async fn a_login_refused_after_a_reconnect_is_told() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (client, mut events, mut peer) = connect(&one, options(&[&one, &two])).await;
    log_in(&client, &mut peer).await;
    let asked = ask(&client, "5|bob|hi");
    peer.hear_keyed("5|bob|hi").await;
    drop(peer);
    let mut peer = two.greet().await;
    peer.answer("2|alice", "err|WRONG_PASSWORD|changed").await;
    assert!(reply(asked).await.starts_with("retry|UNKNOWN|"), "nobody can ask any more whether it was done");
    assert!(matches!(next(&mut events).await, Event::Disconnected { .. }));
    let Event::LoginLost(last) = next(&mut events).await else { panic!("it is told") };
    assert_eq!(last.verdict(), Verdict::Err(Some(ErrCode::WrongPassword)));
}

#[tokio::test]
async fn a_silent_replica_is_left() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let mut options = options(&[&one, &two]);
    options.answer_timeout = Duration::from_millis(50);
    let (client, _events, mut peer) = connect(&one, options).await;
    let asked = ask(&client, "0|");
    peer.expect("0|").await;
    let mut other = two.greet().await;
    other.answer("0|", "ok|list|0|0").await;
    assert_eq!(reply(asked).await, "ok|list|0|0");
    peer.hear_end().await;
}

#[tokio::test]
async fn an_idle_replica_is_asked_whether_it_is_there() {
    let one = Fake::listen(1).await;
    let mut options = options(&[&one]);
    options.ping_after = Duration::from_millis(20);
    let (_client, _events, mut peer) = connect(&one, options).await;
    peer.answer("12|", "ok|ping|").await;
    peer.answer("12|", "ok|ping|").await;
}

#[tokio::test]
async fn a_replica_of_another_cluster_is_not_spoken_to() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let (_client, mut events, peer) = connect(&one, options(&[&one, &two])).await;
    drop(peer);
    let mut stranger = two.accept().await;
    stranger.say("hello|1|2|test|decade").await;
    stranger.hear_end().await;
    let _peer = one.greet().await;
    while !matches!(next(&mut events).await, Event::Connected { replica: 1, again: true, .. }) {}
}

#[tokio::test]
async fn whoever_names_one_replica_learns_the_others_from_it() {
    let (one, two) = (Fake::listen(1).await, Fake::listen(2).await);
    let mut options = options(&[&one]);
    options.learn_servers = true;
    let script = async {
        let mut peer = one.greet().await;
        let row = |id: u32, address: String| format!("replica|{id}|follower|{address}|up|1|0");
        let rows = [row(1, one.address()), row(2, two.address())].join("\n");
        peer.answer("11|", &format!("{rows}\nok|status|1|0|1|0")).await;
        peer
    };
    let (client, mut peer) = tokio::join!(Client::connect(options), script);
    let (client, mut events) = client.expect("a greeted client is connected");
    assert!(matches!(next(&mut events).await, Event::Connected { replica: 1, .. }));
    log_in(&client, &mut peer).await;
    drop((peer, one));
    let mut peer = two.greet().await;
    peer.answer("11|", "err|BAD_REQUEST|an older replica may not know").await;
    peer.answer("2|alice", "ok|login|alice|0").await;
    while !matches!(next(&mut events).await, Event::Connected { replica: 2, again: true, .. }) {}
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_who_was_asked() {
    let gone = Fake::listen(1).await;
    let mut options = options(&[&gone]);
    options.connect_give_up = Duration::from_millis(100);
    let address = gone.address();
    drop(gone);
    let Err(ConnectError::NoReplica { servers, .. }) = Client::connect(options).await else {
        panic!("nobody is there")
    };
    assert_eq!(servers, address);
}

#[tokio::test]
async fn giving_up_says_what_is_known_of_each_request() {
    let one = Fake::listen(1).await;
    let mut options = options(&[&one]);
    options.give_up = Duration::from_millis(100);
    let (client, mut events, mut peer) = connect(&one, options).await;
    for line in ["5|bob|hi", "0|"] {
        client.submit(line).await.expect("taken");
    }
    peer.hear_keyed("5|bob|hi").await;
    drop((peer, one));
    let mut told = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Reply(reply) => told.push(reply.final_line.verdict()),
            Event::Ended(end) => break assert_eq!(end, End::GaveUp),
            _ => {}
        }
    }
    let retry = |code| Verdict::Retry(Some(code));
    assert_eq!(told, [retry(RetryCode::Unknown), retry(RetryCode::NoQuorum)]);
    assert_eq!(client.request("0|").await, Err(RequestError::Ended));
}

#[tokio::test]
async fn a_cluster_that_only_refuses_is_given_up_request_by_request() {
    let one = Fake::listen(1).await;
    let mut options = options(&[&one]);
    options.give_up = Duration::from_millis(20);
    let (client, _events, mut peer) = connect(&one, options).await;
    let asked = ask(&client, "0|");
    let script = tokio::spawn(async move {
        loop {
            match peer.hear().await.as_str() {
                "0|" => peer.say("retry|NO_QUORUM|cut off").await,
                "12|still here" => break peer.say("ok|ping|still here").await,
                other => panic!("not in the script: {other}"),
            }
        }
    });
    assert_eq!(reply(asked).await, "retry|NO_QUORUM|cut off");
    let pong = client.ping("still here").await.expect("the client lives");
    assert_eq!(pong.done(), Some(Done::Ping { text: "still here" }));
    script.await.expect("no panic");
}

#[tokio::test]
async fn what_is_no_line_is_not_sent() {
    let one = Fake::listen(1).await;
    let (client, _events, _peer) = connect(&one, options(&[&one])).await;
    assert_eq!(client.request("").await, Err(RequestError::Empty));
    assert_eq!(client.request("5|bob|hi\n4").await, Err(RequestError::LineFeed));
}
