//! Numbers from text, exactly: nothing is rounded but a float, and that correctly.

/// A number as it is written. Most have few digits and no exponent: those are worked out while scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    text: &'a str,
    /// All digits as an integer, where there are at most [`SHORT`] of them.
    digits: i64,
    /// How many of the digits stand after the point; [`LONG`] where `digits` does not hold the number.
    fraction: usize,
}

/// So many digits always fit 64 bits.
const SHORT: usize = 18;
const LONG: usize = usize::MAX;

/// The powers of ten up to [`SHORT`], all of them exact.
const DOUBLES: [f64; SHORT + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// Up to here every integer is a double.
const EXACT: u64 = 1 << 53;

impl<'a> Number<'a> {
    /// What stands in a text, which need not be a number.
    pub(super) fn from_text(text: &'a str) -> Self {
        match Number::scan(text) {
            Some(number) if number.text.len() == text.len() => number,
            _ => Number { text, digits: 0, fraction: LONG },
        }
    }

    /// The number, as JSON writes them, that a text begins with.
    #[inline]
    pub(super) fn scan(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut value, mut end) = digits(bytes, start, 0)?;
        if bytes.get(start) == Some(&b'0') && end > start + 1 {
            return None;
        }
        let mut count = end - start;
        let mut fraction = 0;
        if bytes.get(end) == Some(&b'.') {
            let point = end + 1;
            (value, end) = digits(bytes, point, value)?;
            fraction = end - point;
            count += fraction;
        }
        // Minus zero is a double of its own and no integer.
        if count > SHORT || (negative && value == 0) {
            fraction = LONG;
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
            (_, end) = digits(bytes, end + 1 + usize::from(sign), 0)?;
            fraction = LONG;
        }
        let digits = if negative { value.wrapping_neg() } else { value };
        Some(Number { text: text.get(..end)?, digits, fraction })
    }

    /// Whether it is written as JSON writes numbers: a code such as `000001` is not.
    pub(super) fn is_plain(self) -> bool {
        Number::scan(self.text).is_some_and(|number| number.text.len() == self.text.len())
    }

    /// As it is written.
    #[inline]
    pub(super) fn text(self) -> &'a str {
        self.text
    }

    /// An integer. `4711.0` and `4.711e3` are integers too, as some languages write them so.
    #[inline]
    pub(super) fn integer(self) -> Option<i64> {
        if self.fraction == 0 {
            return Some(self.digits);
        }
        match self.text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.decimal(19, 0)?.try_into().ok(),
        }
    }

    /// The double nearest to the number; never an infinity.
    #[inline]
    pub(super) fn double(self) -> Option<f64> {
        match DOUBLES.get(self.fraction) {
            // Both are exact, so that their quotient is rounded once.
            Some(power) if self.digits.unsigned_abs() <= EXACT => Some(self.digits as f64 / power),
            _ => self.text.parse().ok().filter(|value: &f64| value.is_finite()),
        }
    }

    /// The float nearest to the number; never an infinity.
    pub(super) fn float(self) -> Option<f32> {
        self.text.parse().ok().filter(|value: &f32| value.is_finite())
    }

    /// A decimal as an integer of `scale` digits after the point. None where it has more digits than that,
    /// other than zeros.
    pub(super) fn decimal(self, precision: u8, scale: i8) -> Option<i128> {
        let scale = i64::from(scale);
        let value = if self.fraction as i64 <= scale && self.fraction != LONG {
            i128::from(self.digits).checked_mul(power_of_ten(scale - self.fraction as i64)?)?
        } else {
            Digits::read(self.text)?.scaled(scale)?
        };
        (value.abs() < power_of_ten(precision.into())?).then_some(value)
    }
}

/// The digits from `start` on, appended to `value`, and where they end; None where there are none. The
/// value means something for up to [`SHORT`] digits.
#[inline]
fn digits(bytes: &[u8], start: usize, mut value: i64) -> Option<(i64, usize)> {
    let mut end = start;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    (end > start).then_some((value, end))
}

/// A number as `value` times ten to the `exponent`, `value` without zeros at its end.
struct Digits {
    value: i128,
    exponent: i64,
}

impl Digits {
    fn read(text: &str) -> Option<Digits> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
            None => (text, 0),
        };
        let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (value, zeros) = significant(whole.bytes().chain(fraction.bytes()))?;
        let value = if mantissa.starts_with('-') { -value } else { value };
        Some(Digits { value, exponent: exponent.saturating_add(zeros - fraction.len() as i64) })
    }

    fn scaled(self, scale: i64) -> Option<i128> {
        match self.value {
            0 => Some(0),
            value => value.checked_mul(power_of_ten(self.exponent.saturating_add(scale))?),
        }
    }
}

/// The value of digits up to the last that is not zero, and how many zeros follow it.
fn significant(digits: impl Iterator<Item = u8>) -> Option<(i128, i64)> {
    let mut value = 0i128;
    let mut zeros = 0;
    for digit in digits {
        match digit {
            b'0' => zeros += 1,
            b'1'..=b'9' if value == 0 => (value, zeros) = ((digit - b'0').into(), 0),
            b'1'..=b'9' => {
                let shifted = value.checked_mul(power_of_ten(zeros + 1)?)?;
                (value, zeros) = (shifted.checked_add((digit - b'0').into())?, 0);
            }
            _ => return None,
        }
    }
    Some((value, zeros))
}

/// The exponent of a number; one too long to matter is as good as the greatest.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let greatest = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(greatest))
}

/// The powers of ten that a decimal can need.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

fn power_of_ten(exponent: i64) -> Option<i128> {
    POWERS.get(usize::try_from(exponent).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
        Number::from_text(text).decimal(precision, scale)
    }

    fn integer(text: &str) -> Option<i64> {
        Number::from_text(text).integer()
    }

    fn double(text: &str) -> Option<f64> {
        Number::from_text(text).double()
    }

    fn float(text: &str) -> Option<f32> {
        Number::from_text(text).float()
    }

    #[test]
    fn a_decimal_is_read_to_its_last_digit() {
        assert_eq!(decimal("0.1", 38, 18), Some(100_000_000_000_000_000));
        assert_eq!(decimal("-12345678901234567890.12345678", 38, 8), Some(-1234567890123456789012345678));
        assert_eq!(decimal(&"9".repeat(38), 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(decimal("105433.60000", 18, 2), Some(10_543_360));
        assert_eq!(decimal(".5", 3, 1), Some(5));
        assert_eq!(decimal("5.", 3, 1), Some(50));
    }

    #[test]
    fn a_decimal_may_be_written_with_an_exponent() {
        assert_eq!(decimal("1.5e3", 9, 2), Some(150_000));
        assert_eq!(decimal("150E-2", 9, 2), Some(150));
        assert_eq!(decimal("1e-8", 18, 8), Some(1));
        assert_eq!(decimal("0e999999999999999999999", 9, 2), Some(0));
        assert_eq!(decimal("1e999999999999999999999", 9, 2), None);
        assert_eq!(decimal("1e-999999999999999999999", 9, 2), None);
    }

    #[test]
    fn zeros_behind_the_scale_are_no_digits() {
        assert_eq!(decimal("1.2300", 9, 2), Some(123));
        assert_eq!(decimal(&format!("1.5{}", "0".repeat(1000)), 9, 2), Some(150));
        assert_eq!(decimal(&format!("{}7", "0".repeat(1000)), 9, 0), Some(7));
    }

    #[test]
    fn a_decimal_that_does_not_fit_is_refused_not_rounded() {
        assert_eq!(decimal("1.005", 9, 2), None);
        assert_eq!(decimal("10000000", 9, 2), None);
        assert_eq!(decimal("9999999.99", 9, 2), Some(999_999_999));
        assert_eq!(decimal(&"9".repeat(39), 38, 0), None);
        assert_eq!(decimal(&format!("{}7", "1".repeat(1000)), 38, 0), None);
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in
            ["", "-", "+", ".", "-.", "e5", "1e", "1e+", "1e1.5", "abc", "1_000", "1,5", "--1", "1.2.3", " 1", "NaN"]
        {
            assert_eq!(decimal(text, 38, 10), None, "{text:?}");
            assert_eq!(integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_integer_may_be_written_as_a_number_without_a_fraction() {
        assert_eq!(integer("4711.0"), Some(4711));
        assert_eq!(integer("4.711e3"), Some(4711));
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer("9223372036854775807.0"), Some(i64::MAX));
        assert_eq!(integer("9223372036854775808"), None);
        assert_eq!(integer("0.5"), None);
    }

    #[test]
    fn a_double_is_the_nearest_one_and_never_infinite() {
        assert_eq!(double("101.2345"), Some(101.2345));
        assert_eq!(double("2.2250738585072011e-308").map(f64::to_bits), Some(0x000f_ffff_ffff_ffff));
        assert_eq!(double("9007199254740993"), Some(9007199254740992.0));
        assert_eq!(float("16777217"), Some(16777216.0));
        for text in ["NaN", "nan", "inf", "-Infinity", "1e999", "-1e999"] {
            assert_eq!(double(text), None, "{text}");
            assert_eq!(float(text), None, "{text}");
        }
        assert_eq!(float("1e39"), None);
    }
}
