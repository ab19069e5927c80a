//! What `11|` tells, as numbers.

use super::{DrillError, Reply};

/// One `replica|…` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which replica.
    pub id: u16,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub role: String,
    /// Its client address as the configuration names it.
    pub address: String,
    /// Whether the leader has contact with it.
    pub up: bool,
    /// How far it has applied the log.
    pub applied: u64,
    /// How many entries it is behind.
    pub lag: u64,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Leader first, then by id.
    pub replicas: Vec<ReplicaStatus>,
    /// Who answered.
    pub this: u16,
    /// Who leads, if anybody.
    pub leader: Option<u16>,
    /// In which term.
    pub term: u64,
    /// How many more failures the cluster survives.
    pub spare: u64,
}

impl Status {
    /// Reads the answer to `11|`.
    ///
    /// # Errors
    /// [`DrillError::Protocol`] for any line that is not as the protocol page says.
    pub fn parse(reply: &Reply) -> Result<Self, DrillError> {
        let replicas = reply.data.iter().map(|line| parse_replica(line)).collect::<Result<_, _>>()?;
        let bad = || DrillError::Protocol { what: "a final line of status", line: reply.last.clone() };
        let numbers = reply.last.strip_prefix("ok|status|").ok_or_else(bad)?;
        let numbers: Vec<u64> =
            numbers.split('|').map(|field| field.parse().map_err(|_| bad())).collect::<Result<_, _>>()?;
        let &[this, leader, term, spare] = numbers.as_slice() else {
            return Err(bad());
        };
        let id = |number: u64| u16::try_from(number).map_err(|_| bad());
        Ok(Self { replicas, this: id(this)?, leader: Some(id(leader)?).filter(|&id| id != 0), term, spare })
    }

    /// The line of one replica.
    pub fn replica(&self, id: u16) -> Option<&ReplicaStatus> {
        self.replicas.iter().find(|replica| replica.id == id)
    }

    /// Everybody is up and votes.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.replicas.iter().all(|r| r.up && matches!(r.role.as_str(), "leader" | "follower"))
    }
}

fn parse_replica(line: &str) -> Result<ReplicaStatus, DrillError> {
    let bad = |what| DrillError::Protocol { what, line: line.to_owned() };
    let fields: Vec<&str> = line.split('|').collect();
    let &["replica", id, role, address, up, applied, lag] = fields.as_slice() else {
        return Err(bad("a data line of status"));
    };
    if !matches!(role, "leader" | "follower" | "candidate" | "learner") {
        return Err(bad("an unknown role"));
    }
    let up = match up {
        "up" => true,
        "down" => false,
        _ => return Err(bad("neither up nor down")),
    };
    let number = |field: &str| field.parse::<u64>().map_err(|_| bad("not a number"));
    let id = id.parse().map_err(|_| bad("not a replica id"))?;
    Ok(ReplicaStatus {
        id,
        role: role.to_owned(),
        address: address.to_owned(),
        up,
        applied: number(applied)?,
        lag: number(lag)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(data: &[&str], last: &str) -> Reply {
        Reply { key: None, data: data.iter().map(|&line| line.to_owned()).collect(), last: last.to_owned() }
    }

    #[test]
    fn reads_a_whole_answer() {
        let lines = ["replica|2|leader|h:5002|up|70|0", "replica|1|learner|h:5001|down|9|61"];
        let status = Status::parse(&reply(&lines, "ok|status|1|2|7|0")).expect("it is well-formed");
        assert_eq!((status.this, status.leader, status.term, status.spare), (1, Some(2), 7, 0));
        assert_eq!(status.replica(1).expect("listed").lag, 61);
        assert!(!status.is_whole());
    }

    #[test]
    fn zero_is_no_leader() {
        let status = Status::parse(&reply(&[], "ok|status|1|0|7|0")).expect("it is well-formed");
        assert_eq!(status.leader, None);
    }

    #[test]
    fn refuses_what_the_page_does_not_say() {
        for line in ["replica|1|boss|h:1|up|1|0", "replica|1|leader|h:1|yes|1|0", "replica|1|leader|h:1|up|1"] {
            assert!(Status::parse(&reply(&[line], "ok|status|1|1|1|1")).is_err(), "{line}");
        }
        for last in ["ok|status|1|1|1", "ok|status|1|x|1|1", "retry|BUSY|later"] {
            assert!(Status::parse(&reply(&[], last)).is_err(), "{last}");
        }
    }
}
