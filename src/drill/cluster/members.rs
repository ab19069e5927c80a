//! Replicas that join the cluster, move to another address, and are taken out of it.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Output, Stdio};

use super::layout::config_text;
use super::{Cluster, Placing, Replica};
use crate::drill::{DrillError, free_ports};

impl Cluster {
    /// Starts another replica, which has its own line in its config and asks a running one to be let in. Returns its id.
    ///
    /// # Errors
    /// When there are no free ports, or nobody runs.
    pub fn join(&mut self) -> Result<u16, DrillError> {
        let ports = free_ports(2)?;
        let id = u16::try_from(self.replicas.len() + 1).expect("few replicas");
        let host = self.replicas[0].placing.host;
        let placing = Placing { id, host, port: ports[0], internal_port: ports[1] };
        let config = self.dir.join(format!("replica-{id}.yaml"));
        fs::write(&config, config_text(&[placing], "")).map_err(DrillError::io("write a config file"))?;
        let enter = self.replicas[0].enter.clone();
        let joined = Some(config);
        self.replicas.push(Replica { placing, enter, child: None, paused: false, joined, gone: false });
        self.spawn(id)?;
        Ok(id)
    }

    /// Gives a replica that does not run other ports, in a config file of its own whose other lines are as they were. From
    /// now on it is started with `--join`; its data stay where they are.
    ///
    /// # Errors
    /// When there are no free ports, or it runs.
    pub fn move_to_other_ports(&mut self, id: u16) -> Result<(), DrillError> {
        if self.replica(id).child.is_some() {
            return Err(DrillError::WrongState { id, state: "running" });
        }
        let ports = free_ports(2)?;
        let before = self.replica(id).placing;
        let now = Placing { port: ports[0], internal_port: ports[1], ..before };
        let read_from = self.replica(id).joined.clone().unwrap_or_else(|| self.config());
        let text = fs::read_to_string(read_from).map_err(DrillError::io("read a config file"))?;
        let config = self.dir.join(format!("replica-{id}.yaml"));
        fs::write(&config, text.replace(&before.line(), &now.line())).map_err(DrillError::io("write a config file"))?;
        let replica = self.replica_mut(id);
        (replica.placing, replica.joined) = (now, Some(config));
        Ok(())
    }

    /// `plainsong WORD -i ID` with `word` `leave` or `remove`, asked of a running member.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn take_out(&mut self, word: &str, id: u16) -> Result<Output, DrillError> {
        let mut command = Command::new(&self.binary);
        command.args([word, "-i", &id.to_string(), "--config"]).arg(self.config()).stdin(Stdio::null());
        for member in self.running() {
            command.args(["--member", &self.internal_address(member).to_string()]);
        }
        let output = command.output().map_err(DrillError::io("run plainsong"))?;
        if output.status.success() {
            self.replica_mut(id).gone = true;
        }
        Ok(output)
    }

    /// The config file of a replica, and whom it asks to be let in.
    pub(super) fn start_arguments(&self, id: u16) -> Vec<OsString> {
        let Some(config) = &self.replica(id).joined else {
            return vec!["--config".into(), self.config().into()];
        };
        let contact = self.running().into_iter().find(|member| *member != id).unwrap_or(1);
        let contact = self.internal_address(contact).to_string();
        vec!["--config".into(), config.into(), "--join".into(), contact.into()]
    }
}
