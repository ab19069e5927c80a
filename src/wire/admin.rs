//! The short conversation in which somebody asks a member for a change of members: a replica that joins, or an operator.
//!
//! ```text
//! caller:  admin|1|plainsong|<nonce>
//! member:  admin|1|plainsong|<nonce>|<proof>
//! caller:  proof|<proof>
//! caller:  join|6.a0|6 127.0.0.1:5006 127.0.0.1:7006       or  remove|3, or  book
//! member:  noted                                          or  done|41, later, no|…
//! member:  book|<cluster>|<entry>|<how many>               where everybody is, and which entry says so
//! member:  1 127.0.0.1:5001 127.0.0.1:7001
//! ```
//!
//! The proofs are as in the handshake of links, over both `admin` lines. Pure; every line is at most
//! [`super::limits::HANDSHAKE_LINE_BYTES`] long.

use super::decode::{cluster_of, decimal, hex};
use super::encode::cluster_word;
use super::handshake::{Refused, Side, VERSION, keyed_proof};
use super::members::{change_text, parse_change};
use crate::consensus::{Address, Change, ClusterId, Index};
use crate::machine::body::{address_text, parse_address};

/// The first line of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The cluster's name in the sender's config.
    pub cluster_name: String,
    /// Drawn for this connection.
    pub nonce: u64,
}

impl Greeting {
    /// The line, without LF.
    pub fn print(&self) -> String {
        format!("admin|{VERSION}|{}|{:x}", self.cluster_name, self.nonce)
    }

    /// Reads the line, and what stands behind it: the member's proof.
    pub fn parse(line: &str) -> Result<(Self, Option<&str>), Refused> {
        let fields: Vec<&str> = line.split('|').collect();
        let ["admin", version, cluster_name, nonce, proof @ ..] = &fields[..] else { return Err(Refused::NotAReplica) };
        if *version != VERSION.to_string() {
            return Err(Refused::Version(version.chars().take(20).collect()));
        }
        let nonce = hex(nonce).ok_or(Refused::NotAReplica)?;
        match proof {
            [] => Ok((Self { cluster_name: (*cluster_name).to_owned(), nonce }, None)),
            [proof] => Ok((Self { cluster_name: (*cluster_name).to_owned(), nonce }, Some(proof))),
            _ => Err(Refused::NotAReplica),
        }
    }
}

/// The proof of `secret` by one side over both greetings.
pub fn proof(secret: &str, side: Side, caller: &Greeting, member: &Greeting) -> String {
    keyed_proof(secret, side, &caller.print(), &member.print())
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Only for the address book.
    Book,
    /// For a change.
    Change(Change),
}

impl Question {
    /// The line, without LF.
    pub fn print(&self) -> String {
        match self {
            Self::Book => "book".to_owned(),
            Self::Change(change) => change_text(change),
        }
    }

    /// What [`Question::print`] printed.
    pub fn parse(line: &str) -> Option<Self> {
        if line == "book" { Some(Self::Book) } else { parse_change(line).map(Self::Change) }
    }
}

/// Where everybody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Of which cluster.
    pub cluster: Option<ClusterId>,
    /// The entry that says so; 0 as long as only the config does.
    pub at: Index,
    /// By id.
    pub addresses: Vec<Address>,
}

impl Places {
    /// The line in front of the addresses, without LF.
    pub fn head(&self) -> String {
        format!("book|{}|{}|{}", cluster_word(self.cluster), self.at, self.addresses.len())
    }

    /// The line of one address.
    pub fn row(address: &Address) -> String {
        address_text(address)
    }

    /// Reads the first line: how many follow.
    pub fn parse_head(line: &str) -> Option<(Self, usize)> {
        let fields: Vec<&str> = line.split('|').collect();
        let ["book", cluster, at, count] = fields[..] else { return None };
        let count = decimal(count.as_bytes()).and_then(|n| u16::try_from(n).ok())?;
        let at = Index(decimal(at.as_bytes())?);
        Some((Self { cluster: cluster_of(cluster)?, at, addresses: Vec::new() }, count.into()))
    }

    /// Reads one of them.
    pub fn parse_row(line: &str) -> Option<Address> {
        parse_address(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::ReplicaId;

    #[test]
    fn greetings_questions_and_books_are_read_back() {
        let greeting = Greeting { cluster_name: "here".into(), nonce: 0xbeef };
        assert_eq!(Greeting::parse(&greeting.print()), Ok((greeting.clone(), None)));
        let proven = format!("{}|0af3", greeting.print());
        assert_eq!(Greeting::parse(&proven), Ok((greeting, Some("0af3"))));
        for question in [Question::Book, Question::Change(Change::Remove(ReplicaId(3)))] {
            assert_eq!(Question::parse(&question.print()), Some(question));
        }
        let address = Address { id: ReplicaId(1), clients: "h:1".into(), replicas: "[::1]:2".into() };
        let places = Places { cluster: Some(ClusterId(7)), at: Index(41), addresses: vec![address.clone()] };
        let (head, count) = Places::parse_head(&places.head()).expect("a head");
        assert_eq!((head.cluster, head.at, count), (places.cluster, places.at, 1));
        assert_eq!(Places::parse_row(&Places::row(&address)), Some(address));
    }

    #[test]
    fn a_stranger_is_told_what_is_wrong() {
        for line in ["", "admin", "admin||x|1", "admin|1|x|y", "admin|1|x|1|p|q", "hello|1|data"] {
            assert!(Greeting::parse(line).is_err(), "{line}");
        }
        assert_eq!(Greeting::parse("admin|2|x|1"), Err(Refused::Version("2".into())));
    }
}
