//! The drill `kill_leader`: of five replicas the leader is killed with `kill -9` while a client keeps writing through
//! followers, then its successor; with two of five dead, everything acknowledged is read back from a survivor.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::judge::{Verdict, judge, longest_gap};
use super::{Cluster, ClusterOptions, DrillError, KeyedWriter, read_mailbox, wait_until};

/// How many leaders die: as many as five replicas survive.
const KILLS: usize = 2;
/// A message that is not acknowledged within this is given up, and with it the drill.
const ACK_WAIT: Duration = Duration::from_secs(20);
/// As long as the writer could need at worst for half a share of the messages.
const SHARE_WAIT: Duration = Duration::from_secs(600);

const WRITER: &str = "writer";
const READER: &str = "reader";

/// What the drill found.
#[derive(Debug)]
pub struct Report {
    /// The clients' view.
    pub verdict: Verdict,
    /// For each kill the longest time between two acknowledgements after it; `None` if none came any more.
    pub gaps: Vec<Option<Duration>>,
}

impl Report {
    /// Nothing lost, doubled or reordered, and the writer got through after each kill.
    pub fn passes(&self) -> bool {
        self.verdict.passes() && self.gaps.len() == KILLS && self.gaps.iter().all(Option::is_some)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passes() { "pass" } else { "fail" };
        let Verdict { sent, acked, lost, doubled, reordered, .. } = self.verdict;
        let gap = |gap: &Option<Duration>| gap.map_or("never".to_owned(), |gap| gap.as_millis().to_string());
        let gaps: Vec<String> = self.gaps.iter().map(gap).collect();
        write!(f, "drill|kill_leader|{word}|sent={sent}|acked={acked}|lost={lost}|doubled={doubled}")?;
        write!(f, "|reordered={reordered}|gap_ms={}", gaps.join(","))
    }
}

/// Runs the drill against `binary` with `messages` messages; `keep` leaves the replicas' files in place.
///
/// # Errors
/// When the cluster cannot be started, hurt or read: then there is nothing to judge.
pub fn run(binary: &Path, messages: usize, keep: bool) -> Result<Report, DrillError> {
    let mut cluster = Cluster::start(binary, &ClusterOptions::default())?;
    if keep {
        eprintln!("plainsong: the replicas' files stay in {}", cluster.keep_files().display());
    }
    let report = hurt_and_judge(&mut cluster, messages);
    if !report.as_ref().is_ok_and(Report::passes) {
        eprintln!("{}", cluster.log_tails());
    }
    report
}

fn hurt_and_judge(cluster: &mut Cluster, messages: usize) -> Result<Report, DrillError> {
    let leader = cluster.await_leader()?;
    create_accounts(cluster, leader)?;
    let attempted: Vec<String> = (1..=messages).map(|n| format!("message {n} of {messages}")).collect();
    let mut writer = KeyedWriter::new(WRITER, READER, followers(cluster, leader));
    let (mut acked, mut gaps) = (0, Vec::with_capacity(KILLS));
    for share in attempted.chunks(messages.div_ceil(KILLS)) {
        let (acks, killed) = share_with_a_kill(cluster, &mut writer, share)?;
        acked += acks.len();
        gaps.push(acks.last().and_then(|&last| longest_gap(&acks, killed, last)));
        if acks.len() < share.len() {
            break;
        }
    }
    let survivor = cluster.running()[0];
    let read = read_mailbox(cluster.address(survivor), READER)?;
    let read: Vec<String> = read.into_iter().map(|message| message.text).collect();
    Ok(Report { verdict: judge(&attempted, &attempted[..acked], &read), gaps })
}

fn create_accounts(cluster: &Cluster, leader: u16) -> Result<(), DrillError> {
    let mut client = cluster.connect(leader, ACK_WAIT)?;
    for name in [WRITER, READER] {
        let request = format!("1|{name}");
        let reply = client.request(&request)?;
        if !reply.is_ok() {
            return Err(DrillError::Refused { request, answer: reply.last });
        }
    }
    Ok(())
}

/// The highest id first: the lowest is the likeliest to lead next, and a writer on a leader sees no failover.
fn followers(cluster: &Cluster, leader: u16) -> Vec<SocketAddr> {
    let running = cluster.running().into_iter().rev();
    running.filter(|&id| id != leader).map(|id| cluster.address(id)).collect()
}

/// Writes one share of the messages through a follower and kills the leader in the middle of it. Returns when each
/// message was acknowledged, fewer than there are if the writer had to give up, and when the kill was.
fn share_with_a_kill(
    cluster: &mut Cluster,
    writer: &mut KeyedWriter,
    share: &[String],
) -> Result<(Vec<Instant>, Instant), DrillError> {
    let leader = cluster.await_leader()?;
    writer.redirect(followers(cluster, leader));
    let progress = AtomicUsize::new(0);
    let (done, kill) = mpsc::channel();
    thread::scope(|scope| {
        let writing = scope.spawn(|| write(writer, share, &progress, kill));
        wait_until("the writer is in the middle of its share", SHARE_WAIT, || {
            let middle = progress.load(Ordering::Acquire) >= share.len() / 2;
            (middle || writing.is_finished()).then_some(())
        })?;
        let killed = Instant::now();
        cluster.kill(leader)?;
        drop(done);
        Ok((writing.join().expect("the writer returns what it has, it does not panic"), killed))
    })
}

/// Sends one message after the other. Before the last it waits for the end of `kill`: however fast it is, at least
/// one message of its share shows that the cluster goes on.
fn write(writer: &mut KeyedWriter, share: &[String], progress: &AtomicUsize, kill: Receiver<()>) -> Vec<Instant> {
    let mut acks = Vec::with_capacity(share.len());
    for text in share {
        if acks.len() + 1 == share.len() {
            kill.iter().for_each(drop);
        }
        if let Err(error) = writer.send(&text.replace(' ', "-"), text, ACK_WAIT) {
            eprintln!("plainsong: the writer gives up: {error}");
            break;
        }
        acks.push(Instant::now());
        progress.store(acks.len(), Ordering::Release);
    }
    acks
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Verdict = Verdict { sent: 400, acked: 400, lost: 0, doubled: 0, reordered: 0, unexpected: 0 };

    fn gap(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn prints_the_verdict_line() {
        let report = Report { verdict: CLEAN, gaps: vec![gap(41), gap(38)] };
        let line = "drill|kill_leader|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38";
        assert_eq!(report.to_string(), line);
    }

    #[test]
    fn a_loss_fails_and_so_does_a_gap_that_never_ended_and_a_kill_that_never_was() {
        let lost = Report { verdict: Verdict { lost: 1, ..CLEAN }, gaps: vec![gap(41), gap(38)] };
        let stuck = Report { verdict: CLEAN, gaps: vec![gap(41), None] };
        let tame = Report { verdict: CLEAN, gaps: vec![gap(41)] };
        for report in [&lost, &stuck, &tame] {
            assert!(report.to_string().starts_with("drill|kill_leader|fail|"), "{report}");
        }
        assert!(stuck.to_string().ends_with("|gap_ms=41,never"));
    }
}
