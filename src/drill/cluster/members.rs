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
        let own_config = Some(config);
        self.replicas.push(Replica {
            placing,
            enter,
            child: None,
            paused: false,
            own_config,
            joins: true,
            gone: false,
        });
        self.spawn(id)?;
        Ok(id)
    }

    /// Gives a replica that does not run other ports, in a config file of its own whose other lines are as they were. From
    /// now on it is started with `--join`; its data stay where they are.
    ///
    /// # Errors
    /// When there are no free ports, or it runs.
    pub fn move_to_other_ports(&mut self, id: u16) -> Result<(), DrillError> {
        let now = self.other_ports(id)?;
        self.write_own_config(id, now)?;
        let replica = self.replica_mut(id);
        (replica.placing, replica.joins) = (now, true);
        Ok(())
    }

    /// As [`Cluster::move_to_other_ports`], but in the config file of all, which each reads at its next start; no `--join`.
    ///
    /// # Errors
    /// As there.
    pub fn move_in_every_file(&mut self, id: u16) -> Result<(), DrillError> {
        let now = self.other_ports(id)?;
        let line = self.replica(id).placing.line();
        let text = fs::read_to_string(self.config()).map_err(DrillError::io("read a config file"))?;
        fs::write(self.config(), text.replace(&line, &now.line())).map_err(DrillError::io("write a config file"))?;
        self.replica_mut(id).placing = now;
        Ok(())
    }

    /// From its next start on a replica has a config file of its own, in which `wrong` stands for the placing of another
    /// one with that id; or again the file of all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn misguide(&mut self, id: u16, wrong: Option<Placing>) -> Result<(), DrillError> {
        match wrong {
            Some(wrong) => self.write_own_config(id, wrong),
            None => {
                self.replica_mut(id).own_config = None;
                Ok(())
            }
        }
    }

    fn other_ports(&self, id: u16) -> Result<Placing, DrillError> {
        if self.replica(id).child.is_some() {
            return Err(DrillError::WrongState { id, state: "running" });
        }
        let ports = free_ports(2)?;
        Ok(Placing { port: ports[0], internal_port: ports[1], ..self.replica(id).placing })
    }

    /// A config file for a replica: its present one, with another line.
    fn write_own_config(&mut self, id: u16, line: Placing) -> Result<(), DrillError> {
        let read_from = self.replica(id).own_config.clone().unwrap_or_else(|| self.config());
        let text = fs::read_to_string(read_from).map_err(DrillError::io("read a config file"))?;
        let text = text.replace(&self.replica(line.id).placing.line(), &line.line());
        let config = self.dir.join(format!("replica-{id}.yaml"));
        fs::write(&config, text).map_err(DrillError::io("write a config file"))?;
        self.replica_mut(id).own_config = Some(config);
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
        let Replica { own_config, joins, .. } = self.replica(id);
        let mut words: Vec<OsString> =
            vec!["--config".into(), own_config.clone().unwrap_or_else(|| self.config()).into()];
        if *joins {
            let contact = self.running().into_iter().find(|member| *member != id).unwrap_or(1);
            words.extend(["--join".into(), self.internal_address(contact).to_string().into()]);
        }
        words
    }
}
