//! What leaves a process goes where it belongs; the checkers look at all of it on the way.

use bytes::BytesMut;
use plainsong::wire::{Decoder, PeerLine, encode};

use super::net::{Item, Kind, Wire};
use super::people::is_a_persons;
use super::replica::{Mail, Out};
use super::world::{Event, MS, Time, World, host_of};

/// No line between replicas is longer.
const LINE_BYTES_MAX: usize = 64 << 10;
/// From a replica to its client.
const CLIENT_LATENCY: Time = 150;
const MARK_GATHER: Time = 5 * MS;

impl World {
    pub fn carry_out(&mut self, host: usize, life: u64, out: Out) {
        if self.hosts[host].life != life {
            return; // it was told to start anew a moment ago
        }
        match out {
            Out::Log(job) => self.hand_to_log(host, life, job),
            Out::Courier(job) => self.hand_to_courier(host, life, job),
            Out::Install(snapshot) => self.install(host, &snapshot),
            Out::State(job) => self.hand_to_state(host, life, job),
            Out::Lines(to, lines) => self.send_lines(host, host_of(to), Kind::Data, lines),
            Out::Pulse(to, lines) => self.send_lines(host, host_of(to), Kind::Pulse, lines),
            Out::Tell(session, news, _) if is_a_persons(session) => self.tell_person(session, news),
            Out::Tell(session, news, proof) => {
                let client = self.client_of(session);
                self.after(CLIENT_LATENCY, Event::Hear { client, session, news: Box::new((news, proof)) });
            }
            Out::Standing(standing) => self.judge.stands(&self.hosts, host, standing),
            Out::GatherMarks => self.after(MARK_GATHER, Event::Post { host, life, mail: Box::new(Mail::ProposeMarks) }),
            Out::GaveUp { from, count, to } => {
                self.note(|| format!("host {host} gives up {count} entries from {from} on, to {to}"));
                self.hosts[host].gave_up += count;
            }
            Out::StartAnew(why) => self.starts_anew(host, why),
            Out::EndRemoved => self.is_removed(host),
            Out::EndRestored => {
                let me = self.hosts[host].disk.me;
                self.judge.ledger.told_to_start_anew(me);
                self.crash(host);
                self.blank(host);
                self.start_after(host, 100 * MS);
            }
        }
    }

    fn send_lines(&mut self, host: usize, peer: usize, kind: Kind, lines: Vec<PeerLine>) {
        self.judge.says(&self.hosts[host].disk, super::world::id(peer), &lines);
        let (now, pulse) = (self.now, kind == Kind::Pulse);
        if pulse && self.lossy_pulses_until > now && self.rng.u8(..) < 100 {
            return;
        }
        let latency = match (self.slow_net_until > now, kind) {
            (true, _) => self.rng.u64(MS..150 * MS),
            (false, Kind::Data) => self.rng.u64(50..2 * MS),
            (false, Kind::Pulse) => self.rng.u64(50..MS),
        };
        let wire = Wire::between(kind, host, peer);
        let lines = if self.style.printed_lines { print_and_read(&lines) } else { lines };
        if let Some((generation, ready)) = self.net.send(wire, host, Item::Lines(lines), now + latency) {
            self.at(ready, Event::Deliver { to: peer, wire, generation });
        }
    }
}

/// Through the grammar and back.
fn print_and_read(lines: &[PeerLine]) -> Vec<PeerLine> {
    let mut bytes = BytesMut::new();
    for line in lines {
        encode(line, &mut bytes);
    }
    let mut decoder = Decoder::new(LINE_BYTES_MAX);
    let mut read = Vec::with_capacity(lines.len());
    while let Some(line) = decoder.next(&mut bytes).expect("what we print can be read") {
        read.push(line);
    }
    read
}
