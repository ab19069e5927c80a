//! `plainsong status`: who leads, who is up, who lags, as one replica was last told.
//!
//! All replicas are asked at the same time, and the answer of the highest term that knows a leader is shown: a replica
//! that is cut off may answer too, and would tell an older story.

use std::io;

use futures_util::future::join_all;

use super::wire::Conversation;
use super::{Exit, StatusArgs, output};
use crate::config::Config;

/// Why there is no good status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answered.
    #[error("nobody answers:\n{0}\nstart the cluster with `plainsong cluster`, or name a replica with --server")]
    NobodyAnswers(String),
    /// Somebody answered, and knows no leader.
    #[error("no leader: too few replicas are up, or they are electing one; ask again in a second")]
    NoLeader,
    /// Standard output or the runtime failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl StatusError {
    /// The exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NobodyAnswers(_) => Exit::Unavailable,
            Self::NoLeader => Exit::Temporary,
            Self::Io(_) => Exit::Io,
        }
    }
}

/// What a replica answers to `11|`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    rows: Vec<Row>,
    /// Who answered.
    answered_by: u16,
    /// Who leads, as far as that one knows.
    pub leader: Option<u16>,
    /// In which term.
    pub term: u64,
    /// How many more replicas may fail.
    pub survives: u64,
}

/// A `replica|…` line, of which nothing is computed with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row([String; 6]);

const HEADINGS: [&str; 6] = ["ID", "ROLE", "ADDRESS", "STATE", "APPLIED", "LAG"];

impl Report {
    /// Reads an answer; fields that later versions add at the end of a line are passed over.
    pub(super) fn parse(answer: &[String]) -> Option<Self> {
        let (last, rows) = answer.split_last()?;
        let mut fields = last.strip_prefix("ok|status|")?.split('|');
        let mut number = || fields.next()?.parse::<u64>().ok();
        let answered_by = u16::try_from(number()?).ok()?;
        let leader = Some(u16::try_from(number()?).ok()?).filter(|&id| id != 0);
        let (term, survives) = (number()?, number()?);
        let rows = rows.iter().map(|line| Row::parse(line)).collect::<Option<_>>()?;
        Some(Self { rows, answered_by, leader, term, survives })
    }

    /// How far a replica had applied the log when it was last heard of.
    pub(super) fn applied(&self, id: u16) -> Option<u64> {
        let row = self.rows.iter().find(|row| row.0[0] == id.to_string())?;
        row.0[4].parse().ok()
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("replica|")?.split('|').map(str::to_owned);
        let mut field = || fields.next();
        Some(Self([field()?, field()?, field()?, field()?, field()?, field()?]))
    }
}

/// Asks for a report over a connection that is open.
pub(super) async fn ask(conversation: &mut Conversation) -> io::Result<Report> {
    let answer = conversation.ask("11|").await?;
    Report::parse(&answer).ok_or_else(|| io::Error::other(format!("not an answer to `11|`: {:?}", answer.last())))
}

/// Asks everybody, and prints the best answer.
pub fn run(args: &StatusArgs, config: &Config) -> Result<(), StatusError> {
    let servers = match &args.servers[..] {
        [] => config.replicas.iter().map(crate::config::ReplicaConfig::client_address).collect(),
        named => named.to_vec(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(join_all(servers.iter().map(|server| report_from(server))));
    let failures: Vec<_> = servers
        .iter()
        .zip(&answers)
        .filter_map(|(server, answer)| Some(format!("  {server}: {}", answer.as_ref().err()?)))
        .collect();
    let Some(best) = answers.into_iter().flatten().max_by_key(|report| (report.leader.is_some(), report.term)) else {
        return Err(StatusError::NobodyAnswers(failures.join("\n")));
    };
    output::print(&best.table())?;
    if best.leader.is_none() { Err(StatusError::NoLeader) } else { Ok(()) }
}

async fn report_from(server: &str) -> io::Result<Report> {
    ask(&mut Conversation::open(server).await?).await
}

impl Report {
    /// The rows in columns, and a line on the cluster.
    fn table(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(self.rows.iter().map(|row| row.0.clone()));
        let widths: Vec<_> = (0..HEADINGS.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for row in &rows {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
        text + &self.cluster_line()
    }

    fn cluster_line(&self) -> String {
        let leader = self.leader.map_or_else(|| "no leader".to_owned(), |id| format!("replica {id} leads"));
        format!(
            "{leader}, term {}; the cluster survives {} more failure{} (as replica {} knows it)\n",
            self.term,
            self.survives,
            if self.survives == 1 { "" } else { "s" },
            self.answered_by
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn a_report_becomes_a_table() {
        let report = Report::parse(&answer(&[
            "replica|2|leader|127.0.0.1:5002|up|1204|0",
            "replica|1|follower|127.0.0.1:5001|down|90|1114",
            "ok|status|1|2|7|1|a later field",
        ]))
        .expect("well-formed");
        assert_eq!((report.leader, report.term, report.survives), (Some(2), 7, 1));
        assert_eq!(
            report.table(),
            "ID  ROLE      ADDRESS         STATE  APPLIED  LAG\n\
             2   leader    127.0.0.1:5002  up     1204     0\n\
             1   follower  127.0.0.1:5001  down   90       1114\n\
             replica 2 leads, term 7; the cluster survives 1 more failure (as replica 1 knows it)\n"
        );
    }

    #[test]
    fn zero_is_no_leader() {
        let report = Report::parse(&answer(&["ok|status|3|0|9|0"])).expect("well-formed");
        assert_eq!(report.leader, None);
        assert!(report.table().contains("no leader, term 9; the cluster survives 0 more failures"));
    }

    #[test]
    fn another_answer_is_no_report() {
        for line in ["err|BAD_REQUEST|what", "ok|status|1|2|x|0", "ok|status|1|2|7", "ok|status|70000|2|7|0"] {
            assert_eq!(Report::parse(&answer(&[line])), None, "{line}");
        }
        assert_eq!(Report::parse(&answer(&["replica|1|leader", "ok|status|1|2|7|0"])), None);
        assert_eq!(Report::parse(&[]), None);
    }
}
