//! The types a column can have: as users write them, and as Arrow holds them.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The metadata key of an Arrow field that tells more of its type than Arrow does.
pub const TYPE_METADATA: &str = "tapeflow.type";

/// The greatest number of digits a decimal may have.
pub const MAX_PRECISION: u8 = 38;

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// Text that holds a UUID, lower-case and hyphenated.
    Uuid,
    /// True or false.
    Boolean,
    /// A signed integer of 32 bits.
    Int,
    /// A signed integer of 64 bits.
    Bigint,
    /// A finite floating point number of 32 bits.
    Float,
    /// A finite floating point number of 64 bits.
    Double,
    /// An exact number of at most `precision` digits, `scale` of them after the point.
    Decimal {
        /// All digits, at most [`MAX_PRECISION`].
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// A day.
    Date,
    /// A time of day.
    Time(TimeUnit),
    /// An instant, in UTC.
    Timestamp(TimeUnit),
}

impl ColumnType {
    /// How types are written, for suggestions.
    pub const NAMES: &[&str] = &[
        "text",
        "uuid",
        "boolean",
        "int",
        "bigint",
        "float",
        "double",
        "decimal(18,8)",
        "date",
        "time",
        "time_s",
        "time_ms",
        "time_us",
        "time_ns",
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_us",
        "timestamp_ns",
    ];

    /// The Arrow type that holds such a column: always a plain one, no dictionary and no view.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Uuid => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Date => DataType::Date32,
            Self::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
            Self::Time(unit) => DataType::Time64(unit),
            Self::Timestamp(unit) => DataType::Timestamp(unit, None),
        }
    }

    /// The Arrow field of such a column.
    pub fn field(self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        match self {
            Self::Uuid => field.with_metadata([(TYPE_METADATA.into(), self.to_string())].into()),
            _ => field,
        }
    }
}

impl ColumnType {
    /// The type of an Arrow column, where it is one of ours.
    pub fn of(field: &Field) -> Option<ColumnType> {
        Some(match field.data_type() {
            DataType::Utf8 if field.metadata().contains_key(TYPE_METADATA) => Self::Uuid,
            DataType::Utf8 => Self::Text,
            DataType::Boolean => Self::Boolean,
            DataType::Int32 => Self::Int,
            DataType::Int64 => Self::Bigint,
            DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal128(precision, scale) => Self::Decimal { precision: *precision, scale: *scale },
            DataType::Date32 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(*unit),
            DataType::Timestamp(unit, None) => Self::Timestamp(*unit),
            _ => return None,
        })
    }
}

/// An Arrow type as users call it.
pub fn type_name(kind: &DataType) -> String {
    ColumnType::of(&Field::new("", kind.clone(), true)).map_or_else(|| kind.to_string(), |kind| kind.to_string())
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Uuid => f.write_str("uuid"),
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::Bigint => f.write_str("bigint"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::Time(unit) => write!(f, "time_{}", suffix(*unit)),
            Self::Timestamp(unit) => write!(f, "timestamp_{}", suffix(*unit)),
        }
    }
}

impl FromStr for ColumnType {
    type Err = UnknownType;

    /// `time` and `timestamp` without a unit hold nanoseconds.
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let named = match text {
            "text" => Some(Self::Text),
            "uuid" => Some(Self::Uuid),
            "boolean" => Some(Self::Boolean),
            "int" => Some(Self::Int),
            "bigint" => Some(Self::Bigint),
            "float" => Some(Self::Float),
            "double" => Some(Self::Double),
            "date" => Some(Self::Date),
            "time" => Some(Self::Time(TimeUnit::Nanosecond)),
            "timestamp" => Some(Self::Timestamp(TimeUnit::Nanosecond)),
            _ => decimal(text).or_else(|| with_unit(text)),
        };
        named.ok_or_else(|| UnknownType { name: text.into() })
    }
}

/// A name that is no column type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownType {
    /// What was written.
    pub name: String,
}

impl fmt::Display for UnknownType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.starts_with("decimal") {
            write!(
                f,
                "{:?} is no type: a decimal is written decimal(precision,scale), with 1 to {MAX_PRECISION} digits of which `scale` stand after the point",
                self.name
            )
        } else {
            write!(f, "{:?} is no type: the types are {}", self.name, ColumnType::NAMES.join(", "))
        }
    }
}

impl std::error::Error for UnknownType {}

/// How many of the unit make a second.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn suffix(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn with_unit(text: &str) -> Option<ColumnType> {
    let (kind, unit) = text.split_once('_')?;
    let unit = match unit {
        "s" => TimeUnit::Second,
        "ms" => TimeUnit::Millisecond,
        "us" => TimeUnit::Microsecond,
        "ns" => TimeUnit::Nanosecond,
        _ => return None,
    };
    match kind {
        "time" => Some(ColumnType::Time(unit)),
        "timestamp" => Some(ColumnType::Timestamp(unit)),
        _ => None,
    }
}

/// `decimal(18,8)`, or `decimal(18)` for whole numbers.
fn decimal(text: &str) -> Option<ColumnType> {
    let digits = text.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
    let precision = precision.trim().parse().ok()?;
    let scale = scale.trim().parse().ok()?;
    let fits = (1..=MAX_PRECISION).contains(&precision) && (0..=precision as i8).contains(&scale);
    fits.then_some(ColumnType::Decimal { precision, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_type() {
        for name in ColumnType::NAMES {
            assert!(name.parse::<ColumnType>().is_ok(), "{name}");
        }
    }

    #[test]
    fn a_type_reads_back_as_it_is_written() {
        for name in ColumnType::NAMES {
            let kind: ColumnType = name.parse().unwrap();
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_decimal_has_between_one_and_38_digits_and_no_more_after_the_point() {
        assert_eq!("decimal(18, 8)".parse(), Ok(ColumnType::Decimal { precision: 18, scale: 8 }));
        assert_eq!("decimal(5)".parse(), Ok(ColumnType::Decimal { precision: 5, scale: 0 }));
        for wrong in ["decimal", "decimal(0,0)", "decimal(39,2)", "decimal(4,5)", "decimal(9,-1)", "decimal(a,b)"] {
            let mistake = wrong.parse::<ColumnType>().unwrap_err();
            assert!(mistake.to_string().contains("decimal(precision,scale)"), "{mistake}");
        }
    }

    #[test]
    fn an_unknown_type_lists_the_known_ones() {
        let mistake = "string".parse::<ColumnType>().unwrap_err();
        assert!(mistake.to_string().starts_with("\"string\" is no type: the types are text, uuid"));
    }

    #[test]
    fn a_uuid_is_text_that_says_so_in_its_metadata() {
        let field = ColumnType::Uuid.field("id", true);
        assert_eq!(field.data_type(), &DataType::Utf8);
        assert_eq!(field.metadata().get(TYPE_METADATA).map(String::as_str), Some("uuid"));
        assert!(ColumnType::Text.field("id", true).metadata().is_empty());
    }

    #[test]
    fn times_of_day_take_the_arrow_width_of_their_unit() {
        assert_eq!(ColumnType::Time(TimeUnit::Millisecond).arrow(), DataType::Time32(TimeUnit::Millisecond));
        assert_eq!(ColumnType::Time(TimeUnit::Nanosecond).arrow(), DataType::Time64(TimeUnit::Nanosecond));
    }
}
