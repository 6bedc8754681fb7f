//! JSON, token by token.
//!
//! What market data is made of (plain strings, numbers, flat objects) is read here, since nothing is done as
//! often; escaped strings, nested values and the wording of mistakes are left to serde_json.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::Undecodable;
use super::numbers::Number;

/// What a value is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Object,
    Array,
}

/// Where in a text the reading stands.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, Undecodable> {
        match str::from_utf8(payload) {
            Ok(text) => Ok(Scanner { text, at: 0 }),
            Err(error) => Err(Undecodable::new(format_args!("not UTF-8: {error}"))),
        }
    }

    /// Whether the next token is this punctuation, which is then passed.
    #[inline]
    pub(super) fn take(&mut self, punctuation: u8) -> bool {
        let found = self.peek() == Some(punctuation);
        self.at += usize::from(found);
        found
    }

    /// Whether this text comes next, which is then passed.
    #[inline]
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        self.peek();
        let found = self.rest().as_bytes().starts_with(text.as_bytes());
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Passes the punctuation that has to come next.
    #[inline]
    pub(super) fn expect(&mut self, punctuation: u8) -> Result<(), Undecodable> {
        if self.take(punctuation) { Ok(()) } else { Err(self.malformed()) }
    }

    /// Passes the end.
    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Undecodable> {
        if self.peek().is_none() { Ok(()) } else { Err(self.malformed()) }
    }

    /// Whether another element follows, in what `close` ends.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Undecodable> {
        if self.take(b',') { Ok(true) } else { self.expect(close).map(|()| false) }
    }

    /// What the next value is.
    #[inline]
    pub(super) fn kind(&mut self) -> Result<Kind, Undecodable> {
        match self.peek() {
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            _ => Err(self.malformed()),
        }
    }

    /// The next value, a string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Undecodable> {
        match self.plain_string() {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => self.parse().map(Cow::Owned),
        }
    }

    /// A string without escapes.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        self.peek();
        let text = self.rest().strip_prefix('"')?;
        let end = text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        if text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at += end + 2;
        text.get(..end)
    }

    /// The next value, a number.
    #[inline]
    pub(super) fn number(&mut self) -> Option<Number<'a>> {
        let number = Number::scan(self.rest())?;
        self.at += number.text().len();
        Some(number)
    }

    /// The next value, true or false.
    pub(super) fn boolean(&mut self) -> Result<bool, Undecodable> {
        if self.take_text("true") {
            Ok(true)
        } else if self.take_text("false") {
            Ok(false)
        } else {
            Err(self.malformed())
        }
    }

    /// The next value, null.
    pub(super) fn null(&mut self) -> Result<(), Undecodable> {
        if self.take_text("null") { Ok(()) } else { Err(self.malformed()) }
    }

    /// The next value, whatever it is, as it is written.
    pub(super) fn any(&mut self) -> Result<&'a str, Undecodable> {
        let rest = self.rest();
        let start = self.at;
        match self.kind()? {
            Kind::Number => self.number().map(drop).ok_or_else(|| self.malformed()),
            // An escape that stands for no character makes a string that is no text.
            Kind::Text => self.string().map(drop),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Null => self.null(),
            Kind::Object | Kind::Array => self.parse::<IgnoredAny>().map(drop),
        }?;
        Ok(rest.get(..self.at - start).unwrap_or(rest).trim_ascii_start())
    }

    /// Has serde_json read the next value.
    #[cold]
    fn parse<T: DeserializeOwned>(&mut self) -> Result<T, Undecodable> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            _ => Err(self.malformed()),
        }
    }

    /// What is wrong with the text.
    #[cold]
    pub(super) fn malformed(&self) -> Undecodable {
        match serde_json::from_str::<IgnoredAny>(self.text) {
            Err(error) => Undecodable::new(format_args!("not JSON: {error}")),
            // Only an escape that stands for no character is refused by us alone.
            Ok(_) => Undecodable::new(format_args!("not JSON: a string that is no text at byte {}", self.at + 1)),
        }
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                next => return next.copied(),
            }
        }
    }

    #[inline]
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted as one value.
    fn whole(text: &str) -> Result<&str, Undecodable> {
        let mut scanner = Scanner::new(text.as_bytes())?;
        let value = scanner.any()?;
        scanner.end().map(|()| value)
    }

    #[test]
    fn what_is_a_value_is_what_serde_json_takes_for_one() {
        for text in [
            "0",
            "-0",
            "10",
            "-1.5e+3",
            "1E-7",
            "1.0",
            "\"a b\"",
            r#""\u00e9\n\"""#,
            "\"é\"",
            "true",
            "false",
            "null",
            " 1 ",
            "[1,[2]]",
            "{\"a\":{}}",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "--1",
            "1x",
            "tru",
            "truee",
            "nul",
            "\"",
            "\"\t\"",
            "\"\\x\"",
            "'a'",
            "[1,]",
            "{\"a\"}",
            "NaN",
            "Infinity",
            "",
            " ",
            "1 2",
            "\u{a0}1",
            "[1}",
        ] {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(whole(text).is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_value_is_given_as_it_is_written() {
        for text in ["1.50", r#""a\u0062""#, "[1, 2]", r#"{"a": [ ]}"#, "null"] {
            assert_eq!(whole(&format!(" \t{text}\n")).as_deref(), Ok(text));
        }
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        for text in ["", "plain", "é\u{1f680}", "\"quoted\"", "back\\slash", "\u{1}\n"] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(Scanner::new(json.as_bytes()).unwrap().string().as_deref(), Ok(text));
        }
        let pair = Scanner::new(br#""\ud83d\ude80""#).unwrap().string().unwrap().into_owned();
        assert_eq!(pair, "\u{1f680}");
    }

    #[test]
    fn a_mistake_tells_where_it_is() {
        assert_eq!(whole("[1,]").unwrap_err().reason, "not JSON: expected value at line 1 column 4");
        assert_eq!(whole(r#""\ud83d""#).unwrap_err().reason, "not JSON: a string that is no text at byte 1");
        let mistake = Scanner::new(b"\"\xff\"").map(drop).unwrap_err();
        assert_eq!(mistake.reason, "not UTF-8: invalid utf-8 sequence of 1 bytes from index 1");
    }

    #[test]
    fn depth_costs_no_stack() {
        assert!(whole(&"[".repeat(1 << 20)).is_err());
        let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(whole(&deep).map(str::len), Ok(2 << 20));
    }
}
