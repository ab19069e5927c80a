//! How far a long task is: a bar where standard error is a terminal, else a plain line every few seconds.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Without a terminal: a line so often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// See the module's header.
pub(super) struct Progress {
    what: &'static str,
    entries: u64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// Nothing of so many entries is done.
    pub(super) fn new(what: &'static str, entries: u64) -> Self {
        let shown = if io::stderr().is_terminal() {
            let bar = ProgressBar::new(entries);
            let template = "{msg} {bar:30} {human_pos}/{human_len} entries  {per_sec}  {eta}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
            bar.set_message(what);
            Shown::Bar(bar)
        } else {
            Shown::Lines { next: Instant::now() + LINE_INTERVAL }
        };
        Self { what, entries, shown }
    }

    /// So many are done.
    pub(super) fn at(&mut self, entries: u64) {
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(entries),
            Shown::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_INTERVAL;
                    output::tell(&format!("{}: {entries} of {} entries", self.what, self.entries));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
