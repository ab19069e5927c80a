//! Op 7, `history`: my messages, sent and received, page by page in both directions.
//!
//! Every field may be left empty: `7||>40` goes on after 40 with everybody, `7|bob||50` is the newest 50 with bob.

use std::fmt;
use std::num::NonZeroU32;

use super::{Checked, Op, Request, last};
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, MESSAGE_ID_MAX};
use crate::{HistoryPage, MessageId, Name, Refusal, number};

/// `7`, `7|name|before|n` or `7|name|>after|n`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History<'a> {
    /// With whom, as typed; `None` for everybody.
    pub name: Option<&'a str>,
    /// Where the page lies; `None` for the newest.
    pub page: Option<HistoryPage>,
    /// At most so many; `None` for the default.
    pub limit: Option<NonZeroU32>,
}

pub(super) const OP: Op = Op {
    number: "7",
    name: "history",
    help: "7 or 7|name|before|n or 7|name|>after|n: my messages, with name only (empty: \
           with all): the newest n older than id before, or the oldest n newer than id after",
    parse: |args| History::parse(args).map(Request::History),
};

impl<'a> History<'a> {
    fn parse(args: &'a str) -> Result<Self, Refusal> {
        let mut fields = args.splitn(3, '|');
        let name = fields.next().and_then(last);
        let page = fields.next().and_then(last).map(parse_page).transpose()?;
        let limit = fields.next().and_then(last).map(parse_limit).transpose()?;
        Ok(Self { name, page, limit })
    }

    pub(super) fn check(self) -> Result<Checked, Refusal> {
        let newest = HistoryPage::Before(MessageId(u64::MAX));
        Ok(Checked::History {
            with: self.name.map(Name::fold).transpose()?,
            page: self.page.unwrap_or(newest),
            limit: self.limit.map_or(HISTORY_MESSAGES_DEFAULT, NonZeroU32::get),
        })
    }
}

fn parse_page(field: &str) -> Result<HistoryPage, Refusal> {
    let (digits, page): (_, fn(MessageId) -> HistoryPage) = match field.strip_prefix('>') {
        Some(after) => (after, HistoryPage::After),
        None => (field, HistoryPage::Before),
    };
    number::parse(digits).filter(|id| *id <= MESSAGE_ID_MAX).map(|id| page(MessageId(id))).ok_or_else(|| {
        Refusal::bad_request(format!("before and >after are numbers from 0 to {MESSAGE_ID_MAX}: 7|name|before|n"))
    })
}

fn parse_limit(field: &str) -> Result<NonZeroU32, Refusal> {
    number::parse(field)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count <= HISTORY_MESSAGES_MAX)
        .and_then(NonZeroU32::new)
        .ok_or_else(|| Refusal::bad_request(format!("n is a number from 1 to {HISTORY_MESSAGES_MAX}: 7|name|before|n")))
}

impl fmt::Display for History<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("7")?;
        if self.name.is_some() || self.page.is_some() || self.limit.is_some() {
            write!(f, "|{}", self.name.unwrap_or_default())?;
        }
        match self.page {
            Some(HistoryPage::Before(id)) => write!(f, "|{id}")?,
            Some(HistoryPage::After(id)) => write!(f, "|>{id}")?,
            None if self.limit.is_some() => f.write_str("|")?,
            None => {}
        }
        self.limit.map_or(Ok(()), |limit| write!(f, "|{limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrCode;
    use crate::request::tests::{check, reads, refuses};

    fn before(id: u64) -> Option<HistoryPage> {
        Some(HistoryPage::Before(MessageId(id)))
    }

    fn after(id: u64) -> Option<HistoryPage> {
        Some(HistoryPage::After(MessageId(id)))
    }

    #[test]
    fn syntax() {
        let history = |name, page, limit: Option<u32>| {
            Request::History(History { name, page, limit: limit.and_then(NonZeroU32::new) })
        };
        for line in ["7", "7|", "7||", "7|||", "History", "HISTORY|"] {
            reads(line, "7", history(None, None, None));
        }
        for line in ["7|Bob", "7|Bob|", "7|Bob||"] {
            reads(line, "7|Bob", history(Some("Bob"), None, None));
        }
        reads("7|bob|120", "7|bob|120", history(Some("bob"), before(120), None));
        reads("7|bob|120|", "7|bob|120", history(Some("bob"), before(120), None));
        reads("7|bob|120|1000", "7|bob|120|1000", history(Some("bob"), before(120), Some(1000)));
        reads("7||0", "7||0", history(None, before(0), None));
        reads("7|bob|>120", "7|bob|>120", history(Some("bob"), after(120), None));
        reads("7||>0|1", "7||>0|1", history(None, after(0), Some(1)));
        reads("7|bob||50", "7|bob||50", history(Some("bob"), None, Some(50)));
        reads("7|||50", "7|||50", history(None, None, Some(50)));
    }

    #[test]
    fn what_is_no_page() {
        for line in [
            "7|bob|>",
            "7|bob|x",
            "7|bob|-1",
            "7|bob|>>1",
            "7|bob|> 1",
            "7|bob|9223372036854775808",
            "7|bob|1|0",
            "7|bob|1|1001",
            "7|bob|1|+1",
            "7|bob|1|20|",
            "7|bob|1|20|x",
            "7|bob|1||",
            "7|bob||x",
        ] {
            refuses(line, ErrCode::BadRequest);
        }
    }

    #[test]
    fn fields() {
        let Ok(Checked::History { with: Some(with), page, limit: 20 }) = check("7|BOB") else {
            panic!("the fields are good")
        };
        assert_eq!((with.as_str(), page), ("bob", HistoryPage::Before(MessageId(u64::MAX))));
        for line in ["7|a b", "7|#a", "7|>5", "7|>5|1|1"] {
            assert_eq!(check(line).map_err(|refusal| refusal.code).err(), Some(ErrCode::BadName), "{line}");
        }
    }
}
