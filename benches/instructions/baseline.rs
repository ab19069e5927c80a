//! What was counted when it was last found right: `baseline.txt`, a line for each part and profile.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// Of this build. The tests' one is optimised, too, but keeps its assertions and is not linked as a whole.
pub const PROFILE: &str = if cfg!(debug_assertions) { "test" } else { "bench" };
/// More than so much above the baseline is an error.
const SHARE_ABOVE_MAX: f64 = 0.15;

const HEADER: &str = "\
# Instructions on the write path: what benches/instructions counted when it was last found right, for each profile.
# Renew: cargo bench --bench instructions -- --renew; cargo test --bench instructions -- --renew
";

/// The file.
pub struct Baseline {
    /// The compiler that each profile was built with.
    compilers: BTreeMap<String, String>,
    /// By profile and part.
    counts: BTreeMap<(String, String), f64>,
    this_compiler: String,
}

/// What a count is, beside the baseline.
pub enum Verdict {
    New,
    Within(f64),
    Above(f64),
}

impl Verdict {
    pub fn is_within(&self) -> bool {
        !matches!(self, Self::Above(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not in the baseline"),
            Self::Within(share) => write!(f, "{:+.1} %", share * 100.0),
            Self::Above(share) => write!(f, "{:+.1} %: TOO MUCH", share * 100.0),
        }
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.txt")
}

impl Baseline {
    pub fn read() -> anyhow::Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc).arg("--version").output().context("ask the compiler for its version")?;
        let this_compiler = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let text = fs::read_to_string(path()).context("read the baseline")?;
        Self::parse(&text, this_compiler)
    }

    fn parse(text: &str, this_compiler: String) -> anyhow::Result<Self> {
        let mut baseline = Self { compilers: BTreeMap::new(), counts: BTreeMap::new(), this_compiler };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('|').collect();
            match fields.as_slice() {
                ["compiler", profile, version] => {
                    baseline.compilers.insert((*profile).to_owned(), (*version).to_owned());
                }
                ["count", profile, name, count] => {
                    let count = count.parse().with_context(|| format!("a count of the baseline: {line}"))?;
                    baseline.counts.insert(((*profile).to_owned(), (*name).to_owned()), count);
                }
                _ => anyhow::bail!("a line of the baseline: {line}"),
            }
        }
        Ok(baseline)
    }

    /// What this profile's counts were taken with.
    pub fn compiler(&self) -> &str {
        self.compilers.get(PROFILE).map_or("no compiler", String::as_str)
    }

    pub fn is_of_this_compiler(&self) -> bool {
        self.compiler() == self.this_compiler
    }

    pub fn judge(&self, name: &str, count: f64) -> Verdict {
        match self.counts.get(&(PROFILE.to_owned(), name.to_owned())) {
            None => Verdict::New,
            Some(before) if count > before * (1.0 + SHARE_ABOVE_MAX) => Verdict::Above(count / before - 1.0),
            Some(before) => Verdict::Within(count / before - 1.0),
        }
    }

    pub fn set(&mut self, name: &str, count: f64) {
        self.counts.insert((PROFILE.to_owned(), name.to_owned()), count);
    }

    pub fn write(&mut self) -> anyhow::Result<()> {
        self.compilers.insert(PROFILE.to_owned(), self.this_compiler.clone());
        let compilers = self.compilers.iter().map(|(profile, version)| format!("compiler|{profile}|{version}\n"));
        let counts = self.counts.iter().map(|((profile, name), count)| format!("count|{profile}|{name}|{count:.0}\n"));
        let lines: String = compilers.chain(counts).collect();
        fs::write(path(), format!("{HEADER}{lines}")).context("write the baseline")
    }
}
