//! The indicators against TA-Lib, pandas and the formulas of Pine: `golden/talib/*.csv`, written by `generate.py`.

use std::{fs, path::Path};

use tapeflow::indicators::{Compat, Literal, check, find};

/// Relative, on every row.
const TOLERANCE: f64 = 1e-9;

/// Absolute, only where the true value is 0 and ours is exactly that: the running sums of the others, over prices of up
/// to 1000, leave residues of up to 5e-12 there.
const FLOOR: f64 = 1e-11;

/// A golden file: the times of its rows, and its columns by name; an empty cell is NaN.
struct Golden {
    times: Vec<i64>,
    columns: Vec<(String, Vec<f64>)>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/talib").join(name);
        let text = fs::read_to_string(&path).expect("a golden file");
        let mut lines = text.lines();
        let header = lines.next().expect("a header");
        let columns = header.split(';').skip(1).map(|name| (name.into(), Vec::new()));
        let mut golden = Self { times: Vec::new(), columns: columns.collect() };
        for line in lines {
            let (time, cells) = line.split_once(';').expect("cells");
            golden.times.push(time.parse().expect("a time"));
            for ((_, values), cell) in golden.columns.iter_mut().zip(cells.split(';')) {
                values.push(if cell.is_empty() { f64::NAN } else { cell.parse().expect("a number") });
            }
        }
        golden
    }

    fn series(&self, name: &str) -> &[f64] {
        let column = self.columns.iter().find(|(header, _)| header == name);
        &column.unwrap_or_else(|| panic!("no series {name}")).1
    }

    /// Runs every call in the header and compares all rows.
    fn compare(&self) {
        let expected: Vec<_> = self.columns.iter().filter(|(name, _)| name.contains('(')).collect();
        assert!(!expected.is_empty());
        for (header, expected) in expected {
            let found = self.run(header);
            assert_eq!(found.len(), expected.len());
            for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
                let tolerance = if *found == 0.0 { FLOOR } else { TOLERANCE * expected.abs() };
                assert!(
                    found.is_nan() && expected.is_nan() || (found - expected).abs() <= tolerance,
                    "{header}, row {row}: {found}, not {expected}"
                );
            }
        }
    }

    /// The output that a header such as `talib macd(x, 12, 26, 9) _signal` names.
    fn run(&self, header: &str) -> Vec<f64> {
        let (compat, call) = header.split_once(' ').expect("a dialect");
        let compat: Compat = compat.parse().expect("a dialect");
        let (call, suffix) = call.split_once(')').expect("a call");
        let (name, arguments) = call.split_once('(').expect("a call");
        let function = find(name).unwrap_or_else(|| panic!("no function {name}"));
        let (mut inputs, mut literals) = (Vec::new(), Vec::new());
        for (index, argument) in arguments.split(',').map(str::trim).enumerate() {
            if index < function.series().count() {
                inputs.push(self.series(argument));
            } else {
                literals.push(literal(argument));
            }
        }
        let arguments = check(function, &literals, compat).expect("sound arguments");
        let mut out = vec![Vec::new(); function.outputs.len()];
        (function.build)(&arguments).update(&vec![0; self.times.len()], &self.times, &inputs, &mut out);
        let output = function.outputs.iter().position(|output| *output == suffix.trim());
        out.swap_remove(output.expect("an output"))
    }
}

fn literal(text: &str) -> Literal {
    if let Some(text) = text.strip_prefix('\'') {
        Literal::Text(text.trim_end_matches('\'').into())
    } else if let Ok(integer) = text.parse() {
        Literal::Integer(integer)
    } else {
        Literal::Float(text.parse().expect("a number"))
    }
}

#[test]
fn a_random_walk() {
    Golden::read("walk.csv").compare();
}

#[test]
fn a_flat_series() {
    Golden::read("flat.csv").compare();
}

#[test]
fn jumps() {
    Golden::read("jumps.csv").compare();
}

#[test]
fn a_series_with_nulls() {
    Golden::read("nulls.csv").compare();
}

#[test]
fn bars() {
    Golden::read("bars.csv").compare();
}
