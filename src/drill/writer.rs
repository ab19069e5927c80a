//! A writer that gives each message a key and sends it, to one replica or another, until it is told `ok`; and a
//! reader that leaves the mailbox as it found it.

use std::net::SocketAddr;
use std::time::Duration;

use super::{DrillError, LineClient, Msg, wait_until};

/// Longer than the default `request_timeout_ms`, within which every request is answered.
const REPLY_WAIT: Duration = Duration::from_secs(5);
/// For reading a whole mailbox: between two of its lines.
const READ_WAIT: Duration = Duration::from_secs(30);

/// Speaks for one account and sends to one recipient.
#[derive(Debug)]
pub struct KeyedWriter {
    account: String,
    to: String,
    addresses: Vec<SocketAddr>,
    turn: usize,
    client: Option<LineClient>,
    refusals: usize,
}

impl KeyedWriter {
    /// Speaks for `account`, which exists, through `addresses`: the first, and the next when one fails.
    pub fn new(account: &str, to: &str, addresses: Vec<SocketAddr>) -> Self {
        Self { account: account.to_owned(), to: to.to_owned(), addresses, turn: 0, client: None, refusals: 0 }
    }

    /// Goes on through these replicas. The connection stays if it leads to one of them.
    pub fn redirect(&mut self, addresses: Vec<SocketAddr>) {
        let current = self.addresses[self.turn];
        let kept = addresses.iter().position(|&address| address == current);
        if kept.is_none() {
            self.client = None;
        }
        self.turn = kept.unwrap_or_default();
        self.addresses = addresses;
    }

    /// Moves to the next replica, as a client does whose replica is gone.
    pub fn move_on(&mut self) {
        self.client = None;
        self.turn = (self.turn + 1) % self.addresses.len();
    }

    /// How often it was told `retry`, or its connection broke.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// Sends `text` under `key` until it is acknowledged; returns the message's id.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] when no replica says `ok` in time; [`DrillError::Refused`] for an `err|`.
    pub fn send(&mut self, key: &str, text: &str, timeout: Duration) -> Result<u64, DrillError> {
        let request = format!("@{key}|5|{}|{text}", self.to);
        let what = format!("{request:?} is acknowledged");
        wait_until(&what, timeout, || match self.attempt(&request) {
            Ok(answer) if answer.starts_with("retry|") => {
                self.refusals += 1;
                // It may last, there: another replica may be better off.
                if self.addresses.len() > 1 {
                    self.move_on();
                }
                None
            }
            Ok(answer) => Some(id_of_sent(&request, &answer)),
            // Whatever broke, the key makes it safe to ask elsewhere.
            Err(_) => {
                self.refusals += 1;
                self.move_on();
                None
            }
        })?
    }

    fn attempt(&mut self, request: &str) -> Result<String, DrillError> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let client = log_in(self.addresses[self.turn], &self.account, REPLY_WAIT)?;
                self.client.insert(client)
            }
        };
        Ok(client.request(request)?.last)
    }
}

fn log_in(address: SocketAddr, account: &str, timeout: Duration) -> Result<LineClient, DrillError> {
    let mut client = LineClient::connect(address, timeout)?;
    let request = format!("2|{account}");
    let reply = client.request(&request)?;
    if !reply.is_ok() {
        return Err(DrillError::Refused { request, answer: reply.last });
    }
    Ok(client)
}

fn id_of_sent(request: &str, answer: &str) -> Result<u64, DrillError> {
    let fields: Vec<&str> = answer.split('|').collect();
    let id = match fields.as_slice() {
        ["ok", "sent" | "queued", _, id] => id.parse().ok(),
        _ => None,
    };
    id.ok_or_else(|| DrillError::Refused { request: request.to_owned(), answer: answer.to_owned() })
}

/// All undelivered messages of an account, oldest first. Reads in manual mode, so that they stay undelivered.
///
/// # Errors
/// When the replica does not serve, or the protocol is broken.
pub fn read_mailbox(address: SocketAddr, account: &str) -> Result<Vec<Msg>, DrillError> {
    let mut client = LineClient::connect(address, READ_WAIT)?;
    for request in ["9|0".to_owned(), format!("2|{account}")] {
        let answer = client.request(&request)?;
        if !answer.is_ok() {
            return Err(DrillError::Refused { request, answer: answer.last });
        }
    }
    let reply = client.request("6|")?;
    if !reply.is_ok() {
        return Err(DrillError::Refused { request: "6|".to_owned(), answer: reply.last });
    }
    reply.messages()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_names_the_id() {
        assert_eq!(id_of_sent("r", "ok|queued|bob|71").expect("well-formed"), 71);
        for answer in ["ok|sent|bob", "ok|sent|bob|x", "err|NO_SUCH_USER|x", "ok|ping|1|2"] {
            assert!(id_of_sent("r", answer).is_err(), "{answer}");
        }
    }
}
