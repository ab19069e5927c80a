//! Sentences of the Raft paper (figure 2, sections 5.2 to 5.4), and rules beside it, that no golden script shows: one test each.

use bytes::Bytes;

use super::founding::Introduction;
use super::*;

const CLUSTER: ClusterId = ClusterId(1);

fn member(id: u16) -> Member {
    Member { id: ReplicaId(id), incarnation: Incarnation(1) }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index: Index(index), term: Term(term), time: 0, body: Body::Noop }
}

/// Replica 1 of a founded cluster, in term `term`, linked to all others. The log holds the founding record.
fn replica(voters: u16, term: u64) -> Node {
    let members: Vec<Member> = (1..=voters).map(member).collect();
    let record = Founding { cluster: CLUSTER, mode: Mode::Quorum, members: members.clone() };
    let run = |boot| Run { boot: Boot(boot), nonce: 0 };
    let recovered = Recovered {
        views: None,
        me: member(1),
        boot: Boot(1),
        hard_state: HardState { term: Term(term), vote: None },
        founding: FoundingState::Sealed,
        base: Base::default(),
        term_starts: vec![(Term(0), Index(1))],
        last: Index(1),
        last_time: 0,
        memberships: vec![(Index(1), Membership { voters: members, ..Membership::default() })],
        record: Some(record),
        applied: Index(1),
        cluster: None,
        peer_runs: (2..=voters).map(|id| (member(id), run(1))).collect(),
    };
    let ids = (1..=voters).map(ReplicaId).collect();
    let settings = Settings { run: run(1), ids, addresses: Vec::new(), book: 0, joins: false, fresh_cluster: CLUSTER };
    let mut node = Node::new(&recovered, settings);
    for id in 2..=voters {
        node.step(0, Input::LinkUp(introduction(id, Some(CLUSTER))));
    }
    answer(&mut node);
    node
}

fn introduction(id: u16, cluster: Option<ClusterId>) -> Introduction {
    let founding = if cluster.is_some() { FoundingState::Sealed } else { FoundingState::Blank };
    let last = Index(u64::from(cluster.is_some()));
    let run = Run { boot: Boot(1), nonce: 0 };
    Introduction { member: member(id), run, cluster, founding, book: 0, joins: false, last }
}

/// Carries the duties out as a disk that answers at once would. Returns all of them.
fn answer(node: &mut Node) -> Vec<Duty> {
    let mut all = Vec::new();
    loop {
        let duties = node.duties();
        if duties.is_empty() {
            return all;
        }
        for duty in &duties {
            if let Duty::Persist(batch) = duty {
                node.step(0, Input::Stored(batch.ticket));
            }
        }
        all.extend(duties);
    }
}

fn hears(node: &mut Node, from: u16, frame: Frame) -> Vec<Duty> {
    node.step(0, Input::Frame(member(from), frame));
    answer(node)
}

fn sent(duties: &[Duty]) -> Vec<Frame> {
    let frame = |duty: &Duty| if let Duty::Send(_, frame) = duty { Some(frame.clone()) } else { None };
    duties.iter().filter_map(frame).collect()
}

fn append(term: u64, prev: (u64, u64), commit: u64, entries: Vec<Entry>) -> Frame {
    let (prev, prev_term) = (Index(prev.0), Term(prev.1));
    Frame::Append { term: Term(term), prev, prev_term, commit: Index(commit), entries }
}

fn vote(term: u64, last: u64, last_term: u64) -> Frame {
    Frame::Vote { term: Term(term), last: Index(last), last_term: Term(last_term) }
}

fn says_yes(duties: &[Duty]) -> bool {
    sent(duties).iter().any(|f| matches!(f, Frame::VoteReply { granted: true, .. }))
}

#[test]
fn a_stale_term_is_answered_with_the_newer_one_and_has_no_other_effect() {
    let mut node = replica(3, 5);
    let said = hears(&mut node, 2, append(4, (1, 0), 1, vec![entry(2, 4)]));
    assert!(matches!(sent(&said)[..], [Frame::AppendReject { term: Term(5), .. }]), "{said:?}");
    assert!(!says_yes(&hears(&mut node, 3, vote(4, 9, 4))));
    assert_eq!((node.last(), node.hard_state().term, node.standing().leader), (Index(1), Term(5), None));
}

#[test]
fn a_vote_goes_to_the_first_who_asks_and_to_nobody_else_in_that_term() {
    let mut node = replica(3, 0);
    assert!(says_yes(&hears(&mut node, 2, vote(1, 1, 0))));
    assert!(!says_yes(&hears(&mut node, 3, vote(1, 1, 0))));
    assert!(says_yes(&hears(&mut node, 2, vote(1, 1, 0))), "the same question has the same answer");
    assert!(says_yes(&hears(&mut node, 3, vote(2, 1, 0))), "another term, another vote");
}

#[test]
fn the_later_term_is_the_newer_log_and_then_the_longer_one() {
    for (last, last_term, newer) in [(3, 2, true), (9, 1, false), (2, 3, true), (2, 2, false), (4, 2, true)] {
        let mut node = replica(3, 0);
        hears(&mut node, 2, append(2, (1, 0), 1, vec![entry(2, 1), entry(3, 2)]));
        assert_eq!(says_yes(&hears(&mut node, 3, vote(3, last, last_term))), newer, "{last}@{last_term}");
        assert_eq!(node.hard_state().term, Term(3), "refused or not, the term is taken over");
    }
}

#[test]
fn a_candidate_that_hears_from_the_leader_of_its_term_follows_it() {
    let mut node = replica(3, 0);
    node.step(0, Input::Campaign);
    answer(&mut node);
    hears(&mut node, 2, Frame::PreVoteReply { term: Term(1), granted: true });
    assert_eq!((node.standing().role, node.standing().term), (Role::Candidate, Term(1)));
    hears(&mut node, 3, append(1, (1, 0), 1, vec![entry(2, 1)]));
    assert_eq!((node.standing().role, node.standing().leader), (Role::Follower, Some(ReplicaId(3))));
    hears(&mut node, 2, Frame::VoteReply { term: Term(1), granted: true });
    assert_eq!(node.standing().role, Role::Follower, "a late vote makes nobody a leader");
}

#[test]
fn an_append_that_comes_late_or_twice_takes_nothing_back() {
    let mut node = replica(3, 0);
    hears(&mut node, 2, append(1, (1, 0), 1, vec![entry(2, 1), entry(3, 1), entry(4, 1)]));
    let said = hears(&mut node, 2, append(1, (1, 0), 1, vec![entry(2, 1)]));
    assert_eq!(node.last(), Index(4));
    let all = Frame::AppendOk { term: Term(1), matched: DurableIndex::claimed_by_peer(Index(4)) };
    assert_eq!(sent(&said), [all]);
}

#[test]
fn an_entry_that_contradicts_the_leader_goes_with_all_that_follow_it() {
    let mut node = replica(3, 0);
    hears(&mut node, 2, append(1, (1, 0), 1, vec![entry(2, 1), entry(3, 1), entry(4, 1)]));
    hears(&mut node, 3, append(2, (2, 1), 1, vec![entry(3, 2)]));
    let terms: Vec<_> = (1..=4).map(|i| node.log().term_at(Index(i)).map(|t| t.0)).collect();
    assert_eq!(terms, [Some(0), Some(1), Some(2), None]);
}

#[test]
fn a_follower_commits_no_further_than_the_last_entry_it_was_sent() {
    let mut node = replica(3, 0);
    hears(&mut node, 2, append(1, (1, 0), 1, vec![entry(2, 1), entry(3, 1)]));
    // The leader of term 2 has committed another entry 3; what this append vouches for ends at 2.
    hears(&mut node, 3, append(2, (2, 1), 3, Vec::new()));
    assert_eq!(node.commit(), Index(2));
    let beat = Frame::Beat { term: Term(2), round: Round(1), commit: Index(3) };
    hears(&mut node, 3, beat);
    assert_eq!(node.commit(), Index(2), "a pulse vouches for no more than the appends did");
}

#[test]
fn what_was_read_before_it_was_truncated_is_not_sent() {
    let mut node = replica(1, 0);
    node.step(0, Input::Campaign);
    answer(&mut node);
    node.step(0, Input::Propose(vec![Bytes::from_static(b"a")]));
    answer(&mut node);
    assert_eq!((node.standing().role, node.commit()), (Role::Leader, Index(3)));
    // A blank replica needs the log from 1, which is not in memory. What comes back says that entry 2 is of term 0, as
    // this disk did before this replica led term 1.
    node.step(0, Input::LinkUp(introduction(2, None)));
    let asked = Duty::Load(Reader::Peer(ReplicaId(2)), Index(1), Index(3));
    assert!(answer(&mut node).contains(&asked));
    node.step(0, Input::Loaded(Reader::Peer(ReplicaId(2)), vec![entry(1, 0), entry(2, 0)]));
    let duties = answer(&mut node);
    assert!(sent(&duties).is_empty() && duties.contains(&asked), "it is read again: {duties:?}");
    node.step(0, Input::Loaded(Reader::Peer(ReplicaId(2)), vec![entry(1, 0), entry(2, 1)]));
    assert!(matches!(sent(&answer(&mut node))[..], [Frame::Append { .. }, ..]));
}

/// A late answer to an old copy, seed 210 of the simulation: between the copy's offer and the answer more was cut away.
#[test]
fn who_answers_an_old_copy_too_late_is_offered_a_newer_one() {
    let mut node = replica(1, 0);
    node.step(0, Input::Campaign);
    answer(&mut node);
    let cut_at_the_end = |node: &mut Node| {
        node.step(0, Input::Propose(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]));
        answer(node);
        let index = node.commit();
        node.step(0, Input::Applied(index));
        node.step(0, Input::StateDurable(index));
        node.step(0, Input::Cut(Mark { index, digest: 0 }));
        answer(node);
        index
    };
    let first = cut_at_the_end(&mut node);
    node.step(0, Input::LinkUp(introduction(2, None)));
    assert!(answer(&mut node).contains(&Duty::MakeSnapshot(first)));
    let then = cut_at_the_end(&mut node);
    let late = Frame::AppendOk { term: Term(1), matched: DurableIndex::claimed_by_peer(first.next()) };
    assert!(hears(&mut node, 2, late).contains(&Duty::MakeSnapshot(then)), "nothing behind {first} can be sent");
}
