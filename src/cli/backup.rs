//! `plainsong backup` and `plainsong restore`: a copy of a replica's files for the day when all are lost, and the way back.
//!
//! A backup is made beside the running replica. It holds at least what had been acknowledged anywhere when it began, if that
//! replica serves: it is asked for a read first, and answers only when it has applied all of that.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::rebuild::READ;
use super::tool::{Source, ToolError};
use super::wire::Conversation;
use super::{DataArg, load, output};
use crate::config::Config;
use crate::consensus::ReplicaId;
use crate::storage::{self, Backup};

/// `plainsong backup`
#[derive(Args, Debug)]
pub struct BackupArgs {
    /// Whose files.
    #[command(flatten)]
    pub source: Source,
    /// The folder for it, which must not be there yet
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
}

/// `plainsong restore`
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub from: PathBuf,
    /// The replica whose empty data directory it becomes: that of the backup, or any other
    #[arg(short, long, value_name = "ID")]
    pub id: u16,
    /// `--data`
    #[command(flatten)]
    pub data: DataArg,
}

/// Makes one.
pub fn backup(args: &BackupArgs, config: &Path) -> Result<(), ToolError> {
    let dir = args.source.locate(config)?;
    let serves = match args.source.id {
        Some(id) => {
            let config = load(config, &args.source.data)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(is_current(&config, id))
        }
        None => false,
    };
    if !serves {
        output::tell(
            "this replica does not serve: the backup holds what is on its disk, and not what only others have acknowledged",
        );
    }
    let Backup { last, applied, bytes, .. } = storage::backup(&dir, &args.to)?;
    let to = args.to.display();
    let mib = bytes >> 20;
    Ok(output::print(&format!("{to}: entries up to {last}, the state after entry {applied}, {mib} MiB\n"))?)
}

/// Whether the replica has applied all that was acknowledged before.
async fn is_current(config: &Config, id: u16) -> bool {
    let Some(replica) = config.replica(id) else { return false };
    let asked = async {
        let mut conversation = Conversation::open(&replica.client_address()).await?;
        conversation.ask(READ).await
    };
    asked.await.is_ok_and(|answer| answer.last().is_some_and(|line| line.starts_with("ok|")))
}

/// Puts one back.
pub fn restore(args: &RestoreArgs, config: &Path) -> Result<(), ToolError> {
    let config = load(config, &args.data)?;
    let (id, dir) = (args.id, config.replica_dir(args.id));
    let Backup { cluster, replica, last, .. } = storage::restore(&args.from, &dir, ReplicaId(id))?;
    if cluster != config.cluster {
        output::tell(&format!(
            "the backup is of cluster {cluster:?}, the config says {:?}: correct it",
            config.cluster
        ));
    }
    Ok(output::print(&format!(
        "{} holds the backup of replica {replica}, up to entry {last}\n\
         where the other replicas serve: start it; it is filled, and votes again\n\
         where all of them are lost: plainsong recover --force -i {id}; start it; then start the others on empty folders\n",
        dir.display()
    ))?)
}
