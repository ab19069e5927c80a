//! The one place where a `u64` meets SQLite's signed integers.
//!
//! Counts (index, term, boot, time) stay below 2^63 for longer than any hardware lasts; one that does not is a bug
//! or damage, and is refused in both directions. Digests and random ids use all 64 bits, and keep them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A count: kept as the integer it is, so that it sorts and reads as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Num(pub u64);

impl Num {
    /// The end of a range that somebody asks for, or an id that they name: nothing stored lies beyond the largest.
    pub fn bound(number: u64) -> Self {
        Self(number.min(i64::MAX as u64))
    }
}

impl ToSql for Num {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl FromSql for Num {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let signed = value.as_i64()?;
        u64::try_from(signed).map(Self).map_err(|_| FromSqlError::OutOfRange(signed))
    }
}

/// 64 bits without order: a digest, a random id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(pub u64);

impl ToSql for Bits {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.cast_signed()))
    }
}

impl FromSql for Bits {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(value.as_i64()?.cast_unsigned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_checked_both_ways() {
        assert!(Num(i64::MAX as u64).to_sql().is_ok());
        assert!(Num(i64::MAX as u64 + 1).to_sql().is_err());
        assert_eq!(Num::column_result(ValueRef::Integer(7)).ok(), Some(Num(7)));
        assert!(Num::column_result(ValueRef::Integer(-1)).is_err());
    }

    #[test]
    fn bits_keep_every_bit() {
        for bits in [0, 1, u64::MAX, 1 << 63] {
            let Ok(ToSqlOutput::Owned(rusqlite::types::Value::Integer(signed))) = Bits(bits).to_sql() else {
                panic!("bits are stored as an integer");
            };
            assert_eq!(Bits::column_result(ValueRef::Integer(signed)).ok(), Some(Bits(bits)));
        }
    }
}
