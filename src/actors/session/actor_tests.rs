//! The actor with what moves its bytes: over pipes in memory, and over real loopback TCP.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat::{Answer, Command, Name, Query};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Session;
use super::bench::{Bench, Client, Pipe, run};
use super::testkit::config;
use crate::actors::acceptor::{Door, Reception};
use crate::actors::messages::{News, SessionId};

#[test]
fn a_thousand_pipelined_lines_of_every_kind_and_a_half_close() {
    run(async {
        let bench = Bench::new();
        let mut client = bench.pipe(3000);
        assert!(client.line().await.starts_with("hello|1|1|test|c0ffee"));
        let mut input = Vec::new();
        for n in 0..1000 {
            match n % 10 {
                0 => input.extend_from_slice(format!("12|{}\n", "y".repeat(9000)).as_bytes()),
                1 => input.extend_from_slice(b"12|bad \xff\n"),
                2 => input.extend_from_slice(b"help\n"),
                _ => input.extend_from_slice(format!("@k{n}|12|{n}\r\n").as_bytes()),
            }
        }
        input.extend_from_slice(b"12|tail");
        let (mut reader, mut writer) = tokio::io::split(client.stream.into_inner());
        let send = tokio::task::spawn_local(async move {
            writer.write_all(&input).await.expect("open");
            writer.shutdown().await.expect("open");
        });
        let mut heard = String::new();
        let mut chunk = [0; 1000];
        loop {
            let n = timeout(Duration::from_secs(10), reader.read(&mut chunk)).await.expect("in time").expect("open");
            if n == 0 {
                break;
            }
            heard.push_str(str::from_utf8(&chunk[..n]).expect("ASCII"));
            tokio::task::yield_now().await;
        }
        send.await.expect("sent");
        let mut finals = heard.lines().filter(|line| !line.starts_with("help|"));
        for n in 0..1000 {
            let want = match n % 10 {
                0 => "err|TOO_LONG|".to_owned(),
                1 => "err|NOT_UTF8|".to_owned(),
                2 => "ok|help".to_owned(),
                _ => format!("@k{n}|ok|ping|{n}"),
            };
            let got = finals.next().expect("a final line each");
            assert!(got.starts_with(&want), "{n}: {got}");
        }
        assert_eq!(finals.collect::<Vec<_>>(), ["ok|ping|tail"]);
        bench.until_closed(1).await;
    });
}

#[test]
fn a_client_that_never_reads_is_pushed_back_and_served_when_it_does() {
    run(async {
        let bench = Bench::new();
        let (near, far) = tokio::io::duplex(1000);
        let (reader, half) = tokio::io::split(far);
        let writer = Pipe { half, unacknowledged: Rc::default(), asked: Rc::default() };
        Session::start(bench.peer(), reader, writer, Arc::new(config()), bench.links.clone());
        let (near_reader, mut near_writer) = tokio::io::split(near);
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        let requests = 100_000;
        tokio::task::spawn_local(async move {
            for _ in 0..requests {
                near_writer.write_all(b"help\n").await.expect("open");
                counted.set(counted.get() + 1);
            }
            near_writer.shutdown().await.expect("open");
        });
        let mut before = usize::MAX;
        while before != sent.get() {
            before = sent.get();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(before < 10_000, "{before} requests were taken from a client that reads nothing");
        let mut lines = BufReader::new(near_reader).lines();
        let mut served = 0;
        while let Some(line) = lines.next_line().await.expect("open") {
            served += usize::from(line == "ok|help");
        }
        assert_eq!(served, requests);
    });
}

#[test]
fn passwords_are_hashed_elsewhere_and_guesses_slowed_down() {
    run(async {
        let bench = Bench::new();
        let mut client = bench.pipe(10_000);
        client.line().await;
        assert_eq!(client.ask("1|bob|geheim|1").await, "ok|create|bob");
        assert_eq!(client.ask("2|bob|geheim|1").await, "ok|login|bob|0");
        for _ in 0..5 {
            assert!(client.ask("2|bob|falsch").await.starts_with("err|WRONG_PASSWORD|"));
        }
        assert!(client.ask("2|bob|geheim|1").await.starts_with("retry|SLOW_DOWN|"));
        assert_eq!(client.ask("3").await, "ok|logout|bob", "a failed login changed nothing");
    });
}

#[test]
fn marks_follow_the_kernel_within_a_tenth_of_a_second() {
    run(async {
        let bench = Bench::new();
        let mut eve = bench.tcp().await;
        let mut bob = bench.tcp().await;
        for client in [&mut eve, &mut bob] {
            assert!(client.line().await.starts_with("hello|"));
        }
        eve.ask("1|eve").await;
        bob.ask("1|bob").await;
        // Bob's program reads nothing: his kernel has it. The quickest of ten, as other tests run beside this one.
        let mut quickest = Duration::MAX;
        for _ in 0..10 {
            assert!(eve.ask("5|bob|hi").await.starts_with("ok|sent|bob|"));
            quickest = quickest.min(bench.until_undelivered("bob", 0).await);
        }
        assert!(quickest < Duration::from_millis(100), "{quickest:?}");
        for _ in 0..10 {
            assert!(bob.line().await.starts_with("msg|"));
        }
        eve.ask("5|bob|again").await;
        drop(eve);
        bob.line().await;
        let started = Instant::now();
        assert_eq!(bob.ask("6").await, "ok|deliver|0|0");
        assert!(started.elapsed() < Duration::from_millis(50));
    });
}

#[test]
fn the_backlog_is_marked_before_its_final_line() {
    run(async {
        let bench = Bench::new();
        let mut eve = bench.tcp().await;
        eve.line().await;
        eve.ask("1|bob").await;
        eve.ask("1|eve").await;
        for _ in 0..3 {
            eve.ask("5|bob|hi").await;
        }
        let mut bob = bench.tcp().await;
        bob.line().await;
        assert_eq!(bob.ask("2|bob").await, "ok|login|bob|3");
        let started = Instant::now();
        assert!(bob.ask("6").await.starts_with("msg|3|"));
        assert!(bob.line().await.starts_with("msg|4|"));
        assert!(bob.line().await.starts_with("msg|5|"));
        assert_eq!(bob.line().await, "ok|deliver|3|0");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert_eq!(bench.undelivered("bob").await, 0);
    });
}

#[test]
fn what_is_pushed_into_a_reset_connection_stays_undelivered() {
    run(async {
        let bench = Bench::new();
        let mut eve = bench.tcp().await;
        let mut bob = bench.tcp().await;
        eve.line().await;
        bob.line().await;
        eve.ask("1|eve").await;
        bob.ask("1|bob").await;
        let bob = bob.stream.into_inner();
        socket2::SockRef::from(&bob).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(bob);
        bench
            .on_replica(|replicator| {
                // Committed before anybody has noticed the reset.
                let Ok(Answer::Account(Some(eve))) =
                    chat::answer(&replicator.replica.storage, &Query::Account(Name::fold("eve").expect("a name")))
                else {
                    panic!("eve is there")
                };
                let speaker = chat::Speaker { name: eve.name, id: eve.id };
                let (to, text) = (Name::fold("bob").expect("a name"), chat::Text::new("lost?").expect("a text"));
                let mut news = Vec::new();
                replicator.replica.apply(&Command::Send { speaker, key: None, to, text }, &mut news);
                assert_eq!(news.len(), 1, "bob counts as connected");
                replicator.tell(news);
            })
            .await;
        bench.until_closed(1).await;
        assert_eq!(bench.undelivered("bob").await, 1);
        drop(eve);
    });
}

#[test]
fn a_reader_that_stops_falls_behind_and_is_neither_cut_nor_forgotten() {
    run(async {
        let bench = Bench::new();
        let mut eve = bench.tcp().await;
        let mut bob = bench.tcp().await;
        eve.line().await;
        bob.line().await;
        eve.ask("1|eve").await;
        bob.ask("1|bob").await;
        let text = "x".repeat(8000);
        let mut sent = Vec::new();
        for _ in 0..3000 {
            let answer = eve.ask(&format!("5|bob|{text}")).await;
            sent.push(answer.strip_prefix("ok|sent|bob|").expect("bob is online").to_owned());
        }
        let undelivered = bench.undelivered("bob").await;
        assert!(undelivered > 100, "24 MB cannot all be in bob's kernel: {undelivered}");
        for id in sent {
            assert!(bob.line().await.starts_with(&format!("msg|{id}|eve|")));
        }
        bench.until_undelivered("bob", 0).await;
    });
}

#[test]
fn quit_is_heard_though_the_client_goes_on_sending() {
    run(async {
        let bench = Bench::new();
        let mut client = bench.tcp().await;
        client.line().await;
        client.say(&format!("12|a\nquit\n{}", "12|ignored\n".repeat(10_000))).await;
        assert_eq!(client.rest().await, "ok|ping|a\nok|quit\n");
        bench.until_closed(1).await;
    });
}

#[test]
fn a_stopping_replica_says_bye() {
    run(async {
        let bench = Bench::new();
        let mut client = bench.tcp().await;
        client.line().await;
        client.ask("1|bob").await;
        bench
            .on_replica(|replicator| replicator.tell(vec![(SessionId(1), News::Drain(chat::ByeCode::Draining))]))
            .await;
        assert!(client.rest().await.starts_with("bye|DRAINING|"));
        bench.until_closed(1).await;
    });
}

#[test]
fn the_door_lets_in_so_many_and_tells_when_all_are_gone() {
    run(async {
        let bench = Bench::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (calls, mut called) = tokio::sync::mpsc::unbounded_channel::<Box<dyn FnOnce() + Send>>();
        tokio::task::spawn_local(async move {
            while let Some(call) = called.recv().await {
                call();
            }
        });
        let reception = Reception {
            config: Arc::new(config()),
            links: bench.links.clone(),
            connections_max: 2,
            connections_per_address: None,
            threads: vec![Box::new(move |call| calls.send(call).expect("it listens"))],
        };
        let door = Door::open(listener, reception);
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = Client::new(TcpStream::connect(address).await.expect("open"));
            assert!(client.line().await.starts_with("hello|1|1|"));
            clients.push(client);
        }
        let mut third = Client::new(TcpStream::connect(address).await.expect("open"));
        third.say("12").await;
        assert!(third.rest().await.starts_with("bye|TOO_MANY_CONNECTIONS|"));
        assert_eq!(door.connections(), 2);
        drop(clients.pop());
        bench.until_closed(1).await;
        let mut fourth = Client::new(TcpStream::connect(address).await.expect("open"));
        assert!(fourth.line().await.starts_with("hello|"));
        door.close();
        drop((clients, fourth));
        timeout(Duration::from_secs(5), door.all_gone()).await.expect("all are gone");
        assert!(TcpStream::connect(address).await.is_err(), "the door is closed");
    });
}
