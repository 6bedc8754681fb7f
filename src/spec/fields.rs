//! Reads the tables of a dataflow file: one declaration of a key says how it is read, checked and described.
//!
//! A node asks its [`Fields`] for each key it knows. What is missing, of the wrong type or unknown is noted as a
//! mistake with its place, and reading goes on, so that all mistakes come at once. The same calls, made on no
//! table at all, describe the format for editors (`spec::schema`).

use std::fmt;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::expand;
use super::masks;
use super::mistakes::{At, Findings, Span, did_you_mean};

/// A key that a table may hold.
pub struct Known {
    /// The key.
    pub key: &'static str,
    /// What it means, in a line.
    pub doc: &'static str,
    /// Its JSON Schema.
    pub schema: Json,
    /// Whether it must be given.
    pub required: bool,
}

/// The keys of one table, as they are asked for.
pub struct Fields<'a> {
    what: String,
    span: Span,
    table: Option<&'a DeTable<'a>>,
    defaults: Option<&'a DeTable<'a>>,
    findings: &'a Findings,
    known: Vec<Known>,
}

impl<'a> Fields<'a> {
    /// Reads `table`; `what` names it in messages, `span` is where it begins.
    pub fn new(what: impl Into<String>, table: &'a DeTable<'a>, span: Span, findings: &'a Findings) -> Self {
        Fields { what: what.into(), span, table: Some(table), defaults: None, findings, known: Vec::new() }
    }

    /// Reads nothing: what is asked for is only noted down, for the JSON Schema.
    pub fn describe(findings: &'a Findings) -> Self {
        Fields { what: String::new(), span: 0..0, table: None, defaults: None, findings, known: Vec::new() }
    }

    /// Where a key is missing it is looked for in `defaults` (the file's `[kafka]`, say).
    pub fn with_defaults(mut self, defaults: Option<&'a DeTable<'a>>) -> Self {
        self.defaults = defaults;
        self
    }

    /// Where the table begins.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Where mistakes go.
    pub fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// Asks for `key`.
    pub fn get<T: FromToml>(&mut self, key: &'static str, doc: &'static str) -> Field<'_, 'a, T> {
        self.known.push(Known { key, doc, schema: T::schema(), required: false });
        let find = |table: &'a DeTable<'a>| table.iter().find(|(name, _)| name.get_ref() == key);
        let given = self.table.and_then(find).or_else(|| self.defaults.and_then(find));
        let state = match given {
            None => State::Missing,
            Some((_, value)) => match T::from_toml(value, self.findings) {
                Some(read) => State::Given(At::new(read, value.span())),
                None => State::Wrong,
            },
        };
        Field { fields: self, key, state }
    }

    /// Notes a mistake about the table as a whole.
    pub fn mistake(&self, message: impl Into<String>) {
        if self.table.is_some() {
            self.findings.mistake(&self.span, message);
        }
    }

    /// Refuses every key that was not asked for, and returns what was.
    pub fn finish(self) -> Vec<Known> {
        for (key, _) in self.table.into_iter().flatten() {
            if !self.known.iter().any(|known| known.key == key.get_ref()) {
                let near = did_you_mean(key.get_ref(), self.known.iter().map(|known| known.key));
                self.findings.mistake(&key.span(), format!("{} has no key `{}`{near}", self.what, key.get_ref()));
            }
        }
        self.known
    }
}

enum State<T> {
    Missing,
    Wrong,
    Given(At<T>),
}

/// A key that was asked for; say what happens when it is not there.
pub struct Field<'f, 'a, T> {
    fields: &'f mut Fields<'a>,
    key: &'static str,
    state: State<T>,
}

impl<T> Field<'_, '_, T> {
    /// It may be missing.
    pub fn optional(self) -> Option<At<T>> {
        match self.state {
            State::Given(value) => Some(value),
            State::Missing | State::Wrong => None,
        }
    }

    /// `default` where it is missing.
    pub fn or(self, default: T) -> T {
        match self.state {
            State::Given(value) => value.value,
            State::Missing | State::Wrong => default,
        }
    }

    /// It must be there. The value returned after a mistake is never used: such a file is not run.
    pub fn required(self) -> At<T>
    where
        T: Default,
    {
        if let Some(known) = self.fields.known.last_mut() {
            known.required = true;
        }
        match self.state {
            State::Given(value) => value,
            State::Wrong => At::new(T::default(), self.fields.span.clone()),
            State::Missing => {
                let message = format!("{} needs `{}`", self.fields.what, self.key);
                self.fields.mistake(message);
                At::new(T::default(), self.fields.span.clone())
            }
        }
    }
}

/// A type that can stand as a value in a dataflow file.
pub trait FromToml: Sized {
    /// Reads the value; notes what is wrong with it and returns `None` otherwise.
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self>;
    /// Its JSON Schema.
    fn schema() -> Json;
}

/// Notes that `expected` should stand at `value`.
pub fn expected<T>(value: &Spanned<DeValue<'_>>, findings: &Findings, expected: &str) -> Option<T> {
    findings.mistake(&value.span(), format!("expected {expected}, found {}", describe(value.get_ref())));
    None
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_string(),
        DeValue::Array(_) => "a list".to_string(),
        DeValue::Table(_) => "a table".to_string(),
    }
}

/// A text as it was written, its `${...}` not replaced (rows of a test, say).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw(pub String);

impl FromToml for Raw {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(Raw(text.to_string())),
            _ => expected(value, findings, "a text"),
        }
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl FromToml for String {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        text(value, findings, false)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A text, its `${...}` replaced; what they stand for is shown in messages only of an address.
fn text(value: &Spanned<DeValue<'_>>, findings: &Findings, address: bool) -> Option<String> {
    let Raw(text) = Raw::from_toml(value, findings)?;
    let found = |value: &str, reference: &str| masks::note(value, reference, address);
    let expanded = expand(&text, findings.base(), &|name| std::env::var(name).ok(), &found);
    expanded.map_err(|message| findings.mistake(&value.span(), message)).ok()
}

/// Where servers are: a text that is no secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses(pub String);

impl FromToml for Addresses {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        text(value, findings, true).map(Addresses)
    }
    fn schema() -> Json {
        String::schema()
    }
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromToml for Secret {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => String::from_toml(value, findings).map(Secret),
            // What was found instead is not told: it may be the secret itself.
            _ => {
                findings.mistake(&value.span(), "expected a text");
                None
            }
        }
    }
    fn schema() -> Json {
        String::schema()
    }
}

impl FromToml for bool {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| expected(value, findings, "true or false"))
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl FromToml for u64 {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let integer = value.get_ref().as_integer();
        let read = integer.and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        read.or_else(|| expected(value, findings, "a whole number"))
    }
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 0 })
    }
}

impl FromToml for f64 {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let read = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        read.or_else(|| expected(value, findings, "a number"))
    }
    fn schema() -> Json {
        json!({ "type": "number" })
    }
}

/// A value, or a list of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneOrMany<T>(pub Vec<At<T>>);

impl<T: FromToml> FromToml for OneOrMany<T> {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let read = |value: &Spanned<DeValue<'_>>| Some(At::new(T::from_toml(value, findings)?, value.span()));
        match value.get_ref() {
            DeValue::Array(list) => {
                // All of them are read before one is missed.
                let entries: Vec<_> = list.iter().map(read).collect();
                entries.into_iter().collect::<Option<Vec<_>>>().map(OneOrMany)
            }
            _ => read(value).map(|one| OneOrMany(vec![one])),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), { "type": "array", "items": T::schema() }] })
    }
}

/// A table of names and values, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(pub Vec<(At<String>, At<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<T: FromToml> FromToml for Named<T> {
    fn from_toml(value: &Spanned<DeValue<'_>>, findings: &Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else { return expected(value, findings, "a table") };
        let mut entries = Vec::new();
        let mut complete = true;
        for (name, value) in table {
            match T::from_toml(value, findings) {
                Some(read) => {
                    entries.push((At::new(name.get_ref().to_string(), name.span()), At::new(read, value.span())));
                }
                None => complete = false,
            }
        }
        entries.sort_by_key(|(name, _)| name.span.start);
        complete.then_some(Named(entries))
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// An enum whose values are words in a dataflow file.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The words, in the order of the declaration.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($name::$variant => $word,)+ })
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok($name::$variant),)+
                    other => Err(match $crate::spec::nearest(other, $name::WORDS.iter().copied()) {
                        Some(near) => format!("there is no `{other}` here; did you mean `{near}`?"),
                        None => format!("`{other}` is not one of {}", $name::WORDS.join(", ")),
                    }),
                }
            }
        }

        impl $crate::spec::FromToml for $name {
            fn from_toml(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                findings: &$crate::spec::Findings,
            ) -> Option<Self> {
                let word = <String as $crate::spec::FromToml>::from_toml(value, findings)?;
                word.parse().map_err(|message: String| findings.mistake(&value.span(), message)).ok()
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": $name::WORDS })
            }
        }
    };
}
