//! Which column a field belongs to.

use hashbrown::HashMap;

use super::Undecodable;
use super::scanner::Scanner;
use super::schema::MessageSchema;

/// Finds columns by the names of fields. Each name remembers which one followed it, so that a record whose
/// fields come in the order of the last one is read without hashing.
pub(super) struct Lookup {
    names: Vec<Name>,
    by_name: HashMap<Box<str>, usize>,
    /// The name expected first, then the one expected after each name.
    expected: Vec<usize>,
    /// Where in `expected` the record stands.
    position: usize,
}

struct Name {
    /// As JSON writes it, in quotes.
    quoted: Box<str>,
    column: usize,
}

impl Lookup {
    /// The names of these fields, of which the first has the column `first`.
    pub(super) fn new(schema: &MessageSchema, first: usize) -> Self {
        let mut names = Vec::new();
        let mut by_name = HashMap::new();
        for (column, field) in schema.fields.iter().enumerate() {
            for text in std::iter::once(&field.name).chain(&field.aliases) {
                by_name.entry(text.as_str().into()).or_insert(names.len());
                let quoted = serde_json::Value::from(text.as_str()).to_string().into();
                names.push(Name { quoted, column: first + column });
            }
        }
        let expected = (0..=names.len()).collect();
        Lookup { names, by_name, expected, position: 0 }
    }

    /// Begins a record.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.position = 0;
    }

    /// Passes the name of a field, and tells its column if it has one.
    #[inline]
    pub(super) fn column(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<usize>, Undecodable> {
        let expected = self.expected[self.position];
        match self.names.get(expected) {
            Some(name) if scanner.take_text(&name.quoted) => {
                self.position = expected + 1;
                Ok(Some(name.column))
            }
            _ => Ok(self.search(&scanner.string()?)),
        }
    }

    fn search(&mut self, name: &str) -> Option<usize> {
        let found = *self.by_name.get(name)?;
        self.expected[self.position] = found;
        self.position = found + 1;
        Some(self.names[found].column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{ColumnType, MessageField};

    fn lookup() -> Lookup {
        let mut fields = ["a", "b", "c"].map(|name| MessageField::new(name, ColumnType::Text));
        fields[2].aliases.push("gamma \"3\"".into());
        Lookup::new(&MessageSchema { fields: fields.into() }, 10)
    }

    /// The columns of the names of a record.
    fn columns(lookup: &mut Lookup, names: &str) -> Vec<Option<usize>> {
        let mut scanner = Scanner::new(names.as_bytes()).unwrap();
        lookup.begin();
        let mut columns = Vec::new();
        while scanner.end().is_err() {
            columns.push(lookup.column(&mut scanner).unwrap());
        }
        columns
    }

    #[test]
    fn fields_are_found_in_any_order_and_again_in_that_order() {
        let mut lookup = lookup();
        for _ in 0..2 {
            assert_eq!(columns(&mut lookup, r#""c" "a" "b""#), [Some(12), Some(10), Some(11)]);
            assert_eq!(lookup.expected[0], 2);
        }
        assert_eq!(columns(&mut lookup, r#""b" "b" "a""#), [Some(11), Some(11), Some(10)]);
        assert_eq!(columns(&mut lookup, r#""a" "b" "c" "c""#), [Some(10), Some(11), Some(12), Some(12)]);
    }

    #[test]
    fn a_field_is_found_under_its_other_names_however_they_are_escaped() {
        for name in [r#""gamma \"3\"""#, r#""g\u0061mma \u00223\"""#] {
            assert_eq!(columns(&mut lookup(), name), [Some(12)]);
        }
    }

    #[test]
    fn an_unknown_field_does_not_disturb_the_order() {
        let mut lookup = lookup();
        let found = columns(&mut lookup, r#""a" "x" "b" "y" "c""#);
        assert_eq!(found, [Some(10), None, Some(11), None, Some(12)]);
        assert_eq!(lookup.expected, [0, 1, 2, 3, 4]);
    }
}
