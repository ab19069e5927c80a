//! One replica of the model: the real core, its disk, and what carrying its duties out comes to.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use plainsong::consensus::{
    Base, Batch, Body, Boot, ClusterId, Duty, Entry, Founding, FoundingState, Frame, HardState, Incarnation, Index,
    Input, Member, Membership, Mode, Node, Recovered, ReplicaId, Run, Settings, Term, Ticket,
};
use xxhash_rust::xxh3::xxh3_64;

pub const REPLICAS: usize = 3;
const CLUSTER: ClusterId = ClusterId(1);

/// A value with the fingerprint of all that it holds, which is taken once and compared in its place.
///
/// The core has no `Hash` and needs none: every type in it derives `Debug`, which leaves out no field. Two nodes of one
/// text are the same node, and 64 bits are enough for some millions of them.
#[derive(Clone)]
pub struct Printed<T> {
    value: Arc<T>,
    print: u64,
}

impl<T: Debug> Printed<T> {
    pub fn new(value: T) -> Self {
        thread_local!(static TEXT: RefCell<String> = const { RefCell::new(String::new()) });
        let print = TEXT.with_borrow_mut(|text| {
            text.clear();
            write!(text, "{value:?}").expect("a String takes everything");
            xxh3_64(text.as_bytes())
        });
        Self { value: Arc::new(value), print }
    }
}

impl<T> Deref for Printed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Debug> Debug for Printed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> PartialEq for Printed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl<T> Hash for Printed<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

/// What survives a crash, and what does not yet.
#[derive(Clone, Debug)]
pub struct Disk {
    pub log: Vec<Entry>,
    hard: HardState,
    runs: Vec<(Member, Run)>,
    boot: Boot,
    /// Batches that the store was handed and has not made durable, in order.
    pending: Vec<Batch>,
}

/// A replica between two turns.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Replica {
    pub node: Printed<Node>,
    pub disk: Printed<Disk>,
}

/// What a turn came to, outside of the replica.
#[derive(Debug, Default)]
pub struct Turn {
    pub sent: Vec<(ReplicaId, Frame)>,
    pub pulses: Vec<(ReplicaId, Frame)>,
    pub applied: Vec<Entry>,
    pub reads: Vec<(u64, Index)>,
    pub truncated: bool,
    /// A peer was told that its disk is an old copy. None is, in this model.
    pub refused: bool,
}

pub fn member(at: usize) -> Member {
    Member { id: ReplicaId(u16::try_from(at + 1).expect("few replicas")), incarnation: Incarnation(1) }
}

impl Replica {
    /// A replica of a founded cluster, in its first run.
    pub fn new(at: usize) -> Self {
        let members = (0..REPLICAS).map(member).collect();
        let record = Founding { cluster: CLUSTER, mode: Mode::Quorum, members };
        let founding = Entry { index: Index(1), term: Term(0), time: 0, body: Body::Founding(record) };
        let run = Run { boot: Boot(1), nonce: 0 };
        let runs = (0..REPLICAS).filter(|peer| *peer != at).map(|peer| (member(peer), run)).collect();
        let disk = Disk { log: vec![founding], hard: HardState::default(), runs, boot: run.boot, pending: Vec::new() };
        let node = disk.recover(at);
        Self { node: Printed::new(node), disk: Printed::new(disk) }
    }

    /// Power off and on: what is durable is left.
    pub fn crash(&mut self, at: usize) {
        let mut disk = (*self.disk).clone();
        disk.pending.clear();
        disk.boot = disk.boot.next();
        self.node = Printed::new(disk.recover(at));
        self.disk = Printed::new(disk);
    }

    /// Whether the store has something to finish.
    pub fn is_storing(&self) -> bool {
        !self.disk.pending.is_empty()
    }

    /// The store finishes its oldest batch.
    pub fn store(&mut self) -> Ticket {
        let mut disk = (*self.disk).clone();
        let batch = disk.pending.remove(0);
        let ticket = batch.ticket;
        disk.write(batch);
        self.disk = Printed::new(disk);
        ticket
    }

    /// Tells the node, and carries its duties out until there are none. The state is as quick as can be, and so are
    /// reads of the log: their delays are those of the turn that follows. A fast disk is as quick as they are.
    pub fn turn(&mut self, inputs: Vec<Input>, fast_disk: bool) -> Turn {
        let mut node = (*self.node).clone();
        let mut disk = None;
        let mut turn = Turn::default();
        let mut inputs = inputs;
        loop {
            inputs.drain(..).for_each(|input| node.step(0, input));
            let duties = node.duties();
            if duties.is_empty() {
                break;
            }
            for duty in duties {
                match duty {
                    Duty::Persist(batch) => {
                        turn.truncated |= batch.truncate_from.is_some();
                        let disk = disk.get_or_insert_with(|| (*self.disk).clone());
                        if fast_disk {
                            inputs.push(Input::Stored(batch.ticket));
                            disk.write(batch);
                        } else {
                            disk.pending.push(batch);
                        }
                    }
                    Duty::Send(to, frame) => turn.sent.push((to, frame)),
                    Duty::Pulse(to, frame) => turn.pulses.push((to, frame)),
                    Duty::Apply(entries) => {
                        inputs.push(Input::Applied(entries.last().expect("not empty").index));
                        turn.applied.extend(entries);
                    }
                    Duty::Load(reader, from, to) => {
                        let wanted = |entry: &&Entry| (from..=to).contains(&entry.index);
                        let disk = disk.as_ref().unwrap_or(&self.disk);
                        inputs.push(Input::Loaded(reader, disk.log.iter().filter(wanted).cloned().collect()));
                    }
                    Duty::ReadReady(id, index) => turn.reads.push((id, index)),
                    Duty::RefuseRestored(..) => turn.refused = true,
                    Duty::MakeSnapshot(_) | Duty::Fetch(..) | Duty::Install(_) => unreachable!("no log is cut here"),
                    Duty::GaveUp { .. } | Duty::StartAnew(_) => unreachable!("of the other mode"),
                    // Nobody asks for a change of members here.
                    Duty::ChangeAnswered(..) | Duty::Dismissed | Duty::RefuseRemoved(..) => {}
                    Duty::HeardLeader | Duty::Standing(_) | Duty::StandSoon | Duty::Founded(_) | Duty::Voters(_) => {}
                }
            }
        }
        self.node = Printed::new(node);
        if let Some(disk) = disk {
            self.disk = Printed::new(disk);
        }
        turn
    }

    /// The term of the entry that its disk holds at an index.
    pub fn durable_term(&self, index: Index) -> Option<Term> {
        self.disk.log.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }
}

impl Disk {
    fn write(&mut self, batch: Batch) {
        let Batch {
            ticket: _,
            hard_state,
            founding: _,
            cluster: _,
            truncate_from,
            given_up: _,
            append,
            cut: _,
            peer_runs,
            views: _,
        } = batch;
        self.hard = hard_state.unwrap_or(self.hard);
        if let Some(from) = truncate_from {
            self.log.retain(|entry| entry.index < from);
        }
        self.log.extend(append);
        for (peer, run) in peer_runs {
            self.runs.retain(|(known, _)| *known != peer);
            self.runs.push((peer, run));
        }
        self.runs.sort_unstable();
    }

    /// The core as it starts from this disk. The state is taken to be lost: it is derived from the log again.
    fn recover(&self, at: usize) -> Node {
        let mut term_starts: Vec<(Term, Index)> = Vec::new();
        for entry in &self.log {
            if term_starts.last().is_none_or(|(term, _)| *term < entry.term) {
                term_starts.push((entry.term, entry.index));
            }
        }
        let Some(Entry { body: Body::Founding(record), .. }) = self.log.first() else {
            panic!("every log begins with the founding record");
        };
        let voters = Membership { voters: record.members.clone(), ..Membership::default() };
        let recovered = Recovered {
            me: member(at),
            boot: self.boot,
            hard_state: self.hard,
            founding: FoundingState::Sealed,
            base: Base::default(),
            term_starts,
            last: self.log.last().expect("it holds the record").index,
            last_time: 0,
            memberships: vec![(Index(1), voters)],
            record: Some(record.clone()),
            applied: Index(1),
            cluster: None,
            peer_runs: self.runs.clone(),
            views: None,
        };
        let run = Run { boot: self.boot, nonce: 0 };
        let ids = (0..REPLICAS).map(|at| member(at).id).collect();
        Node::new(
            &recovered,
            Settings { run, ids, addresses: Vec::new(), book: 0, joins: false, fresh_cluster: CLUSTER },
        )
    }
}
