//! The sentences of [`Storage`] about deliveries, which only a retention needs.

use super::{enter, ok, range};
use crate::{Delivery, Millis, Storage};

use std::fmt::Debug;

pub(super) fn deliveries_are_kept_in_order<S: Storage>(storage: &mut S)
where
    S::Error: Debug,
{
    let ann = enter(storage, 1, "ann");
    let delivery = |at, n, from, to| Delivery { at, n, time: Millis(at * 10), account: ann.id, range: range(from, to) };
    assert_eq!(ok(storage.oldest_delivery()), None);
    for one in
        [delivery(9, 1, 4, 8), delivery(7, 2, 3, 3), delivery(7, 1, 2, 2), delivery(1 << 40, 1, 9, i64::MAX as u64)]
    {
        ok(storage.insert_delivery(&one));
    }
    ok(storage.remove_account(&ann));
    ok(storage.insert_delivery(&delivery(9, 1, 6, 8)));
    ok(storage.remove_delivery(9, 2));
    for one in
        [delivery(7, 1, 2, 2), delivery(7, 2, 3, 3), delivery(9, 1, 6, 8), delivery(1 << 40, 1, 9, i64::MAX as u64)]
    {
        assert_eq!(ok(storage.oldest_delivery()), Some(one.clone()), "the least entry first");
        ok(storage.remove_delivery(one.at, one.n));
    }
    assert_eq!(ok(storage.oldest_delivery()), None);
}
