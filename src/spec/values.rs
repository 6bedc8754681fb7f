//! Values with a unit: spans of time and sizes of memory.

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::fields::FromToml;
use super::mistakes::Findings;

impl FromToml for Duration {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let text = String::from_toml(value, findings)?;
        let read = humantime::parse_duration(&text);
        read.map_err(|_| findings.mistake(&value.span(), format!("`{text}` is not a time span like 100ms, 5m or 1h")))
            .ok()
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+ ?(ns|us|ms|s|m|h|d|w)", "examples": ["100ms", "5m"] })
    }
}

/// Nanoseconds in `span`, at most what fits.
pub fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A size of memory, in bytes: `64MB`, `1GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = match text[digits.len()..].trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1000 * 1000,
            "GB" => 1000 * 1000 * 1000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => 0,
        };
        let number: Option<u64> = digits.parse().ok();
        number
            .and_then(|number| number.checked_mul(unit))
            .filter(|_| unit > 0)
            .map(Size)
            .ok_or_else(|| format!("`{text}` is not a size like 64MB or 1GiB"))
    }
}

impl FromToml for Size {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let text = String::from_toml(value, findings)?;
        text.parse().map_err(|message: String| findings.mistake(&value.span(), message)).ok()
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("64MB".parse(), Ok(Size(64_000_000)));
        assert_eq!("1GiB".parse(), Ok(Size(1 << 30)));
        assert!("64 parsecs".parse::<Size>().is_err());
        assert!("99999999999GiB".parse::<Size>().is_err());
    }
}
