//! Looks at the replicas from outside, as a client does: who answers, and who leads.
//!
//! Neither can be had as an event: a port that opens tells nobody, and the protocol pushes no news of elections. So both
//! ask, at an interval, and both ask less than one busy client.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::status;
use super::super::wire::Conversation;
use super::story::Event;

/// How long a replica may take from its start to its first greeting: it opens its files and checks their ends.
pub(super) const READY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often a replica that does not answer yet is tried.
const READY_LOOK_EVERY: Duration = Duration::from_millis(25);

/// How often somebody is asked who leads.
const LEADER_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Tells once whether the replica greets within [`READY_WAIT_MAX`].
pub(super) async fn readiness(id: u16, address: String, events: mpsc::Sender<Event>) {
    let deadline = Instant::now() + READY_WAIT_MAX;
    let mut ticks = interval(READY_LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let event = loop {
        ticks.tick().await;
        let why = match Conversation::open(&address).await {
            Ok(conversation) if conversation.replica == id => break Event::Ready { id },
            Ok(stranger) => format!("replica {} of another cluster answers there", stranger.replica),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            break Event::NotReady { id, why };
        }
    };
    // With the supervisor gone there is nobody to tell.
    let _ = events.send(event).await;
}

/// Tells whenever the leader is another one, or none, for as long as somebody listens.
pub(super) async fn leadership(addresses: Vec<String>, events: mpsc::Sender<Event>) {
    let mut ticks = interval(LEADER_LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sighting = Sighting::new(addresses.len());
    let mut open: Option<Conversation> = None;
    let mut asked = 0;
    loop {
        ticks.tick().await;
        let report = look(&mut open, &addresses[asked]).await;
        let leader = report.and_then(|report| Some((report.leader?, report.term)));
        if leader.is_none() {
            // It may be cut off, or gone: another one may know better.
            open = None;
            asked = (asked + 1) % addresses.len();
        }
        if let Some(event) = sighting.see(leader)
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

async fn look(open: &mut Option<Conversation>, address: &str) -> Option<status::Report> {
    if open.is_none() {
        *open = Some(Conversation::open(address).await.ok()?);
    }
    status::ask(open.as_mut()?).await.ok()
}

/// What was seen of leadership so far, and what of it is news.
struct Sighting {
    replicas: usize,
    /// The leader last told, and its term.
    told: Option<(u16, u64)>,
    /// The highest term seen: an older one is the story of a replica that is cut off.
    term: u64,
    /// How many in a row knew no leader.
    blank_looks: usize,
}

impl Sighting {
    fn new(replicas: usize) -> Self {
        Self { replicas, told: None, term: 0, blank_looks: 0 }
    }

    fn see(&mut self, leader: Option<(u16, u64)>) -> Option<Event> {
        match leader.filter(|&(_, term)| term >= self.term) {
            Some((id, term)) => {
                self.blank_looks = 0;
                self.term = term;
                let news = self.told.is_none_or(|told| told != (id, term));
                self.told = Some((id, term));
                news.then_some(Event::Leads { id, term })
            }
            None => {
                self.blank_looks += 1;
                let everybody_was_asked = self.blank_looks >= self.replicas;
                (everybody_was_asked && self.told.take().is_some()).then_some(Event::NobodyLeads)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_leader_is_news() {
        let mut sighting = Sighting::new(3);
        assert_eq!(sighting.see(None), None, "nobody has led yet");
        assert_eq!(sighting.see(Some((2, 5))), Some(Event::Leads { id: 2, term: 5 }));
        assert_eq!(sighting.see(Some((2, 5))), None);
        assert_eq!(sighting.see(Some((2, 6))), Some(Event::Leads { id: 2, term: 6 }), "elected again");
        assert_eq!(sighting.see(Some((1, 4))), None, "an old story");
        assert_eq!(sighting.see(Some((3, 7))), Some(Event::Leads { id: 3, term: 7 }));
    }

    #[test]
    fn nobody_leads_once_everybody_was_asked() {
        let mut sighting = Sighting::new(2);
        assert_eq!(sighting.see(Some((2, 5))), Some(Event::Leads { id: 2, term: 5 }));
        assert_eq!(sighting.see(None), None);
        assert_eq!(sighting.see(None), Some(Event::NobodyLeads));
        assert_eq!(sighting.see(None), None, "told already");
        assert_eq!(sighting.see(Some((2, 5))), Some(Event::Leads { id: 2, term: 5 }), "it was only slow");
    }
}
