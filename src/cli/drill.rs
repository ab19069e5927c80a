//! `plainsong drill NAME`: one fault drill against a cluster of its own, and one verdict line on stdout.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::output;
use crate::drill::report::as_field;
use crate::drill::stage::Options;
use crate::drill::{DRILLS, Drill, DrillError, Needs, enclosure, picture};

/// The longest drill: a day.
const SECONDS_MAX: u64 = 86_400;

/// Which drill, and how.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// The drill to run.
    #[arg(value_parser = names())]
    pub name: String,
    /// How many messages the writer sends, at least.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..))]
    pub messages: u32,
    /// How long a pause or a cut lasts, in drills that have one (10 by default), or all of `soak` (600).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub seconds: Option<u64>,
    /// Where random places come from, in drills that damage files; by default, from chance.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Draw the drill as a timeline into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Leave the replicas' data and logs in place, and say where.
    #[arg(long)]
    pub keep: bool,
    /// We run in namespaces of our own already.
    #[arg(long, hide = true)]
    pub enclosed: bool,
}

fn names() -> PossibleValuesParser {
    let value = |drill: &Drill| PossibleValue::new(drill.name).help(drill.claim);
    PossibleValuesParser::new(DRILLS.iter().map(value))
}

/// Runs the drill. True only if it passes, or if this machine cannot show it; not if it found a fault, nor if it could
/// not be carried out.
pub fn run(args: &DrillArgs) -> io::Result<bool> {
    let drill = DRILLS.iter().find(|drill| drill.name == args.name);
    let drill = drill.expect("the parser accepts only names from the table");
    match attempt(drill, args) {
        Ok(passes) => Ok(passes),
        Err(DrillError::Skip(why)) => {
            output::print(&format!("drill|{}|skip|{}\n", drill.name, as_field(&why)))?;
            Ok(true)
        }
        // A cluster that cannot even be driven has not passed: whoever reads only the verdict must see that.
        Err(error) => {
            output::print(&format!("drill|{}|fail|{}\n", drill.name, as_field(&error.to_string())))?;
            Ok(false)
        }
    }
}

fn attempt(drill: &Drill, args: &DrillArgs) -> Result<bool, DrillError> {
    if drill.needs != Needs::Nothing && !args.enclosed {
        let is_network = matches!(drill.needs, Needs::Network | Needs::NetworkIfPermitted);
        match enclosure::enter(is_network) {
            DrillError::Skip(why) if drill.needs == Needs::NetworkIfPermitted => {
                eprintln!("plainsong: no links are cut: {why}");
            }
            impossible => return Err(impossible),
        }
    }
    let binary = std::env::current_exe().map_err(DrillError::io("find the running program"))?;
    let options = Options {
        messages: args.messages as usize,
        lasting: args.seconds.map_or(drill.lasting, Duration::from_secs),
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        keep: args.keep,
        enclosed: args.enclosed,
    };
    let (report, timeline) = crate::drill::run(drill, &binary, &options)?;
    if let Some(file) = &args.svg {
        fs::write(file, picture::svg(&report, &timeline)).map_err(DrillError::io("write the picture"))?;
    }
    output::print(&format!("{report}\n")).map_err(DrillError::io("print the verdict"))?;
    Ok(report.passes())
}
