//! Simulated links: two lanes (bulk and pulses) in two directions, each in order; a break loses what is in flight.

use std::collections::VecDeque;

use plainsong::consensus::{Frame, Member};

use super::world::Time;

/// The two connections of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Bulk,
    Pulse,
}

/// One life of the connection between two hosts; `ends.0 < ends.1`.
#[derive(Debug)]
pub struct Link {
    pub generation: u64,
    pub ends: (usize, usize),
    /// Which life of each process it was made with.
    pub lives: (u64, u64),
    /// Who was at each end.
    pub members: (Member, Member),
    pub alive: bool,
    lanes: [[VecDeque<Frame>; 2]; 2],
    /// When the newest frame of each lane and direction may be delivered.
    ready: [[Time; 2]; 2],
}

impl Link {
    /// A link whose ends learn that it is up at `up_at`: nothing is delivered before.
    pub fn new(
        generation: u64,
        ends: (usize, usize),
        lives: (u64, u64),
        members: (Member, Member),
        up_at: (Time, Time),
    ) -> Self {
        let ready = [[up_at.1, up_at.0]; 2];
        Self { generation, ends, lives, members, alive: true, lanes: Default::default(), ready }
    }

    /// The other end.
    pub fn peer_of(&self, host: usize) -> usize {
        if self.ends.0 == host { self.ends.1 } else { self.ends.0 }
    }

    /// Which life of the process at this end.
    pub fn life_of(&self, host: usize) -> u64 {
        if self.ends.0 == host { self.lives.0 } else { self.lives.1 }
    }

    /// Who is at this end.
    pub fn member_of(&self, host: usize) -> Option<Member> {
        Some(if self.ends.0 == host { self.members.0 } else { self.members.1 })
    }

    fn at(&self, from: usize, lane: Lane) -> (usize, usize) {
        (usize::from(lane == Lane::Pulse), usize::from(from == self.ends.1))
    }

    /// Puts a frame on its way. Returns when it may be delivered: never before the one sent before it.
    pub fn put(&mut self, from: usize, lane: Lane, frame: Frame, at: Time) -> Time {
        let (lane, direction) = self.at(from, lane);
        self.lanes[lane][direction].push_back(frame);
        let ready = &mut self.ready[lane][direction];
        *ready = at.max(*ready);
        *ready
    }

    /// Takes the oldest frame.
    pub fn take(&mut self, from: usize, lane: Lane) -> Option<Frame> {
        let (lane, direction) = self.at(from, lane);
        self.lanes[lane][direction].pop_front()
    }
}
