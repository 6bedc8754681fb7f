//! The columns that a sink writes: what `select` says, else all that are not hidden.

use crate::spec::expression::Scalar;
use crate::spec::{At, Check, Edge, Fields, Projection, Select, Span};

/// `select`, as written.
pub struct ColumnsSpec {
    select: Option<At<Select>>,
}

impl ColumnsSpec {
    /// Reads it.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let doc = "what is written: a list of names, or a table of expressions; every column by default";
        ColumnsSpec { select: fields.get("select", doc).optional() }
    }

    /// Where `select` stands, if it is given.
    pub fn place(&self) -> Option<&Span> {
        self.select.as_ref().map(|select| &select.span)
    }

    /// How the written rows are made of those of `input`.
    pub fn plan(&self, input: &Edge, check: &Check<'_>) -> Option<Projection> {
        match &self.select {
            Some(select) => select.compile(&input.schema, check.findings).map(Projection::new),
            None => Some(visible(input)),
        }
    }
}

/// All columns that are not hidden.
pub fn visible(Edge { schema, visible, .. }: &Edge) -> Projection {
    Projection::new((0..*visible).map(|at| (schema.field(at).clone(), Scalar::column(schema, at))).collect())
}
