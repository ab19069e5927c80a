//! What can go wrong in a drill, apart from the verdict.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a drill, or a step of one, could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A condition did not come true within its deadline.
    #[error("waited {waited:?} in vain: {what}")]
    Timeout {
        /// The condition.
        what: String,
        /// The deadline, from the start of the wait.
        waited: Duration,
    },
    /// The server closed the connection without a `bye`.
    #[error("the server closed the connection")]
    Closed,
    /// The server said `bye|…`; it closes after that.
    #[error("the server closed the connection with {0:?}")]
    Bye(String),
    /// A line that the protocol does not allow where it stood.
    #[error("not the protocol ({what}): {line:?}")]
    Protocol {
        /// Which rule it breaks.
        what: &'static str,
        /// The line.
        line: String,
    },
    /// A final line other than the drill needs to go on.
    #[error("{request:?} was answered {answer:?}")]
    Refused {
        /// What was asked.
        request: String,
        /// The final line.
        answer: String,
    },
    /// A replica's process ended by itself.
    #[error("replica {id} ended by itself ({status}); its last lines are above")]
    Ended {
        /// Which replica.
        id: u16,
        /// How.
        status: ExitStatus,
    },
    /// A replica was asked for that the drill is not running, or the other way round.
    #[error("replica {id} is {state}")]
    WrongState {
        /// Which replica.
        id: u16,
        /// What it is.
        state: &'static str,
    },
    /// What the drill does to a machine cannot be done here; nothing was examined.
    #[error("{0}")]
    Skip(String),
    /// Too few free ports below the ephemeral range; free some or widen the range.
    #[error("found only {found} of {wanted} free ports on 127.0.0.1")]
    Ports {
        /// How many there were.
        found: usize,
        /// How many are needed.
        wanted: usize,
    },
}

impl DrillError {
    /// Gives an I/O error its subject: `.map_err(DrillError::io("read the log"))`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> DrillError {
        let what = what.into();
        move |source| DrillError::Io { what, source }
    }
}
