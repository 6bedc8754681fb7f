//! What the tests of this folder share.

use super::{ArgumentKind, Arguments, Column, Compat, FUNCTIONS, Function, Literal, check, find};

/// One row of a test series; a function takes as many of the inputs as it has series.
#[derive(Clone, Debug)]
pub struct Row {
    pub time: i64,
    pub x: [f64; 3],
}

/// A function with its arguments.
pub struct Call {
    pub text: String,
    pub function: &'static Function,
    pub arguments: Arguments,
}

impl Call {
    /// Reads a call such as `mean(x, '5m')`.
    pub fn parse(text: &str, compat: Compat) -> Self {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let Some(function) = find(name) else {
            unreachable!("no function {name}");
        };
        let literals: Vec<_> = rest
            .trim_end_matches(')')
            .split(',')
            .skip(function.series().count())
            .map(|part| match part.trim() {
                text if text.starts_with('\'') => Literal::Text(text.trim_matches('\'').into()),
                text => match text.parse() {
                    Ok(integer) => Literal::Integer(integer),
                    Err(_) => Literal::Float(text.parse().unwrap_or(f64::NAN)),
                },
            })
            .collect();
        match check(function, &literals, compat) {
            Ok(arguments) => Self { text: format!("{text} {compat}"), function, arguments },
            Err(mistake) => unreachable!("{mistake}"),
        }
    }

    pub fn series(&self) -> usize {
        self.function.series().count()
    }

    pub fn build(&self) -> Box<dyn Column> {
        (self.function.build)(&self.arguments)
    }

    /// Feeds rows of as many keys as `keys`, taking turns, from row `start` on; the outputs row by row.
    pub fn feed(&self, column: &mut dyn Column, rows: &[Row], start: usize, keys: usize) -> Vec<Vec<f64>> {
        let ids: Vec<_> = (start..start + rows.len()).map(|row| (row % keys) as u32).collect();
        let times: Vec<_> = rows.iter().map(|row| row.time).collect();
        let inputs: Vec<Vec<_>> =
            (0..self.series()).map(|series| rows.iter().map(|row| row.x[series]).collect()).collect();
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut out = vec![Vec::new(); self.function.outputs.len()];
        column.update(&ids, &times, &inputs, &mut out);
        (0..rows.len()).map(|row| out.iter().map(|column| column[row]).collect()).collect()
    }

    /// A whole run of one key.
    pub fn run(&self, rows: &[Row]) -> Vec<Vec<f64>> {
        self.feed(self.build().as_mut(), rows, 0, 1)
    }
}

/// Every function in every dialect, with rows and with time where it takes a span.
pub fn calls() -> Vec<Call> {
    let mut calls = Vec::new();
    for function in FUNCTIONS {
        let series = vec!["x"; function.series().count()].join(", ");
        let spans = function.literals().any(|a| matches!(a.kind, ArgumentKind::Span));
        for span in if spans { &["7", "'20s'"][..] } else { &[""] } {
            let mut text = format!("{}({series}", function.name);
            for (index, argument) in function.literals().enumerate() {
                text += &match argument.kind {
                    ArgumentKind::Span => format!(", {span}"),
                    ArgumentKind::Number { .. } => ", 0.3".into(),
                    _ => format!(", {}", 3 + 2 * index),
                };
            }
            for compat in [Compat::Talib, Compat::Tradingview, Compat::Pandas] {
                calls.push(Call::parse(&format!("{text})"), compat));
            }
        }
    }
    calls
}

/// Pseudo-random rows: prices of a walk with flat stretches as high, low and close; times that repeat, jump and
/// now and then go back.
pub fn rows(count: usize) -> Vec<Row> {
    let mut seed = 42u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    let (mut close, mut time) = (100.0, 1_700_000_000_000_000_000);
    (0..count)
        .map(|row| {
            let flat = row % 60 > 40;
            if !flat {
                close += random() - 0.5;
            }
            time += (random() * 10.0 - 2.0) as i64 * 1_000_000_000;
            let (up, down) = if flat { (0.0, 0.0) } else { (random(), random()) };
            Row { time, x: [close + up, close - down, close] }
        })
        .collect()
}

/// Whether two rows of outputs are null alike and equal but for a few roundings. The floor is a few units in the
/// last place of the inputs, some 100: a difference of prices cannot be known better.
pub fn same(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            found.is_nan() && expected.is_nan() || (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
        })
}

/// Checks a call against its definition: for each row `definition` is given all rows up to it and computes the
/// outputs from scratch.
pub fn by_definition(text: &str, compat: Compat, definition: impl Fn(&[Row]) -> Vec<f64>) {
    let call = Call::parse(text, compat);
    let rows = rows(400);
    for (row, found) in call.run(&rows).iter().enumerate() {
        let expected = definition(&rows[..=row]);
        assert!(same(found, &expected), "{} row {row}: {found:?}, not {expected:?}", call.text);
    }
}

/// The first input of the last `count` rows; nothing where there are fewer.
pub fn last(rows: &[Row], count: usize) -> Option<Vec<f64>> {
    let start = rows.len().checked_sub(count)?;
    Some(rows[start..].iter().map(|row| row.x[0]).collect())
}

/// The rows in (t - span, t], where late rows count as if they came at the greatest time seen.
pub fn within(rows: &[Row], seconds: i64) -> Vec<Row> {
    let mut now = i64::MIN;
    let mut moved = rows.to_vec();
    for row in &mut moved {
        now = now.max(row.time);
        row.time = now;
    }
    moved.retain(|row| row.time > now - seconds * 1_000_000_000);
    moved
}

/// The first input of rows.
pub fn first(rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| row.x[0]).collect()
}
