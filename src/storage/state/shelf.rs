//! The rows of views that are not in the tables yet, sorted by account and id, made for how they come: the ids of an account
//! ascend, and many accounts take turns.
//!
//! In one large B-tree each such row goes to another leaf, and most of its cost is the way there: three trees of 131,072
//! rows took a fifth of the time that an entry costs the state (NOTEBOOK). Here a row goes to the end of its account's
//! own queue. What sorting is left is done once, over the accounts, when the first row is popped. Whether a message is
//! undelivered stands in its row, and not in a map beside it: each map more is another place of memory to wait for.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::ids::IdMap;
use super::rows::NameId;

/// A message in an account's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The message's.
    pub id: u64,
    /// The name of the other.
    pub other: NameId,
    /// Whether it was received; else it was sent.
    pub received: bool,
    /// While it is undelivered: the length of its text, which is never empty.
    pub waiting: Option<NonZeroU32>,
}

/// What is undelivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub messages: u64,
    /// Of their texts.
    pub bytes: u64,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// One that ran empty is kept for what comes next.
    accounts: IdMap<u64, Account>,
    /// Accounts to pop from, the least last; empty until something is popped.
    order: Vec<u64>,
    len: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// Sorted by id.
    rows: VecDeque<Row>,
    waiting: Waiting,
}

impl Account {
    fn find(&self, id: u64) -> Option<usize> {
        match self.rows.front() {
            // Marks come in the order of the messages.
            Some(first) if first.id == id => Some(0),
            _ => self.rows.binary_search_by_key(&id, |row| row.id).ok(),
        }
    }

    fn places(&self, ids: RangeInclusive<u64>) -> std::ops::Range<usize> {
        let from = self.rows.partition_point(|row| row.id < *ids.start());
        let to = self.rows.partition_point(|row| row.id <= *ids.end());
        from..to.max(from)
    }

    fn waits(&mut self, bytes: Option<NonZeroU32>) {
        if let Some(bytes) = bytes {
            self.waiting.messages += 1;
            self.waiting.bytes += u64::from(bytes.get());
        }
    }

    fn waits_no_more(&mut self, bytes: Option<NonZeroU32>) {
        if let Some(bytes) = bytes {
            self.waiting.messages -= 1;
            self.waiting.bytes -= u64::from(bytes.get());
        }
    }
}

impl Shelf {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What of the account is undelivered.
    pub fn waiting_count(&self, account: u64) -> Waiting {
        self.accounts.get(&account).map_or_else(Waiting::default, |account| account.waiting)
    }

    /// Adds a row. The message is not in the account's view yet.
    pub fn insert(&mut self, account: u64, row: Row) {
        let account = self.accounts.entry(account).or_default();
        match account.rows.back() {
            Some(last) if last.id >= row.id => {
                let Err(at) = account.rows.binary_search_by_key(&row.id, |row| row.id) else {
                    unreachable!("message {} is in the view already", row.id);
                };
                account.rows.insert(at, row);
            }
            _ => account.rows.push_back(row),
        }
        account.waits(row.waiting);
        self.len += 1;
        if !self.order.is_empty() {
            self.order.clear();
        }
    }

    pub fn has(&self, account: u64, id: u64) -> bool {
        self.accounts.get(&account).is_some_and(|account| account.find(id).is_some())
    }

    pub fn remove(&mut self, account: u64, id: u64) -> Option<Row> {
        let account = self.accounts.get_mut(&account)?;
        let row = account.rows.remove(account.find(id)?)?;
        account.waits_no_more(row.waiting);
        self.len -= 1;
        Some(row)
    }

    /// All rows, each with its account, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Row)> {
        self.accounts.iter().flat_map(|(id, account)| account.rows.iter().map(|row| (*id, row)))
    }

    /// The rows of an account, in order.
    pub fn range(&self, account: u64, ids: RangeInclusive<u64>) -> impl DoubleEndedIterator<Item = &Row> {
        let account = self.accounts.get(&account);
        account.map(|account| account.rows.range(account.places(ids))).into_iter().flatten()
    }

    /// Those that are undelivered. Where none is, nothing is looked at.
    pub fn waiting(&self, account: u64, ids: RangeInclusive<u64>) -> impl Iterator<Item = &Row> {
        let account = self.accounts.get(&account).filter(|account| account.waiting.messages > 0);
        let rows = account.map(|account| account.rows.range(account.places(ids)));
        rows.into_iter().flatten().filter(|row| row.waiting.is_some())
    }

    /// They are delivered now, each after `mark` was told of it. Gives how many.
    pub fn deliver<E>(
        &mut self,
        account: u64,
        ids: RangeInclusive<u64>,
        mut mark: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let Some(account) = self.accounts.get_mut(&account).filter(|account| account.waiting.messages > 0) else {
            return Ok(0);
        };
        let mut delivered = 0;
        for at in account.places(ids) {
            if let Some(bytes) = account.rows[at].waiting {
                mark(account.rows[at].id)?;
                account.rows[at].waiting = None;
                account.waits_no_more(Some(bytes));
                delivered += 1;
            }
        }
        Ok(delivered)
    }

    /// The first rows of the first account that has any, at most so many.
    pub fn pop_some(&mut self, max: usize) -> Option<(u64, Vec<Row>)> {
        if self.len == 0 {
            return None;
        }
        if self.order.is_empty() {
            self.order = self.accounts.keys().copied().collect();
            self.order.sort_unstable_by_key(|account| std::cmp::Reverse(*account));
        }
        loop {
            let id = *self.order.last().expect("rows are left, and their accounts are in the order");
            if let Some(account) = self.accounts.get_mut(&id).filter(|account| !account.rows.is_empty()) {
                let some: Vec<_> = account.rows.drain(..max.min(account.rows.len())).collect();
                some.iter().for_each(|row| account.waits_no_more(row.waiting));
                self.len -= some.len();
                return Some((id, some));
            }
            self.order.pop();
            self.accounts.remove(&id);
        }
    }

    /// Takes all rows of an account, in order.
    pub fn take(&mut self, account: u64) -> Vec<Row> {
        match self.accounts.entry(account) {
            Entry::Occupied(account) => {
                let rows = account.remove().rows;
                self.len -= rows.len();
                rows.into()
            }
            Entry::Vacant(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    use fastrand::Rng;

    use super::*;

    fn row(rng: &mut Rng, id: u64) -> Row {
        let waiting = NonZeroU32::new(rng.u32(..3));
        Row { id, other: NameId(rng.u64(..3)), received: rng.bool(), waiting }
    }

    fn check(shelf: &Shelf, model: &BTreeMap<(u64, u64), Row>, account: u64, ids: RangeInclusive<u64>) {
        let rows = || model.iter().filter(|(key, _)| key.0 == account).map(|(_, row)| row);
        let of_range = || rows().filter(|row| ids.contains(&row.id));
        assert!(shelf.range(account, ids.clone()).eq(of_range()));
        assert!(shelf.range(account, ids.clone()).rev().eq(of_range().collect::<Vec<_>>().into_iter().rev()));
        assert!(shelf.waiting(account, ids.clone()).eq(of_range().filter(|row| row.waiting.is_some())));
        assert_eq!(shelf.has(account, *ids.start()), model.contains_key(&(account, *ids.start())));
        let bytes: Vec<u64> = rows().filter_map(|row| row.waiting).map(|bytes| bytes.get().into()).collect();
        let waiting = Waiting { messages: bytes.len() as u64, bytes: bytes.iter().sum() };
        assert_eq!(shelf.waiting_count(account), waiting);
        assert_eq!(shelf.is_empty(), model.is_empty());
    }

    /// Whatever is done to both, a shelf is the B-tree that it stands for.
    #[test]
    fn it_is_a_sorted_map() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let (mut shelf, mut model) = (Shelf::default(), BTreeMap::new());
            for step in 0..400_u64 {
                let account = rng.u64(..4);
                let id = if rng.bool() { step } else { rng.u64(..=step) };
                let ids = id..=rng.u64(id..=step);
                match rng.u8(..40) {
                    0..20 => {
                        let row = row(&mut rng, id);
                        if let Entry::Vacant(place) = model.entry((account, id)) {
                            shelf.insert(account, row);
                            place.insert(row);
                        }
                    }
                    20..26 => assert_eq!(shelf.remove(account, id), model.remove(&(account, id))),
                    26..32 => {
                        let mut marked = Vec::new();
                        let delivered = shelf.deliver(account, ids.clone(), |id| {
                            marked.push(id);
                            Ok::<_, ()>(())
                        });
                        let waited = model.range_mut((account, *ids.start())..=(account, *ids.end()));
                        let waited = waited.filter_map(|(key, row)| row.waiting.take().map(|_| key.1));
                        assert!(marked.iter().copied().eq(waited), "seed {seed}, step {step}");
                        assert_eq!(delivered, Ok(marked.len() as u64));
                    }
                    32..36 => {
                        let max = rng.usize(1..4);
                        let Some((account, some)) = shelf.pop_some(max) else {
                            assert!(model.is_empty());
                            continue;
                        };
                        assert!((1..=max).contains(&some.len()));
                        for row in some {
                            assert_eq!(model.pop_first(), Some(((account, row.id), row)));
                        }
                    }
                    36 => {
                        let rows = shelf.take(account);
                        assert!(
                            rows.into_iter().eq(model.extract_if(.., |key, _| key.0 == account).map(|(_, row)| row))
                        );
                    }
                    _ => check(&shelf, &model, account, ids),
                }
            }
            let left = std::iter::from_fn(|| shelf.pop_some(1));
            let left = left.flat_map(|(account, rows)| rows.into_iter().map(move |row| ((account, row.id), row)));
            assert!(left.eq(model), "seed {seed}");
        }
    }
}
