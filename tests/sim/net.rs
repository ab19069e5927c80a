//! Links between replicas: two connections a pair (data, pulses), each in order in both directions, as TCP gives them.
//!
//! A break loses what is in flight; a process that ends sends what it had written, then the end. Each end knows for
//! itself which connection it holds: one end may believe in a link that the other has given up.

use std::collections::VecDeque;

use plainsong::consensus::founding::Introduction;
use plainsong::wire::PeerLine;

use super::world::Time;

/// Which of the two connections of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    Pulse,
}

/// A pair of hosts and a kind. The higher one dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    pub kind: Kind,
    pub low: usize,
    pub high: usize,
}

impl Wire {
    pub fn between(kind: Kind, one: usize, other: usize) -> Self {
        Self { kind, low: one.min(other), high: one.max(other) }
    }

    pub fn peer_of(self, host: usize) -> usize {
        if host == self.low { self.high } else { self.low }
    }

    fn end_of(self, host: usize) -> usize {
        usize::from(host == self.high)
    }
}

/// What travels.
#[derive(Debug)]
pub enum Item {
    Lines(Vec<PeerLine>),
    /// The other side has closed.
    End,
}

/// One connection.
pub struct Link {
    pub generation: u64,
    lives: [u64; 2],
    who: [Introduction; 2],
    /// By sender.
    queues: [VecDeque<Item>; 2],
    /// By sender: nothing is delivered before what was sent before it.
    ready: [Time; 2],
    /// Which end has been told that it is up.
    known: [bool; 2],
    broken: bool,
}

/// What became of an attempt to deliver.
pub enum Delivery {
    /// The receiver's process has not been told of the connection yet (it was paused): try again later.
    NotYet,
    /// Nothing to deliver, or nobody to deliver it to.
    Nothing,
    /// This, from whom.
    Item(Item, Introduction),
}

/// All of them.
pub struct Net {
    hosts: usize,
    links: Vec<Option<Link>>,
    /// Which generation each end holds; 0 for none.
    held: Vec<[u64; 2]>,
    generation: u64,
}

impl Net {
    pub fn new(hosts: usize) -> Self {
        let slots = 2 * hosts * hosts;
        Self { hosts, links: (0..slots).map(|_| None).collect(), held: vec![[0; 2]; slots], generation: 0 }
    }

    fn slot(&self, wire: Wire) -> usize {
        (wire.low * self.hosts + wire.high) * 2 + usize::from(wire.kind == Kind::Pulse)
    }

    /// Every wire of a host.
    pub fn wires_of(&self, host: usize) -> Vec<Wire> {
        let others = (0..self.hosts).filter(|h| *h != host);
        others.flat_map(|h| [Kind::Data, Kind::Pulse].map(|kind| Wire::between(kind, host, h))).collect()
    }

    /// A handshake succeeded. `who` and `lives` are of the low and the high end, each end holds it from `up` on.
    pub fn connect(&mut self, wire: Wire, lives: [u64; 2], who: [Introduction; 2], up: [Time; 2]) -> u64 {
        self.generation += 1;
        let slot = self.slot(wire);
        self.links[slot] = Some(Link {
            generation: self.generation,
            lives,
            who,
            queues: Default::default(),
            ready: [up[1], up[0]],
            known: [false; 2],
            broken: false,
        });
        self.generation
    }

    fn link(&mut self, wire: Wire, generation: u64) -> Option<&mut Link> {
        let slot = self.slot(wire);
        self.links[slot].as_mut().filter(|link| link.generation == generation)
    }

    /// The generation of the newest connection of a wire, if it is whole.
    pub fn whole(&self, wire: Wire) -> Option<u64> {
        self.links[self.slot(wire)].as_ref().filter(|l| !l.broken).map(|l| l.generation)
    }

    /// Whether this end holds a connection.
    pub fn holds(&self, wire: Wire, host: usize) -> bool {
        self.held[self.slot(wire)][wire.end_of(host)] != 0
    }

    /// This end takes the connection up. Gives who is at the other, and whether an older one was held.
    pub fn take_up(&mut self, wire: Wire, host: usize, generation: u64) -> Option<(Introduction, bool)> {
        let end = wire.end_of(host);
        let link = self.link(wire, generation).filter(|link| !link.broken)?;
        link.known[end] = true;
        let peer = link.who[1 - end].clone();
        let slot = self.slot(wire);
        let before = std::mem::replace(&mut self.held[slot][end], generation);
        Some((peer, before != 0))
    }

    /// This end gives the connection up. Returns whether it held it.
    pub fn let_go(&mut self, wire: Wire, host: usize, generation: u64) -> bool {
        let (slot, end) = (self.slot(wire), wire.end_of(host));
        let held = self.held[slot][end] == generation;
        if held {
            self.held[slot][end] = 0;
        }
        held
    }

    /// Puts lines on their way. Returns the connection, and when they may be delivered; `None` if there is none.
    pub fn send(&mut self, wire: Wire, from: usize, item: Item, at: Time) -> Option<(u64, Time)> {
        let (slot, end) = (self.slot(wire), wire.end_of(from));
        let held = self.held[slot][end];
        let link = self.links[slot].as_mut().filter(|l| l.generation == held && !l.broken)?;
        link.queues[end].push_back(item);
        link.ready[end] = link.ready[end].max(at);
        Some((held, link.ready[end]))
    }

    /// Takes the oldest item from `from`, if the other end holds this connection; and who sent it.
    pub fn deliver(&mut self, wire: Wire, from: usize, generation: u64) -> Delivery {
        let (slot, end) = (self.slot(wire), wire.end_of(from));
        let held = self.held[slot][1 - end] == generation;
        let Some(link) = self.link(wire, generation) else { return Delivery::Nothing };
        if !link.known[1 - end] {
            return Delivery::NotYet;
        }
        match link.queues[end].pop_front().filter(|_| held) {
            Some(item) => Delivery::Item(item, link.who[end].clone()),
            None => Delivery::Nothing,
        }
    }

    /// Everything that is on its way: where to, over which connection, and how often something is to be delivered.
    pub fn on_its_way(&self) -> Vec<(Wire, usize, u64, usize)> {
        let wires = (0..self.hosts).flat_map(|low| (low + 1..self.hosts).map(move |high| (low, high)));
        let wires = wires.flat_map(|(low, high)| [Kind::Data, Kind::Pulse].map(|kind| Wire { kind, low, high }));
        let ends = wires.flat_map(|wire| [(wire, wire.low), (wire, wire.high)]);
        let waiting = |(wire, to): (Wire, usize)| {
            let link = self.links[self.slot(wire)].as_ref()?;
            Some((wire, to, link.generation, link.queues[1 - wire.end_of(to)].len()))
        };
        ends.filter_map(waiting).collect()
    }

    /// Which life of the process at this end the connection belongs to.
    pub fn life(&mut self, wire: Wire, host: usize, generation: u64) -> Option<u64> {
        let end = wire.end_of(host);
        self.link(wire, generation).map(|link| link.lives[end])
    }

    /// The process at this end is gone, whether it had taken the connection up or not: what it wrote still arrives, and
    /// then the end.
    pub fn end_of_process(&mut self, wire: Wire, host: usize, life: u64, at: Time) -> Option<(u64, Time)> {
        let (slot, end) = (self.slot(wire), wire.end_of(host));
        self.held[slot][end] = 0;
        let link = self.links[slot].as_mut().filter(|l| l.lives[end] == life && !l.broken)?;
        link.queues[1 - end].clear();
        link.queues[end].push_back(Item::End);
        link.ready[end] = link.ready[end].max(at);
        Some((link.generation, link.ready[end]))
    }

    /// The connection breaks: what is in flight is lost.
    pub fn break_it(&mut self, wire: Wire, generation: u64) {
        if let Some(link) = self.link(wire, generation) {
            link.broken = true;
            link.queues.iter_mut().for_each(VecDeque::clear);
        }
    }
}
