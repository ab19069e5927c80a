//! The actors: the only place that knows actix. Each is thin: it translates, steps a pure core, and carries out what
//! that says.
//!
//! | actor | owns | arbiter |
//! |---|---|---|
//! | [`replicator::Replicator`] | the one [`crate::consensus::Node`], what waits for it, who is online | serving |
//! | [`session`] | one client connection | serving |
//! | [`peer::Peer`] | the data link to one replica | serving |
//! | [`heartbeat::Heartbeat`] | the pulse links: who is alive, and the evidence that somebody is not | pulse |
//! | [`election::Election`] | when to stand for election | pulse |
//! | [`store`] | the one writer of `log.db`, the one of `state.db`: plain threads, not actors | their own |
//! | [`copier`] | the copying of `state.db`'s write-ahead log into the file | its own thread |
//! | [`courier`] | copies of the state, made or fetched | its own thread |
//! | [`hasher`] | Argon2id | its own threads |
//!
//! Facts travel one way along these edges. Every edge has a bound, and a rule for when it is full:
//!
//! | from → to | carries | bound | when full |
//! |---|---|---|---|
//! | Session → Replicator | [`messages::Submit`] | the session's window of unanswered requests | the session stops reading its socket |
//! | Replicator → Session | [`messages::SessionNews`] | one a turn; answers: the window; pushes: one batch applied | the session falls behind and reads its mailbox |
//! | Replicator → Store (log) | [`store::LogJob`] | batches: the in-flight windows of followers and the origins' windows | proposals are held, then refused |
//! | Store (log) → Replicator | [`internal::FromLog`] | one for each job | — |
//! | Replicator → Store (state) | [`store::StateJob`] | `APPLYING_BYTES_MAX`; queries: the sessions' windows | the core hands over no more |
//! | Replicator → state, no message | [`store::StateAccess::apply_at_once`] | 16 entries, all before them told of | they are sent as a job |
//! | Store (state) → Replicator | [`internal::FromState`] | one for each job | — |
//! | Replicator → Courier | [`courier::CourierJob`] | pieces that were asked for: `PIECES_ASKED` a follower | its fetcher asks for no more |
//! | Replicator → Archivist, and back | up to where; [`archivist::Archived`] | 1 | the next one waits |
//! | Store (state) → Copier | a nudge | 1 | it is at work, and looks once more |
//! | Courier → Replicator | [`courier::FromCourier`] | one for each job | — |
//! | Replicator → Peer | [`internal::ToPeer`] | the follower's in-flight window, the origin's window | `LINK_OUT_BYTES_MAX`: the link is cut |
//! | Peer → Replicator | [`internal::FromPeer`] | one chunk of the socket (`send().await`) | the socket is not read |
//! | listener → Replicator | [`admin::Asked`] | [`listener::ADMINS_MAX`] conversations | the caller is told to come back |
//! | Replicator → dialers, links | [`directory::Book`] | a watch: the newest | — |
//! | Heartbeat ⇄ Replicator | pulses, and their answers: with the next tick, where no read waits; whom to watch, proven deaths | one tick is out; a pulse that does not fit the socket is dropped | the next round makes up for it |
//! | Heartbeat → Election | who lives, evidence | one a change | — |
//! | Replicator → Election | a leader was heard, standing | one a turn, at most one each few ms | — |
//! | Election → Replicator | stand, be quiet, check the quorum | one for each timer | — |
//!
//! Nothing waits inside a handler. What must wait (a request until its entry is applied) is a row in a table.

pub mod acceptor;
pub mod admin;
pub mod archivist;
pub mod copier;
pub mod courier;
pub mod directory;
pub mod election;
pub mod hasher;
pub mod heartbeat;
pub mod internal;
pub mod joining;
pub mod kernel;
pub mod link;
pub mod listener;
pub mod messages;
pub mod peer;
pub mod replicator;
pub mod session;
pub mod silence;
pub mod store;
