//! `join`: rows get columns of the rows that belong to them: of another node, or of a table in a file.
//!
//! `as_of` joins rows by key and event time, `latest` what two collections hold now, `table` looks up a file that does not
//! change. Rows belong together where they are equal `on` some columns; a null is equal to nothing.

mod as_of;
mod collection;
mod columns;
mod known;
mod latest;
mod on;
mod pairs;
mod reference;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod two_maps;

use std::sync::Arc;
use std::time::Duration;

use super::{LEFT, OperatorPlan, OperatorSpec, RIGHT};
use crate::formats::SchemaSpec;
use crate::spec::{At, Check, Edge, Fields, Named, Span};
use crate::words;
use columns::Naming;
use on::On;

words! {
    /// How rows of two nodes belong together.
    Kind {
        /// Each left row with the newest right one when it happened.
        AsOf = "as_of",
        /// What both hold now.
        Latest = "latest",
    }
}

struct JoinSpec {
    left: At<String>,
    right: Option<At<String>>,
    table: Option<At<String>>,
    schema: Option<At<SchemaSpec>>,
    valid_from: Option<At<String>>,
    on: Option<At<On>>,
    kind: Option<At<Kind>>,
    tolerance: Option<At<Duration>>,
    outer: Option<At<bool>>,
    prefix: Option<At<String>>,
    columns: Option<At<Named<String>>>,
    span: Span,
}

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let span = fields.span().clone();
    Box::new(JoinSpec {
        left: fields.get("left", "the node whose rows get further columns").required(),
        right: fields.get("right", "the node whose rows these columns are of").optional(),
        table: fields
            .get("table", "in the place of `right`: a file whose rows these columns are of: csv, tsv, jsonl, parquet")
            .optional(),
        schema: fields
            .get("schema", "table: an .avsc file, or a table of columns and types; read from the file by default")
            .optional(),
        valid_from: fields
            .get("valid_from", "table: a column; of the rows of a key the newest one holds at the time of the left row")
            .optional(),
        on: fields
            .get("on", "a column of both, a list, or { left = ..., right = ... }; by default the keys of both")
            .optional(),
        kind: fields
            .get(
                "kind",
                "`as_of`: each left row with the newest right one when it happened; `latest`: what both hold now",
            )
            .optional(),
        tolerance: fields.get("tolerance", "as_of: how much older the right row may be; any age by default").optional(),
        outer: fields
            .get("outer", "whether left rows without a right one stay, its columns null; true unless `latest`")
            .optional(),
        prefix: fields.get("prefix", "what the names of right columns begin with in the joined row").optional(),
        columns: fields
            .get("columns", "a name and an expression over the right row for each of its columns; all by default")
            .optional(),
        span,
    })
}

impl OperatorSpec for JoinSpec {
    fn sides(&self) -> Option<Vec<At<String>>> {
        // What is missing has been told.
        let given = |side: &&At<String>| !side.value.is_empty();
        Some([&self.left].into_iter().chain(&self.right).filter(given).cloned().collect())
    }

    fn plan(&self, _name: &At<String>, left: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let Some(table) = &self.table else {
            check
                .findings
                .mistake(&self.span, "a join needs `right`, a node, or `table`, a file: what is joined to `left`");
            return None;
        };
        let of_nodes = [
            self.kind.as_ref().map(|kind| ("kind", &kind.span)),
            self.tolerance.as_ref().map(|it| ("tolerance", &it.span)),
        ];
        for (key, span) in of_nodes.into_iter().flatten() {
            check.findings.mistake(span, format!("`{key}` goes with `right`: a table does not change"));
        }
        self.table(table, left, check)
    }

    fn join(&self, left: &Edge, right: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let place = self.right.as_ref().map_or(&self.span, |right| &right.span);
        if let Some(table) = &self.table {
            check.findings.mistake(&table.span, "a join has `right` or `table`, not both");
        }
        let of_table = [
            self.schema.as_ref().map(|schema| ("schema", &schema.span)),
            self.valid_from.as_ref().map(|it| ("valid_from", &it.span)),
        ];
        for (key, span) in of_table.into_iter().flatten() {
            check.findings.mistake(span, format!("`{key}` goes with `table`"));
        }
        let Some(kind) = &self.kind else {
            check.findings.mistake(&self.span, "a join of two nodes needs `kind`: `as_of` or `latest`");
            return None;
        };
        let on = On::of(self.on.as_ref(), left, right, &self.span, check.findings)?;
        match kind.value {
            Kind::AsOf => self.as_of(left, (right, place), on, check),
            Kind::Latest => self.latest(left, (right, place), on, check),
        }
    }
}

impl JoinSpec {
    /// A line for `explain`.
    fn on_details(&self, left: &Edge, right: &Edge, on: &[Vec<usize>; 2], what: &str) -> Vec<String> {
        let name = |edge: &Edge, at: &usize| edge.schema.field(*at).name().clone();
        let pair = |(one, other): (&usize, &usize)| format!("{} = {}", name(left, one), name(right, other));
        let on: Vec<String> = on[LEFT].iter().zip(&on[RIGHT]).map(pair).collect();
        vec![format!("on {}: {what}", on.join(", "))]
    }

    /// How old right rows may be.
    fn age(&self) -> String {
        let age = self.tolerance.as_ref().map(|tolerance| humantime::format_duration(tolerance.value));
        age.map_or("the newest right row".to_string(), |age| format!("the newest right row, at most {age} older"))
    }

    fn naming<'a>(&'a self, right: &'a Span) -> Naming<'a> {
        Naming { prefix: self.prefix.as_ref(), columns: self.columns.as_ref(), right }
    }
}
