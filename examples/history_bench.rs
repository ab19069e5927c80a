//! What a `history` costs in a long mailbox: the newest 20, and 20 in the middle, with everybody and with one.
//!
//! `cargo run --release --example history_bench [-- MESSAGES [PEERS]]`
//!
//! One account exchanges all the messages, with so many others in turn; with one more, it exchanged the first 20 only.

use std::time::{Duration, Instant};

use chat::{AccountId, Answer, HistoryPage, MessageId, Name, Query};
use plainsong::consensus::{Body, Boot, Entry, Index, ReplicaId, Term};
use plainsong::machine::{Origin, apply, payload};
use plainsong::storage::{self, StateStore};

const BATCH: u64 = 1_000;
const SHOWN: usize = 20;
const ROUNDS: u32 = 2_000;
const ME: AccountId = AccountId(1);

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let messages = args.next().transpose()?.unwrap_or(1_000_000);
    let peers = args.next().transpose()?.unwrap_or(100);
    let dir = tempfile::tempdir()?;
    let opened = storage::open(dir.path(), ReplicaId(1), "bench")?;
    let (me, mut state) = (opened.recovered.me, opened.state);

    // The accounts are the entries 1 (me), 2 (whom I met once) and the peers.
    let first = 2 + peers;
    let text = "x".repeat(100);
    let command = |n: u64| match n {
        1 => "|1|me".to_owned(),
        2 => "|1|once".to_owned(),
        n if n <= first => format!("|1|peer{n}"),
        n if n <= first + SHOWN as u64 => format!("once#2|5|me|{text}"),
        n if n % 2 == 0 => format!("me#1|5|peer{}|{text}", 3 + n % peers),
        n => format!("peer{0}#{0}|5|me|{text}", 3 + n % peers),
    };
    let total = first + messages;
    for from in (1..=total).step_by(BATCH as usize) {
        state.begin()?;
        for n in from..(from + BATCH).min(total + 1) {
            let payload = payload::encode(Origin { member: me, boot: Boot(1), n }, &command(n)).freeze();
            let entry = Entry { index: Index(n), term: Term(1), time: n, body: Body::Command(payload) };
            apply(&mut state, &entry, &mut Vec::new())?;
        }
        state.commit()?;
    }

    println!("{SHOWN} of {messages} messages of one account, with {peers} others in turn");
    let (newest, middle) = (MessageId(u64::MAX), MessageId(total / 2));
    for (what, page) in [
        ("newest", HistoryPage::Before(newest)),
        ("before the middle", HistoryPage::Before(middle)),
        ("after the middle", HistoryPage::After(middle)),
        ("oldest", HistoryPage::After(MessageId(0))),
    ] {
        let took = [None, Some("peer7"), Some("once")].map(|with| measure(&state, with, page));
        println!(
            "{what:<18} with everybody {:>8.1?}, with one {:>8.1?}, with one met once {:>8.1?}",
            took[0], took[1], took[2]
        );
    }
    Ok(())
}

fn measure(state: &StateStore, with: Option<&str>, page: HistoryPage) -> Duration {
    let with = with.map(|typed| Name::fold(typed).expect("a name"));
    let query = Query::History { account: ME, with, page, limit: SHOWN, bytes_max: usize::MAX };
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let Ok(Answer::History { messages, rest }) = chat::answer(state, &query) else { panic!("a history") };
        assert!(messages.len() <= SHOWN && rest.is_empty());
    }
    start.elapsed() / ROUNDS
}
