//! How two replicas prove who they are before a link carries anything.
//!
//! ```text
//! dialer:   hello|1|data|plainsong|2|<introduction>|<nonce>
//! acceptor: hello|1|data|plainsong|1|<introduction>|<nonce>|<proof>
//! dialer:   proof|<proof>
//! ```
//!
//! A proof is an HMAC-SHA-256, keyed with the cluster's `secret`, over both `hello` lines and the side that makes it.
//! Both nonces are in it, so that neither an old proof nor the other side's can be played back. The acceptor proves
//! first: who only listens learns nothing that a dialer could use elsewhere.
//!
//! What is refused is refused in one line, `refuse|text`, that says what to do. The two words that end the process which
//! is refused, `refuse|TWIN|text|<proof>` and `refuse|REMOVED|…`, are proven as well:
//!   1. replica 2 of one cluster is wiped, and its new config has the address of replica 1 of another, with another secret;
//!   2. that one is linked with a replica 2 of its own, and says `TWIN`;
//!   3. the first replica 2 ends, though nobody runs beside it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::decode::{bit, cluster_of, decimal, founding_of, hex};
use super::encode::{cluster_word, founding_word};
use crate::consensus::founding::Introduction;
use crate::consensus::{Boot, Index, ReplicaId, Run};
use crate::machine::body::parse_member;

/// The version of the grammar between replicas. Others are refused.
pub const VERSION: u32 = 1;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Log, votes, reads, presence.
    Data,
    /// Pulses only.
    Pulse,
    /// Only to learn whether the same run still answers.
    Probe,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Pulse => "pulse",
            Self::Probe => "probe",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Data, Self::Pulse, Self::Probe].into_iter().find(|kind| kind.word() == word)
    }
}

/// How a refusal begins that ends the process which is refused: another one runs under its id.
pub const TWIN: &str = "TWIN|";
/// Likewise: it was removed.
pub const GONE: &str = "REMOVED|";

/// Why a link is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a replica at all.
    #[error("this is the internal port of a replica, for other replicas; clients use its `port`")]
    NotAReplica,
    /// Another version of the grammar.
    #[error("replica speaks version {0} between replicas, this one {VERSION}: run the same release on both")]
    Version(String),
    /// Another cluster's name.
    #[error("this is cluster {0:?}: correct `cluster` or the address in config.yaml")]
    OtherName(String),
    /// Another cluster's id: a data directory of another cluster.
    #[error("the data directories are of two different clusters: correct `data_dir` or the address in config.yaml")]
    OtherCluster,
    /// The dialer meant another replica.
    #[error("replica {0} was meant, this is another: correct the address in config.yaml")]
    OtherReplica(ReplicaId),
    /// The id is this replica's own, or not in the address book.
    #[error("replica id {0} is not one this replica expects: correct `replicas` in config.yaml")]
    UnknownReplica(ReplicaId),
    /// Another process runs under the id of whoever connects.
    #[error("{TWIN}replica {0} runs already, and answers: end one of the two, or give this one another id")]
    Twin(ReplicaId),
    /// Whoever connects was removed from the cluster.
    #[error("{GONE}replica {0} was removed from this cluster")]
    Gone(crate::consensus::Member),
    /// The secrets differ.
    #[error("the proof of `secret` is wrong: set the same `secret` in every config.yaml")]
    WrongSecret,
}

impl Refused {
    /// Whether the process that hears it has to end.
    pub fn ends_the_process(&self) -> bool {
        matches!(self, Self::Twin(_) | Self::Gone(_))
    }

    /// The line that refuses whoever has sent that hello, with the proof that [`parse_refusal`] asks for.
    pub fn print_proven(&self, secret: &str, dialer: &Hello) -> String {
        let line = format!("refuse|{self}");
        let proof = keyed_proof(secret, Side::Acceptor, &dialer.print(), &line);
        format!("{line}|{proof}")
    }
}

/// What a refusal says to whoever has sent `mine`: the line without its first word, and without its proof. One that would
/// end this process and is not proven comes from elsewhere.
pub fn parse_refusal<'a>(why: &'a str, secret: &str, mine: &Hello) -> Result<&'a str, Refused> {
    if !why.starts_with(TWIN) && !why.starts_with(GONE) {
        return Ok(why);
    }
    let (text, given) = why.rsplit_once('|').ok_or(Refused::WrongSecret)?;
    let right = keyed_proof(secret, Side::Acceptor, &mine.print(), &format!("refuse|{text}"));
    if is_same_proof(given, &right) { Ok(text) } else { Err(Refused::WrongSecret) }
}

/// What the other side's `hello` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub kind: Kind,
    /// The cluster's name in the sender's config.
    pub cluster_name: String,
    /// Whom the sender believes to talk to.
    pub to: ReplicaId,
    /// Who the sender is.
    pub who: Introduction,
    /// Drawn for this connection.
    pub nonce: u64,
}

impl Hello {
    /// The line, without LF.
    pub fn print(&self) -> String {
        let Introduction { member, run, cluster, founding, book, joins, last } = &self.who;
        format!(
            "hello|{VERSION}|{}|{}|{}|{member}|{}|{:x}|{}|{}|{book:x}|{}|{last}|{:x}",
            self.kind.word(),
            self.cluster_name,
            self.to,
            run.boot,
            run.nonce,
            cluster_word(*cluster),
            founding_word(*founding),
            u8::from(*joins),
            self.nonce,
        )
    }

    /// Reads a `hello` line, and what stands behind it: the acceptor's proof.
    pub fn parse(line: &str) -> Result<(Self, Option<&str>), Refused> {
        let mut fields = line.split('|');
        if fields.next() != Some("hello") {
            return Err(Refused::NotAReplica);
        }
        let version = fields.next().filter(|version| !version.is_empty()).ok_or(Refused::NotAReplica)?;
        if version != VERSION.to_string() {
            return Err(Refused::Version(version.chars().take(20).collect()));
        }
        let mut next = || fields.next().ok_or(Refused::NotAReplica);
        let bad = Refused::NotAReplica;
        // As in every frame: digits alone, and no more than the store can keep.
        let number = |field: &str| decimal(field.as_bytes());
        let hello = Self {
            kind: Kind::of(next()?).ok_or(bad.clone())?,
            cluster_name: next()?.to_owned(),
            to: ReplicaId(number(next()?).and_then(|id| u16::try_from(id).ok()).ok_or(bad.clone())?),
            who: Introduction {
                member: parse_member(next()?).ok_or(bad.clone())?,
                run: Run {
                    boot: Boot(number(next()?).ok_or(bad.clone())?),
                    nonce: hex(next()?).and_then(|n| u32::try_from(n).ok()).ok_or(bad.clone())?,
                },
                cluster: cluster_of(next()?).ok_or(bad.clone())?,
                founding: founding_of(next()?).ok_or(bad.clone())?,
                book: hex(next()?).ok_or(bad.clone())?,
                joins: number(next()?).and_then(bit).ok_or(bad.clone())?,
                last: Index(number(next()?).ok_or(bad.clone())?),
            },
            nonce: hex(next()?).ok_or(bad.clone())?,
        };
        let proof = fields.next();
        if fields.next().is_some() { Err(bad) } else { Ok((hello, proof)) }
    }

    /// Whether `mine` can be linked with the other side's hello: of a replica in the address book, or of one that joins, about
    /// which the leader decides.
    pub fn check(&self, mine: &Hello, knows: impl Fn(ReplicaId) -> bool) -> Result<(), Refused> {
        let id = self.who.member.id;
        if self.cluster_name != mine.cluster_name {
            return Err(Refused::OtherName(mine.cluster_name.clone()));
        }
        if id == mine.who.member.id || !(knows(id) || self.who.joins) {
            return Err(Refused::UnknownReplica(id));
        }
        if self.to != mine.who.member.id {
            return Err(Refused::OtherReplica(self.to));
        }
        match (self.who.cluster, mine.who.cluster) {
            (Some(theirs), Some(ours)) if theirs != ours => Err(Refused::OtherCluster),
            _ => Ok(()),
        }
    }
}

/// Which side makes a proof.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// Who connected.
    Dialer,
    /// Who was connected to.
    Acceptor,
}

/// The proof of `secret` by one side over both hellos, in hexadecimal.
pub fn proof(secret: &str, side: Side, dialer: &Hello, acceptor: &Hello) -> String {
    keyed_proof(secret, side, &dialer.print(), &acceptor.print())
}

/// The proof of `secret` by one side over the first lines of both.
pub(super) fn keyed_proof(secret: &str, side: Side, dialer: &str, acceptor: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    let side = match side {
        Side::Dialer => "dialer",
        Side::Acceptor => "acceptor",
    };
    for part in [side, dialer, acceptor] {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a proof is right. Takes the same time whatever is wrong with it.
pub fn proof_is_right(given: &str, secret: &str, side: Side, dialer: &Hello, acceptor: &Hello) -> bool {
    is_same_proof(given, &proof(secret, side, dialer, acceptor))
}

/// Whether two proofs are equal, in a time that does not depend on where they differ.
pub fn is_same_proof(given: &str, right: &str) -> bool {
    right.as_bytes().ct_eq(given.as_bytes()).into()
}
