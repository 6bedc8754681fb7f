//! The table that a sink writes: its columns, its key, and the CQL that creates and fills it.

use std::fmt::Write;

use super::types::CqlType;
use crate::words;

words! {
    /// What part of event time is added to the partition key.
    Bucket {
        /// `day date`.
        Day = "day",
        /// `month int`, 202601.
        Month = "month",
    }
}

impl Bucket {
    /// The type of its column.
    pub fn kind(self) -> CqlType {
        match self {
            Bucket::Day => CqlType::Date,
            Bucket::Month => CqlType::Int,
        }
    }
}

words! {
    /// How the rows of a partition are sorted.
    Order {
        /// The least first.
        Ascending = "asc",
        /// The greatest first.
        Descending = "desc",
    }
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// This column of the rows that are written.
    Column(usize),
    /// Event time.
    Bucket(Bucket),
}

/// A column of the table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: CqlType,
    /// Where its values come from.
    pub values: Values,
}

/// A table: the partition key's columns come first, then the clustering key's, then the others.
#[derive(Clone, Debug)]
pub struct Table {
    /// The keyspace.
    pub keyspace: String,
    /// The name.
    pub name: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// How many of them are the partition key.
    pub partition: usize,
    /// The clustering key's orders, as far as they are written in the dataflow file.
    pub clustering: Vec<Option<Order>>,
    /// Whether each row is written with a time to live.
    pub expires: bool,
}

impl Table {
    /// How many columns are the primary key.
    pub fn key(&self) -> usize {
        self.partition + self.clustering.len()
    }

    /// The names of the partition key's columns.
    pub fn partition_key(&self) -> Vec<&str> {
        self.columns[..self.partition].iter().map(|column| column.name.as_str()).collect()
    }

    /// The clustering key's columns and their orders.
    pub fn clustering_key(&self) -> impl Iterator<Item = (&Column, Option<Order>)> {
        self.columns[self.partition..].iter().zip(self.clustering.iter().copied())
    }

    /// The name with its keyspace, as CQL writes it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", identifier(&self.keyspace), identifier(&self.name))
    }

    /// The statement that creates it where it is missing.
    pub fn create(&self) -> String {
        let mut cql = format!("CREATE TABLE IF NOT EXISTS {} (\n", self.full_name());
        for Column { name, kind, .. } in &self.columns {
            let _ = writeln!(cql, "    {} {kind},", identifier(name));
        }
        let partition = list(self.partition_key().into_iter().map(identifier));
        let clustering = self.clustering_key().map(|(column, _)| format!(", {}", identifier(&column.name)));
        let _ = write!(cql, "    PRIMARY KEY (({partition}){})\n)", clustering.collect::<String>());
        if self.clustering.contains(&Some(Order::Descending)) {
            let order = |(column, order): (&Column, Option<Order>)| {
                let order = if order == Some(Order::Descending) { "DESC" } else { "ASC" };
                format!("{} {order}", identifier(&column.name))
            };
            let _ = write!(cql, " WITH CLUSTERING ORDER BY ({})", list(self.clustering_key().map(order)));
        }
        cql
    }

    /// The statement that writes a row: its values are those of the columns, the time of the write in µs and,
    /// where rows expire, the time to live in s.
    pub fn insert(&self) -> String {
        let names = list(self.columns.iter().map(|column| identifier(&column.name)));
        let values = list(self.columns.iter().map(|_| "?".to_string()));
        let expires = if self.expires { " AND TTL ?" } else { "" };
        format!("INSERT INTO {} ({names}) VALUES ({values}) USING TIMESTAMP ?{expires}", self.full_name())
    }

    /// The statement that removes a row: its values are the time of the write and the primary key.
    pub fn delete(&self) -> String {
        let key = self.columns[..self.key()].iter().map(|column| format!("{} = ?", identifier(&column.name)));
        let key = key.collect::<Vec<_>>().join(" AND ");
        format!("DELETE FROM {} USING TIMESTAMP ? WHERE {key}", self.full_name())
    }
}

/// The statement that creates a keyspace where it is missing.
pub fn create_keyspace(keyspace: &str, replication: &[(String, String)]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let settings = list(replication.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))));
    format!("CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{{settings}}}", identifier(keyspace))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// `name` as CQL takes it: quoted where it has capitals or other signs, or is a word of CQL.
pub fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The words that CQL does not take as names.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "add", "allow", "alter", "and", "apply", "asc", "authorize", "batch", "begin", "by", "columnfamily", "create",
    "default", "delete", "desc", "describe", "drop", "each_quorum", "entries", "execute", "from", "full", "grant", "if",
    "in", "index", "inet", "infinity", "insert", "into", "is", "keyspace", "keyspaces", "limit", "local_one",
    "local_quorum", "materialized", "mbean", "mbeans", "modify", "nan", "norecursive", "not", "null", "of", "on", "one",
    "or", "order", "password", "primary", "quorum", "rename", "replace", "revoke", "schema", "select", "set", "table",
    "three", "to", "token", "truncate", "two", "unlogged", "unset", "update", "use", "using", "view", "where", "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |name: &str, kind, values| Column { name: name.to_string(), kind, values };
        Table {
            keyspace: "market".to_string(),
            name: "bars".to_string(),
            columns: vec![
                column("symbol", CqlType::Text, Values::Column(0)),
                column("day", CqlType::Date, Values::Bucket(Bucket::Day)),
                column("timestamp", CqlType::Timestamp, Values::Column(1)),
                column("seq", CqlType::Bigint, Values::Column(3)),
                column("tradeMs", CqlType::Bigint, Values::Column(2)),
            ],
            partition: 2,
            clustering: vec![Some(Order::Descending), None],
            expires: true,
        }
    }

    #[test]
    fn a_table_is_created_and_filled() {
        assert_eq!(
            table().create(),
            "CREATE TABLE IF NOT EXISTS market.bars (\n    symbol text,\n    day date,\n    timestamp timestamp,\n    \
             seq bigint,\n    \"tradeMs\" bigint,\n    PRIMARY KEY ((symbol, day), timestamp, seq)\n) \
             WITH CLUSTERING ORDER BY (timestamp DESC, seq ASC)"
        );
        assert_eq!(
            table().insert(),
            "INSERT INTO market.bars (symbol, day, timestamp, seq, \"tradeMs\") VALUES (?, ?, ?, ?, ?) \
             USING TIMESTAMP ? AND TTL ?"
        );
        assert_eq!(
            table().delete(),
            "DELETE FROM market.bars USING TIMESTAMP ? WHERE symbol = ? AND day = ? AND timestamp = ? AND seq = ?"
        );
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, cql) in [("close", "close"), ("order", "\"order\""), ("Close", "\"Close\""), ("a\"b", "\"a\"\"b\"")]
        {
            assert_eq!(identifier(name), cql);
        }
    }

    #[test]
    fn a_keyspace_is_created_with_its_replication() {
        let replication =
            [("class".to_string(), "SimpleStrategy".to_string()), ("replication_factor".into(), "1".into())];
        assert_eq!(
            create_keyspace("market", &replication),
            "CREATE KEYSPACE IF NOT EXISTS market WITH replication = \
             {'class': 'SimpleStrategy', 'replication_factor': '1'}"
        );
    }
}
