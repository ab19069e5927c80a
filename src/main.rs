//! The program `plainsong`: sets up what belongs to the process, hands the command line over, and turns what comes back
//! into lines on standard error and an exit code. All else is in the library.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use plainsong::cli::{Cli, Exit, Failure};
use plainsong::{logging, panics};

fn main() -> ExitCode {
    panics::install_hook();
    logging::init();
    let Err(error) = plainsong() else {
        return ExitCode::SUCCESS;
    };
    for line in format!("{error:#}").lines() {
        // With standard error closed there is nobody left to tell; the exit code still speaks.
        let _ = writeln!(std::io::stderr(), "plainsong: {line}");
    }
    error.downcast_ref::<Failure>().map_or(Exit::Failed, Failure::exit).into()
}

fn plainsong() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let command = cli.command.name();
    plainsong::cli::run(cli).context(command)
}
