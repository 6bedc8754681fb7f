//! What is posted of a row: the row itself, its message for a chat, or JSON with templates for texts.

use arrow::array::RecordBatch;
use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use crate::error::Result;
use crate::formats::JsonRows;
use crate::spec::{At, Edge, Findings, FromToml, Projection, Template, expected};

/// The column that is said in a chat.
const MESSAGE: &str = "message";

/// A body, as written.
#[derive(Clone, Debug)]
pub enum BodySpec {
    /// The row as a JSON object.
    Row,
    /// `{"text": message}`, as chats take it.
    Text,
    /// What it looks like.
    Template(Piece<At<String>>),
}

/// JSON whose texts are of another kind.
#[derive(Clone, Debug)]
pub enum Piece<T> {
    /// A text.
    Text(T),
    /// What is no text.
    Plain(Json),
    /// A list.
    List(Vec<Piece<T>>),
    /// An object.
    Object(Vec<(String, Piece<T>)>),
}

impl FromToml for BodySpec {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(word) if word == "row" => Some(BodySpec::Row),
            DeValue::String(word) if word == "text" => Some(BodySpec::Text),
            DeValue::Table(_) => piece(value, findings).map(BodySpec::Template),
            _ => expected(value, findings, "\"row\", \"text\" or a table of what the body holds"),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "enum": ["row", "text"] }, { "type": "object" }] })
    }
}

fn piece(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Piece<At<String>>> {
    match value.get_ref() {
        DeValue::String(_) => String::from_toml(value, findings).map(|text| Piece::Text(At::new(text, value.span()))),
        DeValue::Boolean(truth) => Some(Piece::Plain(json!(truth))),
        DeValue::Integer(_) | DeValue::Float(_) => {
            f64::from_toml(value, findings).map(|number| Piece::Plain(short(number)))
        }
        DeValue::Datetime(_) => expected(value, findings, "a text, a number, true or false, a list or a table"),
        DeValue::Array(list) => {
            let pieces: Vec<_> = list.iter().map(|value| piece(value, findings)).collect();
            pieces.into_iter().collect::<Option<_>>().map(Piece::List)
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            let pieces = entries.into_iter().map(|(name, value)| (name.get_ref().to_string(), piece(value, findings)));
            let pieces: Vec<_> = pieces.map(|(name, piece)| Some((name, piece?))).collect();
            pieces.into_iter().collect::<Option<_>>().map(Piece::Object)
        }
    }
}

/// A number without a fraction is written without one.
fn short(number: f64) -> Json {
    let whole = number.fract() == 0.0 && number.abs() < 2f64.powi(53);
    if whole { json!(number as i64) } else { json!(number) }
}

impl<T> Piece<T> {
    /// The same with each text made into something else.
    fn map<U>(&self, make: &mut impl FnMut(&T) -> U) -> Piece<U> {
        match self {
            Piece::Text(text) => Piece::Text(make(text)),
            Piece::Plain(json) => Piece::Plain(json.clone()),
            Piece::List(list) => Piece::List(list.iter().map(|piece| piece.map(make)).collect()),
            Piece::Object(entries) => {
                Piece::Object(entries.iter().map(|(name, piece)| (name.clone(), piece.map(make))).collect())
            }
        }
    }
}

impl<T, E> Piece<Result<T, E>> {
    /// All texts, or the first failure.
    fn transpose(self) -> Result<Piece<T>, E> {
        Ok(match self {
            Piece::Text(text) => Piece::Text(text?),
            Piece::Plain(json) => Piece::Plain(json),
            Piece::List(list) => Piece::List(list.into_iter().map(Piece::transpose).collect::<Result<_, E>>()?),
            Piece::Object(entries) => {
                let entries = entries.into_iter().map(|(name, piece)| Ok((name, piece.transpose()?)));
                Piece::Object(entries.collect::<Result<_, E>>()?)
            }
        })
    }
}

impl Piece<Vec<String>> {
    /// What it is of one row.
    fn of(&self, row: usize) -> Json {
        match self {
            Piece::Text(texts) => Json::from(texts[row].as_str()),
            Piece::Plain(json) => json.clone(),
            Piece::List(list) => list.iter().map(|piece| piece.of(row)).collect(),
            Piece::Object(entries) => {
                Json::Object(entries.iter().map(|(name, piece)| (name.clone(), piece.of(row))).collect::<Map<_, _>>())
            }
        }
    }
}

/// A body, checked and typed.
#[derive(Clone)]
pub enum Body {
    /// These columns as a JSON object.
    Row(Projection),
    /// JSON with templates.
    Template(Piece<Template>),
}

impl BodySpec {
    /// Types it for rows of `input`; `row` is how a row is written. Mistakes go to `findings`.
    pub fn plan(body: Option<&At<Self>>, row: Option<Projection>, input: &Edge, findings: &Findings) -> Option<Body> {
        let Some(body) = body else { return row.map(Body::Row) };
        let template = match &body.value {
            BodySpec::Row => return row.map(Body::Row),
            BodySpec::Template(template) => template.clone(),
            BodySpec::Text if input.position(MESSAGE).is_none() => {
                let message = format!("a text is the column `{MESSAGE}`, which these rows do not have; write a table");
                findings.mistake(&body.span, message);
                return None;
            }
            BodySpec::Text => {
                let text = Piece::Text(At::new(format!("{{{MESSAGE}}}"), body.span.clone()));
                Piece::Object(vec![("text".to_string(), text)])
            }
        };
        let typed = template.map(&mut |text| Template::plan(text, &input.schema, findings).ok_or(()));
        typed.transpose().ok().map(Body::Template)
    }
}

impl Body {
    /// What is posted of each row.
    pub fn of(&self, data: &RecordBatch) -> Result<Vec<String>> {
        match self {
            Body::Row(row) => {
                let rows = JsonRows::of(&row.apply(data)?)?;
                Ok((0..rows.len()).map(|at| String::from_utf8_lossy(rows.row(at)).into_owned()).collect())
            }
            Body::Template(template) => {
                let made = template.map(&mut |text| text.evaluate(data)).transpose()?;
                Ok((0..data.num_rows()).map(|row| made.of(row).to_string()).collect())
            }
        }
    }
}
