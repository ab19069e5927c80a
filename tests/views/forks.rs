//! Silence that counts as death: links are cut between two sides, each takes the other for dead, both serve, and meet again.
//!
//! Here an acknowledged entry may be given up. What must hold: at the end all logs are one; what anybody acknowledged is in
//! it, or kept aside by somebody; nothing stands in it twice; views have numbers of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use plainsong::consensus::{Body, Entry, Frame, Index, Input, Member, ReplicaId, Role, Run, ViewFrame, ViewId};
use plainsong::views::Node;

use super::disk::Disk;
use super::number;
use super::world::{Counts, Item, World};

/// Walks of `cargo test`.
const SEEDS: u64 = 1_500;
/// Steps of each, before everybody comes back.
const STEPS: u64 = 1_500;
/// Of five replicas, the first so many are cut off in what is told step by step.
const CUT_OFF: usize = 2;

/// What anybody acknowledged.
#[derive(Default)]
pub struct Forks {
    /// Every entry that anybody knew to be committed, and the view in which its leader was then, or before.
    acked: BTreeMap<(Index, u64), Entry>,
    /// How far each run was looked at.
    looked: BTreeMap<(Member, Run), Index>,
    led: BTreeMap<u64, ViewId>,
    pub newest_payload: u64,
}

impl Forks {
    /// Looks at a replica after a turn. Returns whether it has acknowledged an entry where another one was.
    pub fn look(&mut self, node: &Node, disk: &Disk) -> bool {
        if node.standing().role == Role::Leader {
            let id = node.views().installed.id;
            assert_eq!(*self.led.entry(id.number).or_insert(id), id, "two views of one number");
        }
        let mut forks = false;
        let run = node.introduction().run;
        let from = self.looked.insert((node.me(), run), node.commit()).unwrap_or_default();
        for index in (from.0 + 1..=node.commit().0).map(Index) {
            let held = node.log().entries(index, index, usize::MAX).and_then(|mut entries| entries.pop());
            let Some(entry) = held.or_else(|| disk.entry(index).cloned()) else { continue };
            if let Body::Command(payload) = &entry.body {
                self.newest_payload = self.newest_payload.max(number_of(payload));
            }
            forks |= self.acked.keys().any(|(known, term)| *known == index && *term != entry.term.0);
            let known = self.acked.entry((index, entry.term.0)).or_insert_with(|| entry.clone());
            assert_eq!(known, &entry, "one index and one view, and two entries");
        }
        forks
    }

    /// At the end: all logs are one, and hold what was acknowledged, but for what is kept aside.
    pub fn judge<'a>(&self, disks: impl Iterator<Item = &'a Disk> + Clone) {
        let logs = disks.clone().map(|disk| disk.load(Index(1), disk.last(), usize::MAX)).collect::<Vec<_>>();
        assert!(logs.iter().all(|log| *log == logs[0]), "the logs differ");
        let payloads: Vec<u64> = logs[0].iter().filter_map(payload).collect();
        assert_eq!(payloads.iter().collect::<BTreeSet<_>>().len(), payloads.len(), "an entry stands twice");
        for entry in self.acked.values() {
            let is_there = logs[0].get(entry.index.0 as usize - 1) == Some(entry);
            let is_kept = disks.clone().any(|disk| disk.orphans.iter().any(|(_, orphan)| orphan == entry));
            assert!(is_there || is_kept, "entry {} of view {} is lost", entry.index, entry.term);
        }
    }
}

fn number_of(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).expect("payloads are numbers").parse().expect("payloads are numbers")
}

fn payload(entry: &Entry) -> Option<u64> {
    match &entry.body {
        Body::Command(payload) => Some(number_of(payload)),
        _ => None,
    }
}

impl World {
    /// Links break between two sides, or are mended.
    pub fn part(&mut self) {
        if self.sides.iter().any(|side| *side) {
            return self.heal();
        }
        let size = self.size();
        self.sides = (0..size).map(|_| self.rng.bool()).collect();
        let sides = self.sides.clone();
        self.note(|| format!("sides {sides:?}"));
        for (one, other) in (0..size).flat_map(|one| (0..one).map(move |other| (one, other))) {
            if sides[one] != sides[other] {
                self.cut(one, other);
            }
        }
    }

    pub fn heal(&mut self) {
        self.sides = vec![false; self.size()];
    }

    /// Some are told to be silent: those of the other side most often. Or nobody is heard.
    pub fn silence(&mut self, at: usize) {
        let watched = self.hosts[at].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
        let cut_off = |id: ReplicaId| self.sides[super::world::host_of(id)] != self.sides[at];
        let silent: BTreeSet<(Member, Run)> = match self.rng.u32(0..10) {
            0..7 => watched.into_iter().filter(|(member, _)| cut_off(member.id)).collect(),
            7 => watched.into_iter().filter(|_| self.rng.bool()).collect(),
            8 => BTreeSet::new(),
            _ => return self.tell(at, Input::Isolated),
        };
        self.note(|| format!("{} hears nothing of {silent:?}", super::world::id(at)));
        self.tell(at, Input::Silent(silent));
    }
}

pub fn walk(seed: u64, verbose: bool) -> Counts {
    let size = [3, 4, 5][seed as usize % 3];
    let mut world = World::with_silence(size, seed, verbose, true);
    world.found();
    for _ in 0..STEPS {
        world.step();
    }
    world.calm();
    world.forks.judge(world.hosts.iter().map(|host| &host.disk));
    world.counts.committed = world.forks.acked.len() as u64;
    world.counts
}

#[test]
fn walks_in_which_two_sides_serve_lose_nothing_silently() {
    let mut sum = Counts::default();
    for seed in 1..=number("FORKS_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| walk(seed, false))) {
            Ok(counts) => sum.add(&counts),
            Err(_) => panic!("seed {seed}: FORKS_SEED={seed} cargo test --test views one_with_silence -- --nocapture"),
        }
    }
    println!("{sum:?}");
    let Counts { forks, anew, given_up, .. } = sum;
    for (what, count) in [("forks", forks), ("starts anew", anew), ("given up", given_up)] {
        assert!(count > 20, "{what}: only {count}, so these walks say little");
    }
}

/// One seed, with everything that happens in it: `FORKS_SEED`.
#[test]
fn one_with_silence() {
    walk(number("FORKS_SEED").unwrap_or(1), std::env::var("FORKS_SEED").is_ok());
}

/// Those of one side go on among themselves.
fn go_on(world: &mut World, members: &[usize]) {
    for _ in 0..4 {
        members.iter().for_each(|&at| world.settle_own(at));
        members.iter().for_each(|&to| (0..world.size()).for_each(|from| world.hear_all(to, from)));
    }
    members.iter().for_each(|&at| world.settle_own(at));
}

/// Who leads a side, and in which view.
fn leader_of(world: &World, members: &[usize]) -> Option<(usize, ViewId)> {
    let at = members.iter().copied().find(|at| world.leads(*at))?;
    world.hosts[at].process.as_ref().map(|process| (at, process.node.views().installed.id))
}

/// A side takes the other for dead, and its leader proposes `count` payloads, which are acknowledged.
fn serve_apart(world: &mut World, members: &[usize], count: usize) -> Vec<u64> {
    let is_other = |member: &Member| !members.contains(&super::world::host_of(member.id));
    for &at in members {
        let watched = world.hosts[at].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
        world.tell(at, Input::Silent(watched.into_iter().filter(|(member, _)| is_other(member)).collect()));
    }
    let serves = |world: &World| leader_of(world, members).map(|(at, _)| at);
    for &at in members.iter().cycle().take(4 * members.len()) {
        world.tell(at, Input::Campaign);
        go_on(world, members);
    }
    let leader = serves(world).expect("either side has a leader");
    let propose = |_| {
        let before = world.forks.newest_payload;
        world.propose(leader);
        go_on(world, members);
        assert!(world.forks.newest_payload > before, "either side serves");
        world.forks.newest_payload
    };
    (0..count).map(propose).collect()
}

/// Five, of whom two are cut off from three; both sides serve. The view of the few is the newer one, or it is not. Returns
/// what the older view acknowledged, and what the newer one did.
fn two_sides(few_win: bool) -> (World, [Vec<u64>; 2]) {
    let mut world = World::with_silence(5, 7, false, true);
    world.calm();
    world.sides = (0..5).map(|at| at < CUT_OFF).collect();
    for (one, other) in (0..CUT_OFF).flat_map(|one| (CUT_OFF..5).map(move |other| (one, other))) {
        world.cut(one, other);
    }
    let side = |few: bool| (0..5).filter(|at| (*at < CUT_OFF) == few).collect::<Vec<usize>>();
    let (loser, winner) = (side(!few_win), side(few_win));
    let older = serve_apart(&mut world, &loser, 5);
    let mut newer = serve_apart(&mut world, &winner, 5);
    let view_of = |world: &World, members: &[usize]| leader_of(world, members).map(|(_, view)| view);
    while view_of(&world, &winner) <= view_of(&world, &loser) {
        let (leader, _) = leader_of(&world, &winner).expect("it serves");
        world.tell(leader, Input::HandOver);
        go_on(&mut world, &winner);
        newer.extend(serve_apart(&mut world, &winner, 1));
    }
    (world, [older, newer])
}

/// The side with the older view yields, all of it: what it acknowledged is kept aside by each of its replicas, and the other
/// side keeps its log.
pub fn the_older_view_yields() {
    for few_win in [false, true] {
        let (mut world, [older, newer]) = two_sides(few_win);
        world.calm();
        world.forks.judge(world.hosts.iter().map(|host| &host.disk));
        for (at, host) in world.hosts.iter().enumerate() {
            let log: Vec<u64> =
                host.disk.load(Index(1), host.disk.last(), usize::MAX).iter().filter_map(payload).collect();
            let kept: Vec<u64> = host.disk.orphans.iter().filter_map(|(_, entry)| payload(entry)).collect();
            assert!(newer.iter().all(|one| log.contains(one)), "the newer view's entries stay");
            assert!(!older.iter().any(|one| log.contains(one)), "the older view's entries go");
            let yields = (at < CUT_OFF) != few_win;
            assert_eq!(kept, if yields { older.clone() } else { Vec::new() }, "what replica {at} keeps aside");
        }
    }
}

#[test]
fn of_two_sides_that_served_the_one_with_the_older_view_yields_and_keeps_what_it_gives_up() {
    the_older_view_yields();
}

/// Who is told of a newer view has applied what it is about to give up: it answers no read from that.
///   1. It leads a view, and is told that the other side's is newer; nothing of that one's log has come yet.
///   2. A client reads. The other side's leader confirms an index that this replica is far beyond.
pub fn no_read_from_what_goes() {
    let (mut world, [_, newer]) = two_sides(false);
    let side = |few: bool| (0..5).filter(|at| (*at < CUT_OFF) == few).collect::<Vec<usize>>();
    let (loser, winner) = (leader_of(&world, &side(true)), leader_of(&world, &side(false)));
    let (loser, winner) = (loser.expect("it leads").0, winner.expect("it leads").0);
    assert!(!newer.is_empty());
    world.heal();
    world.dial(loser, winner);
    let reads = world.counts.reads;
    for round in 0..20 {
        let brings_entries = |item: &Item| matches!(item, Item::Frame(Frame::Append { .. }));
        world.inbox[loser][winner].retain(|item| !brings_entries(item));
        world.hear_all(loser, winner);
        world.settle_own(loser);
        world.hear_all(winner, loser);
        world.tell(winner, Input::PulseDue);
        go_on(&mut world, &side(false));
        if round == 5 {
            assert!(!world.leads(loser), "it was told");
            world.read(loser);
        }
    }
    assert_eq!(world.counts.reads, reads, "a read from what is given up");
    world.calm();
    world.forks.judge(world.hosts.iter().map(|host| &host.disk));
}

#[test]
fn who_is_about_to_give_entries_up_answers_no_read_from_them() {
    no_read_from_what_goes();
}

/// Who led, was silent, and is heard again before anybody went on without it, leads still, and is answered.
///   1. Links are mended when a leader has been silent for just long enough: it tells replica 2 of its view, and then the
///      pulses come.
///   2. 2 took it for dead in between, and follows nobody. Nobody tells it of the view once more.
pub fn the_head_is_heard_again() {
    let mut world = World::with_silence(3, 7, false, true);
    world.calm();
    let all = [0, 1, 2];
    let leader = all.into_iter().find(|at| world.leads(*at)).expect("somebody leads");
    let other = (leader + 1) % all.len();
    let watched = world.hosts[other].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
    let is_leader = |member: &Member| super::world::host_of(member.id) == leader;
    let follows = |world: &World| {
        let standing = world.hosts[other].process.as_ref().map(|process| process.node.standing());
        standing.and_then(|standing| standing.leader).map(super::world::host_of)
    };
    world.tell(other, Input::Silent(watched.into_iter().filter(|(member, _)| is_leader(member)).collect()));
    go_on(&mut world, &all);
    assert_eq!(follows(&world), None, "it counts as dead");
    world.tell(other, Input::Silent(BTreeSet::new()));
    go_on(&mut world, &all);
    assert_eq!(follows(&world), Some(leader), "it is heard");
    let reads = world.counts.reads;
    world.read(leader);
    for _ in 0..3 {
        world.tell(leader, Input::PulseDue);
        go_on(&mut world, &all);
    }
    assert!(world.counts.reads > reads, "all answer the leader that reads");
}

#[test]
fn a_leader_that_was_silent_and_is_heard_again_is_followed_again() {
    the_head_is_heard_again();
}

/// What a silent leader says of itself counts as long as its link stands.
///   1. A leader was silent. Its data link is mended, and not yet its pulse link; it tells of its view, and all links break
///      again.
///   2. It was silent all the time, and is said to be so only once.
pub fn the_head_falls_silent_again() {
    let mut world = World::with_silence(3, 7, false, true);
    world.calm();
    let all = [0, 1, 2];
    let leader = all.into_iter().find(|at| world.leads(*at)).expect("somebody leads");
    let others: Vec<usize> = all.into_iter().filter(|at| *at != leader).collect();
    let follows = |world: &World, at: usize| {
        let standing = world.hosts[at].process.as_ref().map(|process| process.node.standing());
        standing.and_then(|standing| standing.leader).map(super::world::host_of)
    };
    let is_leader = |member: &Member| super::world::host_of(member.id) == leader;
    others.iter().for_each(|&at| world.cut(leader, at));
    go_on(&mut world, &all);
    for &at in &others {
        let watched = world.hosts[at].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
        world.tell(at, Input::Silent(watched.into_iter().filter(|(member, _)| is_leader(member)).collect()));
    }
    others.iter().for_each(|&at| world.dial(at, leader));
    go_on(&mut world, &all);
    assert!(others.iter().all(|at| follows(&world, *at) == Some(leader)), "it says that it leads");
    others.iter().for_each(|&at| world.cut(leader, at));
    go_on(&mut world, &others);
    others.iter().for_each(|&at| world.tell(at, Input::Campaign));
    go_on(&mut world, &others);
    assert!(leader_of(&world, &others).is_some(), "they go on without it");
}

#[test]
fn a_silent_leader_that_was_heard_for_a_moment_is_not_waited_for() {
    the_head_falls_silent_again();
}

/// A replica that hears nobody starts anew before others may take it for dead: of two that are cut apart neither goes on.
pub fn isolated_ones_stop() {
    let mut world = World::with_silence(2, 7, false, true);
    world.calm();
    let acked = world.forks.newest_payload;
    world.cut(0, 1);
    world.sides = vec![true, false];
    for _ in 0..5 {
        for at in 0..2 {
            let watched = world.hosts[at].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
            world.tell(at, Input::Isolated);
            world.turn(at);
            world.tell(at, Input::Silent(watched.into_iter().collect()));
            world.tell(at, Input::Campaign);
            world.propose(at);
            world.settle_own(at);
        }
    }
    assert_eq!(world.forks.newest_payload, acked, "neither serves alone");
    world.calm();
    assert_eq!(world.counts.given_up, 0);
}

#[test]
fn who_hears_nobody_goes_on_alone_in_no_case() {
    isolated_ones_stop();
}

/// A leader outbids a promise that is heard of before its view is known to serve; then it hears that it does.
///   1. 1 and 2 serve in a newer view than 3, 4 and 5. The links are back; what the leader of 3, 4 and 5 hears first is what 2
///      said before it was told that their view is installed.
///   2. Somebody of that leader's side has yielded already: were it to go on, the other side would yield as well.
pub fn outbid_too_late() {
    let (mut world, [_, newer]) = two_sides(true);
    let few: Vec<usize> = (0..CUT_OFF).collect();
    let many: Vec<usize> = (CUT_OFF..5).collect();
    let (outdone, view) =
        (leader_of(&world, &many).expect("it serves").0, leader_of(&world, &few).expect("it serves").1);
    let follower = few.into_iter().find(|at| !world.leads(*at)).expect("two of them");
    world.heal();
    world.dial(outdone, follower);
    go_on(&mut world, &[follower]);
    let mut said = std::mem::take(&mut world.inbox[outdone][follower]);
    let at = said.iter().position(|item| matches!(item, Item::Frame(Frame::View(ViewFrame::News { .. }))));
    let at = at.expect("a link begins with news");
    let early = ViewFrame::News { installed: ViewId::NONE, promised: view, warm: true };
    said.insert(at, Item::Frame(Frame::View(early)));
    let late = said.split_off(at + 1);
    world.inbox[outdone][follower] = said;
    world.hear_all(outdone, follower);
    world.tell(outdone, Input::QuorumCheckDue);
    world.turn(outdone);
    let promised = |world: &World| world.hosts[outdone].process.as_ref().map(|p| p.node.views().promised.id);
    assert!(promised(&world) > Some(view), "it outbids what it takes for a promise that came to nothing");
    world.inbox[outdone][follower] = late;
    world.hear_all(outdone, follower);
    (0..3).for_each(|_| go_on(&mut world, &many));
    assert!(!world.leads(outdone), "it goes on beside a view that serves");
    world.calm();
    world.forks.judge(world.hosts.iter().map(|host| &host.disk));
    let disk = &world.hosts[0].disk;
    let log: Vec<u64> = disk.load(Index(1), disk.last(), usize::MAX).iter().filter_map(payload).collect();
    assert!(newer.iter().all(|one| log.contains(one)), "what the newer view acknowledged stays");
}

#[test]
fn who_has_outbid_a_view_and_hears_that_it_serves_does_not_go_on() {
    outbid_too_late();
}

/// What was on its way when the links broke has reached one of a side, and not the one that stands first there.
pub fn who_holds_more_stands() {
    let mut world = World::with_silence(5, 7, false, true);
    world.calm();
    let leader = leader_of(&world, &[0, 1, 2, 3, 4]).expect("all serve").0;
    assert!(leader < CUT_OFF, "the lowest id stands first");
    let (few, many): (Vec<usize>, Vec<usize>) = (0..5).partition(|at| *at < CUT_OFF);
    let holder = many[1];
    world.propose(leader);
    world.turn(leader);
    let on_its_way = world.payloads;
    world.hear_all(holder, leader);
    world.settle_own(holder);
    let lacks_it = |at: &&usize| **at != holder;
    many.iter().filter(lacks_it).for_each(|at| world.inbox[*at][leader].clear());
    world.sides = (0..5).map(|at| at < CUT_OFF).collect();
    for (one, other) in few.iter().flat_map(|one| many.iter().map(move |other| (*one, *other))) {
        world.cut(one, other);
    }
    serve_apart(&mut world, &many, 1);
    serve_apart(&mut world, &few, 1);
    world.calm();
    world.forks.judge(world.hosts.iter().map(|host| &host.disk));
    let holds_it = |entry: &Entry| payload(entry) == Some(on_its_way);
    for host in &world.hosts {
        assert!(
            host.disk.load(Index(1), host.disk.last(), usize::MAX).iter().any(holds_it),
            "both sides go on with it"
        );
        assert!(!host.disk.orphans.iter().any(|(_, entry)| holds_it(entry)), "nobody gives it up");
    }
}

#[test]
fn who_holds_more_than_the_proposer_stands_itself() {
    who_holds_more_stands();
}
