//! How frames and duties look in a script.

use plainsong::consensus::{
    Batch, Body, Change, Duty, Entry, FoundingState, Frame, Index, Member, Membership, Reader, Snapshot, Term, Verdict,
};

/// `4@2`: entry 4, of term 2.
pub fn at(index: Index, term: Term) -> String {
    format!("{index}@{term}")
}

pub fn entry(entry: &Entry) -> String {
    let said = match &entry.body {
        Body::Noop => "noop".to_owned(),
        Body::Founding(record) => format!("founding of {}", members(&record.members)),
        Body::Membership(membership) => {
            let places: Vec<_> = membership.addresses.iter().map(|a| a.replicas.trim_end_matches(":7000")).collect();
            let at = if places.is_empty() { String::new() } else { format!(", at {}", places.join(" ")) };
            format!("voters {}{at}", members(&membership.voters))
        }
        Body::Command(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
    };
    format!("{} {said}", at(entry.index, entry.term))
}

fn entries(all: &[Entry]) -> String {
    all.iter().map(entry).collect::<Vec<_>>().join(", ")
}

pub fn members(members: &[Member]) -> String {
    members.iter().map(Member::to_string).collect::<Vec<_>>().join(" ")
}

pub fn membership(membership: &Membership) -> String {
    let removed = &membership.removed;
    let gone = if removed.is_empty() { String::new() } else { format!(", removed {}", members(removed)) };
    format!("{}{gone}", members(&membership.voters))
}

pub fn frame(frame: &Frame) -> String {
    match frame {
        Frame::PreVote { term, last, last_term } => format!("PreVote term {term}, log ends {}", at(*last, *last_term)),
        Frame::PreVoteReply { term, granted } => format!("PreVoteReply term {term}: {}", yes(*granted)),
        Frame::Vote { term, last, last_term } => format!("Vote term {term}, log ends {}", at(*last, *last_term)),
        Frame::VoteReply { term, granted } => format!("VoteReply term {term}: {}", yes(*granted)),
        Frame::Append { term, prev, prev_term, commit, entries: all } => {
            let what = if all.is_empty() { "nothing".to_owned() } else { entries(all) };
            format!("Append term {term}, commit {commit}: after {} {what}", at(*prev, *prev_term))
        }
        Frame::Snapshot { term, snapshot } => format!("Snapshot term {term}: {}", copy(snapshot)),
        Frame::AppendOk { term, matched } => format!("AppendOk term {term}: durable up to {}", matched.index()),
        Frame::AppendReject { term, prev, hint, hint_term } => {
            format!("AppendReject term {term}: not after {prev}; perhaps after {}", at(*hint, *hint_term))
        }
        Frame::TimeoutNow { term } => format!("TimeoutNow term {term}"),
        Frame::ReadIndex { term, id } => format!("ReadIndex term {term}: read {id}"),
        Frame::ReadIndexReply { term, id, index } => format!("ReadIndexReply term {term}: read {id} at {index}"),
        Frame::Change { term, id, change } => format!("Change term {term}: {id} asks: {}", asked(change)),
        Frame::ChangeReply { term, id, verdict } => format!("ChangeReply term {term}: to {id}: {}", said(*verdict)),
        Frame::Forward { term, payloads } => format!("Forward term {term}: {} proposals", payloads.len()),
        Frame::Beat { term, round, commit } => format!("Beat term {term}, round {round}, commit {commit}"),
        Frame::BeatReply { term, round, received } => {
            format!("BeatReply term {term}, round {round}: received {received}")
        }
        Frame::Found(record) => format!("Found cluster of {}", members(&record.members)),
        Frame::FoundingNews { cluster, state } => {
            format!(
                "FoundingNews {}, {}",
                cluster.map_or("no cluster", |cluster| if cluster.0 == 0xbee {
                    "the new cluster"
                } else {
                    "the cluster"
                }),
                founding(*state)
            )
        }
        Frame::View(frame) => format!("{frame:?}"),
    }
}

fn copy(snapshot: &Snapshot) -> String {
    let named: Vec<String> = snapshot.named.iter().map(entry).collect();
    format!("the state after {}, with {}", at(snapshot.base.index, snapshot.base.term), named.join(", "))
}

fn asked(change: &Change) -> String {
    match change {
        Change::Join(member, address) => format!("{member} joins, at {}", address.replicas),
        Change::Remove(id) => format!("remove {id}"),
    }
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Done(index) => format!("done, by entry {index}"),
        Verdict::Noted => "expected: it votes when it has caught up".to_owned(),
        Verdict::Later => "ask again later".to_owned(),
        Verdict::Refused(why) => format!("no, {why}"),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

pub fn founding(state: FoundingState) -> &'static str {
    match state {
        FoundingState::Blank => "blank",
        FoundingState::Copied => "copied",
        FoundingState::Sealed => "sealed",
    }
}

pub fn batch(batch: &Batch) -> String {
    let mut parts = Vec::new();
    if let Some(hard) = batch.hard_state {
        let vote = hard.vote.map_or_else(|| "no vote".to_owned(), |m| format!("vote for {m}"));
        parts.push(format!("term {}, {vote}", hard.term));
    }
    if batch.cluster.is_some() {
        parts.push("a new cluster".to_owned());
    }
    if let Some(state) = batch.founding {
        parts.push(founding(state).to_owned());
    }
    if let Some(from) = batch.truncate_from {
        parts.push(format!("truncate from {from}"));
    }
    if !batch.append.is_empty() {
        parts.push(format!("append {}", entries(&batch.append)));
    }
    if let Some(mark) = batch.cut {
        parts.push(format!("cut up to {}", mark.index));
    }
    parts.join("; ")
}

/// What a duty looks like; nothing for those that say nothing new.
pub fn duty(duty: &Duty) -> Option<String> {
    Some(match duty {
        // Who was linked to whom is not the subject here.
        Duty::Persist(write) if batch(write).is_empty() => return None,
        Duty::Persist(write) => format!("writes #{}: {}", write.ticket, batch(write)),
        Duty::Send(to, said) | Duty::Pulse(to, said) => format!("→ {to}  {}", frame(said)),
        Duty::Apply(applied) => format!("applies {}", entries(applied)),
        Duty::Load(Reader::Peer(id), from, to) => format!("loads {from} to {to}, for {id}"),
        Duty::Load(Reader::State, from, to) => format!("loads {from} to {to}, for its state"),
        Duty::MakeSnapshot(index) => format!("makes a copy of its state, after {index} at least"),
        Duty::Fetch(from, snapshot) => format!("fetches from {from} {}", copy(snapshot)),
        Duty::Install(snapshot) => format!("ends, to start anew from {}", copy(snapshot)),
        Duty::GaveUp { from, count, to } => format!("gives {count} up from {from} on, to view {to}"),
        Duty::StartAnew(_) => "ends, to start anew".to_owned(),
        Duty::ReadReady(id, index) => format!("answers read {id} as of {index}"),
        Duty::HeardLeader => return None,
        Duty::Standing(standing) => {
            let leader = match standing.leader {
                Some(leader) => format!("led by {leader}"),
                None => "led by nobody".to_owned(),
            };
            format!("is {:?} in term {}, {leader}", standing.role, standing.term).to_lowercase()
        }
        Duty::StandSoon => "will stand soon".to_owned(),
        Duty::Founded(_) => "knows that the cluster is founded".to_owned(),
        Duty::ChangeAnswered(id, verdict) => format!("answers change {id}: {}", said(*verdict)),
        Duty::Dismissed => "is removed".to_owned(),
        Duty::RefuseRemoved(member, run) => format!("refuses {member}, boot {}: it was removed", run.boot),
        Duty::Voters(voters) => format!("voters: {}", membership(voters)),
        Duty::RefuseRestored(member, run) => format!("refuses {member}, boot {}: a restored copy", run.boot),
    })
}
