//! Values of each key from a CSV file: further columns that the expressions of an alert can name.
//!
//! The file has the columns of the key and columns of numbers. A row with `*` for its key says what holds for keys that
//! have no row, and in the place of cells that are empty. It travels with the dataflow file, so that a replay finds the
//! values that were there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use csv::{StringRecord, Trim};

use crate::keys::KeyReader;
use crate::operators::calls::with_nulls;
use crate::spec::{At, Check, Edge, did_you_mean};

/// What stands for any key.
pub const ANY: &str = "*";

/// Values by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// The names of the values.
    pub names: Vec<String>,
    /// What was read.
    pub text: String,
    rows: HashMap<Vec<u8>, u32>,
    /// By name, then by row; the first row is that of all other keys. NaN where there is none.
    values: Vec<Vec<f64>>,
}

impl Thresholds {
    /// Reads the file that is named, for rows of `input`; what is wrong with it is noted where it is named.
    pub fn read(path: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Self> {
        let read = || {
            let text = check.files.text(path)?;
            Thresholds::of(text, input).map_err(|message| format!("{}{message}", path.value))
        };
        read().map_err(|message: String| check.findings.mistake(&path.span, message)).ok()
    }

    /// What `text` says, for rows of `input`; what is wrong with it begins with the place.
    fn of(text: String, input: &Edge) -> Result<Self, String> {
        let table = Table::read(&text, input)?;
        Ok(Thresholds { text, ..table.thresholds(input)? })
    }

    /// Others in their place: `text` has values of the same names.
    pub fn anew(&self, text: &str, input: &Edge) -> Result<Self, String> {
        let mut table = Table::read(text, input)?;
        if let Some((other, _)) = table.values.iter().find(|(name, _)| !self.names.contains(name)) {
            return Err(format!(": the column `{other}` is not in the file that the dataflow file names"));
        }
        let place = |name: &String| self.names.iter().position(|own| own == name);
        table.values.sort_by_key(|(name, _)| place(name));
        match self.names.iter().find(|name| table.values.iter().all(|(other, _)| other != *name)) {
            Some(missing) => Err(format!(": there is no column `{missing}`")),
            None => Ok(Thresholds { text: text.to_string(), ..table.thresholds(input)? }),
        }
    }

    /// The columns that they add to a row.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.names.iter().map(|name| Field::new(name, DataType::Float64, true))
    }

    /// Of how many keys there are values.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of a key.
    pub fn row(&self, key: &[u8]) -> u32 {
        self.rows.get(key).copied().unwrap_or(0)
    }

    /// A column for each name: the values in these rows.
    pub fn columns<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = ArrayRef> + 'a {
        let column = |values: &Vec<f64>| rows.iter().map(|row| values[*row as usize]).collect();
        self.values.iter().map(move |values| Arc::new(with_nulls(column(values))) as ArrayRef)
    }
}

/// What a file says, as text; errors begin with the line.
struct Table {
    /// The positions of the columns of the key.
    key: Vec<usize>,
    /// The names and positions of the others.
    values: Vec<(String, usize)>,
    /// The rows of keys, and their lines.
    rows: Vec<(u64, StringRecord)>,
    /// What holds for others.
    default: Option<StringRecord>,
}

impl Table {
    fn read(text: &str, input: &Edge) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| format!(": {error}"))?.clone();
        let key: Vec<&str> = input.key.iter().map(|at| input.schema.field(*at).name().as_str()).collect();
        if key.is_empty() {
            return Err(": its rows are found by key, and these rows have none".to_string());
        }
        let position = |name: &&str| header.iter().position(|column| column == *name);
        let missing = |name: &&str| format!(": there is no column `{name}`{}", did_you_mean(name, header.iter()));
        let key: Vec<usize> =
            key.iter().map(|name| position(name).ok_or_else(|| missing(name))).collect::<Result<_, _>>()?;
        let values = header.iter().enumerate().filter(|(at, _)| !key.contains(at));
        let values: Vec<(String, usize)> = values.map(|(at, name)| (name.to_string(), at)).collect();
        if let Some(twice) =
            values.iter().find(|(name, at)| input.position(name).is_some() || position(&name.as_str()) != Some(*at))
        {
            return Err(format!(": there is a column `{}` already", twice.0));
        }
        let mut table = Table { key, values, rows: Vec::new(), default: None };
        for record in reader.records() {
            let record = record.map_err(|error| format!(": {error}"))?;
            table.add(record)?;
        }
        Ok(table)
    }

    fn add(&mut self, record: StringRecord) -> Result<(), String> {
        let line = record.position().map_or(0, csv::Position::line);
        let any = self.key.iter().filter(|at| &record[**at] == ANY).count();
        match any {
            0 => self.rows.push((line, record)),
            any if any < self.key.len() => return Err(format!(", line {line}: `{ANY}` stands for the whole key")),
            _ if self.default.is_some() => return Err(format!(", line {line}: `{ANY}` is there already")),
            _ => self.default = Some(record),
        }
        Ok(())
    }

    fn thresholds(&self, input: &Edge) -> Result<Thresholds, String> {
        let mut values = Vec::new();
        for (name, at) in &self.values {
            let default = self.default.as_ref().map_or(Ok(f64::NAN), |record| number(record, name, *at, f64::NAN))?;
            let own = self.rows.iter().map(|(_, record)| number(record, name, *at, default));
            values.push(std::iter::once(Ok(default)).chain(own).collect::<Result<_, String>>()?);
        }
        let names = self.values.iter().map(|(name, _)| name.clone()).collect();
        Ok(Thresholds { names, text: String::new(), rows: self.keys(input)?, values })
    }

    /// The keys as rows have them, and the rows they stand in.
    fn keys(&self, input: &Edge) -> Result<HashMap<Vec<u8>, u32>, String> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (part, at) in input.key.iter().zip(&self.key) {
            let field = input.schema.field(*part);
            columns.push(self.column(*at, field)?);
            fields.push(field.clone().with_nullable(true));
        }
        let broken = |error: arrow::error::ArrowError| format!(": {error}");
        let schema = Arc::new(Schema::new(fields));
        let keys = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(broken)?;
        let reader = KeyReader::new(&schema, &(0..self.key.len()).collect::<Vec<_>>()).map_err(broken)?;
        let (mut rows, mut twice) = (HashMap::new(), None);
        let add = |row: usize, key: &[u8]| {
            if rows.insert(key.to_vec(), row as u32 + 1).is_some() {
                twice = Some(self.rows[row].0);
            }
        };
        reader.for_each(&keys, add).map_err(broken)?;
        twice.map_or(Ok(rows), |line| Err(format!(", line {line}: this key is there already")))
    }

    /// A part of all keys, of the type it has in rows.
    fn column(&self, at: usize, field: &Field) -> Result<ArrayRef, String> {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(self.rows.iter().map(|(_, record)| &record[at])));
        let read = cast_with_options(&texts, field.data_type(), &CastOptions { safe: true, ..Default::default() });
        let read = read.map_err(|error| format!(": `{}`: {error}", field.name()))?;
        match (0..read.len()).find(|row| read.is_null(*row)) {
            None => Ok(read),
            Some(row) => {
                let ((line, record), kind) = (&self.rows[row], crate::formats::type_name(field.data_type()));
                Err(format!(", line {line}: `{}`: \"{}\" is not of type {kind}", field.name(), &record[at]))
            }
        }
    }
}

/// The number in a cell, `default` where it is empty.
fn number(record: &StringRecord, name: &str, at: usize, default: f64) -> Result<f64, String> {
    let cell = &record[at];
    if cell.is_empty() {
        return Ok(default);
    }
    let read = cell.parse().ok().filter(|number: &f64| number.is_finite());
    let line = record.position().map_or(0, csv::Position::line);
    read.ok_or_else(|| format!(", line {line}: `{name}`: \"{cell}\" is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::EdgeKind;
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    fn edge(key: &[usize]) -> Edge {
        let field = |name: &str, kind| Field::new(name, kind, true);
        let fields =
            vec![field("symbol", DataType::Utf8), field("venue", DataType::Int64), field("price", DataType::Float64)];
        let schema = Arc::new(Schema::new(fields));
        let (key, row_key, kind) = (key.to_vec(), Vec::new(), EdgeKind::Append);
        Edge { schema, visible: 3, key, row_key, kind, reach: 0, retracts: false, placed: false, in_order: true }
    }

    fn read(text: &str, key: &[usize]) -> Result<Thresholds, String> {
        Thresholds::of(text.to_string(), &edge(key))
    }

    fn values(thresholds: &Thresholds, key: &[u8]) -> Vec<Option<f64>> {
        let rows = [thresholds.row(key)];
        let columns = thresholds.columns(&rows);
        columns.map(|column| column.as_primitive::<Float64Type>().iter().next().flatten()).collect()
    }

    #[test]
    fn a_key_has_its_own_values_and_else_those_of_all_others() {
        let text = "low, symbol ,high\n1,A,10\n,B,20\n 5,*,\n";
        let thresholds = read(text, &[0]).expect("thresholds");
        assert_eq!(thresholds.names, ["low", "high"]);
        assert_eq!(values(&thresholds, b"A"), [Some(1.0), Some(10.0)]);
        assert_eq!(values(&thresholds, b"B"), [Some(5.0), Some(20.0)]);
        assert_eq!(values(&thresholds, b"C"), [Some(5.0), None]);
        let thresholds = read("symbol,high\nA,10\n", &[0]).expect("thresholds");
        assert_eq!(values(&thresholds, b"B"), [None]);
    }

    #[test]
    fn a_key_of_several_columns_is_found_as_rows_have_it() {
        let thresholds = read("venue,high,symbol\n7,1,A\n8,2,A\n*,3,*\n", &[0, 1]).expect("thresholds");
        let edge = edge(&[0, 1]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["A", "A", "B"])),
            Arc::new(arrow::array::Int64Array::from(vec![8, 7, 7])),
            Arc::new(arrow::array::Float64Array::from(vec![0.0; 3])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&edge.schema), columns).expect("rows");
        let reader = KeyReader::new(&edge.schema, &edge.key).expect("keys");
        let mut found = Vec::new();
        reader.for_each(&rows, |_, key| found.extend(values(&thresholds, key))).expect("keys");
        assert_eq!(found, [Some(2.0), Some(1.0), Some(3.0)]);
    }

    #[test]
    fn others_have_the_same_names_in_any_order() {
        let thresholds = read("symbol,low,high\nA,1,2\n", &[0]).expect("thresholds");
        let anew = |text: &str| thresholds.anew(text, &edge(&[0]));
        let other = anew("high,symbol,low\n4,*,3\n").expect("thresholds");
        assert_eq!((values(&other, b"A"), other.names), (vec![Some(3.0), Some(4.0)], thresholds.names.clone()));
        for (text, message) in [
            ("symbol,low\n", ": there is no column `high`"),
            ("symbol,low,high,top\n", ": the column `top` is not in the file that the dataflow file names"),
            ("symbol,low,high\nA,1,x\n", ", line 2: `high`: \"x\" is not a number"),
        ] {
            assert_eq!(anew(text).expect_err(text), message);
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, key, message) in [
            ("symbl,high\n", &[0][..], ": there is no column `symbol`; did you mean `symbl`?"),
            ("symbol,high\nA,1\nB,x\n", &[0], ", line 3: `high`: \"x\" is not a number"),
            ("symbol,high\n*,inf\n", &[0], ", line 2: `high`: \"inf\" is not a number"),
            ("symbol,high\nA,1\nA,2\n", &[0], ", line 3: this key is there already"),
            ("symbol,high\n*,1\n*,2\n", &[0], ", line 3: `*` is there already"),
            ("symbol,price\nA,1\n", &[0], ": there is a column `price` already"),
            ("symbol,high,high\nA,1,2\n", &[0], ": there is a column `high` already"),
            ("symbol,venue,high\nA,*,1\n", &[0, 1], ", line 2: `*` stands for the whole key"),
            ("symbol,venue,high\nA,N,1\n", &[0, 1], ", line 2: `venue`: \"N\" is not of type bigint"),
            ("symbol,high\nA\n", &[0], ": CSV error: record 1 (line: 2"),
            ("symbol,high\nA,1\n", &[], ": its rows are found by key, and these rows have none"),
        ] {
            let told = read(text, key).expect_err(text);
            assert!(told.starts_with(message), "{text}: {told}");
        }
    }
}
