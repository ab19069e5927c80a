//! Standard output. A reader that went away (`… | head`) has what it wanted: that is no failure.
//! (`println!` would panic there, and a panic aborts this program.)

use std::io::{self, Write};

/// Prints the text and flushes it.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Takes a broken pipe for success.
pub(super) fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells a person several lines.
pub(super) fn tell_lines(text: &str) {
    text.lines().for_each(tell);
}

/// Tells a person something, on standard error. With that closed there is nobody to tell.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "plainsong: {text}");
}
