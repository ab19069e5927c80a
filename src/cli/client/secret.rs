//! Asks for a password without showing it.
//!
//! Promises: the terminal is as it was, also when the read fails.

use std::io::{self, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Puts the terminal back as it was found.
pub(super) struct Restore(Termios);

impl Restore {
    /// How the terminal is now.
    pub(super) fn later() -> io::Result<Restore> {
        Ok(Restore(tcgetattr(io::stdin())?))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// What was typed; `None` for an empty line or Ctrl-D. Blocks.
pub(super) fn ask(question: &str) -> io::Result<Option<String>> {
    let restore = Restore::later()?;
    let mut silent = restore.0.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    let mut out = io::stdout();
    write!(out, "{question}")?;
    out.flush()?;
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    // The line feed that ended it was not shown either.
    writeln!(out)?;
    let typed = typed.trim_end_matches(['\r', '\n']);
    Ok((!typed.is_empty()).then(|| typed.to_owned()))
}
