//! A sorted map of rows that are keyed by account and id, made for how they come: the ids of an account ascend, and many
//! accounts take turns.
//!
//! In one large B-tree each such row goes to another leaf, and most of its cost is the way there: three trees of 131,072
//! rows took a fifth of the time that an entry costs the state (NOTEBOOK). Here a row goes to the end of its account's
//! own queue. What sorting is left is done once, over the accounts, when the first row is popped.
//!
//! The names are those of `BTreeMap`, and so are the meanings, but a range stays within one account.

use std::collections::VecDeque;
use std::ops::Bound;

use super::ids::IdMap;

/// An account and a message.
pub(super) type Key = (u64, u64);

/// See the module's header.
#[derive(Debug)]
pub(super) struct Shelf<V> {
    /// Sorted by key; one that ran empty is kept for what comes next.
    accounts: IdMap<u64, VecDeque<(Key, V)>>,
    /// Accounts to pop from, the least last; empty until something is popped.
    order: Vec<u64>,
    len: usize,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { accounts: IdMap::default(), order: Vec::new(), len: 0 }
    }
}

impl<V: Copy> Shelf<V> {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many rows the account has.
    pub fn len_of(&self, account: u64) -> usize {
        self.accounts.get(&account).map_or(0, VecDeque::len)
    }

    pub fn insert(&mut self, key: Key, value: V) {
        let rows = self.accounts.entry(key.0).or_default();
        if rows.back().is_none_or(|(last, _)| *last < key) {
            rows.push_back((key, value));
        } else {
            match rows.binary_search_by_key(&key, |(key, _)| *key) {
                Ok(at) => {
                    rows[at].1 = value;
                    return;
                }
                Err(at) => rows.insert(at, (key, value)),
            }
        }
        self.len += 1;
        if !self.order.is_empty() {
            self.order.clear();
        }
    }

    pub fn contains_key(&self, key: &Key) -> bool {
        self.find(key).is_some()
    }

    pub fn remove(&mut self, key: &Key) -> Option<V> {
        let at = self.find(key)?;
        let (_, value) = self.accounts.get_mut(&key.0)?.remove(at)?;
        self.len -= 1;
        Some(value)
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.accounts.values().flatten().map(|(key, value)| (key, value))
    }

    /// The rows within two bounds of one account, in order.
    pub fn range(&self, (from, to): (Bound<Key>, Bound<Key>)) -> impl DoubleEndedIterator<Item = (&Key, &V)> {
        let (Bound::Included(first) | Bound::Excluded(first), Bound::Included(last) | Bound::Excluded(last)) =
            (from, to)
        else {
            unreachable!("the rows of one account are between two keys")
        };
        assert_eq!(first.0, last.0, "a range of rows is within one account");
        self.accounts
            .get(&first.0)
            .map(|rows| {
                let from = rows.partition_point(|(key, _)| match from {
                    Bound::Included(from) => *key < from,
                    Bound::Excluded(from) => *key <= from,
                    Bound::Unbounded => false,
                });
                let to = rows.partition_point(|(key, _)| match to {
                    Bound::Included(to) => *key <= to,
                    Bound::Excluded(to) => *key < to,
                    Bound::Unbounded => true,
                });
                rows.range(from..to.max(from)).map(|(key, value)| (key, value))
            })
            .into_iter()
            .flatten()
    }

    /// The first rows of the first account that has any, at most so many.
    pub fn pop_some(&mut self, max: usize) -> Vec<(Key, V)> {
        if self.len == 0 {
            return Vec::new();
        }
        if self.order.is_empty() {
            self.order = self.accounts.keys().copied().collect();
            self.order.sort_unstable_by_key(|account| std::cmp::Reverse(*account));
        }
        loop {
            let account = *self.order.last().expect("rows are left, and their accounts are in the order");
            if let Some(rows) = self.accounts.get_mut(&account).filter(|rows| !rows.is_empty()) {
                let some: Vec<_> = rows.drain(..max.min(rows.len())).collect();
                self.len -= some.len();
                return some;
            }
            self.order.pop();
            self.accounts.remove(&account);
        }
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let rows = self.accounts.get(&key.0)?;
        match rows.front() {
            // Marks come in the order of the messages.
            Some((first, _)) if first == key => Some(0),
            _ => rows.binary_search_by_key(key, |(key, _)| *key).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::*;

    /// Whatever is done to both, a shelf is the B-tree that it stands for.
    #[test]
    fn it_is_a_sorted_map() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let (mut shelf, mut model) = (Shelf::default(), BTreeMap::new());
            for step in 0..400_u64 {
                let account = rng.u64(..4);
                let id = if rng.bool() { step } else { rng.u64(..=step) };
                match rng.u8(..10) {
                    0..6 => {
                        shelf.insert((account, id), step);
                        model.insert((account, id), step);
                    }
                    6 | 7 => assert_eq!(shelf.remove(&(account, id)), model.remove(&(account, id))),
                    8 => {
                        let some = shelf.pop_some(rng.usize(1..4));
                        assert_eq!(some.is_empty(), model.is_empty());
                        for row in some {
                            assert_eq!(Some(row), model.pop_first());
                        }
                    }
                    _ => {
                        let to = rng.u64(id..=step);
                        let bounds = match rng.bool() {
                            true => (Bound::Included((account, id)), Bound::Included((account, to))),
                            false => (Bound::Excluded((account, id)), Bound::Excluded((account, to + 1))),
                        };
                        assert!(shelf.range(bounds).eq(model.range(bounds)), "seed {seed}, step {step}");
                        assert!(shelf.range(bounds).rev().eq(model.range(bounds).rev()));
                        assert_eq!(shelf.contains_key(&(account, id)), model.contains_key(&(account, id)));
                        assert_eq!(shelf.len_of(account), model.keys().filter(|key| key.0 == account).count());
                        assert_eq!(shelf.is_empty(), model.is_empty());
                    }
                }
            }
            assert!(std::iter::from_fn(|| shelf.pop_some(1).pop()).eq(model));
        }
    }
}
