//! `corrections` of a source: messages that cancel or correct trades that came before. Behind the source rows become
//! changes: a trade is an insert; one that is cancelled is deleted as it was; one that is corrected is deleted, and then
//! inserted with the columns of the message that corrects it, in the place of the first one. So whatever is computed from
//! them comes out as if the wrong trade had never been.
//!
//! Of each key the trades are held for as long as they may be corrected, the `horizon`. It is event time that counts: how
//! far it had come in the partition of a message ([`ORDER`]), which is the same at every replay.

mod rows;
mod run;
mod said;
#[cfg(test)]
mod tests;
mod trades;

use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampNanosecondArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and, is_null, or, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, SchemaRef};
use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Operator, StateKind};
use crate::error::Result;
use crate::formats::type_name;
use crate::spec::expression::{Scalar, condition, scalar};
use crate::spec::{
    At, Edge, EdgeKind, Fields, Findings, FromToml, OP, OneOrMany, REVISION, Span, expected, nanoseconds, schema,
};
use run::Corrections;

/// How far back a trade may be corrected, where nothing else is said.
const HORIZON: Duration = Duration::from_secs(24 * 3600);

/// `corrections`, as written.
pub struct CorrectionsSpec {
    id: Vec<At<String>>,
    refers_to: Option<Vec<At<String>>>,
    retract: Option<At<String>>,
    replace: Option<At<String>>,
    horizon: Duration,
    span: Span,
}

impl CorrectionsSpec {
    fn read(fields: &mut Fields<'_>) -> Self {
        let spec = CorrectionsSpec {
            id: fields
                .get::<OneOrMany<String>>("id", "an expression or a list: what a trade is known by within its key")
                .required()
                .value
                .0,
            retract: fields.get("retract", "a condition: the message cancels the trade with its id").optional(),
            replace: fields
                .get("replace", "a condition: the message takes the place of the trade with its id")
                .optional(),
            refers_to: fields
                .get::<OneOrMany<String>>("refers_to", "the id of the trade such a message is about; `id` by default")
                .optional()
                .map(|ids| ids.value.0),
            horizon: fields
                .get("horizon", "how far back in event time a trade may be corrected; 1d by default")
                .or(HORIZON),
            span: fields.span().clone(),
        };
        if spec.retract.is_none() && spec.replace.is_none() {
            fields.mistake("`corrections` needs `retract`, `replace` or both: which messages are about other ones");
        }
        spec
    }

    /// Types it against the columns of a row.
    pub fn plan(&self, selected: &SchemaRef, findings: &Findings) -> Option<CorrectionsPlan> {
        let all = |texts: &[At<String>]| {
            let scalars: Vec<Option<Scalar>> = texts.iter().map(|text| scalar(text, selected, findings)).collect();
            scalars.into_iter().collect::<Option<Vec<Scalar>>>()
        };
        let truth = |text: &Option<At<String>>| match text {
            Some(text) => condition(text, selected, findings).map(Some),
            None => Some(None),
        };
        let (id, target) = (all(&self.id), all(self.refers_to.as_ref().unwrap_or(&self.id)));
        let (retract, replace) = (truth(&self.retract), truth(&self.replace));
        let (id, target) = (id?, target?);
        self.check_types(&id, &target, findings)?;
        let texts = |texts: &[At<String>]| texts.iter().map(|text| text.value.clone()).collect::<Vec<_>>().join(", ");
        Some(CorrectionsPlan {
            id,
            target,
            retract: retract?,
            replace: replace?,
            horizon: nanoseconds(self.horizon),
            text: texts(&self.id),
            span: self.span.clone(),
        })
    }

    fn check_types(&self, id: &[Scalar], target: &[Scalar], findings: &Findings) -> Option<()> {
        let kinds = |scalars: &[Scalar]| {
            scalars.iter().map(|scalar| type_name(scalar.field().data_type())).collect::<Vec<_>>().join(", ")
        };
        let (own, other) = (kinds(id), kinds(target));
        if own == other {
            return Some(());
        }
        let span = self.refers_to.iter().flatten().next().map_or(&self.span, |first| &first.span);
        findings.mistake(span, format!("an id is {own}, but `refers_to` is {other}: they must be of one type"));
        None
    }
}

impl FromToml for CorrectionsSpec {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else { return expected(value, findings, "a table") };
        let before = findings.len();
        let mut fields = Fields::new("`corrections`", table, value.span(), findings);
        let spec = CorrectionsSpec::read(&mut fields);
        fields.finish();
        (findings.len() == before).then_some(spec)
    }

    fn schema() -> Json {
        let findings = Findings::default();
        let mut fields = Fields::describe(&findings);
        CorrectionsSpec::read(&mut fields);
        schema::table(fields.finish(), true)
    }
}

/// `corrections`, checked and typed.
#[derive(Clone)]
pub struct CorrectionsPlan {
    id: Vec<Scalar>,
    /// The id of the trade that a message is about.
    target: Vec<Scalar>,
    retract: Option<Scalar>,
    replace: Option<Scalar>,
    /// In ns of event time.
    horizon: i64,
    text: String,
    span: Span,
}

impl CorrectionsPlan {
    /// What becomes of the rows of `read`.
    pub fn edge(&self, read: &Edge, findings: &Findings) -> Option<Edge> {
        let revision = (Field::new(REVISION, DataType::Int64, false), &self.span);
        let op = (Field::new(OP, DataType::Utf8, false), &self.span);
        let edge = read.with(vec![revision, op], findings)?;
        Some(Edge { kind: EdgeKind::Changes, reach: self.horizon, retracts: true, ..edge })
    }

    /// The running operator, on one worker: rows of `read` become those of `edge`.
    pub fn build(&self, read: &Edge, edge: &Edge) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Corrections::new(self.clone(), read, edge)?))
    }

    /// What the state of rows of `read` is.
    pub fn state(&self, read: &Edge) -> StateKind {
        StateKind { name: format!("trades by {}: {}", self.text, read.schema), version: 1 }
    }

    /// The event times of messages: one that corrects may have none. Then it is earlier than all others, so that it does not
    /// move event time.
    pub fn times(&self, selected: &RecordBatch, times: ArrayRef) -> Result<ArrayRef> {
        if times.logical_null_count() == 0 {
            return Ok(times);
        }
        let corrects = or(&self.is(&self.retract, selected)?, &self.is(&self.replace, selected)?)?;
        let none = TimestampNanosecondArray::new_scalar(i64::MIN);
        Ok(zip(&and(&is_null(&times)?, &corrects)?, &none, &times)?)
    }

    /// The rows for which a condition holds; a null does not.
    fn is(&self, condition: &Option<Scalar>, rows: &RecordBatch) -> Result<BooleanArray> {
        let Some(condition) = condition else { return Ok(BooleanArray::from(vec![false; rows.num_rows()])) };
        let held = condition.evaluate(rows)?;
        let held = held.as_boolean();
        Ok(if held.logical_null_count() > 0 { prep_null_mask_filter(held) } else { held.clone() })
    }

    /// How long a trade may be corrected, in words.
    fn horizon(&self) -> String {
        humantime::format_duration(Duration::from_nanos(self.horizon as u64)).to_string()
    }

    /// Lines for `explain`.
    pub fn details(&self) -> Vec<String> {
        let told = |what: &str, condition: &Option<Scalar>| condition.as_ref().map(|when| format!("{what} {when:?}"));
        let known = format!("trades are known by {}, and may be corrected for {}", self.text, self.horizon());
        [Some(known), told("cancelled when", &self.retract), told("corrected when", &self.replace)]
            .into_iter()
            .flatten()
            .collect()
    }
}
