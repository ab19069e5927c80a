//! Three cores in one place, without disks or links: what they say goes from one to the other, and what they store is
//! stored.

use bytes::Bytes;
use plainsong::consensus::{
    Base, Body, Boot, ClusterId, Duty, Entry, Founding, FoundingState, HardState, Incarnation, Index, Input, Member,
    Membership, Mode, Node, Recovered, ReplicaId, Run, Settings, Term,
};

const REPLICAS: u16 = 3;
const RUN: Run = Run { boot: Boot(1), nonce: 0 };
const CLOCK: u64 = 1_800_000_000_000;

/// The first of them leads.
pub struct Cores {
    nodes: Vec<Node>,
}

/// Inputs for the core at a place.
type Mail = Vec<(usize, Input)>;
type Work<'a> = &'a mut dyn FnMut() -> Vec<Duty>;

impl Cores {
    /// Linked, with a leader whose term is open.
    pub fn elected() -> Self {
        let mut cores = Self { nodes: (1..=REPLICAS).map(node).collect() };
        let met: Vec<_> = cores.nodes.iter().map(Node::introduction).collect();
        let links = (0..3).flat_map(|at| met.iter().map(move |peer| (at, peer.clone())));
        let links: Mail = links
            .filter(|(at, peer)| usize::from(peer.member.id.0) != at + 1)
            .map(|(at, peer)| (at, Input::LinkUp(peer)))
            .collect();
        cores.settle(links);
        cores.settle(vec![(1, Input::LeaderQuiet), (2, Input::LeaderQuiet), (0, Input::LeaderQuiet)]);
        cores.settle(vec![(0, Input::Campaign)]);
        assert_eq!(cores.nodes[0].commit(), cores.nodes[0].last(), "the leader's term is open");
        cores
    }

    pub fn leader(&self) -> Member {
        self.nodes[0].me()
    }

    /// Proposes at the leader and carries all out: the leader's steps by `lead`, one follower's by `follow`.
    pub fn replicate(
        &mut self,
        payloads: Vec<Bytes>,
        lead: impl Fn(Work<'_>) -> Vec<Duty>,
        follow: impl Fn(Work<'_>) -> Vec<Duty>,
    ) {
        let wanted = Index(self.nodes[0].last().0 + payloads.len() as u64);
        let mut mail: Mail = vec![(0, Input::Propose(payloads))];
        while !mail.is_empty() {
            let mut next = Vec::new();
            for at in 0..self.nodes.len() {
                let mut inputs: Vec<Input> = mail.extract_if(.., |(to, _)| *to == at).map(|(_, input)| input).collect();
                if inputs.is_empty() {
                    continue;
                }
                let node = &mut self.nodes[at];
                let mut turn = || {
                    inputs.drain(..).for_each(|input| node.step(CLOCK, input));
                    node.duties()
                };
                let duties = match at {
                    0 => lead(&mut turn),
                    1 => follow(&mut turn),
                    _ => turn(),
                };
                carry_out(at, duties, &mut next);
            }
            mail = next;
        }
        assert!(self.nodes.iter().all(|node| node.applied() == wanted), "everything was committed and applied");
    }

    fn settle(&mut self, mut mail: Mail) {
        while !mail.is_empty() {
            let mut next = Vec::new();
            for (at, input) in mail {
                self.nodes[at].step(CLOCK, input);
                carry_out(at, self.nodes[at].duties(), &mut next);
            }
            mail = next;
        }
    }
}

fn carry_out(at: usize, duties: Vec<Duty>, mail: &mut Mail) {
    let from = member(u16::try_from(at + 1).expect("few replicas"));
    for duty in duties {
        match duty {
            Duty::Persist(batch) => mail.push((at, Input::Stored(batch.ticket))),
            Duty::Send(to, frame) | Duty::Pulse(to, frame) => {
                mail.push((usize::from(to.0) - 1, Input::Frame(from, frame)));
            }
            Duty::Apply(entries) => mail.push((at, Input::Applied(entries.last().expect("never empty").index))),
            Duty::HeardLeader | Duty::Standing(_) | Duty::StandSoon | Duty::Founded(_) | Duty::Voters(_) => {}
            Duty::Load(..)
            | Duty::ReadReady(..)
            | Duty::ChangeAnswered(..)
            | Duty::Dismissed
            | Duty::MakeSnapshot(_)
            | Duty::Fetch(..)
            | Duty::Install(_)
            | Duty::GaveUp { .. }
            | Duty::StartAnew(_)
            | Duty::RefuseRestored(..)
            | Duty::RefuseRemoved(..) => panic!("unexpected: {duty:?}"),
        }
    }
}

fn member(id: u16) -> Member {
    Member { id: ReplicaId(id), incarnation: Incarnation(1) }
}

/// A replica of a founded cluster, in its first run.
fn node(id: u16) -> Node {
    let members: Vec<Member> = (1..=REPLICAS).map(member).collect();
    let cluster = ClusterId(1);
    let record = Founding { cluster, mode: Mode::Quorum, members: members.clone() };
    let founding = Entry { index: Index(1), term: Term(0), time: 0, body: Body::Founding(record.clone()) };
    let recovered = Recovered {
        me: member(id),
        boot: RUN.boot,
        hard_state: HardState::default(),
        founding: FoundingState::Sealed,
        base: Base::default(),
        term_starts: vec![(founding.term, founding.index)],
        last: founding.index,
        last_time: founding.time,
        memberships: vec![(founding.index, Membership { voters: members.clone(), ..Membership::default() })],
        record: Some(record),
        cluster: None,
        applied: founding.index,
        peer_runs: members.iter().filter(|peer| peer.id.0 != id).map(|peer| (*peer, RUN)).collect(),
        views: None,
    };
    let ids = members.iter().map(|member| member.id).collect();
    Node::new(
        &recovered,
        Settings { run: RUN, ids, addresses: Vec::new(), book: 0, joins: false, fresh_cluster: cluster },
    )
}
