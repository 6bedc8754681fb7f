//! Literals against a declaration.

use std::fmt;

use super::{Argument, ArgumentKind, Arguments, Compat, Function, Span, Value, function::MAX_ROWS};

/// A literal as it stands in a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A whole number.
    Integer(i64),
    /// A number with a point.
    Float(f64),
    /// A quoted text.
    Text(String),
}

impl Literal {
    /// A default, as declarations write it.
    fn parse(text: &str) -> Self {
        if let Ok(integer) = text.parse() {
            Self::Integer(integer)
        } else if let Ok(float) = text.parse() {
            Self::Float(float)
        } else {
            Self::Text(text.into())
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

/// What is wrong with a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The index of the literal at fault, series left out; `None` where it is their number.
    pub argument: Option<usize>,
    /// What to tell the user.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// Checks the literals of a call, series left out, against the declaration: their number, kinds and limits.
/// Defaults are filled in.
pub fn check(function: &Function, literals: &[Literal], compat: Compat) -> Result<Arguments, Mistake> {
    let declared = function.literals().count();
    if literals.len() > declared {
        let given = literals.len();
        let message = match declared {
            0 => format!("{} takes series only, {given} literals are given", function.name),
            _ => format!("{} takes {} after its series, {given} literals are given", function.name, names(function)),
        };
        return Err(Mistake { argument: Some(declared), message });
    }
    let mut values = Vec::with_capacity(declared);
    for (index, argument) in function.literals().enumerate() {
        let value = match (literals.get(index), argument.default) {
            (Some(literal), _) => {
                read(function, argument, literal).map_err(|message| Mistake { argument: Some(index), message })?
            }
            (None, Some("")) => break,
            (None, Some(default)) => read(function, argument, &Literal::parse(default))
                .map_err(|message| Mistake { argument: None, message })?,
            (None, None) => {
                let message = format!("{} needs `{}`: {}", function.name, argument.name, argument.doc);
                return Err(Mistake { argument: None, message });
            }
        };
        values.push(value);
    }
    Ok(Arguments { values, compat })
}

fn names(function: &Function) -> String {
    let names: Vec<_> = function.literals().map(|argument| format!("`{}`", argument.name)).collect();
    names.join(", ")
}

fn read(function: &Function, argument: &Argument, literal: &Literal) -> Result<Value, String> {
    let of = format!("`{}` of {}", argument.name, function.name);
    let rows = |integer: &i64, min: usize, max: usize| match usize::try_from(*integer) {
        Ok(rows) if (min..=max).contains(&rows) => Ok(rows),
        _ => Err(format!("{of} must be from {min} to {max} rows, not {integer}")),
    };
    let number = |number: f64, min: f64, max: f64| match (min..=max).contains(&number) {
        true => Ok(Value::Number(number)),
        false => Err(format!("{of} must be from {min} to {max}, not {literal}")),
    };
    match (argument.kind, literal) {
        (ArgumentKind::Period { min, max }, Literal::Integer(integer)) => rows(integer, min, max).map(Value::Period),
        (ArgumentKind::Period { .. }, _) => Err(format!("{of} must be a whole number of rows, not {literal}")),
        (ArgumentKind::Span, Literal::Integer(integer)) => {
            rows(integer, 1, MAX_ROWS).map(|rows| Value::Span(Span::Rows(rows)))
        }
        (ArgumentKind::Span, Literal::Text(text)) => {
            text.parse().map(Value::Span).map_err(|error| format!("{of}: {error}"))
        }
        (ArgumentKind::Span, Literal::Float(_)) => {
            Err(format!("{of} must be a whole number of rows or a duration such as '5m', not {literal}"))
        }
        (ArgumentKind::Number { min, max }, Literal::Integer(integer)) => number(*integer as f64, min, max),
        (ArgumentKind::Number { min, max }, Literal::Float(float)) => number(*float, min, max),
        (ArgumentKind::Number { .. }, Literal::Text(_)) => Err(format!("{of} must be a number, not {literal}")),
        (ArgumentKind::Series, _) => Err(format!("{of} must be a series, not {literal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicators::{FUNCTIONS, find};

    fn call(name: &str, literals: &[Literal]) -> Result<Arguments, Mistake> {
        let missing = Mistake { argument: None, message: format!("no {name}") };
        check(find(name).ok_or(missing)?, literals, Compat::Talib)
    }

    #[test]
    fn defaults_are_filled_in() -> Result<(), Mistake> {
        let expected = [Value::Period(5), Value::Period(26), Value::Period(9)];
        assert_eq!(call("macd", &[Literal::Integer(5)])?.values, expected);
        assert_eq!(call("vwap", &[])?.span(0), None);
        Ok(())
    }

    #[test]
    fn mistakes_point_at_their_literal() {
        use Literal::{Float, Integer, Text};
        for (name, literals, argument, message) in [
            ("sma", vec![Integer(0)], Some(0), "`period` of sma must be from 1 to 100000 rows, not 0"),
            ("sma", vec![Integer(-3)], Some(0), "`period` of sma must be from 1 to 100000 rows, not -3"),
            ("sma", vec![Float(2.5)], Some(0), "`period` of sma must be a whole number of rows, not 2.5"),
            ("sma", vec![], None, "sma needs `period`: how many rows"),
            ("sma", vec![Integer(5); 2], Some(1), "sma takes `period` after its series, 2 literals are given"),
            ("obv", vec![Integer(5)], Some(0), "obv takes series only, 1 literals are given"),
            ("quantile", vec![Float(1.5)], Some(0), "`q` of quantile must be from 0 to 1, not 1.5"),
            ("quantile", vec![Float(f64::NAN)], Some(0), "`q` of quantile must be from 0 to 1, not NaN"),
            (
                "mean",
                vec![Text("soon".into())],
                Some(0),
                "`span` of mean: 'soon' is not a duration such as '5m' or '1h 30m'",
            ),
            (
                "bollinger",
                vec![Integer(20), Text("x".into())],
                Some(1),
                "`deviations` of bollinger must be a number, not 'x'",
            ),
        ] {
            let expected = Mistake { argument, message: message.into() };
            assert_eq!(call(name, &literals), Err(expected));
        }
    }

    #[test]
    fn every_declaration_is_sound() {
        for function in FUNCTIONS {
            assert_eq!(find(function.name).map(|found| found.name), Some(function.name));
            assert!(!function.summary.is_empty() && !function.formula.is_empty());
            assert!(!function.outputs.is_empty());
            // Series first, literals after, and nothing required after something that may be left out.
            let ranks: Vec<_> = function
                .arguments
                .iter()
                .map(|argument| match (argument.kind, argument.default) {
                    (ArgumentKind::Series, _) => 0,
                    (_, None) => 1,
                    (_, Some("")) => 3,
                    (_, Some(_)) => 2,
                })
                .collect();
            assert!(ranks.is_sorted(), "{}", function.name);
            for argument in function.literals() {
                if let Some(default) = argument.default.filter(|text| !text.is_empty()) {
                    assert!(read(function, argument, &Literal::parse(default)).is_ok());
                }
            }
        }
    }
}
