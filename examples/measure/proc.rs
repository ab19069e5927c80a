//! What the kernel says of processes, files and the machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use plainsong::drill::Cluster;

/// `/proc` counts time in these, on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Lets a time pass that is being measured, such as a minute in which nothing happens.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// The processor time that a replica has used so far.
pub fn cpu(cluster: &Cluster, id: u16) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", cluster.pid(id)?.as_raw_nonzero()))?;
    let (_, fields) = stat.rsplit_once(')').context("the program's name stands in parentheses")?;
    // Fields 14 and 15 of the whole line: in user mode, and in the kernel.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// How many processes wanted to run, over 1, 5 and 15 minutes.
pub fn load_average() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// The bytes of all files in a directory.
pub fn bytes_in(dir: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for file in fs::read_dir(dir)? {
        sum += file?.metadata()?.len();
    }
    Ok(sum)
}

/// What the kernel holds for TCP connections of the whole machine, in bytes.
pub fn kernel_tcp_bytes() -> anyhow::Result<u64> {
    const PAGE_BYTES: u64 = 4096;
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let pages =
        text.lines().find(|line| line.starts_with("TCP:")).and_then(|line| line.rsplit(' ').next()?.parse().ok());
    Ok(pages.map_or(0, |pages: u64| pages * PAGE_BYTES))
}
