//! A slow disk: the block layer itself holds back the writes of one process, by a cgroup of the drill's own.
//!
//! Nothing in the server knows of it; its fsync takes as long as on a disk that does so few writes a second. With
//! cgroup v1 that is `blkio.throttle`, with v2 `io.max`.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::DrillError;

/// Where cgroup controllers that can throttle are mounted, and the file that does it.
const KINDS: [(&str, &str); 3] = [
    ("/sys/fs/cgroup/blkio", "blkio.throttle.write_iops_device"),
    ("/sys/fs/cgroup", "io.max"),
    ("/sys/fs/cgroup/unified", "io.max"),
];

/// A cgroup whose members write slowly. Dropping it lets its members go and removes it.
#[derive(Debug)]
pub struct Throttle {
    parent: PathBuf,
    group: PathBuf,
}

impl Throttle {
    /// Makes the cgroup: at most `writes_per_second` to the disk under `dir`.
    ///
    /// # Errors
    /// [`DrillError::Skip`] where cgroups cannot be made or cannot throttle this disk.
    pub fn make(dir: &Path, writes_per_second: u32) -> Result<Self, DrillError> {
        let device = whole_disk(dir).map_err(|why| DrillError::Skip(format!("cannot throttle the disk: {why}")))?;
        let mut reasons = Vec::new();
        for (parent, file) in KINDS {
            match Self::make_in(Path::new(parent), file, &device, writes_per_second) {
                Ok(throttle) => return Ok(throttle),
                Err(why) => reasons.push(why),
            }
        }
        let why = reasons.join("; ");
        Err(DrillError::Skip(format!("needs root and a cgroup controller that throttles disk writes ({why})")))
    }

    fn make_in(parent: &Path, file: &str, device: &str, writes: u32) -> Result<Self, String> {
        let group = parent.join(format!("plainsong-drill-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", parent.display()))?;
        // From here on it is removed again, whatever fails.
        let made = Self { parent: parent.to_owned(), group };
        let limit = if file == "io.max" { format!("{device} wiops={writes}") } else { format!("{device} {writes}") };
        fs::write(made.group.join(file), limit).map_err(|error| format!("{file}: {error}"))?;
        Ok(made)
    }

    /// Its writes are slow from now on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn slow(&self, pid: Pid) -> Result<(), DrillError> {
        move_to(&self.group, pid)
    }

    /// Its writes are as fast as the disk again.
    ///
    /// # Errors
    /// When it has ended.
    pub fn release(&self, pid: Pid) -> Result<(), DrillError> {
        move_to(&self.parent, pid)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

fn move_to(group: &Path, pid: Pid) -> Result<(), DrillError> {
    fs::write(group.join("cgroup.procs"), pid.as_raw_nonzero().to_string())
        .map_err(DrillError::io("move a replica to another cgroup"))
}

/// `MAJOR:MINOR` of the disk that holds `dir`: limits are set on whole disks, not on partitions.
fn whole_disk(dir: &Path) -> Result<String, String> {
    let device = fs::metadata(dir).map_err(|error| error.to_string())?.st_dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let block = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))
        .map_err(|_| format!("{} is not on a block device ({major}:{minor})", dir.display()))?;
    let disk =
        if block.join("partition").exists() { block.parent().map(Path::to_owned).unwrap_or(block) } else { block };
    let number = fs::read_to_string(disk.join("dev")).map_err(|error| error.to_string())?;
    Ok(number.trim().to_owned())
}
