//! Every example of `docs/PROTOCOL.md`, played against real replicas from the first line to the last.

use std::collections::BTreeMap;

use plainsong::drill::{Cluster, LineClient, STATUS_WAIT, wait_until};

use crate::harness::{PATIENCE, five, together};
use crate::transcript::{Names, Step, steps};

const PAGE: &str = include_str!("../../docs/PROTOCOL.md");

/// The page at work: its terminals, and what was done to its cluster.
struct Stage {
    cluster: Cluster,
    names: Names,
    terminals: BTreeMap<String, (u16, LineClient)>,
    /// Whose terminal is looked at.
    person: String,
    /// It typed `quit`, and must see the end after the answer.
    quits: bool,
    /// Who was killed or paused, and is to come back.
    away: Vec<u16>,
}

impl Stage {
    fn play(&mut self, step: Step) {
        match step {
            Step::Terminal(person) => self.person = person,
            Step::Connect(replica) => self.connect(replica),
            Step::Typed(line) => {
                self.quits = line == "quit";
                let line = self.names.typed(&line);
                self.terminal().send(&line).expect("the connection is there");
            }
            Step::Heard(line) => self.hears(&line),
            Step::Event(event) => self.happens(&event),
        }
    }

    fn terminal(&mut self) -> &mut LineClient {
        let found = self.terminals.get_mut(&self.person);
        &mut found.unwrap_or_else(|| panic!("{} has no connection", self.person)).1
    }

    /// The greeting is the first line to be heard. The replica does not lead, so that the leader can be killed later.
    fn connect(&mut self, replica: u16) {
        if self.cluster.await_leader().expect("a leader") == replica {
            self.cluster.terminate(replica).expect("it hands over and ends");
            self.cluster.restart(replica).expect("it starts again");
            self.cluster.await_whole().expect("it is back");
        }
        let client = self.cluster.connect(replica, PATIENCE).expect("it greets");
        let before = self.terminals.insert(self.person.clone(), (replica, client));
        assert!(before.is_none(), "{} is connected already", self.person);
    }

    fn hears(&mut self, page: &str) {
        let line = if page.starts_with("hello|") {
            self.terminal().hello().to_owned()
        } else {
            self.terminal().line().unwrap_or_else(|error| panic!("instead of {page:?}: {error}"))
        };
        self.names.heard(page, &line).unwrap_or_else(|why| panic!("instead of {page:?} came {line:?}: {why}"));
        if std::mem::take(&mut self.quits) {
            self.ends();
        }
    }

    /// Nothing more comes but the end; and soon everybody knows that the person is gone, as the page says elsewhere.
    fn ends(&mut self) {
        let (_, mut client) = self.terminals.remove(&self.person).expect("it was just heard");
        assert_eq!(client.drain().expect("it closes"), [""; 0], "{} hears more than the page says", self.person);
        let who = format!("10|^{}$", self.person);
        wait_until("the person counts as offline", PATIENCE, || {
            let knows = |id| self.cluster.connect(id, PATIENCE).ok()?.request(&who).ok();
            let all: Option<Vec<_>> = self.cluster.running().into_iter().map(knows).collect();
            all?.iter().all(|reply| reply.last == "ok|who|0").then_some(())
        })
        .expect("presence goes with the connection");
    }

    fn happens(&mut self, event: &str) {
        match event {
            "the leader is killed" => {
                let leader = self.cluster.await_leader().expect("a leader");
                self.kill(&[leader]);
            }
            "three of the five replicas are killed" => {
                let three = self.three();
                self.kill(&three);
                // A leader that is left without a majority learns of it a moment later.
                wait_until("nobody leads", STATUS_WAIT, || {
                    let leads = |id| self.cluster.status(id).map_or(true, |status| status.leader.is_some());
                    (!self.cluster.running().into_iter().any(leads)).then_some(())
                })
                .expect("two of five do not lead");
            }
            "three of the five replicas hang" => {
                self.away = self.three();
                for id in self.away.clone() {
                    self.cluster.pause(id).expect("it runs");
                }
            }
            "they go on" => {
                for id in std::mem::take(&mut self.away) {
                    self.cluster.resume(id).expect("it is paused");
                }
                self.cluster.await_whole().expect("all are back");
            }
            "it is started again" | "they are started again" => {
                for id in std::mem::take(&mut self.away) {
                    self.cluster.restart(id).expect("it starts");
                }
                self.cluster.await_whole().expect("all are back");
            }
            _ => panic!("nobody knows how to bring about {event:?}"),
        }
    }

    fn kill(&mut self, ids: &[u16]) {
        self.cluster.kill_all(ids).expect("they run");
        self.away = ids.to_vec();
    }

    /// Three at which no terminal is.
    fn three(&self) -> Vec<u16> {
        let open: Vec<u16> = self.terminals.values().map(|(replica, _)| *replica).collect();
        let three: Vec<u16> = self.cluster.ids().into_iter().filter(|id| !open.contains(id)).take(3).collect();
        assert_eq!(three.len(), 3, "too many terminals are open");
        three
    }
}

#[test]
fn every_example_of_the_protocol_page_is_true() {
    let _turn = together();
    let steps = steps(PAGE).expect("the page is in form");
    let heard = steps.iter().filter(|(_, step)| matches!(step, Step::Heard(_))).count();
    assert!(heard > 40, "the page has lost its examples");
    let mut stage = Stage {
        cluster: five(),
        names: Names::default(),
        terminals: BTreeMap::new(),
        person: String::new(),
        quits: false,
        away: Vec::new(),
    };
    for (number, step) in steps {
        println!("docs/PROTOCOL.md:{number}: {step:?}");
        stage.play(step);
    }
    assert!(stage.away.is_empty() && stage.terminals.is_empty(), "the page leaves something open");
}
