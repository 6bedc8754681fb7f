//! The columns of right rows that get into left ones, and their names.

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Field;

use crate::formats::ColumnType;
use crate::sources::BUILT_IN;
use crate::spec::expression::{Scalar, scalar};
use crate::spec::{At, Check, Edge, EdgeKind, Findings, Named, OP, REVISION, Span};

/// What a dataflow file says of them.
pub struct Naming<'a> {
    /// What their names begin with.
    pub prefix: Option<&'a At<String>>,
    /// Names and expressions over right rows.
    pub columns: Option<&'a At<Named<String>>>,
    /// Where the right rows are named.
    pub right: &'a Span,
}

impl Naming<'_> {
    /// The columns behind those of `left`, and what they are made of in rows of `right`, which belong to left ones by the
    /// columns `on`. By default those that are written where nothing else is asked for, without `on`.
    pub fn plan(&self, left: &Edge, right: &Edge, on: &[usize], check: &Check<'_>) -> Option<Vec<(Field, Scalar)>> {
        if let (Some(prefix), Some(_)) = (self.prefix, self.columns) {
            check
                .findings
                .mistake(&prefix.span, "`columns` says what the columns are called: `prefix` goes without it");
        }
        let columns = match self.columns {
            Some(columns) => named(columns, right, check.findings)?,
            None => self.all(right, on),
        };
        if columns.is_empty() {
            let message = "no column of the right rows gets into the left ones: name some with `columns`";
            check.findings.mistake(self.columns.map_or(self.right, |columns| &columns.span), message);
            return None;
        }
        self.check_clashes(&columns, left, check.findings)?;
        let nullable = |(field, scalar): (Field, Scalar)| (field.with_nullable(true), scalar);
        Some(columns.into_iter().map(nullable).collect())
    }

    fn all(&self, right: &Edge, on: &[usize]) -> Vec<(Field, Scalar)> {
        let of_changes = |name: &str| right.kind == EdgeKind::Changes && (name == OP || name == REVISION);
        let prefix = self.prefix.map_or("", |prefix| prefix.value.as_str());
        let column = |at: usize| {
            let field = right.schema.field(at);
            let left_out = on.contains(&at) || BUILT_IN.contains(&field.name().as_str()) || of_changes(field.name());
            let named = || field.clone().with_name(format!("{prefix}{}", field.name()));
            (!left_out).then(|| (named(), Scalar::column(&right.schema, at)))
        };
        (0..right.visible).filter_map(column).collect()
    }

    fn check_clashes(&self, columns: &[(Field, Scalar)], left: &Edge, findings: &Findings) -> Option<()> {
        let clashes = |field: &Field, before: &[(Field, Scalar)]| {
            left.position(field.name()).is_some() || before.iter().any(|(other, _)| other.name() == field.name())
        };
        let clashing = columns.iter().enumerate().filter(|(at, (field, _))| clashes(field, &columns[..*at]));
        let names: Vec<String> = clashing.map(|(_, (field, _))| format!("`{}`", field.name())).collect();
        if names.is_empty() {
            return Some(());
        }
        let names = names.join(", ");
        match self.columns {
            Some(columns) => findings.mistake(&columns.span, format!("there are columns called {names} already")),
            None => {
                let message = format!(
                    "left rows have columns called {names}, too: give those of the right rows other names, as by \
                     prefix = \"right_\" or columns = {{ ... }}"
                );
                findings.mistake(self.right, message);
            }
        }
        None
    }
}

/// `columns`, checked and typed.
fn named(columns: &At<Named<String>>, right: &Edge, findings: &Findings) -> Option<Vec<(Field, Scalar)>> {
    let column = |(name, text): &(At<String>, At<String>)| {
        let scalar = scalar(text, &right.schema, findings)?;
        if BUILT_IN.contains(&name.as_str()) {
            findings.mistake(&name.span, format!("`{}` is built in: give the column another name", name.value));
        } else if ColumnType::of(scalar.field()).is_none() {
            let kind = scalar.field().data_type();
            findings.mistake(&text.span, format!("`{}` is {kind}, which no column can hold; cast it", text.value));
        } else {
            return Some((scalar.field().clone().with_name(&name.value), scalar));
        }
        None
    };
    let columns: Vec<Option<(Field, Scalar)>> = columns.0.iter().map(column).collect();
    columns.into_iter().collect()
}

/// Which rows have all columns of a key: a null is equal to nothing.
pub fn whole_key(rows: &RecordBatch, key: &[usize]) -> impl Fn(usize) -> bool + use<> {
    let nulls = key.iter().map(|at| rows.column(*at).nulls());
    let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls));
    move |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
}

/// Left rows with these columns of right ones behind the visible ones.
pub fn widened(left: &Edge, columns: &[(Field, Scalar)], span: &Span, findings: &Findings) -> Option<Edge> {
    let edge = left.with(columns.iter().map(|(field, _)| (field.clone(), span)).collect(), findings)?;
    Some(Edge { placed: left.placed, ..edge })
}
