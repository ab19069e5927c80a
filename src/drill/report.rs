//! What a drill found, and its one line.

use std::fmt;
use std::time::Duration;

use super::judge::Verdict;

/// So many gaps are told one by one; of more, the median and the worst.
const GAPS_SHOWN_MAX: usize = 12;

/// What a drill found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which drill.
    pub name: String,
    /// The clients' view.
    pub verdict: Verdict,
    /// For each time it hurt, the longest time between two acknowledgements from then on; `None` if none came any more.
    pub gaps: Vec<Option<Duration>>,
    /// Further findings: name and value.
    pub facts: Vec<(String, String)>,
    /// What else was broken that the drill holds the server to. Empty in a pass.
    pub broken: Vec<String>,
}

impl Report {
    /// Nothing lost, doubled or reordered, the writer got through each time, and no other promise was broken.
    pub fn passes(&self) -> bool {
        self.verdict.passes()
            && !self.gaps.is_empty()
            && self.gaps.iter().all(Option::is_some)
            && self.broken.is_empty()
    }

    /// The fields after the drill's name and `pass` or `fail`, in the order of the line.
    pub fn fields(&self) -> Vec<(String, String)> {
        let Verdict { sent, acked, lost, doubled, reordered, unexpected } = self.verdict;
        let gap = |gap: &Option<Duration>| gap.map_or("never".to_owned(), |gap| gap.as_millis().to_string());
        let gaps = match self.gaps.len() {
            0..=GAPS_SHOWN_MAX => self.gaps.iter().map(gap).collect::<Vec<_>>().join(","),
            _ => {
                let mut sorted = self.gaps.clone();
                sorted.sort_by_key(|gap| gap.unwrap_or(Duration::MAX));
                let worst = sorted.last().map_or_else(String::new, &gap);
                format!("{} (median), {worst} (worst)", gap(&sorted[sorted.len() / 2]))
            }
        };
        let counts = [("sent", sent), ("acked", acked), ("lost", lost), ("doubled", doubled), ("reordered", reordered)];
        let mut fields: Vec<(String, String)> =
            counts.iter().map(|(name, count)| ((*name).to_owned(), count.to_string())).collect();
        fields.push(("gap_ms".to_owned(), gaps));
        fields.push(("unexpected".to_owned(), unexpected.to_string()));
        fields.extend(self.facts.iter().cloned());
        fields.extend(self.broken.iter().map(|why| ("why".to_owned(), as_field(why))));
        fields
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passes() { "pass" } else { "fail" };
        write!(f, "drill|{}|{word}", self.name)?;
        self.fields().iter().try_for_each(|(name, value)| write!(f, "|{name}={value}"))
    }
}

/// A text that fits into one field of one line.
pub fn as_field(text: &str) -> String {
    text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Report {
        Report {
            name: "kill_leader".to_owned(),
            verdict: Verdict { sent: 400, acked: 400, ..Verdict::default() },
            gaps: [41, 38].map(|ms| Some(Duration::from_millis(ms))).into(),
            ..Report::default()
        }
    }

    #[test]
    fn prints_the_verdict_line() {
        let mut report = clean();
        report.facts.push(("recovered_ms".to_owned(), "310".to_owned()));
        assert_eq!(
            report.to_string(),
            "drill|kill_leader|pass|sent=400|acked=400|lost=0|doubled=0|reordered=0|gap_ms=41,38|unexpected=0\
             |recovered_ms=310"
        );
    }

    #[test]
    fn fails_for_a_loss_for_a_gap_that_never_ended_for_no_gap_and_for_any_other_broken_promise() {
        let mut lost = clean();
        lost.verdict.lost = 1;
        let mut stuck = clean();
        stuck.gaps.push(None);
        let mut tame = clean();
        tame.gaps.clear();
        let mut stale = clean();
        stale.broken.push("a read was\nstale: |old|".to_owned());
        for report in [&lost, &stuck, &tame, &stale] {
            assert!(report.to_string().starts_with("drill|kill_leader|fail|"), "{report}");
        }
        assert!(stuck.to_string().contains("|gap_ms=41,38,never|"));
        let mut many = clean();
        many.gaps = (1..=15).map(|ms| Some(Duration::from_millis(ms))).collect();
        assert!(many.to_string().contains("|gap_ms=8 (median), 15 (worst)|"), "{many}");
        many.gaps[0] = None;
        assert!(many.to_string().contains("|gap_ms=9 (median), never (worst)|"), "{many}");
        assert!(stale.to_string().ends_with("|why=a read was stale: /old/"), "{stale}");
    }
}
