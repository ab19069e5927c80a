//! What the committed log means: a second reader of its text, that shares no code with `machine` and `chat`.
//!
//! It keeps every account and message that ever was with the index at which it came and went, so that it can say what
//! a read at any index must show. The requests that clients make carry their number (`m17` as a text, `a17` as an ack's
//! key, `e17` as an erase's, `$sim$17` as a password's hash), so that each effect is told from every other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use plainsong::consensus::{Body, Entry, Index, Mode};

/// What an entry comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No command.
    Nothing,
    /// Out of its turn: no effect.
    Skipped,
    /// Had its turn.
    Done(Res),
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Res {
    Created(u64),
    Deleted,
    Sent { id: u64, online: bool },
    Erased(u64),
    PasswordSet,
    Acked(u64),
    Marked,
    Expired { messages: u64, more: bool },
    Refused(&'static str),
}

impl Res {
    /// Whether the product says the same.
    pub fn is(&self, outcome: &chat::Outcome) -> bool {
        match (self, outcome) {
            (Res::Created(mine), chat::Outcome::Created(id)) => *mine == id.0,
            (Res::Deleted, chat::Outcome::Deleted) | (Res::Marked, chat::Outcome::Marked) => true,
            (Res::Sent { id: mine, online: here }, chat::Outcome::Sent { id, online }) => {
                (*mine, *here) == (id.0, *online)
            }
            (Res::Erased(mine), chat::Outcome::Erased(count)) => mine == count,
            (Res::PasswordSet, chat::Outcome::PasswordSet) => true,
            (Res::Expired { messages: mine, more: on }, chat::Outcome::Expired { messages, more }) => {
                (*mine, *on) == (*messages, *more)
            }
            (Res::Acked(mine), chat::Outcome::Acked(id)) => *mine == id.0,
            (Res::Refused(code), chat::Outcome::Refused(refusal)) => refusal.code.to_string() == *code,
            _ => false,
        }
    }
}

/// One message to an account.
#[derive(Clone, Debug)]
pub struct Mail {
    pub id: u64,
    pub text: String,
    /// From this index on it is not undelivered any more.
    delivered: u64,
    /// From this index on its recipient does not see it any more.
    erased: u64,
}

impl Mail {
    /// It is neither delivered nor erased.
    pub fn waits(&self) -> bool {
        self.delivered == NEVER && self.erased == NEVER
    }
}

/// One message that an account sent or got.
#[derive(Clone, Debug)]
pub struct Past {
    pub id: u64,
    pub text: String,
    /// The name of the other, or its own.
    pub with: String,
    /// From this index on its owner does not see it any more.
    erased: u64,
}

/// One account that lives or lived.
#[derive(Clone, Debug)]
struct Owner {
    name: String,
    deleted: u64,
    mail: Vec<Mail>,
    past: Vec<Past>,
    /// Numbers of the requests that set one, and since when.
    passwords: Vec<(u64, String)>,
    keys: HashMap<String, (String, Res)>,
}

const NEVER: u64 = u64::MAX;
/// With views, what is behind these bits of an id is the view's number.
const INDEX_BITS: u32 = 40;

/// The limit of that letter in a stamp such as `m9b100`.
fn limit(stamp: &str, letter: char) -> Option<usize> {
    let digits = stamp.split_once(letter)?.1.split(|c: char| !c.is_ascii_digit()).next();
    Some(digits.and_then(|digits| digits.parse().ok()).expect("a number"))
}

/// Who proposed: (id, incarnation, boot, number).
type Origin = (String, u64, u64);

/// See the module's header.
#[derive(Default)]
pub struct Model {
    fates: Vec<Fate>,
    /// The id that each entry gives to what it creates.
    ids: Vec<u64>,
    /// The mode with views: ids have the term in front.
    has_views: bool,
    by_origin: HashMap<Origin, Index>,
    streams: BTreeMap<String, (u64, u64)>,
    living: BTreeMap<String, u64>,
    owners: BTreeMap<u64, Owner>,
    /// Of marks under a retention: when each was made, and of which account it delivered which ids.
    deliveries: VecDeque<(u64, u64, u64, u64)>,
    /// To which account each message went.
    recipients: HashMap<u64, u64>,
    /// What marks delivered since somebody last looked.
    marked: Vec<u64>,
    /// So many messages went with the retention.
    pub expired: u64,
    /// The time of the entry that is looked at.
    time: u64,
}

impl Model {
    /// What the committed entry comes to.
    pub fn fate(&self, index: Index) -> Option<&Fate> {
        self.fates.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// The highest id there is after an entry.
    fn id_at(&self, at: Index) -> u64 {
        usize::try_from(at.0).expect("fits").checked_sub(1).map_or(0, |at| self.ids[at])
    }

    /// The entry that gave an id.
    pub fn index_of(id: u64) -> Index {
        Index(id & ((1 << INDEX_BITS) - 1))
    }

    /// How many commands were refused with that code.
    pub fn refused_with(&self, code: &str) -> u64 {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Done(Res::Refused(why)) if *why == code)).count() as u64
    }

    /// Where the proposal of that number had its turn.
    pub fn turn_of(&self, member: &str, boot: u64, n: u64) -> Option<Index> {
        self.by_origin.get(&(member.to_owned(), boot, n)).copied()
    }

    /// One more entry is committed. Gives the number of the request that took effect by it.
    pub fn commits(&mut self, entry: &Entry) -> Option<(usize, Index)> {
        let mut effect = None;
        if let Body::Founding(record) = &entry.body {
            self.has_views = record.mode == Mode::PrimaryBackup;
        }
        let view = if self.has_views { entry.term.0 } else { 0 };
        self.ids.push((view << INDEX_BITS) + entry.index.0);
        let fate = match &entry.body {
            Body::Noop | Body::Founding(_) | Body::Membership(_) => Fate::Nothing,
            Body::Command(bytes) => {
                let line = std::str::from_utf8(bytes).expect("clients of this simulation send text");
                self.time = entry.time;
                self.command(entry.index, line, &mut effect)
            }
        };
        self.fates.push(fate);
        effect.map(|op| (op, entry.index))
    }

    fn command(&mut self, index: Index, line: &str, effect: &mut Option<usize>) -> Fate {
        let online = line.starts_with('+');
        let (origin, command) = line[1..].split_once('|').expect("an origin and a command");
        let (origin, limits) = origin.split_once(';').unwrap_or((origin, ""));
        let mut words = origin.rsplitn(3, '.');
        let mut next = || words.next().expect("member.boot.n");
        let (n, boot, member) = (next(), next(), words.next().expect("a member"));
        let (n, boot): (u64, u64) = (n.parse().expect("a number"), boot.parse().expect("a number"));
        let (last_boot, last) = self.streams.get(member).copied().unwrap_or((0, 0));
        let expected = if boot > last_boot { 1 } else { last + 1 };
        if boot < last_boot || n != expected {
            return Fate::Skipped;
        }
        self.streams.insert(member.to_owned(), (boot, n));
        self.by_origin.insert((member.to_owned(), boot, n), index);
        Fate::Done(self.act(self.id_at(index), (online, limits), command, effect))
    }

    fn act(&mut self, index: u64, stamp: (bool, &str), command: &str, effect: &mut Option<usize>) -> Res {
        let limits = stamp.1;
        if let Some(create) = command.strip_prefix("|1|") {
            let (name, hash) = create.split_once("|$sim$").expect("a name and a tag");
            return self.create(index, limits, (name, hash), effect);
        }
        if let Some(marks) = command.strip_prefix("|mark|") {
            for mark in marks.split(';').filter(|m| !m.is_empty()) {
                let (account, ranges) = mark.split_once(':').expect("an account and ranges");
                self.mark(account.parse().expect("a number"), ranges, index - 1, (index, limits));
            }
            return Res::Marked;
        }
        if command == "|expire" {
            return self.expire(index, limits);
        }
        let (speaker, request) = command.split_once('|').expect("a speaker");
        let (name, id) = speaker.rsplit_once('#').expect("name#id");
        let id: u64 = id.parse().expect("a number");
        let lives = self.living.get(name) == Some(&id);
        if request == "4" {
            return if lives { self.delete(name, id, index) } else { Res::Refused("NO_SUCH_USER") };
        }
        if !lives {
            return Res::Refused("NOT_LOGGED_IN");
        }
        let (key, words) = match request.strip_prefix('@') {
            Some(keyed) => keyed.split_once('|').map(|(key, words)| (Some(key), words)).expect("a key"),
            None => (None, request),
        };
        // The ranges of an ack are no part of the request.
        let same = if words.starts_with("9|") { words.rsplit_once('|').expect("ranges").0 } else { words };
        if let Some((before, res)) = key.and_then(|k| self.owners[&id].keys.get(k)) {
            return if before == same { res.clone() } else { Res::Refused("KEY_REUSED") };
        }
        let res = match words.split_once('|') {
            Some(("5", send)) => self.send((index, id), stamp, send, effect),
            Some(("8", ids)) => self.erase(index, id, key, ids, effect),
            Some(("13", hash)) => {
                let tag = hash.strip_prefix("$sim$").expect("a tag");
                *effect = tag.parse().ok();
                self.owners.get_mut(&id).expect("it lives").passwords.push((index, tag.to_owned()));
                Res::PasswordSet
            }
            Some(("9", ack)) => self.ack((index, limits), id, key, ack, effect),
            _ => panic!("no such command: {command}"),
        };
        if let (Some(key), false) = (key, matches!(res, Res::Refused(_))) {
            let owner = self.owners.get_mut(&id).expect("it lives");
            owner.keys.insert(key.to_owned(), (same.to_owned(), res.clone()));
        }
        res
    }

    fn create(&mut self, index: u64, limits: &str, (name, tag): (&str, &str), effect: &mut Option<usize>) -> Res {
        if self.living.contains_key(name) {
            return Res::Refused("NAME_TAKEN");
        }
        if limit(limits, 'a').is_some_and(|max| self.living.len() >= max) {
            return Res::Refused("FORBIDDEN");
        }
        *effect = tag.parse().ok();
        self.living.insert(name.to_owned(), index);
        let owner = Owner {
            name: name.to_owned(),
            deleted: NEVER,
            mail: Vec::new(),
            past: Vec::new(),
            passwords: vec![(index, tag.to_owned())],
            keys: HashMap::new(),
        };
        self.owners.insert(index, owner);
        Res::Created(index)
    }

    fn delete(&mut self, name: &str, id: u64, index: u64) -> Res {
        self.living.remove(name);
        if let Some(owner) = self.owners.get_mut(&id) {
            owner.deleted = index;
        }
        Res::Deleted
    }

    fn send(&mut self, (index, from): (u64, u64), stamp: (bool, &str), send: &str, effect: &mut Option<usize>) -> Res {
        let (online, limits) = stamp;
        let (to, text) = send.split_once('|').expect("a name and a text");
        let Some(recipient) = self.living.get(to).copied() else {
            return Res::Refused("NO_SUCH_USER");
        };
        // What is erased waits no more, though it was never delivered.
        let is_waiting = |mail: &&Mail| mail.delivered == NEVER && mail.erased == NEVER;
        let waiting: Vec<usize> =
            self.owners[&recipient].mail.iter().filter(is_waiting).map(|m| m.text.len()).collect();
        let bytes = waiting.iter().sum::<usize>() + text.len();
        if limit(limits, 'm').is_some_and(|max| waiting.len() >= max)
            || limit(limits, 'b').is_some_and(|max| bytes > max)
        {
            return Res::Refused("MAILBOX_FULL");
        }
        let sender = self.owners[&from].name.clone();
        for (owner, with) in [(from, to), (recipient, &sender)].into_iter().skip(usize::from(from == recipient)) {
            let past = Past { id: index, text: text.to_owned(), with: with.to_owned(), erased: NEVER };
            self.owners.get_mut(&owner).expect("it lives").past.push(past);
        }
        let owner = self.owners.get_mut(&recipient).expect("it lives");
        *effect = text.strip_prefix('m').and_then(|n| n.parse().ok());
        self.recipients.insert(index, recipient);
        owner.mail.push(Mail { id: index, text: text.to_owned(), delivered: NEVER, erased: NEVER });
        Res::Sent { id: index, online }
    }

    fn erase(&mut self, index: u64, id: u64, key: Option<&str>, ids: &str, effect: &mut Option<usize>) -> Res {
        let ids: Vec<u64> = ids.split(',').map(|id| id.parse().expect("a number")).collect();
        let owner = self.owners.get_mut(&id).expect("it lives");
        let is_seen = |id: &u64| owner.past.iter().any(|past| past.id == *id && past.erased == NEVER);
        if !ids.iter().all(is_seen) {
            return Res::Refused("NO_SUCH_MESSAGE");
        }
        *effect = key.and_then(|k| k.strip_prefix('e')).and_then(|n| n.parse().ok());
        owner.past.iter_mut().filter(|past| ids.contains(&past.id)).for_each(|past| past.erased = index);
        owner.mail.iter_mut().filter(|mail| ids.contains(&mail.id)).for_each(|mail| mail.erased = index);
        Res::Erased(ids.len() as u64)
    }

    fn ack(&mut self, at: (u64, &str), id: u64, key: Option<&str>, ack: &str, effect: &mut Option<usize>) -> Res {
        let (until, ranges) = ack.split_once('|').expect("an id and ranges");
        let until: u64 = until.parse().expect("a number");
        *effect = key.and_then(|k| k.strip_prefix('a')).and_then(|n| n.parse().ok());
        self.mark(id, ranges, until.min(at.0 - 1), at);
        Res::Acked(until)
    }

    fn mark(&mut self, account: u64, ranges: &str, newest: u64, (index, limits): (u64, &str)) {
        let Some(owner) = self.owners.get_mut(&account).filter(|o| o.deleted == NEVER) else { return };
        for range in ranges.split(',').filter(|r| !r.is_empty()) {
            let (from, to) = range.split_once('-').expect("from-to");
            let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
            let ids = from..=to.min(newest);
            let waits = |m: &&mut Mail| m.delivered == NEVER && m.erased == NEVER && ids.contains(&m.id);
            let before = self.marked.len();
            for mail in owner.mail.iter_mut().filter(waits) {
                mail.delivered = index;
                self.marked.push(mail.id);
            }
            if self.marked.len() > before && limit(limits, 'r').is_some() {
                self.deliveries.push_back((self.time, account, *ids.start(), *ids.end()));
            }
        }
    }

    /// A step of the retention: of at most 64 deliveries, 16 messages each.
    fn expire(&mut self, index: u64, limits: &str) -> Res {
        let (mut gone, mut steps) = (0, 0);
        while let Some(seconds) = limit(limits, 'r').filter(|_| steps < 64) {
            let over = |at: u64| at + seconds as u64 * 1_000 <= self.time;
            let Some((at, account, from, to)) = self.deliveries.pop_front_if(|first| over(first.0)) else { break };
            steps += 1;
            let lives = self.owners.get(&account).filter(|owner| owner.deleted == NEVER);
            let seen =
                lives.into_iter().flat_map(|o| &o.mail).filter(|m| m.erased == NEVER && m.id >= from && m.id <= to);
            let page: Vec<u64> = seen.map(|mail| mail.id).take(16).collect();
            for past in self.owners.values_mut().filter(|o| o.deleted == NEVER) {
                past.past
                    .iter_mut()
                    .filter(|p| p.erased == NEVER && page.contains(&p.id))
                    .for_each(|p| p.erased = index);
                past.mail
                    .iter_mut()
                    .filter(|m| m.erased == NEVER && page.contains(&m.id))
                    .for_each(|m| m.erased = index);
            }
            gone += page.len() as u64;
            if let Some(last) = page.last().filter(|last| page.len() == 16 && **last < to) {
                self.deliveries.push_front((at, account, last + 1, to));
            }
        }
        self.expired += gone;
        Res::Expired { messages: gone, more: steps == 64 }
    }

    // --- what a read at an index shows -------------------------------------------------------------------------

    /// The account of a name.
    pub fn account(&self, name: &str, at: Index) -> Option<u64> {
        let now = self.id_at(at);
        let lived = |(id, owner): (&u64, &Owner)| (owner.name == name && owner.deleted > now).then_some(*id);
        self.owners.range(..=now).rev().find_map(lived)
    }

    /// Every name, in order.
    pub fn names(&self, at: Index) -> Vec<&str> {
        let now = self.id_at(at);
        let lived = self.owners.range(..=now).filter(|(_, owner)| owner.deleted > now);
        let mut names: Vec<&str> = lived.map(|(_, owner)| owner.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The messages to an account, in order, delivered or not, that it still sees.
    pub fn received(&self, account: u64, at: Index) -> impl Iterator<Item = &Mail> {
        let now = self.id_at(at);
        let mail = self.owner(account, at).into_iter().flat_map(|o| &o.mail);
        mail.take_while(move |mail| mail.id <= now).filter(move |mail| mail.erased > now)
    }

    /// All that an account sent and got, in order, and still sees.
    pub fn past(&self, account: u64, at: Index) -> impl Iterator<Item = &Past> {
        let now = self.id_at(at);
        let past = self.owner(account, at).into_iter().flat_map(|o| &o.past);
        past.take_while(move |past| past.id <= now).filter(move |past| past.erased > now)
    }

    /// The number of the request that set its password.
    pub fn password(&self, account: u64, at: Index) -> Option<&str> {
        let (passwords, now) = (&self.owner(account, at)?.passwords, self.id_at(at));
        passwords.iter().rev().find(|(since, _)| *since <= now).map(|(_, tag)| tag.as_str())
    }

    fn owner(&self, account: u64, at: Index) -> Option<&Owner> {
        let now = self.id_at(at);
        self.owners.get(&account).filter(|o| account <= now && o.deleted > now)
    }

    /// The undelivered ones.
    pub fn undelivered(&self, account: u64, at: Index) -> impl Iterator<Item = &Mail> {
        let now = self.id_at(at);
        self.received(account, at).filter(move |mail| mail.delivered > now)
    }

    /// The first message to an account after one.
    pub fn after(&self, account: u64, id: u64) -> Option<&Mail> {
        let mail = &self.owners.get(&account)?.mail;
        mail.get(mail.partition_point(|m| m.id <= id))
    }

    /// What was marked since this was last asked.
    pub fn take_marked(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.marked)
    }

    /// The account that a message went to, and the message.
    pub fn mail(&self, id: u64) -> Option<(u64, &Mail)> {
        let account = *self.recipients.get(&id)?;
        let mail = &self.owners[&account].mail;
        Some((account, &mail[mail.binary_search_by_key(&id, |mail| mail.id).ok()?]))
    }

    /// All messages, of accounts that live or lived.
    pub fn all_mail(&self) -> impl Iterator<Item = &Mail> {
        self.owners.values().flat_map(|owner| &owner.mail)
    }

    /// The name that an account has or had.
    pub fn name_of(&self, account: u64) -> &str {
        &self.owners[&account].name
    }

    /// Whether the account is gone.
    pub fn is_gone(&self, account: u64) -> bool {
        self.owners[&account].deleted != NEVER
    }

    /// How many messages waited for an account, at every index from one to another.
    pub fn waited(&self, account: u64, from: Index, to: Index) -> BTreeSet<usize> {
        let (from, to) = (self.id_at(from), self.id_at(to));
        let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
        let mut count = 0;
        let Some(owner) = self.owners.get(&account) else { return BTreeSet::new() };
        for mail in &owner.mail {
            for (at, change) in [(mail.id, 1), (mail.delivered.min(mail.erased), -1)] {
                if at <= from {
                    count += change;
                } else {
                    *changes.entry(at).or_default() += change;
                }
            }
        }
        let after = changes.range(..=to).scan(count, |count, (_, change)| {
            *count += change;
            Some(*count)
        });
        let all = std::iter::once(count).chain(after);
        all.map(|count| usize::try_from(count).expect("what waits no more had waited")).collect()
    }

    /// Every account of the name that lived at some time from one index to another.
    pub fn accounts_between(&self, name: &str, from: Index, to: Index) -> Vec<u64> {
        let (from, to) = (self.id_at(from), self.id_at(to));
        let lived = |(id, owner): (&u64, &Owner)| (owner.name == name && owner.deleted > from).then_some(*id);
        self.owners.range(..=to).filter_map(lived).collect()
    }

    /// Every account that lives after all that is committed.
    pub fn living(&self) -> impl Iterator<Item = (&str, u64)> {
        self.living.iter().map(|(name, id)| (name.as_str(), *id))
    }
}
