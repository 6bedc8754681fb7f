//! `console`: in a terminal a live table, the last row of each key; elsewhere JSON lines on stdout.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table, presets};

use super::columns::ColumnsSpec;
use super::{Placement, PreparedSink, Sink, SinkContext, SinkPlan, SinkSpec};
use crate::batch::{Epoch, Rows};
use crate::error::{Error, Result};
use crate::formats::write_json_lines;
use crate::keys::KeyReader;
use crate::runtime::Prepare;
use crate::spec::{At, Check, Edge, Fields, Projection};

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(100);

struct ConsoleSpec {
    rows: u64,
    columns: ColumnsSpec,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn SinkSpec> {
    Box::new(ConsoleSpec {
        rows: fields.get("rows", "how many keys the table shows; what fits by default").or(0),
        columns: ColumnsSpec::read(fields),
    })
}

impl SinkSpec for ConsoleSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<Arc<dyn SinkPlan>> {
        let projection = self.columns.plan(input, check)?;
        Some(Arc::new(ConsolePlan { rows: self.rows as usize, projection, input: input.clone() }))
    }
}

#[derive(Clone)]
struct ConsolePlan {
    rows: usize,
    projection: Projection,
    input: Edge,
}

impl SinkPlan for ConsolePlan {
    fn placement(&self) -> Placement {
        Placement::Gathered
    }

    fn prepare(&self, _prepare: &Prepare) -> Result<Arc<dyn PreparedSink>> {
        Ok(Arc::new(self.clone()))
    }
}

impl PreparedSink for ConsolePlan {
    fn open(&self, _context: SinkContext) -> Box<dyn Sink> {
        if !stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return Box::new(Plain { projection: self.projection.clone() });
        }
        Box::new(Live {
            plan: self.clone(),
            keys: KeyReader::new(&self.input.schema, &self.input.key).ok(),
            latest: BTreeMap::new(),
            total: 0,
            began: Instant::now(),
            drawn: None,
        })
    }
}

struct Plain {
    projection: Projection,
}

impl Sink for Plain {
    fn write(&mut self, _epoch: Epoch, rows: &Rows) -> Result<()> {
        let mut lines = Vec::new();
        write_json_lines(&mut lines, &self.projection.apply(&rows.data)?)?;
        written(stdout().lock().write_all(&lines))
    }

    fn flush(&mut self, _frontier: Epoch) -> Result<()> {
        written(stdout().lock().flush())
    }
}

fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        // Whoever read has seen enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Signal(13)),
        result => result.map_err(|error| Error::run(format!("stdout: {error}"))),
    }
}

struct Live {
    plan: ConsolePlan,
    keys: Option<KeyReader>,
    latest: BTreeMap<Vec<u8>, Vec<String>>,
    total: u64,
    began: Instant,
    drawn: Option<Instant>,
}

impl Sink for Live {
    fn write(&mut self, _epoch: Epoch, Rows { data, .. }: &Rows) -> Result<()> {
        self.total += data.num_rows() as u64;
        let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        if let Some(keys) = &self.keys {
            keys.for_each(data, |row, key| {
                last.insert(key.to_vec(), row);
            })?;
        }
        let shown = self.plan.projection.apply(data)?;
        let options = FormatOptions::default().with_timestamp_format(Some("%H:%M:%S%.3f"));
        let columns = shown.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for (key, row) in last {
            self.latest.insert(key, columns.iter().map(|column| short(column.value(row).to_string())).collect());
        }
        Ok(())
    }

    fn flush(&mut self, frontier: Epoch) -> Result<()> {
        if frontier == Epoch::MAX || self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.draw()?;
            self.drawn = Some(Instant::now());
        }
        Ok(())
    }
}

/// Numbers with a point are shortened, alike within a column, to what is enough to look at.
fn short(text: String) -> String {
    match text.parse::<f64>() {
        Ok(number) if text.contains('.') && number.abs() >= 1000.0 && number.fract() == 0.0 => format!("{number:.0}"),
        Ok(number) if text.contains('.') => format!("{number:.4}"),
        _ => text,
    }
}

impl Live {
    fn draw(&self) -> Result<()> {
        let (width, height) = terminal_size();
        let rows = if self.plan.rows > 0 { self.plan.rows } else { height.saturating_sub(5).max(1) };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_width(width);
        table.set_header(self.plan.projection.schema().fields().iter().map(|field| field.name().clone()));
        for row in self.latest.values().take(rows) {
            table.add_row(row.clone());
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        let rate = self.total as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let more = self.latest.len().saturating_sub(rows);
        let more = if more > 0 { format!(", {more} more") } else { String::new() };
        // Home, then each line over what stood there, then nothing below.
        let mut screen = if self.drawn.is_none() { "\x1b[2J\x1b[H".to_string() } else { "\x1b[H".to_string() };
        for line in table.to_string().lines() {
            screen.push_str(&format!("{line}\x1b[K\n"));
        }
        screen.push_str(&format!(
            "\x1b[K\n{} keys{more}, {} rows, {rate:.0} rows/s (Ctrl-C ends)\x1b[K\x1b[J\n",
            self.latest.len(),
            self.total
        ));
        let mut out = stdout().lock();
        written(out.write_all(screen.as_bytes()).and_then(|()| out.flush()))
    }
}

/// Columns and lines of the terminal.
fn terminal_size() -> (u16, usize) {
    let (lines, columns) = console::Term::stdout().size();
    (columns, usize::from(lines))
}
