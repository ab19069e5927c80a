//! What clients asked, and what they were answered.
//!
//! A request has an effect at most once. One of which every attempt was refused (`err`, or `retry` other than `UNKNOWN`)
//! has none, ever. One that was acknowledged has it at the index that the acknowledgement stands for, and that index lies
//! behind everything that was acknowledged to anybody before the request was made.

use plainsong::consensus::Index;

use super::ensure;
use super::model::Model;

/// A client's request that changes state.
#[derive(Clone, Debug)]
pub struct Op {
    /// What was acknowledged to anybody when it was first made.
    pub floor: Index,
    effect: Option<Index>,
    /// Attempts that were not answered yet.
    open: u32,
    /// An attempt was left without a certain answer.
    lost: bool,
    acknowledged: bool,
}

/// See the module's header.
#[derive(Default)]
pub struct Requests {
    ops: Vec<Op>,
    /// A read that is asked now may not show less; a write may not come before it.
    pub floor: Index,
    pub acknowledged: u64,
    pub reads: u64,
    pub refused: u64,
    pub unknown: u64,
}

impl Requests {
    /// A new request. Gives its number.
    pub fn make(&mut self) -> usize {
        let floor = self.floor;
        self.ops.push(Op { floor, effect: None, open: 0, lost: false, acknowledged: false });
        self.ops.len() - 1
    }

    /// It is asked, for the first time or again.
    pub fn attempt(&mut self, op: usize) {
        self.ops[op].open += 1;
    }

    /// An entry had its effect.
    pub fn took_effect(&mut self, op: usize, index: Index) {
        let Some(it) = self.ops.get_mut(op) else { return };
        ensure!(ExactlyOnce, it.effect.is_none(), "request {op} takes effect at {:?} and at {index}", it.effect);
        ensure!(Refusals, it.open > 0 || it.lost, "request {op} was refused, and takes effect at {index}");
        ensure!(
            Linearizable,
            index > it.floor,
            "request {op} takes effect at {index}, but {} was seen before",
            it.floor
        );
        it.effect = Some(index);
    }

    /// An attempt was answered with `ok`, by the entry at `index`, whose effect has the id `id`.
    pub fn granted(&mut self, op: usize, index: Index, id: Option<u64>) {
        let it = &mut self.ops[op];
        it.open -= 1;
        it.acknowledged = true;
        self.acknowledged += 1;
        let effect = it.effect;
        ensure!(ExactlyOnce, effect.is_some(), "request {op} is acknowledged at {index}, and had no effect");
        let effect = effect.unwrap_or_default();
        let named = id.is_none_or(|id| Model::index_of(id) == effect);
        ensure!(ExactlyOnce, named, "request {op} took effect at {effect}, and is acknowledged as {id:?}");
        ensure!(
            Linearizable,
            index >= effect,
            "request {op} is acknowledged by {index}, before its effect at {effect}"
        );
    }

    /// An attempt was refused: it has no effect.
    pub fn refuse(&mut self, op: usize, why: &str) {
        let it = &mut self.ops[op];
        it.open -= 1;
        self.refused += 1;
        let none = it.effect.is_none() || it.open > 0 || it.lost || it.acknowledged;
        ensure!(Refusals, none, "request {op} is refused ({why}), but took effect at {:?}", it.effect);
    }

    /// Nobody will ever say what became of an attempt.
    pub fn lose(&mut self, op: usize) {
        let it = &mut self.ops[op];
        it.open -= 1;
        it.lost = true;
        self.unknown += 1;
    }
}
