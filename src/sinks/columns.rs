//! The columns that a sink writes: what `select` says, else all that are not hidden.

use crate::spec::expression::Scalar;
use crate::spec::{At, Check, Edge, EdgeKind, Fields, OP, Projection, Select, Span};

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

    /// The same for a sink that does what [`OP`] says, rather than write it down.
    pub fn plan_without_op(&self, input: &Edge, check: &Check<'_>) -> Option<Projection> {
        match op_of(input).filter(|_| self.select.is_none()) {
            Some(op) => Some(columns(input, (0..input.visible).filter(|at| *at != op))),
            None => self.plan(input, check),
        }
    }
}

/// The column that says what a row does to the one with its key, where rows are changes.
pub fn op_of(input: &Edge) -> Option<usize> {
    input.position(OP).filter(|_| input.kind == EdgeKind::Changes)
}

/// All columns that are not hidden.
pub fn visible(input: &Edge) -> Projection {
    columns(input, 0..input.visible)
}

fn columns(Edge { schema, .. }: &Edge, which: impl Iterator<Item = usize>) -> Projection {
    Projection::new(which.map(|at| (schema.field(at).clone(), Scalar::column(schema, at))).collect())
}
