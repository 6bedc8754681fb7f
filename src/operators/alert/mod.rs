//! `alert`: the rows with which a condition becomes true, with a message, and those with which it is over.
//!
//! A key is *active* from the row with which the alert fires to the row with which it is resolved, and nothing fires in
//! between. It fires where `when` is true, the key is not active and `cooldown` of event time has passed since it last
//! fired: a condition that becomes true within the cooldown fires after it, if it still is. It is resolved where
//! `resolve` is true or, if there is none, `when` is not. With `repeat` no key is ever active.

mod expressions;
mod run;
mod set;
mod standing;
#[cfg(test)]
mod tests;
mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};

use super::calls::read_compat;
use super::replay::Replay;
use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Settable};
use crate::error::Result;
use crate::indicators::Compat;
use crate::sources::TIME;
use crate::spec::expression::{Parsed, Scalar, compile, truth};
use crate::spec::{At, Check, Edge, EdgeKind, Fields, Findings, Part, Port, Template, nanoseconds, split};
use crate::words;
use expressions::{Columns, Reader};
use run::Alert;
use standing::Rule;
use thresholds::Thresholds;

pub use expressions::FUNCTIONS;

words! {
    /// How bad it is.
    Severity {
        /// Good to know.
        Info = "info",
        /// Somebody should look.
        Warning = "warning",
        /// Somebody must look now.
        Critical = "critical",
    }
}

/// The columns that an alert adds to a row: its name, how bad it is, whether it fires or is over, what is said of it.
const ADDED: [&str; 4] = ["alert", "severity", "status", "message"];

struct AlertSpec {
    when: At<String>,
    resolve: Option<At<String>>,
    message: Option<At<String>>,
    severity: Severity,
    cooldown: Option<At<Duration>>,
    repeat: bool,
    thresholds: Option<At<String>>,
    compat: Compat,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    Box::new(AlertSpec {
        when: fields
            .get("when", "a condition; it may call indicators, crosses_above, crosses_below and last_alert")
            .required(),
        resolve: fields
            .get("resolve", "a condition: the alert is over, and may fire again; by default where `when` is not true")
            .optional(),
        message: fields
            .get("message", "what is said, with expressions in braces: \"{symbol} is at {round(price, 2)}\"")
            .optional(),
        severity: fields.get("severity", "warning by default").or(Severity::Warning),
        cooldown: fields
            .get("cooldown", "how much event time is between two alerts of a key, at least; none by default")
            .optional(),
        repeat: fields
            .get("repeat", "true: it fires at every row for which `when` is true; false by default")
            .or(false),
        thresholds: fields
            .get("thresholds", "a CSV file: the columns of the key and values of each, columns for the conditions")
            .optional(),
        compat: read_compat(fields),
    })
}

impl OperatorSpec for AlertSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        self.check_options(input, findings);
        let thresholds = match &self.thresholds {
            Some(path) => Thresholds::read(path, input, check)?,
            None => Thresholds::default(),
        };
        let expressions = self.expressions(input, &thresholds, findings);
        let added = ADDED.map(|added| (Field::new(added, DataType::Utf8, false), &name.span));
        let edge = input.with(added.to_vec(), findings)?;
        let plan = AlertPlan {
            name: name.value.clone(),
            severity: self.severity,
            rule: Rule {
                cooldown: self.cooldown.as_ref().map_or(0, |cooldown| nanoseconds(cooldown.value)),
                repeat: self.repeat,
            },
            input: input.clone(),
            time: input.position(TIME),
            output: edge.clone(),
            thresholds: Arc::new(thresholds),
            expressions: expressions?,
            details: self.details(),
        };
        Some((edge, Arc::new(Planned(Arc::new(plan)))))
    }
}

impl AlertSpec {
    fn check_options(&self, input: &Edge, findings: &Findings) {
        if let Some(resolve) = self.resolve.as_ref().filter(|_| self.repeat) {
            findings.mistake(&resolve.span, "with repeat = true an alert is never over, so that nothing resolves it");
        }
        if let Some(cooldown) = self.cooldown.as_ref().filter(|_| input.position(TIME).is_none()) {
            findings.mistake(&cooldown.span, "`cooldown` needs event time, which these rows do not have");
        }
    }

    /// All expressions, over the rows of `input`, their thresholds, and the columns that calls make.
    fn expressions(&self, input: &Edge, thresholds: &Thresholds, findings: &Findings) -> Option<Expressions> {
        let rows = input.schema.fields().iter().map(|field| field.as_ref().clone());
        let rows = Arc::new(Schema::new(rows.chain(thresholds.fields()).collect::<Vec<_>>()));
        let mut reader = Reader::new(rows, self.compat, findings);
        let when = reader.read(&self.when);
        let resolve = self.resolve.as_ref().map(|resolve| (resolve, reader.read(resolve)));
        let parts = match &self.message {
            Some(message) => split(message, findings),
            None => Some(self.default_message(input)),
        };
        let parts = parts.into_iter().flatten().map(|part| part.map(|text| reader.read(&text))).collect::<Vec<_>>();
        let columns = reader.columns();
        let typed = |parsed: Parsed| compile(&parsed, &columns.all, findings);
        let condition = |text: &At<String>, parsed: Option<Parsed>| truth(typed(parsed?)?, text, findings);
        let when = condition(&self.when, when);
        let resolve = resolve.map(|(text, parsed)| condition(text, parsed));
        let parts: Vec<_> = parts.into_iter().map(|part| part?.map(typed)).collect();
        Some(Expressions {
            when: when?,
            resolve: resolve.map_or(Some(None), |resolve| resolve.map(Some))?,
            message: Template::of(parts.into_iter().collect::<Option<_>>()?),
            columns,
        })
    }

    /// The key and the condition.
    fn default_message(&self, input: &Edge) -> Vec<Part<At<String>>> {
        let key = input.key.iter().map(|at| At::new(input.schema.field(*at).name().clone(), self.when.span.clone()));
        let mut parts: Vec<_> = key.flat_map(|name| [Part::Value(name), Part::Text(": ".to_string())]).collect();
        parts.push(Part::Text(self.when.value.clone()));
        parts
    }

    fn details(&self) -> Vec<String> {
        let over = match &self.resolve {
            _ if self.repeat => "it fires at every such row".to_string(),
            Some(resolve) => format!("over when {}", resolve.value),
            None => "over when that is not true".to_string(),
        };
        let mut lines = vec![format!("{} when {}", self.severity, self.when.value), over];
        lines.extend(self.message.as_ref().map(|message| format!("says: {}", message.value)));
        lines.extend(self.cooldown.as_ref().map(|cooldown| {
            format!("{} of event time between two alerts of a key", humantime::format_duration(cooldown.value))
        }));
        lines
    }
}

/// The conditions and the message, and the columns that they are made of.
struct Expressions {
    columns: Columns,
    when: Scalar,
    resolve: Option<Scalar>,
    message: Template,
}

struct AlertPlan {
    name: String,
    severity: Severity,
    rule: Rule,
    input: Edge,
    /// Where event time is in its rows.
    time: Option<usize>,
    output: Edge,
    thresholds: Arc<Thresholds>,
    expressions: Expressions,
    details: Vec<String>,
}

/// What the alerts of all workers share.
struct Planned(Arc<AlertPlan>);

impl OperatorPlan for Planned {
    fn build(&self, _context: &BuildContext) -> Result<Built> {
        let AlertPlan { input, output, .. } = &*self.0;
        let alert = Alert::new(Arc::clone(&self.0))?;
        Ok(Built::Keyed(match input.kind {
            EdgeKind::Append => Box::new(alert),
            EdgeKind::Changes => Box::new(Replay::new(alert, input, output)?),
        }))
    }

    fn settable(&self) -> Option<&dyn Settable> {
        (!self.0.thresholds.names.is_empty()).then_some(&*self.0 as &dyn Settable)
    }

    fn ports(&self) -> Vec<Port> {
        let resolved = Port { name: "resolved", edge: self.0.output.clone() };
        // Where rows may be taken back an alert is deleted with them.
        let ends = !self.0.rule.repeat && self.0.input.kind == EdgeKind::Append;
        if ends { vec![resolved] } else { Vec::new() }
    }

    fn details(&self) -> Vec<String> {
        let AlertPlan { details, thresholds, .. } = &*self.0;
        let mut lines = details.clone();
        if !thresholds.names.is_empty() {
            lines.push(format!("{} of {} keys", thresholds.names.join(", "), thresholds.len()));
        }
        lines
    }
}
