//! `plainsong drill NAME`: one fault drill against a cluster of its own, and one verdict line on stdout.

use std::io;

use clap::{Args, ValueEnum};

use super::output;
use crate::drill::kill_leader;

/// Which drill, and how.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// The drill to run.
    pub name: DrillName,
    /// How many messages the writer sends.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..))]
    pub messages: u32,
    /// Leave the replicas' data and logs in place, and say where.
    #[arg(long)]
    pub keep: bool,
}

/// The drills there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrillName {
    /// Kill the leader, then its successor, while a client keeps writing through followers.
    #[value(name = "kill_leader")]
    KillLeader,
}

/// Runs the drill. True only if it passes: not if it found a fault, nor if it could not be carried out.
pub fn run(args: &DrillArgs) -> io::Result<bool> {
    let binary = std::env::current_exe()?;
    let result = match args.name {
        DrillName::KillLeader => kill_leader::run(&binary, args.messages as usize, args.keep),
    };
    match result {
        Ok(report) => {
            output::print(&format!("{report}\n"))?;
            Ok(report.passes())
        }
        // A cluster that cannot even be driven has not passed: whoever reads only the verdict must see that.
        Err(error) => {
            output::print(&format!("drill|kill_leader|fail|{error}\n"))?;
            Ok(false)
        }
    }
}
