//! A small shell beside a drill that outlives it: whatever way the drill ends (a panic, `kill -9`, a static that is
//! never dropped), its standard input ends, and it kills what still runs, unmounts what was mounted in the directory and
//! removes it.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::DrillError;

/// Reads `born PID`, `dead PID` and `keep`, one a line. Terminal signals reach the whole foreground group, so it
/// ignores them: it ends when the drill has ended.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids= keep=
while read -r word pid; do
  case $word in
    born) pids="$pids $pid" ;;
    dead) left=; for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done; pids=$left ;;
    keep) keep=1 ;;
  esac
done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
[ -n "$keep" ] && exit
while read -r _ _ _ _ at _; do case $at in "$1"/*) umount -l "$at" ;; esac; done </proc/self/mountinfo
rm -rf -- "$1"
"#;

/// The shell; dropping it makes it do its work.
#[derive(Debug)]
pub struct Warden {
    shell: Child,
}

impl Warden {
    /// Watches over `dir` and no process yet.
    ///
    /// # Errors
    /// When `sh` cannot be started.
    pub fn start(dir: &Path) -> Result<Self, DrillError> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "warden"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(DrillError::io("start sh"))?;
        Ok(Self { shell })
    }

    /// This process is to be killed with the drill.
    pub fn born(&mut self, pid: u32) {
        self.tell(&format!("born {pid}\n"));
    }

    /// This process was reaped: its number may already be somebody else's.
    pub fn dead(&mut self, pid: u32) {
        self.tell(&format!("dead {pid}\n"));
    }

    /// Leave the directory where it is.
    pub fn keep(&mut self) {
        self.tell("keep\n");
    }

    fn tell(&mut self, line: &str) {
        // A warden that somebody killed is no reason to fail the drill: the drill kills its own children as well.
        if let Some(pipe) = &mut self.shell.stdin {
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    use super::*;
    use crate::drill::wait_until;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().expect("sleep starts")
    }

    #[test]
    fn kills_what_lives_and_spares_what_was_reaped() {
        let dir = std::env::temp_dir().join(format!("plainsong-warden-{}", std::process::id()));
        fs::create_dir(&dir).expect("a fresh directory");
        let (mut watched, mut spared) = (sleeper(), sleeper());
        let mut warden = Warden::start(&dir).expect("sh starts");
        warden.born(watched.id());
        warden.born(spared.id());
        warden.dead(spared.id());
        drop(warden);
        let ended = wait_until("the watched process ends", Duration::from_secs(5), || {
            watched.try_wait().expect("our own child")
        });
        assert_eq!(ended.expect("killed").signal(), Some(9));
        assert!(spared.try_wait().expect("our own child").is_none());
        assert!(!dir.exists());
        spared.kill().expect("still ours");
        spared.wait().expect("still ours");
    }
}
