//! The types of Cassandra's columns that hold ours, and what can be written into which without loss.

use std::fmt;

use crate::formats::ColumnType;

/// A type of a Cassandra column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CqlType {
    /// UTF-8 text.
    Text,
    /// A UUID of any version.
    Uuid,
    /// True or false.
    Boolean,
    /// 32 bits.
    Int,
    /// 64 bits.
    Bigint,
    /// 32 bits.
    Float,
    /// 64 bits.
    Double,
    /// Exact, each value with a scale of its own.
    Decimal,
    /// A day.
    Date,
    /// A time of day, in nanoseconds.
    Time,
    /// An instant, in milliseconds.
    Timestamp,
}

const NAMES: &[(CqlType, &str)] = &[
    (CqlType::Text, "text"),
    (CqlType::Uuid, "uuid"),
    (CqlType::Boolean, "boolean"),
    (CqlType::Int, "int"),
    (CqlType::Bigint, "bigint"),
    (CqlType::Float, "float"),
    (CqlType::Double, "double"),
    (CqlType::Decimal, "decimal"),
    (CqlType::Date, "date"),
    (CqlType::Time, "time"),
    (CqlType::Timestamp, "timestamp"),
];

impl CqlType {
    /// The type that a new table gives to a column of `kind`.
    pub fn of(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Self::Text,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Int => Self::Int,
            ColumnType::Bigint => Self::Bigint,
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Decimal { .. } => Self::Decimal,
            ColumnType::Date => Self::Date,
            ColumnType::Time(_) => Self::Time,
            ColumnType::Timestamp(_) => Self::Timestamp,
        }
    }

    /// The type that Cassandra calls `name`, where it can hold any of ours.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether values of `kind` can be written into such a column and read back the same. A text can be written
    /// as a UUID where it is one, which its row decides.
    pub fn holds(self, kind: ColumnType) -> bool {
        let wider = match kind {
            ColumnType::Text => self == Self::Uuid,
            ColumnType::Uuid => self == Self::Text,
            ColumnType::Int => matches!(self, Self::Bigint | Self::Double | Self::Decimal),
            ColumnType::Float => matches!(self, Self::Double | Self::Decimal),
            ColumnType::Bigint | ColumnType::Double => self == Self::Decimal,
            _ => false,
        };
        wider || self == Self::of(kind)
    }
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_ours_has_one_that_holds_it() {
        for name in ColumnType::NAMES {
            let kind: ColumnType = name.parse().expect(name);
            let cql = CqlType::of(kind);
            assert!(cql.holds(kind), "{name}");
            assert_eq!(CqlType::named(&cql.to_string()), Some(cql));
        }
    }

    #[test]
    fn what_would_lose_is_not_held() {
        for (kind, cql) in [
            (ColumnType::Bigint, CqlType::Int),
            (ColumnType::Bigint, CqlType::Double),
            (ColumnType::Double, CqlType::Float),
            (ColumnType::Decimal { precision: 18, scale: 8 }, CqlType::Double),
            (ColumnType::Date, CqlType::Text),
        ] {
            assert!(!cql.holds(kind), "{kind} as {cql}");
        }
    }
}
