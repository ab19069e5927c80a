//! A crowd that chats at random while the drill hurts replicas, each member on a thread and a connection of its own.
//!
//! Every message has a key and is sent, here or there, until it is answered `ok` or `err`; one is answered before the next
//! is sent, so that each sender's messages have an order that every mailbox must show. Nobody acknowledges what is
//! pushed (manual mode), so that at the end every mailbox still holds everything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::judge::{Verdict, judge};
use super::load::ACK_WAIT;
use super::wait::pass;
use super::{DrillError, LineClient, Msg};

/// Longer than the default `request_timeout_ms`, within which every request is answered.
const REPLY_WAIT: Duration = Duration::from_secs(5);
/// Between two messages of one member.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 50..=650;
/// One message of so many goes to an account that does not exist, and must be refused.
const TO_NOBODY_ONE_IN: usize = 40;
/// An account that nobody creates.
const NOBODY: &str = "nobody";
/// After a failure, before the next replica is tried: a dead one refuses at once.
const NEXT_TRY: Duration = Duration::from_millis(20);

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Refused,
    GivenUp,
}

/// One message of a member.
#[derive(Clone, Debug)]
struct Said {
    to: String,
    text: String,
    fate: Fate,
}

/// What one member did and saw.
#[derive(Debug)]
pub struct Diary {
    name: String,
    said: Vec<Said>,
    /// Pushes that did not ascend on their connection, and other breaches of the protocol.
    breaches: Vec<String>,
}

/// The crowd, chatting.
#[derive(Debug)]
pub struct Crowd {
    ending: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
    members: Vec<JoinHandle<Diary>>,
}

/// What all of them came to, before any mailbox is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different messages that were tried.
    pub attempted: usize,
    /// Answered `ok`.
    pub acknowledged: usize,
    /// Answered `err`.
    pub refused: usize,
}

impl Crowd {
    /// Lets accounts that exist chat through these replicas.
    pub fn start(names: &[String], addresses: &[SocketAddr], seed: u64) -> Crowd {
        let (ending, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let member = |n: usize| {
            let mut rng = Rng::with_seed(seed.wrapping_add(n as u64));
            let (ending, acked) = (Arc::clone(&ending), Arc::clone(&acked));
            let mut member = Member {
                turn: rng.usize(0..addresses.len()),
                addresses: addresses.to_vec(),
                client: None,
                latest_push: 0,
                diary: Diary { name: names[n].clone(), said: Vec::new(), breaches: Vec::new() },
                rng,
            };
            let names = names.to_vec();
            thread::spawn(move || {
                while !ending.load(Ordering::Acquire) {
                    if member.say(&names) == Fate::Acknowledged {
                        acked.fetch_add(1, Ordering::AcqRel);
                    }
                    pass(Duration::from_millis(member.rng.u64(PAUSE_MS)));
                }
                member.diary
            })
        };
        Crowd { members: (0..names.len()).map(member).collect(), ending, acked }
    }

    /// How many messages were acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::Acquire)
    }

    /// Lets everybody end his message, and tells what they did.
    pub fn finish(self) -> Vec<Diary> {
        self.ending.store(true, Ordering::Release);
        let diary = |member: JoinHandle<Diary>| member.join().expect("a member returns its diary, it does not panic");
        self.members.into_iter().map(diary).collect()
    }
}

/// One of the crowd.
struct Member {
    addresses: Vec<SocketAddr>,
    turn: usize,
    client: Option<LineClient>,
    /// The id of the last push on this connection.
    latest_push: u64,
    rng: Rng,
    diary: Diary,
}

impl Member {
    /// Sends one message to somebody, until it is answered for good.
    fn say(&mut self, names: &[String]) -> Fate {
        let n = self.diary.said.len() + 1;
        let to = match self.rng.usize(0..TO_NOBODY_ONE_IN) {
            0 => NOBODY.to_owned(),
            _ => names[self.rng.usize(0..names.len())].clone(),
        };
        let text = format!("{} says {n}", self.diary.name);
        let request = format!("@soak-{n}|5|{to}|{text}");
        let fate = self.insist(&request);
        self.diary.said.push(Said { to, text, fate });
        fate
    }

    fn insist(&mut self, request: &str) -> Fate {
        let deadline = Instant::now() + ACK_WAIT;
        loop {
            match self.attempt(request) {
                Ok(answer) if answer.starts_with("ok|") => return Fate::Acknowledged,
                Ok(answer) if answer.starts_with("err|") => return Fate::Refused,
                Ok(_) | Err(DrillError::Io { .. } | DrillError::Timeout { .. } | DrillError::Closed) => {}
                Err(DrillError::Bye(_)) => {}
                Err(other) => self.diary.breaches.push(other.to_string()),
            }
            if Instant::now() >= deadline {
                return Fate::GivenUp;
            }
            self.client = None;
            self.turn = (self.turn + 1) % self.addresses.len();
            pass(NEXT_TRY);
        }
    }

    fn attempt(&mut self, request: &str) -> Result<String, DrillError> {
        if self.client.is_none() {
            self.client = Some(self.log_in()?);
            self.latest_push = 0;
        }
        let client = self.client.as_mut().expect("just connected");
        let answer = client.request(request)?.last;
        let pushes = client.pushes_so_far();
        self.look_at(&pushes);
        Ok(answer)
    }

    fn log_in(&self) -> Result<LineClient, DrillError> {
        let mut client = LineClient::connect(self.addresses[self.turn], REPLY_WAIT)?;
        for request in ["9|0".to_owned(), format!("2|{}", self.diary.name)] {
            let answer = client.request(&request)?.last;
            if !answer.starts_with("ok|") {
                return Err(DrillError::Bye(answer));
            }
        }
        Ok(client)
    }

    fn look_at(&mut self, pushes: &[Msg]) {
        for push in pushes {
            if push.id <= self.latest_push {
                let why = format!("{} was pushed {} after {}", self.diary.name, push.id, self.latest_push);
                self.diary.breaches.push(why);
            }
            self.latest_push = self.latest_push.max(push.id);
        }
    }
}

/// Counts what the crowd did.
pub fn tally(diaries: &[Diary]) -> Tally {
    let count = |fate| diaries.iter().flat_map(|diary| &diary.said).filter(|said| said.fate == fate).count();
    let attempted = diaries.iter().map(|diary| diary.said.len()).sum();
    Tally { attempted, acknowledged: count(Fate::Acknowledged), refused: count(Fate::Refused) }
}

/// What broke the protocol's promises while it chatted, the first of each member.
pub fn breaches(diaries: &[Diary]) -> Vec<&str> {
    diaries.iter().filter_map(|diary| diary.breaches.first()).map(String::as_str).collect()
}

/// Judges one reading of one mailbox: each sender by itself, in the order in which it sent. What was refused does not
/// count as sent, and must not be there.
pub fn judge_mailbox(diaries: &[Diary], owner: &str, read: &[Msg]) -> Verdict {
    let mut by_sender: HashMap<&str, Vec<String>> = HashMap::new();
    for message in read {
        by_sender.entry(&message.from).or_default().push(message.text.clone());
    }
    let mut verdict = Verdict::default();
    for diary in diaries {
        let to_owner = diary.said.iter().filter(|said| said.to == owner && said.fate != Fate::Refused);
        let attempted: Vec<String> = to_owner.clone().map(|said| said.text.clone()).collect();
        let acknowledged = to_owner.filter(|said| said.fate == Fate::Acknowledged).map(|said| said.text.clone());
        let acknowledged: Vec<String> = acknowledged.collect();
        let read = by_sender.remove(diary.name.as_str()).unwrap_or_default();
        verdict = verdict.plus(judge(&attempted, &acknowledged, &read));
    }
    verdict.unexpected += by_sender.values().map(Vec::len).sum::<usize>();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diary(name: &str, said: &[(&str, &str, Fate)]) -> Diary {
        let said = said.iter().map(|&(to, text, fate)| Said { to: to.to_owned(), text: text.to_owned(), fate });
        Diary { name: name.to_owned(), said: said.collect(), breaches: Vec::new() }
    }

    fn read(list: &[(&str, &str)]) -> Vec<Msg> {
        let message = |(id, &(from, text)): (u64, &(&str, &str))| Msg {
            id,
            from: from.to_owned(),
            time: String::new(),
            text: text.to_owned(),
        };
        (1..).zip(list).map(message).collect()
    }

    #[test]
    fn each_sender_is_judged_by_its_own_order_and_the_refused_must_not_be_there() {
        use Fate::{Acknowledged, GivenUp, Refused};
        let diaries = [
            diary("a", &[("x", "a1", Acknowledged), ("y", "a2", Acknowledged), ("x", "a3", Acknowledged)]),
            diary("b", &[("x", "b1", Acknowledged), ("x", "b2", Refused), ("nobody", "b3", Refused)]),
        ];
        assert!(judge_mailbox(&diaries, "x", &read(&[("a", "a1"), ("b", "b1"), ("a", "a3")])).passes());
        let bad = judge_mailbox(&diaries, "x", &read(&[("a", "a3"), ("a", "a1"), ("b", "b2"), ("c", "?")]));
        assert_eq!((bad.sent, bad.lost, bad.reordered, bad.unexpected), (3, 1, 1, 2));
        let tally_of = |diaries: &[Diary]| tally(diaries);
        assert_eq!(tally_of(&diaries), Tally { attempted: 6, acknowledged: 4, refused: 2 });
        let stuck = [diary("a", &[("x", "a1", GivenUp)])];
        assert!(!judge_mailbox(&stuck, "x", &[]).passes(), "a message that was given up fails the drill");
    }
}
