//! Who is online, anywhere in the cluster. Pure.
//!
//! Each replica tells all others who has live sessions at it: the whole list when a link comes up, then every change, on
//! the same ordered link as everything else. So whoever asks the leader something after a login knows that the leader has
//! heard of the login first. What a replica said is void when its link ends.
//!
//! A process that hangs keeps its links. What a *silent* replica said does not count as long as it is silent, and counts
//! again when it goes on: it says it only once. Who is silent is not for this module to know.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use chat::Name;

use crate::consensus::ReplicaId;
use crate::wire::Presence;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Online {
    /// How many sessions of this replica speak for each name.
    here: BTreeMap<Name, u32>,
    elsewhere: BTreeMap<ReplicaId, BTreeSet<Name>>,
}

impl Online {
    /// A session of this replica speaks for the name. Gives what to tell the others, if that is news.
    pub fn enter(&mut self, name: &Name) -> Option<Presence> {
        let sessions = self.here.entry(name.clone()).or_insert(0);
        *sessions += 1;
        (*sessions == 1).then(|| Presence { online: vec![name.clone()], ..Presence::default() })
    }

    /// A session of this replica no longer speaks for the name.
    pub fn leave(&mut self, name: &Name) -> Option<Presence> {
        let sessions = self.here.get_mut(name)?;
        *sessions -= 1;
        if *sessions > 0 {
            return None;
        }
        self.here.remove(name);
        Some(Presence { offline: vec![name.clone()], ..Presence::default() })
    }

    /// What a new link begins with.
    pub fn all_here(&self) -> [Presence; 2] {
        let online = self.here.keys().cloned().collect();
        [Presence { full: true, ..Presence::default() }, Presence { online, ..Presence::default() }]
    }

    /// Another replica told what is new there.
    pub fn heard(&mut self, from: ReplicaId, news: Presence) {
        let there = self.elsewhere.entry(from).or_default();
        if news.full {
            there.clear();
        }
        there.extend(news.online);
        for name in &news.offline {
            there.remove(name);
        }
    }

    /// The link to a replica is gone, and its sessions with it, as far as anybody here knows.
    pub fn lost(&mut self, id: ReplicaId) {
        self.elsewhere.remove(&id);
    }

    /// Names with a live session anywhere but at silent replicas, greater than `after`, in ascending order, at most `limit`.
    pub fn names(&self, after: Option<&Name>, limit: usize, is_silent: impl Fn(ReplicaId) -> bool) -> Vec<Name> {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut names: BTreeSet<&Name> = self.here.range::<Name, _>(range).map(|(name, _)| name).take(limit).collect();
        for (_, there) in self.elsewhere.iter().filter(|(id, _)| !is_silent(**id)) {
            names.extend(there.range::<Name, _>(range).take(limit));
        }
        names.into_iter().take(limit).cloned().collect()
    }

    /// Whether the (folded) name has a live session anywhere but at silent replicas.
    pub fn is_online(&self, name: &str, is_silent: impl Fn(ReplicaId) -> bool) -> bool {
        let is_there = |(id, there): (&ReplicaId, &BTreeSet<Name>)| there.contains(name) && !is_silent(*id);
        self.here.contains_key(name) || self.elsewhere.iter().any(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::fold(text).expect("a good name")
    }

    fn is_online(online: &Online, name: &str) -> bool {
        online.is_online(name, |_| false)
    }

    #[test]
    fn what_a_silent_replica_said_does_not_count_until_it_goes_on() {
        let mut online = Online::default();
        online.enter(&name("ann"));
        for id in [2, 3] {
            online.heard(ReplicaId(id), Presence { online: vec![name("bob"), name("ann")], ..Presence::default() });
        }
        assert!(online.is_online("bob", |id| id == ReplicaId(2)), "at 3");
        assert!(!online.is_online("bob", |_| true) && online.is_online("ann", |_| true), "ann is here");
        assert_eq!(online.names(None, 9, |_| true), [name("ann")]);
        assert!(is_online(&online, "bob"), "nothing is forgotten");
    }

    #[test]
    fn only_the_first_login_and_the_last_logout_are_news() {
        let mut online = Online::default();
        assert!(online.enter(&name("bob")).is_some());
        assert!(online.enter(&name("bob")).is_none());
        assert!(online.leave(&name("bob")).is_none());
        assert!(is_online(&online, "bob"));
        assert_eq!(online.leave(&name("bob")).map(|p| p.offline), Some(vec![name("bob")]));
        assert!(!is_online(&online, "bob"));
        assert!(online.leave(&name("bob")).is_none());
    }

    #[test]
    fn names_go_on_after_one_and_stand_once() {
        let mut online = Online::default();
        for text in ["d", "a"] {
            online.enter(&name(text));
        }
        online.heard(ReplicaId(2), Presence { online: vec![name("c"), name("a")], ..Presence::default() });
        online.heard(ReplicaId(3), Presence { online: vec![name("b"), name("e")], ..Presence::default() });
        let names = |after: Option<&str>, limit| {
            let found = online.names(after.map(name).as_ref(), limit, |_| false);
            found.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(None, 9), "a b c d e");
        assert_eq!(names(None, 2), "a b");
        assert_eq!(names(Some("b"), 2), "c d");
        assert_eq!(names(Some("bb"), 9), "c d e");
        assert_eq!(names(Some("e"), 9), "");
    }

    #[test]
    fn what_a_replica_said_is_void_when_its_link_ends_and_when_it_begins_anew() {
        let mut online = Online::default();
        online.heard(ReplicaId(2), Presence { online: vec![name("bob"), name("eve")], ..Presence::default() });
        online.heard(ReplicaId(2), Presence { offline: vec![name("eve")], ..Presence::default() });
        assert!(is_online(&online, "bob") && !is_online(&online, "eve"));
        online.heard(ReplicaId(2), Presence { full: true, ..Presence::default() });
        assert!(!is_online(&online, "bob"));
        online.heard(ReplicaId(3), Presence { online: vec![name("bob")], ..Presence::default() });
        online.lost(ReplicaId(3));
        assert!(!is_online(&online, "bob"));
    }
}
