//! Who belongs to the cluster, as this replica knows it: what it tells those who dial and those who ask, and changes that
//! somebody asked it for.

use std::collections::BTreeMap;
use std::time::Instant;

use actix::{Context, Handler};
use chat::ByeCode;

use super::{Replicator, ReplicatorSettings};
use crate::actors::admin::{Answer, Asked};
use crate::actors::directory::Book;
use crate::actors::internal::Ending;
use crate::actors::joining;
use crate::consensus::{Address, Index, Input, ReplicaId, Verdict};
use crate::mode::Core;
use crate::wire::admin::{Places, Question};

/// Where everybody is: by the log, if an entry of it says so that is not older than what this replica was given to begin
/// with. Without that comparison
///   1. replica 7 joins, and is told by the member that it asks that 4, 5 and 6 are the cluster;
///   2. it is sent the log, of which an early entry says that 1, 2 and 3 are;
///   3. it ends its links with 4, 5 and 6, and never hears the rest.
pub(super) fn now(node: &Core, settings: &ReplicatorSettings) -> Book {
    let places = places(node, settings);
    let membership = node.membership_at().map(|(_, membership)| membership);
    let me = settings.me;
    let is_mine = |a: &&Address| a.id == me.id;
    let is_known =
        settings.given.addresses.iter().find(is_mine).is_some_and(|at| joining::votes_at(membership, me, at));
    let gone = |m: &crate::consensus::Membership| m.removed.iter().copied().filter(|r| m.is_dismissed(*r)).collect();
    Book {
        gone: node.committed_membership().map(gone).unwrap_or_default(),
        dials_all: settings.joins && !is_known,
        places: places.addresses.into_iter().map(|address| (address.id, address)).collect(),
    }
}

fn places(node: &Core, settings: &ReplicatorSettings) -> Places {
    let by_log = node.membership_at().filter(|(_, membership)| !membership.addresses.is_empty());
    match by_log {
        Some((at, membership)) if at >= settings.given.at => {
            Places { cluster: node.cluster(), at, addresses: membership.addresses.clone() }
        }
        _ => Places { cluster: node.cluster(), ..settings.given.clone() },
    }
}

/// Where clients reach everybody.
pub(super) fn for_clients(book: &Book) -> BTreeMap<ReplicaId, String> {
    book.places.iter().map(|(id, place)| (*id, place.clients.clone())).collect()
}

impl Replicator {
    pub(super) fn publish_book(&mut self) {
        let book = now(&self.node, &self.settings);
        self.view.addresses(for_clients(&book));
        self.settings.book.send_if_modified(|known| {
            let is_news = *known != book;
            *known = book;
            is_news
        });
    }

    /// The voters change when the entry is appended, which is told; who is removed for good, when it is committed.
    pub(super) fn tell_who_is_gone(&mut self) {
        let removed = self.node.committed_membership().map_or(0, |membership| membership.removed.len());
        if removed != self.told_removed {
            self.told_removed = removed;
            self.publish_book();
        }
    }

    pub(super) fn ask_changes(&mut self) {
        if !self.node.asks_for_changes() || self.view.destination(self.node.standing()).is_some() {
            for (number, change) in self.admin.due(Instant::now()) {
                self.step(Input::Change(number, change));
            }
        }
    }

    pub(super) fn change_answered(&mut self, number: u64, verdict: Verdict) {
        let (node, settings) = (&self.node, &self.settings);
        self.admin.answered(number, verdict, || places(node, settings), Instant::now());
    }

    pub(super) fn expire_changes(&mut self, now: Instant) {
        let (node, settings) = (&self.node, &self.settings);
        self.admin.expire(now, || places(node, settings));
    }

    /// Why clients are sent away when this replica ends.
    pub(super) fn farewell(&self) -> ByeCode {
        if self.settings.doom.is_removed() { ByeCode::Removed } else { ByeCode::Draining }
    }

    /// Nothing that this replica does counts any more: it finishes what is in flight, and ends.
    pub(super) fn dismissed(&mut self) {
        log::warn!("replica {} was removed from the cluster, by a committed entry: it ends", self.settings.me);
        self.settings.doom.speak(Ending::Removed);
    }
}

impl Handler<Asked> for Replicator {
    type Result = ();

    fn handle(&mut self, asked: Asked, ctx: &mut Context<Self>) {
        match asked.question {
            Question::Book => {
                let places = places(&self.node, &self.settings);
                let at: Index = places.at;
                // Who asked may be gone.
                let _ = asked.answer.send(Answer { verdict: Verdict::Done(at), places });
            }
            Question::Found => {
                let verdict = self.node.may_found();
                if verdict == Verdict::Noted {
                    log::warn!("the cluster is to be founded without whoever is missing, as its operator says");
                    self.step(Input::Found);
                }
                let _ = asked.answer.send(Answer { verdict, places: places(&self.node, &self.settings) });
            }
            Question::Change(change) => self.admin.open(change, asked.answer, Instant::now()),
        }
        self.stir(ctx);
    }
}
