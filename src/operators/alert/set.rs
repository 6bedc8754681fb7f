//! Thresholds that are set while the job runs: the whole table, or values of one key.

use csv::{ReaderBuilder, StringRecord, Trim, Writer};

use super::AlertPlan;
use super::thresholds::ANY;
use crate::operators::Settable;
use crate::spec::did_you_mean;

impl Settable for AlertPlan {
    fn name(&self) -> &'static str {
        "thresholds"
    }

    fn initial(&self) -> &str {
        &self.thresholds.text
    }

    fn check(&self, text: &str) -> Result<(), String> {
        self.thresholds.anew(text, &self.input).map(drop)
    }

    fn changed(&self, text: &str, key: &[String], values: &[(String, String)]) -> Result<String, String> {
        let broken = |error: csv::Error| format!(": {error}");
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(broken)?.clone();
        let mut rows: Vec<StringRecord> = reader.records().collect::<Result<_, _>>().map_err(broken)?;
        let position = |name: &str| header.iter().position(|column| column == name);
        let parts: Vec<&str> = self.input.key.iter().map(|at| self.input.schema.field(*at).name().as_str()).collect();
        let key: Vec<&str> = match key {
            [] => vec![ANY; parts.len()],
            key if key.len() == parts.len() => key.iter().map(String::as_str).collect(),
            key => return Err(format!(": the key is {}, and {} were given", parts.join(", "), key.len())),
        };
        let at: Vec<usize> = parts.iter().filter_map(|part| position(part)).collect();
        let is_it = |row: &StringRecord| at.iter().zip(&key).all(|(at, part)| row[*at] == **part);
        let row = rows.iter().position(is_it).unwrap_or_else(|| {
            let cell = |column| at.iter().position(|at| *at == column).map_or("", |part| key[part]);
            rows.push((0..header.len()).map(cell).collect());
            rows.len() - 1
        });
        let mut cells: Vec<&str> = rows[row].iter().collect();
        for (name, value) in values {
            let names = &self.thresholds.names;
            match position(name).filter(|_| names.contains(name)) {
                Some(at) => cells[at] = value,
                None => {
                    let near = did_you_mean(name, names.iter().map(String::as_str));
                    return Err(format!(": there is no value `{name}`{near}"));
                }
            }
        }
        rows[row] = cells.into_iter().collect();
        let mut writer = Writer::from_writer(Vec::new());
        std::iter::once(&header).chain(&rows).try_for_each(|record| writer.write_record(record)).map_err(broken)?;
        let bytes = writer.into_inner().map_err(|error| format!(": {error}"))?;
        String::from_utf8(bytes).map_err(|error| format!(": {error}"))
    }
}
