//! What a replica costs when nobody uses it: the leader and each follower, over a time that has many pulses in it.

use std::time::{Duration, Instant};

use super::{cluster, proc};

#[derive(clap::Args)]
pub struct Args {
    /// How many seconds to look at each cluster.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    for replicas in [3, 5] {
        let cluster = cluster(replicas)?;
        let leader = cluster.await_leader()?;
        // The looks at its start are over by then.
        proc::pass(Duration::from_secs(2));
        let before = cluster.ids().into_iter().map(|id| proc::cpu(&cluster, id)).collect::<Result<Vec<_>, _>>()?;
        let since = Instant::now();
        proc::pass(Duration::from_secs(args.seconds));
        for (id, before) in cluster.ids().into_iter().zip(before) {
            let used = proc::cpu(&cluster, id)? - before;
            let role = if id == leader { "leader" } else { "follower" };
            let percent = used.as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
            let resident = cluster.resident_bytes(id)? as f64 / f64::from(1 << 20);
            println!(
                "idle|replicas={replicas}|id={id}|role={role}|cpu_percent={percent:.2}|resident_mib={resident:.1}"
            );
        }
    }
    Ok(())
}
