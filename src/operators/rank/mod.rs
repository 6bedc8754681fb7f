//! `rank`: the first rows of each group in an order, told as a collection whose rows come and go.
//!
//! Where rows are, the first ones of each group are found, and only those come together at the worker of the group: so one
//! great group keeps all workers busy, and not one. Rows that are only appended are looked at batch by batch ([`cut`]); of
//! those that may be taken back all are held, in order ([`local`]). Which rows are the first of all is found in [`merge`].

mod cut;
mod index;
mod local;
mod merge;
mod place;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field};

use super::by::{Brought, Column, Columns, columns_of};
use super::moves::Moves;
use super::{BuildContext, Built, OperatorPlan, OperatorSpec, Stage};
use crate::error::Result;
use crate::spec::expression::scalar;
use crate::spec::{At, Check, Edge, EdgeKind, Fields, OneOrMany, Span};
use cut::{Cut, with_source};
use local::Local;
use merge::Merge;

struct RankSpec {
    by: Option<At<OneOrMany<String>>>,
    order: At<OneOrMany<String>>,
    limit: At<u64>,
    rank: At<String>,
    span: Span,
}

/// More rows of a group are no ranking any more, and each is told again when one before it moves.
const MOST: u64 = 10_000;

pub fn read(fields: &mut Fields<'_>) -> Box<dyn OperatorSpec> {
    let span = fields.span().clone();
    let order = "what rows are ordered by, the first of them first: \"price desc, volume\"; nulls come last";
    Box::new(RankSpec {
        by: fields.get("by", "an expression or a list: the groups; all rows are one where it is not given").optional(),
        order: fields.get("order", order).required(),
        limit: fields.get("limit", "how many rows of each group are kept").required(),
        rank: fields
            .get("rank", "the name of the column that counts them, from 1")
            .optional()
            .unwrap_or_else(|| At::new("rank".to_string(), span.clone())),
        span,
    })
}

impl OperatorSpec for RankSpec {
    fn plan(&self, name: &At<String>, input: &Edge, check: &Check<'_>) -> Option<(Edge, Arc<dyn OperatorPlan>)> {
        let findings = check.findings;
        let before = findings.len();
        if self.limit.value == 0 || self.limit.value > MOST {
            findings.mistake(&self.limit.span, format!("`limit` is 1 to {MOST}"));
        }
        let mut columns = Columns::default();
        let visible = (0..input.visible).map(|at| columns.keep(input, at)).count();
        let by = match &self.by {
            Some(by) => columns_of(by, name, input, &mut columns, findings),
            None => Some(Vec::new()),
        };
        let order = self.order(name, input, &mut columns, check);
        let further = input.position(crate::sources::TIME).into_iter().chain(input.row_key.iter().copied());
        let further: Vec<usize> = further.map(|at| columns.keep(input, at)).collect();
        let row_key = further[further.len() - input.row_key.len()..].to_vec();
        let (by, order) = (by?, order?);
        let in_place = input.placed && input.key == input.row_key;
        let texts = (texts(&by), order.iter().map(Ordered::to_string).collect());
        let mut brought = Brought::new(input, columns, Some(by));
        brought.edge = Edge { visible, row_key, placed: false, in_order: false, ..brought.edge };
        let rank = Field::new(&self.rank.value, DataType::Int64, false);
        let moves = Moves::new(&brought.edge, &[(rank, &self.rank.span)], &self.span, findings)?;
        if findings.len() > before {
            return None;
        }
        let key: Vec<usize> = brought.edge.key.iter().filter_map(|at| moves.position(*at)).collect();
        let ranked = moves.schema.index_of(&self.rank.value).ok();
        let edge = moves.edge(key.clone(), key.into_iter().chain(ranked).collect(), i64::MAX);
        let limit = self.limit.value as usize;
        Some((edge, Arc::new(RankPlan { brought, in_place, order, limit, moves, texts })))
    }
}

impl RankSpec {
    fn order(&self, node: &At<String>, input: &Edge, columns: &mut Columns, check: &Check<'_>) -> Option<Vec<Ordered>> {
        let parts: Vec<At<String>> = self.order.0.iter().flat_map(parts).collect();
        let mut order = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let (text, descending) = direction(part);
            if let Some(scalar) = scalar(&text, &input.schema, check.findings) {
                let at = columns.put(scalar, &format!("_{}_order_{number}", node.value));
                order.push(Ordered { at, descending, text: text.value });
            }
        }
        (order.len() == parts.len()).then_some(order)
    }
}

fn texts(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|(_, text)| text.clone()).collect()
}

/// The parts between commas, but for those in parentheses and in quotes; each with its place in the file.
fn parts(text: &At<String>) -> Vec<At<String>> {
    let (mut parts, mut depth, mut quote, mut start) = (Vec::new(), 0i32, None, 0);
    for (at, letter) in text.char_indices().chain([(text.len(), ',')]) {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ',') if depth <= 0 || at == text.len() => {
                parts.push(At::new(text[start..at].trim().to_string(), text.span.clone()));
                start = at + 1;
            }
            _ if at == text.len() => parts.push(At::new(text[start..at].trim().to_string(), text.span.clone())),
            _ => {}
        }
    }
    parts
}

/// An expression, and whether `desc` stands behind it.
fn direction(part: &At<String>) -> (At<String>, bool) {
    let (text, descending) = match part.rsplit_once(char::is_whitespace) {
        Some((text, word)) if word.eq_ignore_ascii_case("desc") => (text, true),
        Some((text, word)) if word.eq_ignore_ascii_case("asc") => (text, false),
        _ => (part.as_str(), false),
    };
    (At::new(text.trim().to_string(), part.span.clone()), descending)
}

/// What rows are ordered by.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// A column.
    at: usize,
    descending: bool,
    /// As it is written.
    text: String,
}

impl Ordered {
    fn options(&self) -> SortOptions {
        SortOptions { descending: self.descending, nulls_first: false }
    }
}

impl std::fmt::Display for Ordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.text, if self.descending { " desc" } else { "" })
    }
}

/// `rank`, checked and typed.
#[derive(Clone)]
pub struct RankPlan {
    /// The rows by group.
    brought: Brought,
    /// Whether rows come to the workers of what they are known by.
    in_place: bool,
    order: Vec<Ordered>,
    limit: usize,
    moves: Moves,
    /// Groups and order, as they are written.
    texts: (Vec<String>, Vec<String>),
}

impl OperatorPlan for RankPlan {
    fn build(&self, context: &BuildContext) -> Result<Built> {
        let (by_group, mut stages) = (&self.brought.edge, Vec::from_iter(self.brought.stage()));
        let firsts = match by_group.kind {
            EdgeKind::Append => {
                let firsts = with_source(by_group);
                let built = Built::Stateless(Box::new(Cut::new(self, &firsts)?));
                stages.push(Stage { name: "cut", input: by_group.clone(), built });
                firsts
            }
            EdgeKind::Changes => {
                // A row is where it was before: at the worker of what it is known by.
                let (key, placed) = (by_group.row_key.clone(), self.in_place);
                let by_row = Edge { key, placed, in_order: placed, ..by_group.clone() };
                let built = Built::Keyed(Box::new(Local::new(self, &by_row, context)?));
                stages.push(Stage { name: "rows", input: by_row, built });
                Edge { retracts: true, ..by_group.clone() }
            }
        };
        let built = Built::Keyed(Box::new(Merge::new(self, &firsts, context)?));
        stages.push(Stage { name: "", input: firsts, built });
        Ok(Built::Staged(stages))
    }

    fn details(&self) -> Vec<String> {
        let (by, order) = &self.texts;
        let of_each = if by.is_empty() { String::new() } else { format!(" of each {}", by.join(", ")) };
        vec![format!("the first {}{of_each} by {}", self.limit, order.join(", "))]
    }
}

impl RankPlan {
    /// What its state depends on: the columns of the rows that are kept, and `limit` where not all are.
    fn state(&self, what: &str, rows: &Edge) -> String {
        let (by, order) = &self.texts;
        let columns = rows.schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        let columns: Vec<String> = columns.collect();
        format!("rank {what} by ({}) order {}: {}", by.join(", "), order.join(", "), columns.join(", "))
    }
}
