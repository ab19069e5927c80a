//! How many bytes a message of a chat takes on each replica's disk: log, mailbox and indexes, sent by clients as they
//! are, read by nobody or by everybody.

use std::time::Duration;

use plainsong::drill::wait_until;

use super::load::{Load, Shape};
use super::{cluster, proc};

#[derive(clap::Args)]
pub struct Args {
    /// How many messages, at least.
    #[arg(long, default_value_t = 300_000)]
    messages: u64,
    /// The bytes of each text.
    #[arg(long, default_value_t = 100)]
    text: usize,
}

const FILL_MAX: Duration = Duration::from_secs(600);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut cluster = cluster(3)?;
    let addresses: Vec<_> = cluster.ids().into_iter().map(|id| cluster.address(id)).collect();
    let load = Load::start(&addresses, Shape { connections: 100, in_flight: 10, text_bytes: args.text })?;
    wait_until("the messages are sent", FILL_MAX, || (load.acked() >= args.messages).then_some(()))?;
    let acked = load.stop()?;
    // The marks of the last ones, too; then an end in peace, which empties the write-ahead logs.
    proc::pass(Duration::from_secs(1));
    for id in cluster.ids() {
        cluster.terminate(id)?;
        let bytes = proc::bytes_in(&cluster.data_dir(id))?;
        println!("disk|replica={id}|messages={acked}|bytes_per_message={:.0}", bytes as f64 / acked as f64);
    }
    Ok(())
}
