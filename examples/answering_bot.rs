//! A bot that answers whoever writes to it, whatever happens to the replicas meanwhile.
//!
//! ```text
//! cargo run --release -- cluster                                        # in one terminal
//! cargo run --release --example answering_bot -- echo 127.0.0.1:5001    # in another
//! printf 'create|dora\nsend|echo|are you there?\n' | nc 127.0.0.1 5002  # and in a third
//! ```
//!
//! It names one replica and learns the others from it. Each answer goes out under a key made of the id of what it
//! answers: a message that comes again, because the bot was killed over it, is not answered twice.

use std::error::Error;

use plainsong::client::{Client, ClientOptions, Event, Verdict};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), servers) = (args.next(), args.collect::<Vec<_>>()) else {
        return Err("usage: answering_bot NAME HOST:PORT…".into());
    };
    let mut options = ClientOptions::new(servers);
    options.learn_servers = true;
    let (client, mut events) = Client::connect(options).await?;

    // The account is new, or the bot has been here before.
    if client.create(&name, None).await?.verdict() != Verdict::Ok {
        let login = client.login(&name, None).await?;
        if login.verdict() != Verdict::Ok {
            return Err(login.to_string().into());
        }
        // What came while the bot was away. The messages are events like any other.
        client.submit("6|").await?;
    }

    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) if message.from == name => {}
            Event::Message(message) => {
                let (id, from, text) = (message.id, &message.from, &message.text);
                // Not `request`, which waits for the reply: this loop must go on reading, or nothing is read at all.
                client.submit(format!("@answer-{id}|5|{from}|you said: {text}")).await?;
            }
            Event::Reply(reply) if reply.final_line.verdict() != Verdict::Ok => eprintln!("{}", reply.final_line),
            Event::Connected { replica, server, .. } => eprintln!("at replica {replica} ({server})"),
            Event::Disconnected { server, why } => eprintln!("lost {server}: {why}"),
            Event::Ended(end) => eprintln!("{end:?}"),
            _ => {}
        }
    }
    Ok(())
}
