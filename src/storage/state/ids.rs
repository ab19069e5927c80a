//! Maps keyed by account ids, which every message asks several times.
//!
//! Ids are indexes of the log: nobody chooses them freely, and neighbours must not collide. So one multiplication does
//! what the standard hasher, made for keys that an attacker chooses, does in twenty nanoseconds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// 2^64 by the golden ratio, odd: neighbours end far from each other, in all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A map keyed by ids.
pub(super) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Hashes one number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        // The map takes the lowest bits for the place and the highest for the tag: both must depend on all.
        let spread = (self.0 ^ number).wrapping_mul(SPREAD);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
