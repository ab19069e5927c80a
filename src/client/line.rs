//! What a replica said, kept: `chat` reads a line as borrowed pieces, and these outlive the buffer it came in.
//!
//! Leaves out the grammar, which is `chat`'s alone: a final line is kept as it came and read again when somebody asks.

use std::fmt;

use chat::{Code, Done, ErrCode, MessageId, Millis, Reply, RetryCode};

/// The greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The replica's id.
    pub(crate) replica: u64,
    /// The cluster's random id: two clusters of one name still differ in it.
    pub(crate) cluster_id: String,
}

/// A message, pushed or printed by `deliver`. `Display` gives its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique in the cluster, ascending within a mailbox.
    pub id: MessageId,
    /// The sender's folded name.
    pub from: String,
    /// When it was accepted.
    pub time: Millis,
    /// What was said. It may hold format overrides: escape it before a terminal sees it.
    pub text: String,
}

/// The `CODE|text` of a note or a bye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The exact code.
    pub code: String,
    /// For people.
    pub text: String,
}

/// The line that ends a reply, without a key. `Display` gives it as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalLine(String);

/// The first word of a final line, and its code where this version knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Ok,
    /// Not done, may work later; `RetryCode::Unknown`: maybe done.
    Retry(Option<RetryCode>),
    /// Refused for good.
    Err(Option<ErrCode>),
}

fn known<C: Copy>(code: &Code<'_, C>) -> Option<C> {
    match code {
        Code::Known(code) => Some(*code),
        Code::Later(_) => None,
    }
}

impl FinalLine {
    /// The final line in `line`, of which `chat` read the key `key`.
    pub(crate) fn from_wire(line: &str, key: Option<&str>) -> FinalLine {
        let key_bytes = key.map_or(0, |key| "@|".len() + key.len());
        FinalLine(line[key_bytes..].to_owned())
    }

    /// A final line in the client's own words.
    pub(crate) fn new<'a>(reply: impl Into<Reply<'a>>) -> FinalLine {
        FinalLine(reply.into().to_string())
    }

    /// What it says.
    pub fn reply(&self) -> Reply<'_> {
        Reply::parse(&self.0).expect("only final lines are kept")
    }

    /// What was done, if anything was.
    pub fn done(&self) -> Option<Done<'_>> {
        match self.reply() {
            Reply::Ok(done) => Some(done),
            Reply::Retry { .. } | Reply::Err { .. } => None,
        }
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match self.reply() {
            Reply::Ok(_) => Verdict::Ok,
            Reply::Retry { code, .. } => Verdict::Retry(known(&code)),
            Reply::Err { code, .. } => Verdict::Err(known(&code)),
        }
    }
}

impl fmt::Display for FinalLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msg|{}|{}|{}|{}", self.id, self.from, self.time, self.text)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.code, self.text)
    }
}
