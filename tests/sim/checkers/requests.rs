//! What clients asked, and what they were answered.
//!
//! A request has an effect at most once. One of which every attempt was refused (`err`, or `retry` other than `UNKNOWN`)
//! has none, ever. One that was acknowledged has it at the index that the acknowledgement stands for, and that index lies
//! behind everything that was acknowledged to anybody before the request was made.
//!
//! All of that holds of each side of a cluster that was cut in two, for itself; what an entry of one side refused may take
//! effect on another, which had it in another place.

use plainsong::consensus::Index;

use super::ensure;
use super::model::Model;
use super::sides::{Effects, Floor};

/// A client's request that changes state.
#[derive(Clone, Debug)]
pub struct Op {
    /// What was acknowledged to anybody when it was first made.
    pub floor: Floor,
    /// Attempts that were not answered yet.
    open: u32,
    /// An attempt was left without a certain answer.
    lost: bool,
    acknowledged: bool,
    /// An entry of some side refused it, and there may be others.
    refused_on_a_side: bool,
}

/// See the module's header.
#[derive(Default)]
pub struct Requests {
    ops: Vec<Op>,
    /// Two sides may serve.
    pub may_fork: bool,
    pub acknowledged: u64,
    pub reads: u64,
    pub refused: u64,
    pub unknown: u64,
}

impl Requests {
    /// A new request. Gives its number.
    pub fn make(&mut self, floor: Floor) -> usize {
        let (lost, acknowledged, refused_on_a_side) = (false, false, false);
        self.ops.push(Op { floor, open: 0, lost, acknowledged, refused_on_a_side });
        self.ops.len() - 1
    }

    /// What was acknowledged when it was made.
    pub fn floor_of(&self, op: usize) -> Option<&Floor> {
        self.ops.get(op).map(|it| &it.floor)
    }

    /// It is asked, for the first time or again.
    pub fn attempt(&mut self, op: usize) {
        self.ops[op].open += 1;
    }

    /// An entry had its effect, on the side with those effects, where so much was acknowledged before.
    pub fn took_effect(&mut self, op: usize, index: Index, floor: Index, effects: &mut Effects) {
        let Some(it) = self.ops.get(op) else { return };
        let before = effects.insert(op, index);
        ensure!(ExactlyOnce, before.is_none(), "request {op} takes effect at {before:?} and at {index}");
        let elsewhere = self.may_fork && (it.acknowledged || it.refused_on_a_side);
        let may = it.open > 0 || it.lost || elsewhere;
        ensure!(Refusals, may, "request {op} was refused, and takes effect at {index}");
        ensure!(Linearizable, index > floor, "request {op} takes effect at {index}, but {floor} was seen before");
    }

    /// An attempt was answered with `ok`, by the entry at `index`, whose effect has the id `id`.
    pub fn granted(&mut self, op: usize, effects: &Effects, index: Index, id: Option<u64>) {
        let it = &mut self.ops[op];
        it.open -= 1;
        it.acknowledged = true;
        self.acknowledged += 1;
        let effect = effects.get(&op).copied();
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
    pub fn refuse(&mut self, op: usize, effect: Option<Index>, why: &str) {
        let it = &mut self.ops[op];
        it.open -= 1;
        self.refused += 1;
        let none = effect.is_none() || it.open > 0 || it.lost || it.acknowledged;
        ensure!(Refusals, none, "request {op} is refused ({why}), but took effect at {effect:?}");
    }

    /// An entry refused it: that is said of its own side.
    pub fn refuse_by_entry(&mut self, op: usize, effects: &Effects, why: &str) {
        self.refuse(op, effects.get(&op).copied(), why);
        self.ops[op].refused_on_a_side = true;
    }

    /// Nobody will ever say what became of an attempt.
    pub fn lose(&mut self, op: usize) {
        let it = &mut self.ops[op];
        it.open -= 1;
        it.lost = true;
        self.unknown += 1;
    }
}
