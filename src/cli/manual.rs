//! `plainsong completions` and `plainsong man`: what the command line knows of itself, for shells and for `man`.

use std::io;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, output};

/// `plainsong completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

/// `plainsong man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The page of this subcommand, instead of that of plainsong
    pub subcommand: Option<String>,
}

/// Prints a script that a shell sources.
pub fn completions(args: &CompletionsArgs) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "plainsong", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

/// Prints a page in roff.
pub fn man(args: &ManArgs) -> io::Result<()> {
    let all = Cli::command();
    let page = match &args.subcommand {
        None => clap_mangen::Man::new(all),
        Some(name) => {
            let found = all.find_subcommand(name).cloned();
            let Some(found) = found else {
                let why = format!("no subcommand {name}: `plainsong help` lists them");
                all.clone().error(ErrorKind::InvalidSubcommand, why).exit();
            };
            clap_mangen::Man::new(found).title(format!("plainsong-{name}"))
        }
    };
    let mut text = Vec::new();
    page.render(&mut text)?;
    output::print(&String::from_utf8_lossy(&text))
}
