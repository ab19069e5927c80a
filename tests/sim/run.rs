//! One seed from its first event to its last: chaos, healing, rest, a last round of requests, and the final comparison.

use chat::{AccountId, Answer, MessageId, Query};
use plainsong::consensus::{ReplicaId, Term};
use plainsong::machine::MachineStorage;

use super::checkers::{Law, SideId, broken, ensure};
use super::clients::name;
use super::style::Style;
use super::trace::Trace;
use super::world::{MS, SECOND, Time, World, id};

/// After the last fault, everything is at rest again within this much simulated time.
const REST_MAX: Time = 20 * SECOND;
/// After it, each replica serves a request within this time, and that of a few fsyncs.
const SERVED_MAX: Time = 3 * SECOND;
const FSYNCS_OF_A_REQUEST_MAX: Time = 8;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub simulated: Time,
    pub events: u64,
    /// Requests of clients, and lines of people.
    pub asked: u64,
    pub committed: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub refused: u64,
    pub unknown: u64,
    pub histories: u64,
    /// Sends that found a mailbox full, and accounts too many.
    pub over_quota: u64,
    /// By how many milliseconds the newest entry is stamped later than it was.
    pub ahead_ms: i64,
    /// Messages that went with the retention.
    pub expired: u64,
    /// Messages that people were shown.
    pub shown: u64,
    /// Where silence counts as death: histories beside the first, what was given up, and who started anew.
    pub forks: u64,
    pub given_up: u64,
    pub anew: u64,
}

impl Summary {
    /// Both together.
    pub fn with(self, other: Self) -> Self {
        Self {
            simulated: self.simulated + other.simulated,
            events: self.events + other.events,
            asked: self.asked + other.asked,
            committed: self.committed + other.committed,
            acknowledged: self.acknowledged + other.acknowledged,
            reads: self.reads + other.reads,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            histories: self.histories + other.histories,
            over_quota: self.over_quota + other.over_quota,
            ahead_ms: self.ahead_ms.max(other.ahead_ms),
            expired: self.expired + other.expired,
            shown: self.shown + other.shown,
            forks: self.forks + other.forks,
            given_up: self.given_up + other.given_up,
            anew: self.anew + other.anew,
        }
    }
}

/// Runs a seed. Panics with what is broken.
pub fn run(seed: u64, trace: Trace) -> (Summary, Trace) {
    run_styled(seed, None, trace)
}

/// The same in a world of that style.
pub fn run_styled(seed: u64, style: Option<Style>, trace: Trace) -> (Summary, Trace) {
    let mut world = World::new(seed, style, trace);
    world.run_until(world.style.chaos);
    if world.style.long_outage {
        world.long_outage();
    }
    world.heal();
    world.run_until(world.now + 300 * MS);
    world.clients_on = false;
    (0..world.people.len()).for_each(|person| world.person_hangs_up(person));
    (0..world.clients.len()).for_each(|client| world.hang_up(client));
    rest(&mut world);
    each_serves(&mut world);
    rest(&mut world);
    everything_unmarked_comes_again(&mut world);
    rest(&mut world);
    world.states_are_right();
    let survivor = world.survivor();
    let sides = &world.judge.ledger.sides;
    sides.close(survivor, &world.hosts);
    world.judge.book.close(&world.judge.told[survivor.0].model, &world.judge.told);
    if sides.count() == 1 {
        world.judge.history.close();
    }
    let ahead_ms = world.stamped_ahead_ms();
    let requests = &world.judge.requests;
    let model = &world.judge.told[survivor.0].model;
    let summary = Summary {
        simulated: world.now,
        events: world.happened,
        asked: world.asked,
        committed: world.judge.ledger.sides.committed(survivor).0,
        acknowledged: requests.acknowledged,
        reads: requests.reads,
        refused: requests.refused,
        unknown: requests.unknown,
        histories: world.judge.history.judged,
        expired: model.expired,
        shown: world.judge.book.shown,
        over_quota: model.refused_with("MAILBOX_FULL") + model.refused_with("FORBIDDEN"),
        ahead_ms,
        forks: world.judge.ledger.sides.count() as u64 - 1,
        given_up: world.hosts.iter().map(|host| host.gave_up).sum(),
        anew: world.hosts.iter().map(|host| host.anew).sum(),
    };
    world.note(|| format!("{summary:?}"));
    (summary, world.trace)
}

fn rest(world: &mut World) {
    let deadline = world.now + REST_MAX;
    while let Some(unrest) = world.unrest() {
        world.strangers_join();
        ensure!(Serves, world.now < deadline, "no rest {} ms after the last fault: {unrest}", REST_MAX / MS);
        world.run_until(world.now + 20 * MS);
    }
}

/// A client at each replica in turn creates an account, and speaks for it.
fn each_serves(world: &mut World) {
    // An account too many is refused for good: what is asked here is whether anybody serves.
    for replica in world.hosts.iter_mut().filter_map(|host| host.replica.as_mut()) {
        replica.quota.accounts = None;
    }
    for host in 0..world.style.hosts {
        let deadline = world.now + SERVED_MAX + FSYNCS_OF_A_REQUEST_MAX * world.style.fsync.end;
        while world.clients[0].at.is_none() {
            ensure!(Serves, world.now < deadline, "{} does not answer", id(host));
            world.run_until(world.now + MS);
            world.connect_to(0, host);
        }
        world.look_up(0, name(&format!("z{host}")));
        while world.clients[0].speaker.is_none() {
            ensure!(Serves, world.now < deadline, "{} serves nobody: {:?}", id(host), world.clients[0]);
            world.run_until(world.now + MS);
            // It was told to come again: a disk that was full is known to have room only with the next pulse, and a leader
            // that was paused to lead.
            if world.clients[0].at.is_none() {
                world.connect_to(0, host);
            }
            if world.clients[0].pending.is_empty() && world.clients[0].speaker.is_none() {
                world.look_up(0, name(&format!("z{host}")));
            }
        }
        world.hang_up(0);
    }
}

/// Somebody logs in to each account of the people, and is shown what waits there: all of it, in order, and nothing else.
fn everything_unmarked_comes_again(world: &mut World) {
    let survivor = world.survivor();
    let at = world.judge.ledger.sides.committed(survivor);
    for (name, account) in world.accounts_of_people() {
        let waits: Vec<u64> = world.judge.told[survivor.0].model.undelivered(account, at).map(|mail| mail.id).collect();
        let host = world.rng.usize(0..world.style.hosts);
        world.person_empties_mailbox(host, &name);
        let deadline = world.now + SERVED_MAX + FSYNCS_OF_A_REQUEST_MAX * world.style.fsync.end;
        while world.people[0].is_connected() {
            ensure!(Serves, world.now < deadline, "{name} is not served: {:?}", world.people[0]);
            world.run_until(world.now + MS);
        }
        let shown = world.judge.book.take_delivered();
        ensure!(Delivery, shown == waits, "{waits:?} wait for {name}, who is shown {shown:?}");
    }
}

impl World {
    /// The side of whoever leads: at the end, everybody's.
    pub fn survivor(&self) -> SideId {
        self.leader().map_or_else(SideId::default, |host| self.judge.ledger.sides.of(host))
    }

    /// Why the cluster is not at rest: nobody leads, logs differ, something waits. `None` once it is.
    fn unrest(&self) -> Option<String> {
        let survivor = self.survivor();
        let mut leader: Option<(Term, ReplicaId)> = None;
        for (host, there) in self.hosts.iter().enumerate() {
            let who = id(host);
            let Some(replica) = &there.replica else { return Some(format!("{who} is down")) };
            let standing = replica.node.standing();
            let Some(known) = standing.leader else { return Some(format!("{who} knows no leader")) };
            if *leader.get_or_insert((standing.term, known)) != (standing.term, known) {
                return Some(format!("{who} follows another leader"));
            }
            if !replica.node.voters().contains(&there.disk.me) {
                return Some(format!("{} is no voter", there.disk.me));
            }
            let (last, commit, applied) = (replica.node.last(), replica.node.commit(), there.stores.state.applied());
            let sides = &self.judge.ledger.sides;
            if (sides.of(host), sides.committed(survivor), commit, applied) != (survivor, last, last, last) {
                return Some(format!("{who}: last {last}, commit {commit}, applied {applied}"));
            }
            if !replica.origin.is_empty() || !replica.requests.is_empty() {
                return Some(format!("{who}: {} proposals wait, and {:?}", replica.origin.len(), replica.requests));
            }
        }
        None
    }

    /// All states are the same, and what the model says they are.
    fn states_are_right(&self) {
        let survivor = self.survivor();
        let at = self.judge.ledger.sides.committed(survivor);
        let model = &self.judge.told[survivor.0].model;
        let first = &self.hosts[0].stores.state;
        for (host, there) in self.hosts.iter().enumerate() {
            ensure!(SameState, there.stores.state == *first, "{} and {} differ after {at}", id(host), id(0));
        }
        for (name, account) in model.living() {
            let (account, limit, bytes_max) = (AccountId(account), usize::MAX, usize::MAX);
            let query = Query::Received { account, after: MessageId(0), limit, bytes_max };
            let Ok(Answer::Received { messages, .. }) = chat::answer(first, &query) else {
                broken(Law::Mailbox, format!("{name} cannot be read"));
            };
            let told: Vec<u64> = messages.iter().map(|m| m.id.0).collect();
            let all: Vec<u64> = model.received(account.0, at).map(|m| m.id).collect();
            ensure!(Mailbox, told == all, "{name} holds {told:?}, and was sent {all:?}");
        }
    }
}
