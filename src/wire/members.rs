//! Changes of members on the wire: what is asked for and what the leader says, as the rest of a line.
//!
//! ```text
//! change|3|7|join|6.a0|6 127.0.0.1:5006 127.0.0.1:7006      term, number of the question, what is asked for
//! change|3|8|remove|2
//! changed|3|7|noted
//! changed|3|8|done|41
//! changed|3|8|no|quorum|2|1|2
//! ```

use super::decode::decimal;
use crate::consensus::{Change, Frame, Index, Refusal, ReplicaId, Term, Verdict};
use crate::machine::body::{address_text, parse_address, parse_member};

/// What is asked for.
pub fn change_text(change: &Change) -> String {
    match change {
        Change::Join(member, address) => format!("join|{member}|{}", address_text(address)),
        Change::Remove(id) => format!("remove|{id}"),
    }
}

/// What [`change_text`] printed.
pub fn parse_change(text: &str) -> Option<Change> {
    let fields: Vec<&str> = text.split('|').collect();
    match fields[..] {
        ["join", member, address] => {
            let (member, address) = (parse_member(member)?, parse_address(address)?);
            (member.id == address.id).then_some(Change::Join(member, address))
        }
        ["remove", id] => Some(Change::Remove(replica(id)?)),
        _ => None,
    }
}

/// What the leader says.
pub fn verdict_text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Done(index) => format!("done|{index}"),
        Verdict::Noted => "noted".to_owned(),
        Verdict::Later => "later".to_owned(),
        Verdict::Refused(refusal) => match refusal {
            Refusal::UnderWay => "no|underway".to_owned(),
            Refusal::IdInUse(id) => format!("no|id|{id}"),
            Refusal::AddressInUse(id) => format!("no|address|{id}"),
            Refusal::Removed => "no|removed".to_owned(),
            Refusal::Unknown(id) => format!("no|unknown|{id}"),
            Refusal::NoAddress(id) => format!("no|nowhere|{id}"),
            Refusal::Founded => "no|founded".to_owned(),
            Refusal::FoundingUnderWay => "no|founding".to_owned(),
            Refusal::NotBlank(id) => format!("no|notblank|{id}"),
            Refusal::OtherBook(id) => format!("no|book|{id}"),
            Refusal::AskLower(id) => format!("no|ask|{id}"),
            Refusal::TooFewToFound { here, needed } => format!("no|few|{here}|{needed}"),
            Refusal::LastVoter => "no|last".to_owned(),
            Refusal::FixedMembers => "no|fixed".to_owned(),
            Refusal::WouldLoseQuorum { voters, alive, needed } => format!("no|quorum|{voters}|{alive}|{needed}"),
        },
    }
}

/// What [`verdict_text`] printed.
pub fn parse_verdict(text: &str) -> Option<Verdict> {
    let fields: Vec<&str> = text.split('|').collect();
    Some(match fields[..] {
        ["done", index] => Verdict::Done(Index(decimal(index.as_bytes())?)),
        ["noted"] => Verdict::Noted,
        ["later"] => Verdict::Later,
        ["no", "underway"] => Verdict::Refused(Refusal::UnderWay),
        ["no", "id", id] => Verdict::Refused(Refusal::IdInUse(replica(id)?)),
        ["no", "address", id] => Verdict::Refused(Refusal::AddressInUse(replica(id)?)),
        ["no", "removed"] => Verdict::Refused(Refusal::Removed),
        ["no", "unknown", id] => Verdict::Refused(Refusal::Unknown(replica(id)?)),
        ["no", "nowhere", id] => Verdict::Refused(Refusal::NoAddress(replica(id)?)),
        ["no", "founded"] => Verdict::Refused(Refusal::Founded),
        ["no", "founding"] => Verdict::Refused(Refusal::FoundingUnderWay),
        ["no", "notblank", id] => Verdict::Refused(Refusal::NotBlank(replica(id)?)),
        ["no", "book", id] => Verdict::Refused(Refusal::OtherBook(replica(id)?)),
        ["no", "ask", id] => Verdict::Refused(Refusal::AskLower(replica(id)?)),
        ["no", "few", here, needed] => {
            Verdict::Refused(Refusal::TooFewToFound { here: small(here)?, needed: small(needed)? })
        }
        ["no", "last"] => Verdict::Refused(Refusal::LastVoter),
        ["no", "fixed"] => Verdict::Refused(Refusal::FixedMembers),
        ["no", "quorum", voters, alive, needed] => Verdict::Refused(Refusal::WouldLoseQuorum {
            voters: small(voters)?,
            alive: small(alive)?,
            needed: small(needed)?,
        }),
        _ => return None,
    })
}

/// A `change` or `changed` line, without its first word.
pub(super) fn parse_frame(word: &str, rest: &str) -> Option<Frame> {
    let (term, rest) = rest.split_once('|')?;
    let (id, rest) = rest.split_once('|')?;
    let (term, id) = (Term(decimal(term.as_bytes())?), decimal(id.as_bytes())?);
    match word {
        "change" => Some(Frame::Change { term, id, change: parse_change(rest)? }),
        "changed" => Some(Frame::ChangeReply { term, id, verdict: parse_verdict(rest)? }),
        _ => None,
    }
}

fn small(text: &str) -> Option<u16> {
    u16::try_from(decimal(text.as_bytes())?).ok()
}

fn replica(text: &str) -> Option<ReplicaId> {
    small(text).map(ReplicaId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Address, Incarnation, Member};

    #[test]
    fn what_is_asked_and_said_is_read_back() {
        let id = ReplicaId(6);
        let address = Address { id, clients: "h:5006".into(), replicas: "h:7006".into() };
        for change in [Change::Join(Member { id, incarnation: Incarnation(0xa0) }, address), Change::Remove(id)] {
            assert_eq!(parse_change(&change_text(&change)), Some(change));
        }
        let refused = [
            Refusal::UnderWay,
            Refusal::IdInUse(id),
            Refusal::AddressInUse(id),
            Refusal::Removed,
            Refusal::Unknown(id),
            Refusal::NoAddress(id),
            Refusal::Founded,
            Refusal::FixedMembers,
            Refusal::FoundingUnderWay,
            Refusal::NotBlank(id),
            Refusal::OtherBook(id),
            Refusal::AskLower(id),
            Refusal::TooFewToFound { here: 2, needed: 3 },
            Refusal::LastVoter,
            Refusal::WouldLoseQuorum { voters: 4, alive: 2, needed: 3 },
        ];
        let verdicts = [Verdict::Done(Index(41)), Verdict::Noted, Verdict::Later];
        for verdict in verdicts.into_iter().chain(refused.map(Verdict::Refused)) {
            assert_eq!(parse_verdict(&verdict_text(verdict)), Some(verdict));
        }
    }

    #[test]
    fn another_text_is_neither() {
        for text in ["", "join", "join|6.a0|7 h:1 h:2", "join|6.a0|6 h:1", "remove|x", "remove|70000", "no|quorum|1|2"]
        {
            assert_eq!((parse_change(text), parse_verdict(text)), (None, None), "{text}");
        }
    }
}
