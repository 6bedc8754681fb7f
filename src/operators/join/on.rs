//! `on`: the columns that rows of both sides have in common where they belong together.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use crate::formats::type_name;
use crate::spec::{At, Edge, Findings, FromToml, Named, OneOrMany, Span, did_you_mean, expected};

/// Pairs of columns, as written: of the left rows and of the right ones.
#[derive(Clone, Debug)]
pub struct On(Vec<(At<String>, At<String>)>);

impl FromToml for On {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => of_each(Named::from_toml(value, findings)?, &value.span(), findings),
            DeValue::String(_) | DeValue::Array(_) => {
                let OneOrMany::<String>(names) = OneOrMany::from_toml(value, findings)?;
                Some(On(names.into_iter().map(|name| (name.clone(), name)).collect()))
            }
            _ => expected(value, findings, "a column of both, a list of them, or { left = ..., right = ... }"),
        }
    }
    fn schema() -> Json {
        let names = OneOrMany::<String>::schema();
        let sides = json!({ "left": names, "right": names });
        json!({ "anyOf": [names, { "type": "object", "properties": sides, "required": ["left", "right"] }] })
    }
}

/// `{ left = ..., right = ... }`.
fn of_each(sides: Named<OneOrMany<String>>, span: &Span, findings: &Findings) -> Option<On> {
    let of = |side: &str| sides.0.iter().find(|(name, _)| name.value == side).map(|(_, names)| &names.value.0);
    match (of("left"), of("right"), sides.0.len()) {
        (Some(left), Some(right), 2) if left.len() == right.len() => {
            Some(On(left.iter().cloned().zip(right.iter().cloned()).collect()))
        }
        _ => {
            findings
                .mistake(span, "`on` is { left = \"symbol\", right = \"ticker\" }, with as many columns on each side");
            None
        }
    }
}

impl On {
    /// The names of the columns of the right rows, and their places.
    pub fn right(&self) -> impl Iterator<Item = &At<String>> {
        self.0.iter().map(|(_, right)| right)
    }

    /// The positions of the columns of the left rows.
    pub fn left(&self, left: &Edge, findings: &Findings) -> Option<Vec<usize>> {
        positions(self.0.iter().map(|(left, _)| left), left, findings)
    }

    /// The positions of the columns on both sides, of the same types; where nothing is written, of the keys.
    pub fn of(
        on: Option<&At<On>>,
        left: &Edge,
        right: &Edge,
        span: &Span,
        findings: &Findings,
    ) -> Option<[Vec<usize>; 2]> {
        let (span, columns) = match on {
            Some(At { value: on, span }) => {
                let (left, right) = (on.left(left, findings), positions(on.right(), right, findings));
                (span, [left?, right?])
            }
            None => (span, [left.key.clone(), right.key.clone()]),
        };
        let [of_left, of_right] = &columns;
        if of_left.is_empty() || of_left.len() != of_right.len() {
            let message =
                "the rows of both sides are not keyed alike: say by which columns they belong together with `on`";
            findings.mistake(span, message);
            return None;
        }
        for (one, other) in of_left.iter().zip(of_right) {
            let (one, other) = (left.schema.field(*one), right.schema.field(*other));
            if one.data_type() != other.data_type() {
                let (kind, other_kind) = (type_name(one.data_type()), type_name(other.data_type()));
                let (name, other) = (one.name(), other.name());
                let message = format!(
                    "`{name}` of the left rows is {kind}, `{other}` of the right ones {other_kind}; bring them together with `select`"
                );
                findings.mistake(span, message);
                return None;
            }
        }
        Some(columns)
    }
}

fn positions<'n>(names: impl Iterator<Item = &'n At<String>>, edge: &Edge, findings: &Findings) -> Option<Vec<usize>> {
    let position = |name: &At<String>| {
        let found = edge.position(name);
        if found.is_none() {
            let near = did_you_mean(name, edge.schema.fields().iter().map(|field| field.name().as_str()));
            findings.mistake(&name.span, format!("there is no column `{}`{near}", name.value));
        }
        found
    };
    let found: Vec<Option<usize>> = names.map(position).collect();
    found.into_iter().collect()
}
