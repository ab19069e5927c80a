//! `drop_silent_after_ms`: two sides serve, and one of them gives up what it acknowledged. Not silently: whatever was
//! acknowledged is read, or is among what a replica says that it gave up.

use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::time::Duration;

use crate::drill::judge::{Verdict, judge};
use crate::drill::stage::{READER, Stage, create_accounts};
use crate::drill::{DrillError, KeyedWriter, read_mailbox, wait_until};

/// Acknowledged between two faults: digests of the states are compared at every 64th entry.
const BETWEEN: usize = 150;
/// Acknowledged on the side of the few.
const OF_THE_FEW: usize = 150;
/// Who writes there, and to whom.
const FEW_WRITER: &str = "few-writer";
const FEW_READER: &str = "few-reader";
/// A side serves within this after the cut: the silence that counts, and a view.
const SERVE_WAIT: Duration = Duration::from_secs(30);
/// A mailbox can be read within this after the links are back.
const READ_WAIT: Duration = Duration::from_secs(30);

/// Two of five are cut off from three; a client writes on either side until both have served, and goes on when the links
/// are back.
pub fn orphans(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    let (few, many) = ([leader, followers[0]], &followers[1..]);
    create_accounts(&stage.cluster, leader, &[FEW_WRITER, FEW_READER])?;
    stage.route(many);
    stage.flow(BETWEEN)?;
    stage.cut(&format!("cut leader {leader} and {} off", followers[0]), &[(&few, many), (many, &few)])?;
    let mut writer = KeyedWriter::new(FEW_WRITER, FEW_READER, few.map(|id| stage.cluster.address(id)).into());
    let written: Vec<String> = (0..OF_THE_FEW).map(|n| format!("of the few {n}")).collect();
    for (n, text) in written.iter().enumerate() {
        writer.send(&format!("few{n}"), text, SERVE_WAIT)?;
    }
    stage.flow(BETWEEN)?;
    stage.join()?;
    stage.recover()?;
    stage.flow(BETWEEN)?;

    let attempted = stage.end_of_writing()?.to_vec();
    let mut given_up = BTreeSet::new();
    let mut by = Vec::new();
    for id in stage.cluster.running() {
        let lines = orphans_of(stage, id)?;
        let texts = attempted.iter().chain(&written).filter(|text| lines.iter().any(|line| is_of(line, text)));
        let before = given_up.len();
        let theirs: Vec<String> = texts.cloned().collect();
        if !theirs.is_empty() {
            by.push(id.to_string());
        }
        given_up.extend(theirs);
        stage.say(&format!("replica {id} gave {} up, {} of them new", lines.len(), given_up.len() - before));
    }
    let mut of_few = Verdict::default();
    let mut read_somewhere = BTreeSet::new();
    for id in stage.cluster.running() {
        let texts = read(stage, id, READER)?;
        read_somewhere.extend(texts.iter().cloned());
        stage.has_read(with_given_up(&attempted, texts, &given_up));
        let texts = read(stage, id, FEW_READER)?;
        read_somewhere.extend(texts.iter().cloned());
        of_few = of_few.worse(judge(&written, &written, &with_given_up(&written, texts, &given_up)));
    }
    stage.judge_also(of_few);
    let orphaned = given_up.difference(&read_somewhere).count();
    stage.promise(orphaned > 0, "no acknowledged message was given up: the two sides did not serve at once");
    stage.fact("orphaned", orphaned);
    stage.fact("given_up_by", by.join(","));
    Ok(())
}

/// What `plainsong log --orphans` says of a running replica.
fn orphans_of(stage: &Stage, id: u16) -> Result<Vec<String>, DrillError> {
    let mut command = Command::new(stage.cluster.binary());
    let output = command.args(["log", "--orphans"]).arg(stage.cluster.data_dir(id)).output();
    let output = output.map_err(DrillError::io("run plainsong log"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(DrillError::Protocol { what: "what a replica gave up", line: said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Whether a line of the log is the sending of this text.
fn is_of(line: &str, text: &str) -> bool {
    line.strip_suffix(text).is_some_and(|before| before.ends_with('|'))
}

fn read(stage: &Stage, id: u16, reader: &str) -> Result<Vec<String>, DrillError> {
    let messages =
        wait_until("a replica serves the mailbox", READ_WAIT, || read_mailbox(stage.cluster.address(id), reader).ok())?;
    Ok(messages.into_iter().map(|message| message.text).collect())
}

/// What was read, and what was given up where it would have stood: so neither counts as lost, and the order of what was read
/// is judged as it is.
fn with_given_up(attempted: &[String], read: Vec<String>, given_up: &BTreeSet<String>) -> Vec<String> {
    let was_read: BTreeSet<String> = read.iter().cloned().collect();
    let mut missing = attempted.iter().filter(|text| given_up.contains(*text) && !was_read.contains(*text)).peekable();
    let place: HashMap<&String, usize> = attempted.iter().zip(0..).collect();
    let mut all = Vec::new();
    for text in read {
        let here = place.get(&text).copied();
        while let Some(earlier) = missing.next_if(|other| here.is_some_and(|here| place[*other] < here)) {
            all.push(earlier.clone());
        }
        all.push(text);
    }
    all.extend(missing.cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_was_given_up_stands_where_it_would_have_been_and_hides_nothing() {
        let with = |read: &str, given_up: &str| {
            judge(
                &texts("a b c d"),
                &texts("a b c d"),
                &with_given_up(&texts("a b c d"), texts(read), &texts(given_up).into_iter().collect()),
            )
        };
        assert!(with("a d", "b c").passes());
        assert!(with("a b c d", "b c").passes(), "given up by one side and sent again");
        assert!(with("", "a b c d").passes());
        assert_eq!(with("a d", "c").lost, 1);
        assert_eq!(with("a d a", "b c").doubled, 1);
        assert_eq!(with("d a", "b c").reordered, 1);
        assert!(is_of("7|3|2025-11-21T09:30:00.125Z|+1.a0.7.41|x#4|5|y|of the few 2", "of the few 2"));
        assert!(!is_of("7|3|2025-11-21T09:30:00.125Z|+1.a0.7.41|x#4|5|y|of the few 12", "2"));
    }
}
