//! `window`: rows of a key that belong to the same interval of event time become one row: bars, hopping windows, sessions.
//!
//! An interval is half-open, `[start, end)`, and known by its start. It ends when the watermark has come to `end`; a row
//! is late for it where the watermark of the row's own partition had come there before. Rows out of it are only ever
//! appended, unless late ones revise (`late = "revise"`), each epoch shows how far it has come (`emit = "updates"`), or
//! the rows that come in may be replaced and taken back themselves: then they are changes.

mod change;
mod choose;
mod fill;
mod groups;
mod held;
mod intervals;
mod run;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::formulas::{Call, Formulas};
use super::{BuildContext, Built, OperatorPlan, OperatorSpec};
use crate::aggregates;
use crate::calendars::{Calendar, Hours};
use crate::error::Result;
use crate::sources::{ORDER, TIME};
use crate::spec::{At, Check, Edge, EdgeKind, Fields, Findings, FromToml, Named, OP, Port, REVISION, nanoseconds};
use crate::words;
use intervals::Intervals;
use run::Window;
use tell::{START, further_columns, interval_columns, schema_of_groups};

/// The port of rows that came too late.
const LATE: usize = 1;
/// How long empty intervals are told of where nothing comes any more.
const FILL_FOR: Duration = Duration::from_secs(24 * 3600);
/// How far back late rows revise.
const REVISE_FOR: Duration = Duration::from_secs(3600);

words! {
    /// What becomes of a row that comes when its interval has ended.
    Late {
        /// It is left out and counted.
        Drop = "drop",
        /// The interval is told of again.
        Revise = "revise",
        /// It leaves by a further output, `NODE.late`.
        SideOutput = "side_output",
    }
}

words! {
    /// What becomes of an interval without rows, between others of its key.
    Empty {
        /// Nothing is told of it.
        Omit = "omit",
        /// It goes on with the last values.
        Carry = "carry",
        /// Its columns are null.
        Null = "null",
    }
}

words! {
    /// When an interval is told of.
    Emit {
        /// When it has ended.
        Final = "final",
        /// At the end of every epoch in which it has changed.
        Updates = "updates",
    }
}

/// `tumbling`: a span of time, or the sessions of an exchange.
#[derive(Clone, Copy, Debug)]
enum Size {
    Of(Duration),
    Session,
}

impl FromToml for Size {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("session") => Some(Size::Session),
            _ => Duration::from_toml(value, findings).map(Size::Of),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [Duration::schema(), { "const": "session" }] })
    }
}

struct WindowSpec {
    columns: At<Named<String>>,
    tumbling: Option<At<Size>>,
    hopping: Option<At<Named<Duration>>>,
    session: Option<At<Duration>>,
    calendar: Option<At<String>>,
    hours: Option<At<Hours>>,
    late: At<Late>,
    revise_for: Option<At<Duration>>,
    empty: At<Empty>,
    fill_for: Option<At<Duration>>,
    emit: Emit,
    span: crate::spec::Span,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let span = fields.span().clone();
    let late = "what becomes of rows whose interval has ended: `drop` (counted), `revise`, `side_output` (NODE.late)";
    let empty = "intervals without rows: `omit`, `carry` (on with the last values), `null`; with a column is_filled";
    Box::new(WindowSpec {
        columns: fields
            .get("columns", "a name and an expression of aggregates for each column, added to key, start and end")
            .required(),
        tumbling: fields
            .get("tumbling", "the size of intervals that follow one another; `session`: that of an exchange")
            .optional(),
        hopping: fields.get("hopping", "{ size = ..., slide = ... }: intervals that overlap").optional(),
        session: fields.get("session", "rows less than this apart belong together").optional(),
        calendar: fields
            .get("calendar", "XNYS, XNAS, 24/7 or a TOML file: intervals within the sessions of this exchange")
            .optional(),
        hours: fields.get("hours", "`regular`, or `extended`: before and after them, too").optional(),
        late: fields.get("late", late).optional().unwrap_or_else(|| At::new(Late::Drop, span.clone())),
        revise_for: fields
            .get("revise_for", "how long after their end intervals are revised; 1h by default")
            .optional(),
        empty: fields.get("empty", empty).optional().unwrap_or_else(|| At::new(Empty::Omit, span.clone())),
        fill_for: fields
            .get("fill_for", "how long empty intervals are told of where a key has no more rows; 1d by default")
            .optional(),
        emit: fields.get("emit", "`final`: once it has ended; `updates`: at the end of each epoch").or(Emit::Final),
        span,
    })
}

impl OperatorSpec for WindowSpec {
    fn plan(&self, _name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        let intervals = self.intervals(check);
        let time = input.position(TIME);
        if time.is_none() {
            findings.mistake(&self.span, "a window needs event time, which these rows do not have");
        }
        self.check(input, findings);
        let keys = input.key.iter().map(|at| input.schema.field(*at).clone().with_nullable(true));
        let given: Vec<Field> = keys.chain(interval_columns(self.calendar.is_some())).collect();
        let formulas = Formulas::plan(&self.columns, &given, input, aggregates::Rows::Come, findings)?;
        let fills = self.empty.value != Empty::Omit;
        let changes = self.emit == Emit::Updates || self.late.value == Late::Revise || input.kind == EdgeKind::Changes;
        let (visible, hidden) = further_columns(changes, fills);
        let output = self.output(&given, &formulas, &visible, &hidden, findings)?;
        let revises = if self.late.value == Late::Revise { self.revise_for() } else { 0 };
        let reach = revises.max(input.reach);
        let edge = Edge {
            visible: given.len() + formulas.columns.len() + visible.len(),
            key: (0..input.key.len()).collect(),
            row_key: (0..input.key.len()).chain(output.index_of(START).ok()).collect(),
            kind: if changes { EdgeKind::Changes } else { EdgeKind::Append },
            // Behind the watermark of these rows, which are known by their starts.
            reach: if changes { reach.saturating_add(intervals.as_ref().map_or(0, Intervals::longest)) } else { 0 },
            placed: true,
            retracts: false,
            in_order: true,
            schema: Arc::clone(&output),
        };
        let carries = self.empty.value == Empty::Carry;
        let carried = formulas.calls.iter().map(|call| if carries { call.carried() } else { None }).collect();
        let is_change = input.kind == EdgeKind::Changes;
        let order = input.position(ORDER);
        let plan = WindowPlan {
            rows: schema_of_groups(&formulas.schema, changes, fills),
            by_place: formulas.by_place() || carries,
            of_exchange: self.calendar.is_some(),
            given: given.len(),
            intervals: intervals?,
            late: self.late.value,
            // Changes that do not say where they stand are as late as event time is here.
            revises: if is_change && order.is_none() { reach } else { revises },
            reach,
            updates: self.emit == Emit::Updates,
            changes,
            fill: fills.then(|| self.fill_for.as_ref().map_or(nanoseconds(FILL_FOR), |fill| nanoseconds(fill.value))),
            carries,
            carried,
            time: time?,
            order,
            input_op: input.position(OP).filter(|_| is_change),
            input_revision: input.position(REVISION).filter(|_| is_change),
            input: input.clone(),
            output,
            formulas,
        };
        Some((edge, Arc::new(Planned(Arc::new(plan)))))
    }
}

impl WindowSpec {
    fn intervals(&self, check: &Check<'_>) -> Option<Intervals> {
        let findings = check.findings;
        if let Some(calendar) = &self.calendar {
            return self.trading(calendar, check);
        }
        if let Some(hours) = &self.hours {
            findings.mistake(&hours.span, "`hours` are those of a `calendar`");
        }
        match (&self.tumbling, &self.hopping, &self.session) {
            (Some(At { value: Size::Session, span }), None, None) => {
                findings
                    .mistake(span, "whose sessions? calendar = \"XNYS\"; for pauses between rows: session = \"30m\"");
                None
            }
            (Some(At { value: Size::Of(size), span }), None, None) => {
                let size = whole(&At::new(*size, span.clone()), findings)?;
                Some(Intervals::Sliding { size, slide: size })
            }
            (None, Some(hopping), None) => sliding(hopping, findings),
            (None, None, Some(gap)) => Some(Intervals::Sessions { gap: whole(gap, findings)? }),
            _ => {
                let message = "a window needs one of `tumbling`, `hopping` and `session`: tumbling = \"10s\"";
                findings.mistake(&self.span, message);
                None
            }
        }
    }

    /// Intervals within the sessions of an exchange.
    fn trading(&self, calendar: &At<String>, check: &Check<'_>) -> Option<Intervals> {
        let hours = self.hours.as_ref().map_or(Hours::Regular, |hours| hours.value);
        let read = read_calendar(calendar, check)?;
        let sessions = read.sessions(hours);
        if let (None, Some(hours)) = (&sessions, &self.hours) {
            check.findings.mistake(&hours.span, format!("`{}` has no extended hours", calendar.value));
        }
        let size = match (&self.tumbling, &self.hopping, &self.session) {
            (Some(At { value: Size::Session, .. }), None, None) => None,
            (Some(At { value: Size::Of(size), span }), None, None) => {
                Some(whole(&At::new(*size, span.clone()), check.findings)?)
            }
            _ => {
                check
                    .findings
                    .mistake(&calendar.span, "a calendar goes with tumbling = \"session\" or a size like \"5m\"");
                return None;
            }
        };
        Some(Intervals::Trading { exchange: format!("{} {hours}", calendar.value), sessions: sessions?, size })
    }

    fn check(&self, input: &Edge, findings: &Findings) {
        if let Some(given) = self.revise_for.as_ref().filter(|_| self.late.value != Late::Revise) {
            findings.mistake(&given.span, "`revise_for` goes with late = \"revise\"");
        }
        if let Some(given) = self.fill_for.as_ref().filter(|_| self.empty.value == Empty::Omit) {
            findings.mistake(&given.span, "`fill_for` goes with empty = \"carry\" or \"null\"");
        }
        if input.reach == i64::MAX {
            findings.mistake(&self.span, "these rows may change however old they are: no interval of them ever ends");
        }
        if input.kind == EdgeKind::Changes && self.session.is_some() {
            findings.mistake(
                &self.span,
                "a session of rows that may be taken back is not there yet: use `tumbling` or `hopping`",
            );
        }
        if input.kind == EdgeKind::Changes && self.empty.value != Empty::Omit {
            findings.mistake(
                &self.empty.span,
                "`empty` goes with rows that are only appended, and these may be taken back",
            );
        }
        if self.session.is_some() && (self.late.value == Late::Revise || self.emit == Emit::Updates) {
            let message =
                "a session is told of once, when it has ended: `revise` and `updates` go with intervals of a size";
            findings.mistake(&self.span, message);
        }
        if self.session.is_some() && self.empty.value != Empty::Omit {
            findings.mistake(
                &self.empty.span,
                "between sessions there is nothing to fill: `empty` goes with intervals of a size",
            );
        }
    }

    fn revise_for(&self) -> i64 {
        nanoseconds(self.revise_for.as_ref().map_or(REVISE_FOR, |span| span.value))
    }

    fn output(
        &self,
        given: &[Field],
        formulas: &Formulas,
        visible: &[Field],
        hidden: &[Field],
        findings: &Findings,
    ) -> Option<SchemaRef> {
        let before = findings.len();
        for (at, (name, _)) in self.columns.0.iter().enumerate() {
            let mut others = given.iter().chain(visible).chain(hidden).map(Field::name);
            if others.any(|other| *other == name.value)
                || self.columns.0[..at].iter().any(|(other, _)| other.value == name.value)
            {
                findings.mistake(&name.span, format!("there is a column `{}` already", name.value));
            }
        }
        let columns = formulas.columns.iter().map(|(field, _)| field.clone());
        let fields = given.iter().cloned().chain(columns).chain(visible.iter().cloned()).chain(hidden.iter().cloned());
        let fields: Vec<Field> = fields.collect();
        (findings.len() == before).then(|| Arc::new(Schema::new(fields)))
    }
}

/// A calendar that is built in, or of a file beside the dataflow file.
fn read_calendar(name: &At<String>, check: &Check<'_>) -> Option<Calendar> {
    if !name.ends_with(".toml") {
        return Calendar::named(name).map_err(|message| check.findings.mistake(&name.span, message)).ok();
    }
    let text = check.files.text(name).map_err(|message| check.findings.mistake(&name.span, message)).ok()?;
    let read = Calendar::read(&check.files.path(name), &text);
    read.map_err(|mistakes| check.findings.mistake(&name.span, mistakes.to_string())).ok()
}

/// `hopping`, read.
fn sliding(hopping: &At<Named<Duration>>, findings: &Findings) -> Option<Intervals> {
    let get = |wanted: &str| hopping.value.0.iter().find(|(name, _)| name.value == wanted).map(|(_, span)| span);
    let known = hopping.value.0.iter().all(|(name, _)| name.value == "size" || name.value == "slide");
    let (Some(size), Some(slide), true) = (get("size"), get("slide"), known) else {
        findings.mistake(&hopping.span, "`hopping` is { size = \"1m\", slide = \"10s\" }");
        return None;
    };
    let (size, slide) = (whole(size, findings)?, whole(slide, findings)?);
    if slide > size {
        findings.mistake(&hopping.span, "`slide` is greater than `size`: rows between two intervals would be lost");
        return None;
    }
    Some(Intervals::Sliding { size, slide })
}

/// A span of at least a millisecond, and whole ones: intervals are known by the millisecond they begin in.
fn whole(span: &At<Duration>, findings: &Findings) -> Option<i64> {
    let nanoseconds = nanoseconds(span.value);
    if nanoseconds == 0 || nanoseconds % 1_000_000 != 0 {
        findings.mistake(&span.span, "an interval is a whole number of milliseconds");
        return None;
    }
    Some(nanoseconds)
}

/// A window, checked and typed.
pub struct WindowPlan {
    input: Edge,
    intervals: Intervals,
    late: Late,
    /// How long after its end late rows revise an interval, in ns.
    revises: i64,
    /// How long after its end an interval may change, in ns.
    reach: i64,
    updates: bool,
    /// Whether rows replace one another.
    changes: bool,
    /// Set where empty intervals are told of: for how long after the last row of a key, in ns.
    fill: Option<i64>,
    /// Whether those go on with the last values.
    carries: bool,
    /// For each aggregate what tells of the last value of its argument, where that is carried on.
    carried: Vec<Option<Call>>,
    by_place: bool,
    /// Whether the intervals are those of an exchange.
    of_exchange: bool,
    /// How many columns a group is known by.
    given: usize,
    time: usize,
    order: Option<usize>,
    input_op: Option<usize>,
    input_revision: Option<usize>,
    /// Key, interval, aggregates, and what comes behind.
    rows: SchemaRef,
    /// Key, interval, columns, and what comes behind.
    output: SchemaRef,
    formulas: Formulas,
}

struct Planned(Arc<WindowPlan>);

impl OperatorPlan for Planned {
    fn build(&self, context: &BuildContext) -> Result<Built> {
        Ok(Built::Keyed(Box::new(Window::new(&self.0, context)?)))
    }

    fn ports(&self) -> Vec<Port> {
        if self.0.late != Late::SideOutput {
            return Vec::new();
        }
        vec![Port { name: "late", edge: Edge { placed: true, ..self.0.input.clone() } }]
    }

    fn appends_by_time(&self) -> bool {
        !self.0.changes
    }

    fn shows_lateness(&self) -> bool {
        false
    }

    fn details(&self) -> Vec<String> {
        let plan = &self.0;
        let mut lines = vec![plan.intervals.to_string()];
        lines.extend(plan.formulas.texts.iter().cloned());
        let late = match plan.late {
            Late::Revise => {
                format!(
                    "late rows revise for {}",
                    humantime::format_duration(Duration::from_nanos(plan.revises as u64))
                )
            }
            late => format!("late rows: {late}"),
        };
        lines.push(late);
        lines
    }
}
