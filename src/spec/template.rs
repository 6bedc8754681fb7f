//! Texts with expressions in braces: `{symbol}: {round(price, 2)}`. A brace itself is written twice.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::expression::{Scalar, scalar};
use super::mistakes::{At, Findings};
use crate::error::Result;
use crate::formats::plain_texts;

/// A piece of a template: text as it is, or an expression.
#[derive(Clone, Debug)]
pub enum Part<E> {
    /// As it is.
    Text(String),
    /// What it comes to in a row.
    Value(E),
}

impl<E> Part<E> {
    /// The same, with the expression made into another form, where that is possible.
    pub fn map<F>(self, make: impl FnOnce(E) -> Option<F>) -> Option<Part<F>> {
        match self {
            Part::Text(text) => Some(Part::Text(text)),
            Part::Value(expression) => make(expression).map(Part::Value),
        }
    }
}

/// The pieces of `text`; what is wrong with it is noted.
pub fn split(text: &At<String>, findings: &Findings) -> Option<Vec<Part<At<String>>>> {
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text.value.as_str());
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let Some(end) = end_of_expression(after).filter(|_| brace == "{") else {
            let message = format!("`{brace}` has no other brace that belongs to it; a brace itself is written twice");
            findings.mistake(&text.span, message);
            return None;
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        let begin = text.value.len() - after.len();
        parts.push(Part::Value(part_of(text, begin, begin + end)));
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Some(parts)
}

/// Where the brace is that ends an expression; braces between quotes are not it.
fn end_of_expression(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '}') => return Some(at),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// The expression between two positions of `text`. In the file it stands between braces as others do between quotes.
fn part_of(text: &At<String>, begin: usize, end: usize) -> At<String> {
    // A text with escapes or references is not written as it reads.
    let as_written = text.span.len() == text.value.len() + 2;
    let span = if as_written { text.span.start + begin..text.span.start + end + 2 } else { text.span.clone() };
    At::new(text.value[begin..end].to_string(), span)
}

/// A text that is made of each row.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part<Scalar>>,
}

impl Template {
    /// Of these parts.
    pub fn of(parts: Vec<Part<Scalar>>) -> Self {
        Template { parts }
    }

    /// Types what stands in the braces of `text` against `schema`; what is wrong with it is noted.
    pub fn plan(text: &At<String>, schema: &SchemaRef, findings: &Findings) -> Option<Self> {
        let parts = split(text, findings)?.into_iter();
        let parts: Vec<_> = parts.map(|part| part.map(|expression| scalar(&expression, schema, findings))).collect();
        parts.into_iter().collect::<Option<_>>().map(Template::of)
    }

    /// The text of every row.
    pub fn evaluate(&self, data: &RecordBatch) -> Result<Vec<String>> {
        let mut texts = vec![String::new(); data.num_rows()];
        for part in &self.parts {
            match part {
                Part::Text(plain) => texts.iter_mut().for_each(|text| text.push_str(plain)),
                Part::Value(value) => {
                    let values = plain_texts(&value.evaluate(data)?)?;
                    texts.iter_mut().zip(values).for_each(|(text, value)| text.push_str(&value));
                }
            }
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            ("symbol", Arc::new(StringArray::from(vec![Some("A"), None]))),
            ("price", Arc::new(Float64Array::from(vec![1.5, 2.0]))),
        ];
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    fn texts(template: &str) -> Result<Vec<String>, String> {
        let findings = Findings::default();
        let file = format!("\"{template}\"");
        let planned = Template::plan(&At::new(template.to_string(), 0..file.len()), &rows().schema(), &findings);
        let planned = planned.ok_or_else(|| findings.mistakes(Path::new("f"), &file).to_string())?;
        Ok(planned.evaluate(&rows()).expect("texts"))
    }

    #[test]
    fn what_stands_in_braces_is_replaced() {
        for (template, expected) in [
            ("{symbol}: {price * 2}", ["A: 3", "null: 4"]),
            ("nothing", ["nothing", "nothing"]),
            ("", ["", ""]),
            ("{{{price}}} }}{{", ["{1.5} }{", "{2} }{"]),
            ("{concat(symbol, '}', '''')}!", ["A}'!", "}'!"]),
        ] {
            assert_eq!(texts(template).expect(template), expected);
        }
    }

    #[test]
    fn mistakes_are_told_where_they_stand() {
        for (template, message) in [
            ("at {pice}", "f:1:6: there is no column `pice`; did you mean `price`?"),
            ("{price} {symbl} {pric}", "f:1:11: there is no column `symbl`; did you mean `symbol`?"),
            ("{price} {symbl} {pric}", "f:1:19: there is no column `pric`"),
            ("{price", "f:1:1: `{` has no other brace"),
            ("price}", "f:1:1: `}` has no other brace"),
            ("{}", "f:1:2: `` is not an expression"),
        ] {
            let told = texts(template).expect_err(template);
            assert!(told.contains(message), "{template}: {told}");
        }
    }
}
