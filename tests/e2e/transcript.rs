//! Examples in a document, as steps that can be run: read out of its fenced blocks, and compared line by line.
//!
//! The form is the one that `docs/PROTOCOL.md` explains to its readers in its first section. What no two clusters have in
//! common is matched by shape and remembered: ids, times, the cluster's name and id. The same one on the page is the same one
//! in the run, everywhere, and a greater id on the page is a greater one in the run. All else must be there to the
//! letter, but for the numbers within the human text after a code.

use std::collections::BTreeMap;

/// The mark of a fenced block that is an example.
const FENCE: &str = "```text";
/// The client port of replica 1 on the page; the others follow it.
const FIRST_PORT: u16 = 5001;

/// One thing to do or to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A person's terminal from here on.
    Terminal(String),
    /// A connection to this replica is opened in it.
    Connect(u16),
    /// A line is typed.
    Typed(String),
    /// A line comes.
    Heard(String),
    /// Something happens to the cluster.
    Event(String),
}

/// Every step of a document, with the number of its line.
pub fn steps(document: &str) -> Result<Vec<(usize, Step)>, String> {
    let mut steps = Vec::new();
    let mut inside = false;
    let mut named = false;
    for (number, line) in (1..).zip(document.lines()) {
        if line.starts_with("```") {
            if !inside && line != FENCE {
                return Err(format!("line {number}: a fenced block is an example here, and begins with {FENCE}"));
            }
            (inside, named) = (!inside, false);
        } else if inside && let Some(step) = step(line).map_err(|why| format!("line {number}: {why}"))? {
            named |= matches!(step, Step::Terminal(_));
            if !named {
                return Err(format!("line {number}: whose terminal is it? The block begins with a # line"));
            }
            steps.push((number, step));
        }
    }
    if inside { Err("the last block has no end".to_owned()) } else { Ok(steps) }
}

fn step(line: &str) -> Result<Option<Step>, String> {
    let line = without_remark(line);
    Ok(match line.split_once(' ') {
        _ if line.is_empty() => None,
        Some(("#", name)) => Some(Step::Terminal(name.to_owned())),
        Some((">", typed)) => Some(Step::Typed(typed.to_owned())),
        Some(("!", event)) => Some(Step::Event(event.to_owned())),
        Some(("$", command)) => {
            let port = command.strip_prefix("nc 127.0.0.1 ").and_then(|port| port.parse::<u16>().ok());
            let replica = port.and_then(|port| port.checked_sub(FIRST_PORT)).map(|n| n + 1);
            Some(Step::Connect(replica.ok_or_else(|| format!("{command:?} connects to no replica"))?))
        }
        _ => Some(Step::Heard(line.to_owned())),
    })
}

/// What stands after two spaces or more in round brackets, up to the end, is said to the reader.
fn without_remark(line: &str) -> &str {
    match line.rfind("  (") {
        Some(at) if line.ends_with(')') => line[..at].trim_end(),
        _ => line.trim_end(),
    }
}

/// What the page calls something, and what it is called in the run.
#[derive(Debug, Default)]
pub struct Names {
    ids: BTreeMap<u64, u64>,
    others: BTreeMap<String, String>,
}

/// What a field of a line is.
#[derive(Clone, Copy)]
enum Field {
    Exact,
    Id,
    Time,
    Cluster,
    /// A name that is given once.
    Given,
    /// Human text: the rest of the line.
    Human,
}

impl Names {
    /// A typed line, with the ids of the run in it.
    pub fn typed(&self, line: &str) -> String {
        let fields: Vec<&str> = line.split('|').collect();
        let op = usize::from(fields[0].starts_with('@'));
        let place = match fields.get(op).copied().unwrap_or_default() {
            "ack" | "9" | "erase" | "8" => op + 1,
            "history" | "7" => op + 2,
            _ => return line.to_owned(),
        };
        let real = |id: &str| {
            let (mark, digits) = id.split_at(id.len() - id.trim_start_matches('>').len());
            let known = digits.parse().ok().and_then(|page: u64| self.ids.get(&page));
            known.map_or_else(|| id.to_owned(), |known| format!("{mark}{known}"))
        };
        let ids = |field: &str| field.split(',').map(real).collect::<Vec<_>>().join(",");
        let fields =
            fields.iter().enumerate().map(|(at, field)| if at == place { ids(field) } else { (*field).to_owned() });
        fields.collect::<Vec<_>>().join("|")
    }

    /// Whether a line of the run is what the page says; what differs, if not.
    pub fn heard(&mut self, page: &str, run: &str) -> Result<(), String> {
        let (page_key, page_rest) = split_key(page);
        let (run_key, run_rest) = split_key(run);
        let fields = shape(page_rest);
        let split = |line: &str| line.splitn(fields.len(), '|').map(str::to_owned).collect::<Vec<_>>();
        let (expected, got) = (split(page_rest), split(run_rest));
        if page_key != run_key || expected.len() != got.len() {
            return Err("the fields are not the same".to_owned());
        }
        for ((field, expected), got) in fields.iter().zip(&expected).zip(&got) {
            self.same(*field, expected, got)?;
        }
        Ok(())
    }

    fn same(&mut self, field: Field, page: &str, run: &str) -> Result<(), String> {
        let same = match field {
            Field::Exact => page == run,
            Field::Human => !run.is_empty() && without_numbers(page) == without_numbers(run),
            Field::Id => match (page.parse(), run.parse()) {
                (Ok(0), Ok(id)) => id == 0,
                (Ok(page), Ok(run)) => self.same_id(page, run),
                _ => false,
            },
            Field::Given => self.same_other(page, run),
            Field::Time => is_time(page) && is_time(run) && self.same_other(page, run),
            Field::Cluster => is_cluster(page) && is_cluster(run) && self.same_other(page, run),
        };
        if same { Ok(()) } else { Err(format!("{page:?} is not {run:?}; the page's names so far: {self:?}")) }
    }

    fn same_id(&mut self, page: u64, run: u64) -> bool {
        let before = self.ids.range(..page).next_back().is_none_or(|(_, id)| *id < run);
        let after = self.ids.range(page + 1..).next().is_none_or(|(_, id)| run < *id);
        before && after && *self.ids.entry(page).or_insert(run) == run
    }

    fn same_other(&mut self, page: &str, run: &str) -> bool {
        self.others.entry(page.to_owned()).or_insert_with(|| run.to_owned()) == run
    }
}

/// The fields of a line by its first words. The last one takes the rest.
fn shape(line: &str) -> Vec<Field> {
    use Field::{Cluster, Exact, Given, Human, Id, Time};
    let mut words = line.split('|');
    match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
        ("hello", _) => vec![Exact, Exact, Exact, Given, Cluster],
        ("msg", _) => vec![Exact, Id, Exact, Time, Exact],
        ("past", _) => vec![Exact, Id, Exact, Exact, Time, Exact],
        ("ok", "sent" | "queued") => vec![Exact, Exact, Exact, Id],
        ("ok", "ack") => vec![Exact, Exact, Id],
        ("err" | "retry" | "note" | "bye", _) => vec![Exact, Exact, Human],
        _ => vec![Exact],
    }
}

fn split_key(line: &str) -> (Option<&str>, &str) {
    match line.strip_prefix('@').and_then(|tail| tail.split_once('|')) {
        Some((key, rest)) => (Some(key), rest),
        None => (None, line),
    }
}

fn without_numbers(text: &str) -> String {
    text.split(|c: char| c.is_ascii_digit())
        .filter(|part| !part.is_empty() && *part != ".")
        .collect::<Vec<_>>()
        .join("#")
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

fn is_cluster(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
        Prose with `code|in|it`.\n\
        ```text\n\
        # alice\n\
        $ nc 127.0.0.1 5003\n\
        hello|1|3|plainsong|5d0f9a31c2b4e877\n\
        > @k|send|bob|a | b\n\
        @k|ok|queued|bob|17                (a remark)\n\
        \u{20}                             (that goes on)\n\
        ! the leader is killed\n\
        > erase|17,3\n\
        retry|NO_QUORUM|no majority for 4.9 s\n\
        msg|17|alice|2026-11-21T09:30:00.125Z|a | b\n\
        past|23|alice|bob|2026-11-21T09:30:00.125Z|text (no remark)\n\
        ok|sent|bob|23\n\
        ```\n";

    /// What a server would say where the page is right.
    const RUN: [&str; 6] = [
        "hello|1|3|plainsong|00ff00ff00ff00ff",
        "@k|ok|queued|bob|4",
        "retry|NO_QUORUM|no majority for 12 s",
        "msg|4|alice|2027-01-01T00:00:00.000Z|a | b",
        "past|9|alice|bob|2027-01-01T00:00:00.000Z|text (no remark)",
        "ok|sent|bob|9",
    ];

    /// The first line that differs, of a page that is played against [`RUN`].
    fn play(page: &str) -> Result<(), String> {
        let mut names = Names::default();
        let heard = steps(page)?.into_iter().filter_map(|(_, step)| match step {
            Step::Heard(line) => Some(line),
            _ => None,
        });
        let heard: Vec<String> = heard.collect();
        assert_eq!(heard.len(), RUN.len());
        heard.iter().zip(RUN).try_for_each(|(page, run)| names.heard(page, run))
    }

    #[test]
    fn a_page_is_read_as_its_readers_read_it() {
        let steps: Vec<Step> = steps(PAGE).expect("a good page").into_iter().map(|(_, step)| step).collect();
        assert_eq!(steps[0], Step::Terminal("alice".to_owned()));
        assert_eq!(steps[1], Step::Connect(3));
        assert_eq!(steps[3], Step::Typed("@k|send|bob|a | b".to_owned()));
        assert_eq!(steps[4], Step::Heard("@k|ok|queued|bob|17".to_owned()));
        assert_eq!(steps[5], Step::Event("the leader is killed".to_owned()));
        assert_eq!(steps.len(), 11);
    }

    #[test]
    fn a_page_that_is_right_passes_whatever_the_run_calls_things() {
        assert_eq!(play(PAGE), Ok(()));
    }

    #[test]
    fn every_wrong_change_of_a_page_is_found() {
        for (right, wrong) in [
            ("hello|1|3", "hello|1|2"),
            ("hello|1|3", "hello|2|3"),
            ("5d0f9a31c2b4e877", "5d0f"),
            ("@k|ok|queued", "@j|ok|queued"),
            ("@k|ok|queued", "ok|queued"),
            ("ok|queued", "ok|sent"),
            ("ok|queued|bob", "ok|queued|eve"),
            ("retry|NO_QUORUM", "retry|NO_LEADER"),
            ("retry|NO_QUORUM", "err|NO_QUORUM"),
            ("no majority for", "a majority for"),
            ("msg|17", "msg|18"),
            ("msg|17|alice", "msg|17|bob"),
            ("Z|a | b", "Z|a | c"),
            ("bob|2026-11-21T09:30:00.125Z", "bob|2026-11-21T09:30:00Z"),
            ("past|23", "past|16"),
            ("ok|sent|bob|23", "ok|sent|bob|24|"),
            ("ok|sent|bob|23", "ok|sent|bob|22"),
        ] {
            assert!(PAGE.contains(right), "{right}");
            assert!(play(&PAGE.replacen(right, wrong, 1)).is_err(), "{wrong} passes for {right}");
        }
    }

    #[test]
    fn a_page_out_of_form_is_no_page() {
        for (right, wrong) in [("```text", "```"), ("# alice\n", ""), ("5003", "80"), ("23\n```\n", "23\n")] {
            assert!(steps(&PAGE.replacen(right, wrong, 1)).is_err(), "{wrong:?} for {right:?}");
        }
    }

    #[test]
    fn typed_ids_are_those_of_the_run() {
        let mut names = Names::default();
        for (page, run) in [("ok|sent|b|17", "ok|sent|b|4"), ("ok|sent|b|20", "ok|sent|b|9")] {
            names.heard(page, run).expect("the same");
        }
        for (page, run) in [
            ("erase|17,20", "erase|4,9"),
            ("@k|9|17", "@k|9|4"),
            ("ack|0", "ack|0"),
            ("history|17|>17|20", "history|17|>4|20"),
            ("send|17|17", "send|17|17"),
        ] {
            assert_eq!(names.typed(page), run);
        }
    }
}
