//! A place of the drill's own: the program starts itself again in network and mount namespaces that nobody else is
//! in. What is made there (hosts, links, routes, small disks) is invisible outside, and the kernel removes it with
//! the last process inside, however the drill ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::DrillError;

/// Hidden option of `plainsong drill`: we are inside already.
pub const INSIDE: &str = "--enclosed";

/// Replaces this process by the same one with [`INSIDE`], enclosed. Returns only when that is impossible.
/// A `network` of its own has nothing in it, not even a loopback that is up.
pub fn enter(network: bool) -> DrillError {
    let mut namespaces = vec!["--mount"];
    if network {
        namespaces.push("--net");
    }
    if !rustix::process::geteuid().is_root() {
        // Where the kernel lets everybody be root of a namespace of his own.
        namespaces.push("--map-root-user");
    }
    let mut probe = Command::new("unshare");
    // A network that cannot even have a loopback is none: without iproute2 nothing could be made in it.
    let command: &[&str] = if network { &["ip", "link", "set", "lo", "up"] } else { &["true"] };
    probe.args(&namespaces).args(command);
    if let Err(why) = succeed(&mut probe) {
        return DrillError::Skip(format!("needs root, or user namespaces, for namespaces of its own ({why})"));
    }
    let Ok(program) = std::env::current_exe() else {
        return DrillError::Skip("cannot find the running program".to_owned());
    };
    let mut again = Command::new("unshare");
    again.args(&namespaces).arg(program).args(std::env::args_os().skip(1)).arg(INSIDE);
    DrillError::io("run unshare")(again.exec())
}

/// Runs a command for its effect; what it said if it failed.
///
/// # Errors
/// One line that names the command.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.lines().next().unwrap_or("failed without a word")))
}

/// Mounts an empty disk in memory. Only inside.
///
/// # Errors
/// [`DrillError::Skip`] where that is not permitted.
pub fn mount_small_disk(dir: &Path, megabytes: u64) -> Result<(), DrillError> {
    fs::create_dir_all(dir).map_err(DrillError::io("make a mount point"))?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "plainsong-drill"]).arg(dir);
    succeed(&mut mount).map_err(|why| DrillError::Skip(format!("cannot mount a small disk ({why})")))
}

/// Fills the disk that `file` is on to its last page.
///
/// # Errors
/// For anything but a full disk.
pub fn fill_disk(file: &Path) -> Result<(), DrillError> {
    let mut ballast = File::options().create(true).append(true).open(file).map_err(DrillError::io("make ballast"))?;
    for chunk in [vec![0_u8; 1 << 20], vec![0_u8; 4096]] {
        loop {
            match ballast.write_all(&chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(DrillError::io("write ballast")(error)),
            }
        }
    }
    Ok(())
}
