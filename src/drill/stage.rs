//! What all drills share: a cluster, a writer that goes on in the background, marks for what is done to the cluster,
//! and the judgement at the end, which is the clients' view: everything acknowledged is read back, from every replica
//! that runs, and compared.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::enclosure::{fill_disk, mount_small_disk};
use super::judge::{Verdict, judge, longest_gap};
use super::load::{ACK_WAIT, Load, Written};
use super::network::Network;
use super::picture::{Mark, MarkKind, Point, Timeline};
use super::report::Report;
use super::{Cluster, ClusterOptions, DrillError, Host, KeyedWriter, LineClient, Needs, read_mailbox, wait_until};

/// The account that the writer speaks for.
pub const WRITER: &str = "writer";
/// The account whose mailbox is judged.
pub const READER: &str = "reader";
/// All replicas are up and vote again within this after the last one was mended, also one that starts blank.
const RECOVERY_WAIT: Duration = Duration::from_secs(90);
/// A mailbox can be read within this at a replica that was mended.
const READ_WAIT: Duration = Duration::from_secs(30);
/// What one small disk holds: more than any drill writes, so that it is full only when the drill fills it.
const SMALL_DISK_MEGABYTES: u64 = 96;

/// How to run a drill.
#[derive(Clone, Debug)]
pub struct Options {
    /// At least so many messages.
    pub messages: usize,
    /// How long a pause or a cut lasts, where the drill has one.
    pub lasting: Duration,
    /// Where random places come from.
    pub seed: u64,
    /// Leave the replicas' data and logs in place, and say where.
    pub keep: bool,
    /// This process is in namespaces of the drill's own.
    pub enclosed: bool,
}

/// The cluster under test, its writer, and what was seen so far.
#[derive(Debug)]
pub struct Stage {
    /// The replicas.
    pub cluster: Cluster,
    /// Theirs, for the drills that cut links.
    pub network: Option<Network>,
    /// As asked for.
    pub options: Options,
    name: &'static str,
    load: Option<Load>,
    written: Option<Written>,
    began: Instant,
    marks: Vec<(Instant, MarkKind, String)>,
    recoveries: Vec<Duration>,
    readings: Vec<Vec<String>>,
    others: Verdict,
    report: Report,
}

impl Stage {
    /// Starts the replicas and the writer, who writes through followers.
    ///
    /// # Errors
    /// When the cluster does not start, or the machine lacks what the drill needs.
    pub fn open(binary: &Path, drill: &super::Drill, options: &Options) -> Result<Self, DrillError> {
        let network = match drill.needs {
            Needs::Network => Some(Network::make(drill.replicas)?),
            Needs::NetworkIfPermitted if options.enclosed => Some(Network::make(drill.replicas)?),
            Needs::NetworkIfPermitted | Needs::Nothing | Needs::SmallDisks => None,
        };
        let mut cluster = start_cluster(binary, drill, network.as_ref())?;
        if options.keep {
            let dir = cluster.keep_files().display();
            eprintln!("plainsong: the replicas' files stay in {dir}");
        }
        let leader = cluster.await_leader()?;
        create_accounts(&cluster, leader, &[WRITER, READER])?;
        let route = followers(&cluster, leader).iter().map(|&id| cluster.address(id)).collect();
        let began = Instant::now();
        Ok(Self {
            load: Some(Load::start(KeyedWriter::new(WRITER, READER, route), drill.pace, options.messages)),
            cluster,
            network,
            options: options.clone(),
            name: drill.name,
            written: None,
            began,
            marks: Vec::new(),
            recoveries: Vec::new(),
            readings: Vec::new(),
            others: Verdict::default(),
            report: Report { name: drill.name.to_owned(), ..Report::default() },
        })
    }

    /// The leader, and the running rest with the highest id first: the lowest is the likeliest to lead next.
    ///
    /// # Errors
    /// When there is no agreement on a leader.
    pub fn roles(&self) -> Result<(u16, Vec<u16>), DrillError> {
        let leader = self.cluster.await_leader()?;
        Ok((leader, followers(&self.cluster, leader)))
    }

    /// Waits for so many more acknowledgements.
    ///
    /// # Errors
    /// When the writer cannot get on.
    pub fn flow(&self, more: usize) -> Result<(), DrillError> {
        self.load().await_acks(more)
    }

    /// How many messages were acknowledged so far.
    pub fn acked(&self) -> usize {
        self.load().acked()
    }

    /// How often the writer was refused so far, or lost its connection.
    pub fn refusals(&self) -> usize {
        self.load().refusals()
    }

    /// From the next message on, the writer goes through these replicas; the first, and the next when one fails.
    pub fn route(&self, through: &[u16]) {
        self.load().redirect(through.iter().map(|&id| self.cluster.address(id)).collect());
    }

    /// Breaks something; the gap that is judged begins here.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn hit<T>(
        &mut self,
        label: &str,
        act: impl FnOnce(&mut Cluster) -> Result<T, DrillError>,
    ) -> Result<T, DrillError> {
        self.mark(MarkKind::Hit, label);
        act(&mut self.cluster)
    }

    /// Mends something.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn heal<T>(
        &mut self,
        label: &str,
        act: impl FnOnce(&mut Cluster) -> Result<T, DrillError>,
    ) -> Result<T, DrillError> {
        self.mark(MarkKind::Heal, label);
        act(&mut self.cluster)
    }

    /// Drops everything from any of `from` to any of `to`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&mut self, label: &str, directions: &[(&[u16], &[u16])]) -> Result<(), DrillError> {
        self.mark(MarkKind::Hit, label);
        let network = self.network.as_mut().expect("a drill that cuts has asked for a network");
        directions.iter().try_for_each(|(from, to)| network.cut(from, to))
    }

    /// Undoes all cuts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join(&mut self) -> Result<(), DrillError> {
        self.mark(MarkKind::Heal, "links back");
        self.network.as_mut().expect("a drill that cuts has asked for a network").heal()
    }

    /// Fills a replica's small disk; [`Stage::free`] undoes it.
    ///
    /// # Errors
    /// When it cannot be filled.
    pub fn fill(&mut self, id: u16) -> Result<(), DrillError> {
        fill_disk(&self.ballast(id))
    }

    /// Makes room again on a small disk.
    ///
    /// # Errors
    /// When the ballast cannot be removed.
    pub fn free(&mut self, id: u16) -> Result<(), DrillError> {
        std::fs::remove_file(self.ballast(id)).map_err(DrillError::io("remove the ballast"))
    }

    fn ballast(&self, id: u16) -> PathBuf {
        self.cluster.data_dir(id).join("ballast")
    }

    /// Waits until every replica is up and votes; counted from the last mark.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn recover(&mut self) -> Result<(), DrillError> {
        self.say("waiting until every replica votes");
        let what = "every replica is up and votes again";
        self.cluster.await_state_within(what, RECOVERY_WAIT, super::Status::is_whole)?;
        let since = self.marks.last().map_or(self.began, |&(at, ..)| at);
        self.recoveries.push(since.elapsed());
        Ok(())
    }

    /// Lets a time pass that is part of the drill.
    ///
    /// # Errors
    /// None: a wait must have an end.
    pub fn last(&self, time: Duration) -> Result<(), DrillError> {
        self.say(&format!("for {time:.1?}"));
        let since = Instant::now();
        wait_until("time passes", time * 2, || (since.elapsed() >= time).then_some(()))
    }

    /// A further finding for the verdict line.
    pub fn fact(&mut self, name: &str, value: impl ToString) {
        self.report.facts.push((name.to_owned(), value.to_string()));
    }

    /// A promise beside the mailbox: the drill fails if it is broken.
    pub fn promise(&mut self, kept: bool, otherwise: &str) {
        if !kept && !self.report.broken.iter().any(|why| why == otherwise) {
            self.report.broken.push(otherwise.to_owned());
        }
    }

    /// The reader has read this, in place of what is left in its mailbox.
    pub fn has_read(&mut self, texts: Vec<String>) {
        self.readings.push(texts);
    }

    /// Adds the verdict on other writers.
    pub fn judge_also(&mut self, verdict: Verdict) {
        self.others = self.others.plus(verdict);
    }

    /// Ends the writer after a further message; returns everything that it tried.
    ///
    /// # Errors
    /// When the writer gave up: a drill that asks for more than it cannot go on.
    pub fn end_of_writing(&mut self) -> Result<&[String], DrillError> {
        let written = self.load.take().expect("the writing ends once").finish();
        Ok(&self.written.insert(written).attempted)
    }

    /// For whoever watches.
    pub fn say(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            eprintln!("{}: {:6.1} s  {text}", self.name, self.began.elapsed().as_secs_f64());
        }
    }

    /// Reads everything back and judges.
    ///
    /// # Errors
    /// When a running replica does not serve the mailbox.
    pub fn close(mut self) -> Result<(Report, Timeline), DrillError> {
        if self.written.is_none() {
            self.end_of_writing()?;
        }
        let written = self.written.take().expect("the writing has just ended");
        if self.readings.is_empty() {
            for id in self.cluster.running() {
                self.readings.push(read_at(&self.cluster, id)?);
            }
        }
        let acknowledged = written.acknowledged();
        let verdicts = self.readings.iter().map(|read| judge(&written.attempted, acknowledged, read));
        let verdict = verdicts.reduce(Verdict::worse);
        let mut report = self.report;
        report.verdict = verdict.unwrap_or_default().plus(self.others);
        if verdict.is_none() {
            report.broken.push("no replica runs that could be read from".to_owned());
        }
        if let Some(error) = &written.gave_up {
            report.broken.push(format!("the writer gave up: {error}"));
        }
        report.gaps = gaps(&written, &self.marks);
        if !self.recoveries.is_empty() {
            let times: Vec<String> = self.recoveries.iter().map(|time| time.as_millis().to_string()).collect();
            report.facts.insert(0, ("recovered_ms".to_owned(), times.join(",")));
        }
        let timeline = timeline(self.began, &written, &self.marks);
        if !report.passes() {
            eprintln!("{}", self.cluster.log_tails());
        }
        Ok((report, timeline))
    }

    fn load(&self) -> &Load {
        self.load.as_ref().expect("a drill asks for progress while the writer writes")
    }

    fn mark(&mut self, kind: MarkKind, label: &str) {
        self.say(label);
        self.marks.push((Instant::now(), kind, label.to_owned()));
    }
}

fn start_cluster(binary: &Path, drill: &super::Drill, network: Option<&Network>) -> Result<Cluster, DrillError> {
    let hosts: Vec<Host> = match network {
        Some(network) => network.hosts(),
        None => Host::loopback(drill.replicas),
    };
    let options = ClusterOptions {
        replicas: drill.replicas,
        // Off loopback replicas must share a secret.
        extra: format!("{}\n{}", if network.is_some() { "secret: for-the-drill" } else { "" }, drill.config),
    };
    Cluster::start_on(binary, &options, &hosts, |cluster| match drill.needs {
        Needs::SmallDisks => {
            let mut ids = cluster.ids().into_iter();
            ids.try_for_each(|id| mount_small_disk(&cluster.data_dir(id), SMALL_DISK_MEGABYTES))
        }
        Needs::Nothing | Needs::Network | Needs::NetworkIfPermitted => Ok(()),
    })
}

/// Creates accounts without passwords, many at a time.
///
/// # Errors
/// When one is refused.
pub fn create_accounts(cluster: &Cluster, at: u16, names: &[impl AsRef<str>]) -> Result<(), DrillError> {
    let mut client = cluster.connect(at, ACK_WAIT)?;
    let requests: Vec<String> = names.iter().map(|name| format!("1|{}", name.as_ref())).collect();
    client.send(&requests.join("\n"))?;
    for request in requests {
        let answer = client.reply()?;
        if !answer.is_ok() {
            return Err(DrillError::Refused { request, answer: answer.last });
        }
    }
    Ok(())
}

fn followers(cluster: &Cluster, leader: u16) -> Vec<u16> {
    cluster.running().into_iter().rev().filter(|&id| id != leader).collect()
}

/// The reader's mailbox at a replica, once it serves.
///
/// # Errors
/// What it said last when it does not.
fn read_at(cluster: &Cluster, id: u16) -> Result<Vec<String>, DrillError> {
    let mut last = None;
    let read = wait_until("a replica serves the mailbox", READ_WAIT, || {
        read_mailbox(cluster.address(id), READER).map_err(|error| last = Some(error)).ok()
    });
    match read {
        Ok(messages) => Ok(messages.into_iter().map(|message| message.text).collect()),
        Err(timeout) => Err(last.unwrap_or(timeout)),
    }
}

/// From each hit to the next: the longest time without an acknowledgement. Without hits, over all.
fn gaps(written: &Written, marks: &[(Instant, MarkKind, String)]) -> Vec<Option<Duration>> {
    let acks: Vec<Instant> = written.sent.iter().map(|sent| sent.acked).collect();
    let (Some(&first), Some(&last)) = (acks.first(), acks.last()) else {
        return vec![None];
    };
    let mut hits: Vec<Instant> = marks.iter().filter(|mark| mark.1 == MarkKind::Hit).map(|mark| mark.0).collect();
    if hits.is_empty() {
        hits.push(first);
    }
    let ends = hits.iter().skip(1).copied().chain([last]);
    hits.iter().zip(ends).map(|(&from, until)| longest_gap(&acks, from, until)).collect()
}

fn timeline(began: Instant, written: &Written, marks: &[(Instant, MarkKind, String)]) -> Timeline {
    let points = written
        .sent
        .iter()
        .map(|sent| Point { at: sent.began.saturating_duration_since(began), took: sent.acked - sent.began });
    let marks = marks.iter().map(|(at, kind, label)| Mark {
        at: at.saturating_duration_since(began),
        kind: *kind,
        label: label.clone(),
    });
    Timeline { points: points.collect(), marks: marks.collect() }
}

/// A reader that keeps its connection and asks again and again.
#[derive(Debug)]
pub struct Probe {
    client: LineClient,
    asked_after: usize,
}

/// What a [`Probe`] was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Everything that had been acknowledged when it asked.
    Fresh,
    /// So many of these were not there.
    Stale(usize),
    /// `retry|CODE|…`, and the code.
    Refused(String),
}

impl Probe {
    /// Logs in at a replica, in manual mode: what is read stays in the mailbox.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn open(cluster: &Cluster, id: u16) -> Result<Self, DrillError> {
        let mut client = cluster.connect(id, ACK_WAIT)?;
        for request in ["9|0".to_owned(), format!("2|{READER}")] {
            let answer = client.request(&request)?.last;
            if !answer.starts_with("ok|") {
                return Err(DrillError::Refused { request, answer });
            }
        }
        Ok(Self { client, asked_after: 0 })
    }

    /// Asks for the mailbox. Whatever was acknowledged before must be in the answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ask(&mut self, stage: &Stage) -> Result<(), DrillError> {
        self.asked_after = stage.acked();
        self.client.send("6|")
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// When there is none, or an `err`.
    pub fn answer(&mut self) -> Result<Seen, DrillError> {
        let reply = self.client.reply()?;
        if let Some(rest) = reply.last.strip_prefix("retry|") {
            return Ok(Seen::Refused(rest.split('|').next().unwrap_or_default().to_owned()));
        }
        let asked_after = self.asked_after;
        // What was pushed meanwhile is not acked, and stands in the reply as well.
        self.client.pushes_so_far();
        let shown = reply.messages()?.into_iter().filter(|message| {
            let number = message.text.split(' ').nth(1).and_then(|number| number.parse().ok());
            number.is_some_and(|number: usize| number <= asked_after)
        });
        let missing = asked_after.saturating_sub(shown.count());
        Ok(if missing == 0 { Seen::Fresh } else { Seen::Stale(missing) })
    }
}
