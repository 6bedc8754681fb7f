//! The values of a column as Cassandra reads them: a length and the bytes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};

use super::types::CqlType;
use crate::error::{Error, Result};

/// Writes the value of a row behind what is there already.
pub type Cells<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a>;

/// The length that says that a value is not there, and one that says to leave what is there.
const NULL: i32 = -1;
const UNSET: i32 = -2;
/// Midnight of 1970-01-01 in the middle of the range.
const EPOCH_DAY: i64 = 1 << 31;
const DAY: i64 = 86_400_000_000_000;

/// Writes a value.
pub fn put(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as i32).to_be_bytes());
    out.extend_from_slice(value);
}

/// Writes that there is no value: what is there is removed.
pub fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL.to_be_bytes());
}

/// Writes that what is there stays.
pub fn put_unset(out: &mut Vec<u8>) {
    out.extend_from_slice(&UNSET.to_be_bytes());
}

/// The cells in `bytes`, in order; `None` for one that stays as it is, `Some(None)` for a null.
pub fn read(mut bytes: &[u8]) -> impl Iterator<Item = Option<Option<&[u8]>>> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        let (value, rest) = rest.split_at_checked(length.max(0) as usize)?;
        bytes = rest;
        Some((length != UNSET).then(|| (length != NULL).then_some(value)))
    })
}

/// A day, counted from 1970-01-01.
pub fn day(days: i64) -> [u8; 4] {
    ((days + EPOCH_DAY) as u32).to_be_bytes()
}

/// `column` in the plain type from which a column of `kind` is written.
pub fn canonical(column: &ArrayRef, kind: CqlType) -> Result<ArrayRef> {
    let wanted = match (kind, column.data_type()) {
        (CqlType::Bigint, _) => DataType::Int64,
        (CqlType::Double, _) => DataType::Float64,
        (CqlType::Decimal, DataType::Int32) => DataType::Int64,
        (CqlType::Time, _) => DataType::Time64(TimeUnit::Nanosecond),
        (CqlType::Timestamp, DataType::Timestamp(TimeUnit::Second, zone)) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        (_, kind) => kind.clone(),
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(column, &wanted, &options)?)
}

/// How the values of `column`, which is [`canonical`] and holds no null where it is asked, are written as `kind`.
pub fn cells<'a>(column: &'a ArrayRef, kind: CqlType) -> Result<Cells<'a>> {
    fn bytes<'a, const N: usize>(value: impl Fn(usize) -> [u8; N] + 'a) -> Cells<'a> {
        Box::new(move |row, out| {
            let mut cell = [0; 12];
            cell[..4].copy_from_slice(&(N as i32).to_be_bytes());
            cell[4..4 + N].copy_from_slice(&value(row));
            out.extend_from_slice(&cell[..4 + N]);
            Ok(())
        })
    }
    Ok(match (kind, column.data_type()) {
        (CqlType::Text, DataType::Utf8) => {
            let texts = column.as_string::<i32>();
            Box::new(move |row, out| {
                put(out, texts.value(row).as_bytes());
                Ok(())
            })
        }
        (CqlType::Uuid, DataType::Utf8) => {
            let texts = column.as_string::<i32>();
            Box::new(move |row, out| uuid(texts.value(row), out))
        }
        (CqlType::Boolean, DataType::Boolean) => {
            let flags = column.as_boolean();
            bytes(move |row| [u8::from(flags.value(row))])
        }
        (CqlType::Int, DataType::Int32) => {
            let numbers = column.as_primitive::<Int32Type>().values();
            bytes(move |row| numbers[row].to_be_bytes())
        }
        (CqlType::Bigint, DataType::Int64) => {
            let numbers = column.as_primitive::<Int64Type>().values();
            bytes(move |row| numbers[row].to_be_bytes())
        }
        (CqlType::Float, DataType::Float32) => {
            let numbers = column.as_primitive::<Float32Type>().values();
            bytes(move |row| numbers[row].to_be_bytes())
        }
        (CqlType::Double, DataType::Float64) => {
            let numbers = column.as_primitive::<Float64Type>().values();
            bytes(move |row| numbers[row].to_be_bytes())
        }
        (CqlType::Decimal, DataType::Decimal128(_, scale)) => {
            let numbers = column.as_primitive::<Decimal128Type>().values();
            let scale = i32::from(*scale);
            Box::new(move |row, out| {
                put_decimal(out, numbers[row], scale);
                Ok(())
            })
        }
        (CqlType::Decimal, DataType::Int64) => {
            let numbers = column.as_primitive::<Int64Type>().values();
            Box::new(move |row, out| {
                put_decimal(out, i128::from(numbers[row]), 0);
                Ok(())
            })
        }
        (CqlType::Decimal, DataType::Float32) => {
            let numbers = column.as_primitive::<Float32Type>().values();
            Box::new(move |row, out| shortest(&format!("{:e}", numbers[row]), out))
        }
        (CqlType::Decimal, DataType::Float64) => {
            let numbers = column.as_primitive::<Float64Type>().values();
            Box::new(move |row, out| shortest(&format!("{:e}", numbers[row]), out))
        }
        (CqlType::Date, DataType::Date32) => {
            let days = column.as_primitive::<Date32Type>().values();
            bytes(move |row| day(i64::from(days[row])))
        }
        (CqlType::Time, DataType::Time64(TimeUnit::Nanosecond)) => {
            let times = column.as_primitive::<Time64NanosecondType>().values();
            Box::new(move |row, out| time_of_day(times[row], out))
        }
        (CqlType::Timestamp, DataType::Timestamp(TimeUnit::Millisecond, _)) => {
            let times = column.as_primitive::<TimestampMillisecondType>().values();
            bytes(move |row| times[row].to_be_bytes())
        }
        (CqlType::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let times = column.as_primitive::<TimestampMicrosecondType>().values();
            bytes(move |row| times[row].div_euclid(1_000).to_be_bytes())
        }
        (CqlType::Timestamp, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            let times = column.as_primitive::<TimestampNanosecondType>().values();
            bytes(move |row| times[row].div_euclid(1_000_000).to_be_bytes())
        }
        (kind, found) => return Err(Error::run(format!("{found} cannot be written as {kind}"))),
    })
}

fn uuid(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let uuid = uuid::Uuid::parse_str(text).map_err(|_| Error::run(format!("`{text}` is no UUID")))?;
    put(out, uuid.as_bytes());
    Ok(())
}

fn time_of_day(nanoseconds: i64, out: &mut Vec<u8>) -> Result<()> {
    if !(0..DAY).contains(&nanoseconds) {
        return Err(Error::run("it is no time of a day"));
    }
    put(out, &nanoseconds.to_be_bytes());
    Ok(())
}

/// A scale and the digits as a whole number, two's complement, in as few bytes as hold it.
fn put_decimal(out: &mut Vec<u8>, digits: i128, scale: i32) {
    let bits = if digits < 0 { digits.leading_ones() } else { digits.leading_zeros() };
    // One bit of them is the sign and stays.
    let spare = (bits - 1) as usize / 8;
    let digits = &digits.to_be_bytes()[spare..];
    out.extend_from_slice(&(4 + digits.len() as i32).to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    out.extend_from_slice(digits);
}

/// The shortest decimal number that reads back as the same float: `text` is that float as `1.25e-3`.
fn shortest(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let read = || {
        let (digits, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let after_point = digits.split_once('.').map_or(0, |(_, after)| after.len() as i32);
        Some((digits.replace('.', "").parse().ok()?, after_point - exponent))
    };
    let (mut digits, mut scale): (i128, i32) =
        read().ok_or_else(|| Error::run(format!("{text} is no finite number")))?;
    // Whole numbers are written out, as far as there is room.
    while let Some(longer) = digits.checked_mul(10).filter(|_| scale < 0) {
        (digits, scale) = (longer, scale + 1);
    }
    put_decimal(out, digits, scale);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray, Time64NanosecondArray, TimestampNanosecondArray};

    fn decimal(digits: i128, scale: i32) -> Vec<u8> {
        let mut out = Vec::new();
        put_decimal(&mut out, digits, scale);
        assert_eq!(i32::from_be_bytes(out[..4].try_into().expect("a length")) as usize, out.len() - 4);
        out.split_off(4)
    }

    #[test]
    fn a_decimal_takes_as_few_bytes_as_hold_it() {
        for (digits, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (-1, &[255]),
            (-128, &[128]),
            (-129, &[255, 127]),
            (i128::MAX, &i128::MAX.to_be_bytes()),
            (i128::MIN, &i128::MIN.to_be_bytes()),
        ] {
            assert_eq!(decimal(digits, 2), [&[0, 0, 0, 2], bytes].concat(), "{digits}");
        }
    }

    #[test]
    fn a_float_becomes_the_shortest_decimal_that_reads_back() {
        for (float, digits, scale) in [
            (0.1, 1, 1),
            (128.06, 12806, 2),
            (-2.5e-3, -25, 4),
            (150.0, 150, 0),
            (0.0, 0, 0),
            (1e300, 10i128.pow(38), -262),
        ] {
            let mut out = Vec::new();
            shortest(&format!("{float:e}"), &mut out).expect("finite");
            assert_eq!(out[4..], decimal(digits, scale), "{float}");
        }
        assert!(shortest(&format!("{:e}", f64::NAN), &mut Vec::new()).is_err());
    }

    #[test]
    fn an_instant_before_1970_is_rounded_down_like_any_other() {
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999_999]));
        let cells = cells(&times, CqlType::Timestamp).expect("cells");
        let written = |row| {
            let mut out = Vec::new();
            cells(row, &mut out).expect("written");
            i64::from_be_bytes(out[4..].try_into().expect("eight bytes"))
        };
        assert_eq!((written(0), written(1)), (-1, 1));
    }

    #[test]
    fn what_is_no_uuid_and_no_time_is_refused() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["00036d2f-394f-439c-95b4-a3822c1ff740", "x"]));
        let uuids = cells(&texts, CqlType::Uuid).expect("cells");
        let mut out = Vec::new();
        assert!(uuids(0, &mut out).is_ok() && out.len() == 20);
        assert_eq!(uuids(1, &mut out).expect_err("no uuid").to_string(), "`x` is no UUID");
        let times: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![DAY]));
        assert!(cells(&times, CqlType::Time).expect("cells")(0, &mut out).is_err());
    }

    #[test]
    fn cells_read_back() {
        let mut out = Vec::new();
        put(&mut out, b"ab");
        put_null(&mut out);
        put_unset(&mut out);
        put(&mut out, b"");
        assert_eq!(read(&out).collect::<Vec<_>>(), [Some(Some(&b"ab"[..])), Some(None), None, Some(Some(b""))]);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        cells(&floats, CqlType::Double).expect("cells")(0, &mut out).expect("written");
        assert_eq!(read(&out).last(), Some(Some(Some(&1.5f64.to_be_bytes()[..]))));
    }
}
