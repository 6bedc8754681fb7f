//! Values as people read them, in messages.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::encode::TIMESTAMP;
use crate::error::Result;

/// What stands for a value that is not there.
const NULL: &str = "null";
/// So many digits of a number with a fraction are shown, and all before its point.
const DIGITS: i32 = 8;

/// The values of a column: numbers without what is only rounding, times as RFC 3339 in UTC.
pub fn plain_texts(column: &ArrayRef) -> Result<Vec<String>> {
    if matches!(column.data_type(), DataType::Float32 | DataType::Float64) {
        let doubles = cast(column, &DataType::Float64)?;
        let doubles = doubles.as_primitive::<Float64Type>();
        return Ok(doubles.iter().map(|value| value.map_or(NULL.to_string(), number)).collect());
    }
    let options = FormatOptions::default().with_null(NULL).with_timestamp_format(Some(TIMESTAMP));
    let formatter = ArrayFormatter::try_new(column, &options)?;
    Ok((0..column.len()).map(|row| formatter.value(row).to_string()).collect())
}

/// A number with at most eight significant digits, unless there are more before its point.
fn number(value: f64) -> String {
    let size = value.abs();
    let (text, exponent) = match size {
        0.0 => return "0".to_string(),
        size if (1e-9..1e15).contains(&size) => {
            let decimals = (DIGITS - 1 - size.log10().floor() as i32).max(0);
            (format!("{value:.*}", decimals as usize), String::new())
        }
        _ if value.is_finite() => {
            let text = format!("{value:.*e}", DIGITS as usize - 1);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            (digits.to_string(), format!("e{exponent}"))
        }
        _ => return NULL.to_string(),
    };
    let digits = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{digits}{exponent}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
    };

    use super::*;

    #[test]
    fn a_number_is_shown_without_what_is_only_rounding() {
        for (value, text) in [
            (0.1 + 0.2, "0.3"),
            (1_234_567.0, "1234567"),
            (123_456_789_012.0, "123456789012"),
            (67_123.456_789, "67123.457"),
            (-0.031_234_567_89, "-0.031234568"),
            (0.000_008_12, "0.00000812"),
            (99.999_999_999, "100"),
            (2.5e-12, "2.5e-12"),
            (1e300, "1e300"),
            (-0.0, "0"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn values_of_all_types_are_shown_and_so_are_nulls() {
        let decimals = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(10, 2).expect("decimals");
        for (column, texts) in [
            (Arc::new(StringArray::from(vec![Some("A\"é"), None])) as ArrayRef, ["A\"é", "null"]),
            (Arc::new(Float64Array::from(vec![Some(1.5), None])), ["1.5", "null"]),
            (Arc::new(Float32Array::from(vec![0.1, 2.0])), ["0.1", "2"]),
            (Arc::new(Int64Array::from(vec![i64::MIN, 7])), ["-9223372036854775808", "7"]),
            (Arc::new(BooleanArray::from(vec![true, false])), ["true", "false"]),
            (Arc::new(decimals), ["1.50", "null"]),
            (
                Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_123, 0])),
                ["2023-11-14T22:13:20.123Z", "1970-01-01T00:00:00Z"],
            ),
        ] {
            assert_eq!(plain_texts(&column).expect("texts"), texts);
        }
    }
}
