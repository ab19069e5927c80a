//! What must hold, whatever happens: written apart from the code it judges.
//!
//! - [`ledger`]: what was committed, who led, and on whose disks it is;
//! - [`sides`]: where silence counts as death, there may be two histories for a while: which replica belongs to which, and
//!   what becomes of the one that is given up;
//! - [`frames`]: what a replica says is on its disk;
//! - [`model`]: what the committed log means, by a reader of its text that shares no code with the product's;
//! - [`requests`]: what clients were answered, against the model;
//! - [`conversation`]: what a connection is sent, line by line, and what is marked because of it;
//! - [`history`]: a few requests at a time, without any index: is there an order that explains them?
//! - [`service`]: does a healthy majority serve?
//!
//! Every check panics with the law that was broken, and what broke it.

mod conversation;
mod frames;
mod history;
mod ledger;
mod model;
mod requests;
mod service;
mod sides;

use std::collections::BTreeMap;
use std::fmt;

use plainsong::consensus::{Entry, Index, Mode, Role, Round, Standing, Term};
use plainsong::machine::Applied;

pub use conversation::{Asked, Book, Conversation, Speaker};
pub use history::{History, Token};
pub use ledger::{Ledger, holds};
pub use model::{Fate, Model, Past};
pub use requests::Requests;
pub use service::Service;
pub use sides::{Eyes, Floor, SideId, Told};

use super::hosts::Host;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    OneLeader,
    LogsAgree,
    CommittedForever,
    MajorityHolds,
    OwnTerm,
    NoFalseClaims,
    OneFounding,
    SameState,
    ExactlyOnce,
    Order,
    Refusals,
    Linearizable,
    Mailbox,
    Delivery,
    Serves,
    NoFalseAlarm,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Law::OneLeader => "one leader a term",
            Law::LogsAgree => "logs agree up to commit",
            Law::CommittedForever => "committed never changes",
            Law::MajorityHolds => "a majority's disks hold what is committed",
            Law::OwnTerm => "a leader commits by entries of its own term",
            Law::NoFalseClaims => "no frame claims what the disk does not hold",
            Law::OneFounding => "a cluster is founded once",
            Law::SameState => "equal states at equal indexes",
            Law::ExactlyOnce => "exactly once",
            Law::Order => "requests of a connection take effect in order",
            Law::Refusals => "what is refused never takes effect",
            Law::Linearizable => "linearizable",
            Law::Mailbox => "mailboxes hold what was acknowledged",
            Law::Delivery => "what a connection is shown, and what is marked because of it",
            Law::Serves => "a healthy majority serves",
            Law::NoFalseAlarm => "no healthy replica is told to start anew",
        })
    }
}

/// A law is broken.
#[track_caller]
pub fn broken(law: Law, what: impl fmt::Display) -> ! {
    panic!("[{law}] {what}")
}

/// `ensure!(law, condition, "what {}", …)`.
macro_rules! ensure {
    ($law:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            $crate::sim::checkers::broken($crate::sim::checkers::Law::$law, format!($($what)+));
        }
    };
}
pub(crate) use ensure;

/// All checkers, and what they share.
#[derive(Default)]
pub struct Judge {
    pub ledger: Ledger,
    /// By side.
    pub told: Vec<Told>,
    pub requests: Requests,
    pub history: History,
    pub service: Service,
    pub book: Book,
    /// How the cluster is founded.
    pub mode: Mode,
    /// Silence counts as death.
    pub drops_silent: bool,
    /// Which term each host led at the end of its last turn.
    led: Vec<Option<Term>>,
    /// The newest round that was begun in each term.
    rounds: BTreeMap<Term, Round>,
}

impl Judge {
    /// A replica took a turn: its commit index was `before`.
    pub fn turned(&mut self, hosts: &[Host], host: usize, before: Index) {
        let Some(replica) = &hosts[host].replica else { return };
        let node = &replica.node;
        let standing = node.standing();
        self.led.resize(hosts.len(), None);
        let leads = (standing.role == Role::Leader).then_some(standing.term);
        let led = std::mem::replace(&mut self.led[host], leads);
        self.ledger.sides.hears_of_views(node);
        // What a run that has ended gave up is looked at when the next one starts.
        if node.commit() == before || replica.ended {
            return;
        }
        if leads.is_some() && leads == led {
            let (me, term) = (node.me(), node.log().term_at(node.commit()));
            ensure!(OwnTerm, term == leads, "{me} leads {leads:?}, and commits {} of {term:?}", node.commit());
        }
        let (side, news) = self.ledger.commit_moved(host, node, &hosts[host].disk, before);
        while self.told.len() < self.ledger.sides.count() {
            let begun = self.ledger.sides.begun(SideId(self.told.len()), &self.told);
            self.told.push(begun);
        }
        for entry in news {
            self.means(side, &entry);
        }
        if standing.role == Role::Leader {
            self.ledger.commit_is_durable(node, hosts);
        }
    }

    /// An entry is committed on a side that nobody had committed there before.
    fn means(&mut self, side: SideId, entry: &Entry) {
        let Told { model, effects, .. } = &mut self.told[side.0];
        if let Some((op, index)) = model.commits(entry) {
            let floor = self.requests.floor_of(op).map_or(Index(0), |floor| self.ledger.sides.least(floor, side));
            self.requests.took_effect(op, index, floor, effects);
        }
        for id in model.take_marked() {
            self.book.is_marked(model, id);
        }
    }

    /// What is acknowledged to anybody by now.
    pub fn floor(&self) -> Floor {
        self.ledger.sides.floor()
    }

    /// A new request. Gives its number.
    pub fn request(&mut self) -> usize {
        self.requests.make(self.ledger.sides.floor())
    }

    /// What a client is refused with `retry` took effect nowhere.
    pub fn refuses(&mut self, op: usize, why: &str) {
        let effect = self.told.iter().find_map(|told| told.effects.get(&op)).copied();
        self.requests.refuse(op, effect, why);
    }

    /// A replica's role, term or leader changed.
    pub fn stands(&mut self, hosts: &[Host], host: usize, standing: Standing) {
        // Where silence counts, numbers name their proposers, and the next one is so much further.
        let step = if self.drops_silent { hosts.len() as u64 } else { 1 };
        self.service.term(Term(standing.term.0 / step));
        if standing.role == Role::Leader
            && let Some(replica) = &hosts[host].replica
            && replica.node.standing().role == Role::Leader
        {
            self.ledger.leads(&replica.node, replica.run.boot, hosts);
        }
    }

    /// A replica applied an entry.
    pub fn applied(&mut self, host: usize, index: Index, applied: &Applied, digest: u64) {
        let at = usize::try_from(index.0 - 1).expect("fits");
        let side = self.ledger.sides.applied(host, index);
        let Told { model, digests, .. } = &mut self.told[side.0];
        let fate = model.fate(index);
        ensure!(LogsAgree, fate.is_some(), "host {host} applies {index}, which nobody committed");
        if let Some(fate) = fate {
            let same = match (fate, applied) {
                (Fate::Nothing, Applied::Nothing) | (Fate::Skipped, Applied::Skipped { .. }) => true,
                (Fate::Done(expected), Applied::Done { outcome, .. }) => expected.is(outcome),
                _ => false,
            };
            ensure!(SameState, same, "entry {index}: {applied:?} on host {host}, but {fate:?} was expected");
        }
        match digests.get(at) {
            Some(known) => ensure!(SameState, *known == digest, "host {host} has another state after {index}"),
            None => {
                // A state that was restored may begin behind what others applied, never ahead of it.
                ensure!(SameState, at == digests.len(), "{index} is applied before what is in front of it");
                digests.push(digest);
            }
        }
    }

    /// A copy of a state goes to another host: it is what everybody else's was.
    pub fn copies(&self, host: usize, index: Index, digest: u64) {
        let digests = &self.told[self.ledger.sides.of(host).0].digests;
        let known = usize::try_from(index.0).expect("fits").checked_sub(1).and_then(|at| digests.get(at));
        ensure!(
            SameState,
            known.is_none_or(|known| *known == digest),
            "host {host} copies another state than {index}'s"
        );
    }

    /// A client was answered by a host with what rests on this entry: it must be safe, and later reads must hold it.
    pub fn acknowledges(&mut self, hosts: &[Host], (host, side): (usize, SideId), index: Index) {
        match self.mode {
            _ if self.drops_silent => self.ledger.is_held_by_teller(side, &hosts[host].disk, index),
            Mode::Quorum => self.ledger.is_held_by_majority(hosts, index),
            Mode::PrimaryBackup => self.ledger.is_held_by_leader(hosts, index),
        }
        self.ledger.sides.seen(side, index);
    }
}
