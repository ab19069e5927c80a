//! Views as text, and back: on the wire and on the disk they are the same.
//!
//! ```text
//! 7.1.a0.3                                            a view's id: number, proposer, its boot
//! 7.1.a0.3|6.1.a0.3|1.a0.3.cafe,2.b1.9.beef           a view: its id, its base, its members with their runs
//! ```

use super::body::{parse_decimal, parse_hex, parse_member};
use crate::consensus::{Boot, Member, Run, VIEW_NUMBER_MAX, View, ViewId};

/// What [`ViewId`] prints. Total on any text.
pub fn parse_view_id(text: &str) -> Option<ViewId> {
    let (number, rest) = text.split_once('.')?;
    let (proposer, boot) = rest.rsplit_once('.')?;
    let number = parse_decimal(number).filter(|number| *number <= VIEW_NUMBER_MAX)?;
    let id = ViewId { number, proposer: parse_member(proposer)?, boot: Boot(parse_decimal(boot)?) };
    // Numbers can be written in more ways than one: only the printed one is kept.
    (id.to_string() == text).then_some(id)
}

/// What [`View`] prints. Total on any text.
pub fn parse_view(text: &str) -> Option<View> {
    let (id, rest) = text.split_once('|')?;
    let (base, list) = rest.split_once('|')?;
    let members = match list {
        "" => Vec::new(),
        list => list.split(',').map(parse_run).collect::<Option<Vec<_>>>()?,
    };
    let view = View { id: parse_view_id(id)?, base: parse_view_id(base)?, members };
    let sorted = view.members.is_sorted_by(|one, next| one < next);
    (sorted && view.to_string() == text).then_some(view)
}

fn parse_run(text: &str) -> Option<(Member, Run)> {
    let (rest, nonce) = text.rsplit_once('.')?;
    let (member, boot) = rest.rsplit_once('.')?;
    let nonce = u32::try_from(parse_hex(nonce)?).ok()?;
    Some((parse_member(member)?, Run { boot: Boot(parse_decimal(boot)?), nonce }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for text in
            ["7.1.a0.3|6.1.a0.3|1.a0.3.cafe,2.b1.9.beef", "1.3.ffffffffffffffff.1|0.0.0.0|3.ffffffffffffffff.1.0"]
        {
            assert_eq!(parse_view(text).expect("a view").to_string(), text);
        }
        assert_eq!(parse_view("0.0.0.0|0.0.0.0|"), Some(View::default()));
    }

    #[test]
    fn what_nobody_prints_is_refused() {
        for text in [
            "",
            "7.1.a0.3",
            "7.1.a0.3|6.1.a0.3",
            "7.1.a0.3|6.1.a0.3|1.a0.3",
            "07.1.a0.3|6.1.a0.3|",
            "7.1.a0.3|6.1.a0.3|2.b1.9.beef,1.a0.3.cafe",
            "7.1.a0.3|6.1.a0.3|1.a0.3.cafe,1.a0.3.cafe",
            "7.1.a0.3|6.1.a0.3|1.a0.3.1cafecafe",
            "8388608.1.a0.3|6.1.a0.3|",
            "7.1.a0.3|6.1.a0.3|1.A0.3.cafe",
        ] {
            assert_eq!(parse_view(text), None, "{text}");
        }
    }
}
