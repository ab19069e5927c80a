//! Op 11, `status`: the cluster, as this replica knows it.

use std::fmt;

use super::{Op, Request, no_args};

/// `11`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status;

pub(super) const OP: Op = Op {
    number: "11",
    name: "status",
    help: "11: the replicas of the cluster, as this one knows them",
    parse: |args| no_args(args).map(|()| Request::Status(Status)),
};

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("11")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{check, reads, refuses};
    use crate::{Checked, ErrCode};

    #[test]
    fn syntax() {
        for line in ["11", "11|", "STATUS", "Status|"] {
            reads(line, "11", Request::Status(Status));
        }
        refuses("11|x", ErrCode::BadRequest);
        refuses("11||", ErrCode::BadRequest);
        assert!(matches!(check("11"), Ok(Checked::Status)));
    }
}
