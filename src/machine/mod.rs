//! What an entry of the replicated log means to the state. Pure.
//!
//! The core (`consensus`) orders opaque bytes; the chat's rules know nothing of replication. This is the seam: it
//! reads a payload, applies each proposal **exactly once**, and chains everything into one digest.
//!
//! Exactly once: each replica numbers the proposals it forwards in one stream, `(member, boot, n)`. The state keeps
//! one position for each replica; `n = last + 1` applies, anything else has no effect, and the origin goes back to
//! the gap. So proposing again after a change of leader neither doubles nor reorders:
//!
//! ```text
//! log        41 42 | new leader | 42 43 44        44 is lost on the way: 41 42 | 43 45 46
//! applied    41 42                 -  43 44                              41 42   43  -  -     then again 44 45 46
//! ```
//!
//! # Promises
//! - [`apply`] is deterministic and total: on equal states an equal entry has an equal result, and no bytes make it
//!   panic. It reads nothing but its arguments.
//! - Every entry advances the applied index and the digest, whatever it says.
//!
//! # Left out
//! Transactions: whoever applies wraps entries in one. Who is online, and what time it is: the leader has stamped it.

mod apply;
pub mod audit;
pub mod body;
mod map;
pub mod payload;
#[cfg(test)]
mod tests;
pub mod view;

pub use apply::{Applied, MachineStorage, apply};
pub use map::MapMachine;
pub use payload::Origin;
