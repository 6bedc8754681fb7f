//! Every type: what is read back is what was written down.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use uuid::Uuid;

use super::support::Keyspace;

const ROWS: &str = r#"
{"k": "A", "t": 1767623400000, "id": "00036d2f-394f-439c-95b4-a3822c1ff740", "b": true, "i": 2147483647, "l": 9223372036854775807, "f": 0.1, "d": 128.06, "m": "12345678.90123456", "w": "-1234567890123456789012345678.0123456789", "day": "2023-12-18", "tms": "08:45:33.123", "tns": "23:59:59.999999999", "s": 1767623400, "us": 1767623400123000, "ns": 1767623400123000000}
{"k": "é\u0000\"'", "t": -1, "id": "ffffffff-ffff-ffff-ffff-ffffffffffff", "b": false, "i": -2147483648, "l": -9223372036854775808, "f": -3.4028235e38, "d": 5e-324, "m": "-0.00000001", "w": "0", "day": "1969-12-31", "tms": "00:00:00", "tns": "00:00:00.000000001", "s": -1, "us": -1, "ns": -1}
"#;

const COLUMNS: &str = r#"k = "text", t = "timestamp_ms", id = "uuid", b = "boolean", i = "int", l = "bigint", f = "float", d = "double", m = "decimal(18,8)", w = "decimal(38,10)", day = "date", tms = "time_ms", tns = "time_ns", s = "timestamp_s", us = "timestamp_us", ns = "timestamp_ns""#;

#[test]
fn every_type_is_read_back_exactly() {
    let keyspace = Keyspace::new("types");
    keyspace.input(ROWS);
    let sink = "table = \"all_types\"\ncreate = true\npartition_key = \"k\"\nclustering_key = [\"t\", \"seq\"]";
    keyspace.run_well(&keyspace.flow(COLUMNS, "time = \"t\"\nkey = \"k\"", sink));

    type Texts = (String, DateTime<Utc>, Uuid, bool, i32, i64, f32, f64);
    let mut rows = keyspace.rows::<Texts>("SELECT k, t, id, b, i, l, f, d FROM KS.all_types");
    rows.sort_by_key(|row| row.1);
    let instant = |text: &str| DateTime::<Utc>::from_str(text).expect("an instant");
    let uuid = |text: &str| Uuid::from_str(text).expect("a UUID");
    let first = (
        "é\0\"'".to_string(),
        instant("1969-12-31T23:59:59.999Z"),
        uuid("ffffffff-ffff-ffff-ffff-ffffffffffff"),
        false,
        i32::MIN,
        i64::MIN,
        f32::MIN,
        5e-324,
    );
    let second = (
        "A".to_string(),
        instant("2026-01-05T14:30:00Z"),
        uuid("00036d2f-394f-439c-95b4-a3822c1ff740"),
        true,
        i32::MAX,
        i64::MAX,
        0.1,
        128.06,
    );
    assert_eq!(rows, [first, second]);

    type Others = (DateTime<Utc>, BigDecimal, BigDecimal, NaiveDate, NaiveTime, NaiveTime);
    let mut rows = keyspace.rows::<Others>("SELECT t, m, w, day, tms, tns FROM KS.all_types");
    rows.sort_by_key(|row| row.0);
    let decimal = |text: &str| BigDecimal::from_str(text).expect("a decimal");
    let day = |text: &str| NaiveDate::from_str(text).expect("a day");
    let time = |text: &str| NaiveTime::from_str(text).expect("a time");
    assert_eq!(
        (&rows[0].1, &rows[0].2, rows[0].3, rows[0].4, rows[0].5),
        (&decimal("-0.00000001"), &decimal("0"), day("1969-12-31"), time("00:00:00"), time("00:00:00.000000001"))
    );
    assert_eq!(
        (&rows[1].1, &rows[1].2, rows[1].3, rows[1].4, rows[1].5),
        (
            &decimal("12345678.90123456"),
            &decimal("-1234567890123456789012345678.0123456789"),
            day("2023-12-18"),
            time("08:45:33.123"),
            time("23:59:59.999999999")
        )
    );
    // The scale is that of the column, so that a price has all its digits.
    assert_eq!(rows[0].2.fractional_digit_count(), 10);

    let mut rows = keyspace.rows::<(DateTime<Utc>, DateTime<Utc>, DateTime<Utc>)>("SELECT s, us, ns FROM KS.all_types");
    rows.sort();
    let before = instant("1969-12-31T23:59:59.999Z");
    assert_eq!(rows[0], (instant("1969-12-31T23:59:59Z"), before, before));
    let finer = instant("2026-01-05T14:30:00.123Z");
    assert_eq!(rows[1], (instant("2026-01-05T14:30:00Z"), finer, finer));
}

#[test]
fn trades_of_two_fields_of_time_and_an_id_round_trip() {
    let keyspace = Keyspace::new("trades");
    keyspace.cql(
        "CREATE TABLE KS.stocks (stock text, trade_id uuid, price decimal, quantity int, trade_type text, \
         trade_date date, trade_time time, PRIMARY KEY (stock, trade_id))",
    );
    keyspace.input(r#"{"stock": "UNH", "trade_id": "00036d2f-394f-439c-95b4-a3822c1ff740", "price": 128.06, "quantity": 83, "trade_type": "buy", "trade_date": "2023-12-18", "trade_time": "08:45:33"}"#,
    );
    let columns = r#"stock = "text", trade_id = "uuid", price = "decimal(10,2)", quantity = "int", trade_type = "text", trade_date = "date", trade_time = "time_ms""#;
    let source = "time = \"to_timestamp(concat(trade_date, ' ', trade_time))\"\nkey = \"stock\"";
    let names = r#"["stock", "trade_id", "price", "quantity", "trade_type", "trade_date", "trade_time"]"#;
    let sink =
        format!("table = \"stocks\"\npartition_key = \"stock\"\nclustering_key = \"trade_id\"\nselect = {names}");
    keyspace.run_well(&keyspace.flow(columns, source, &sink));
    type Trade = (String, Uuid, BigDecimal, i32, String, NaiveDate, NaiveTime);
    let trade = keyspace
        .row::<Trade>("SELECT stock, trade_id, price, quantity, trade_type, trade_date, trade_time FROM KS.stocks");
    assert_eq!((trade.0.as_str(), trade.1.to_string().as_str()), ("UNH", "00036d2f-394f-439c-95b4-a3822c1ff740"));
    assert_eq!((trade.2.to_string().as_str(), trade.3, trade.4.as_str()), ("128.06", 83, "buy"));
    assert_eq!((trade.5.to_string().as_str(), trade.6.to_string().as_str()), ("2023-12-18", "08:45:33"));
}

#[test]
fn an_existing_table_may_have_wider_types() {
    let keyspace = Keyspace::new("wider");
    keyspace.cql(
        "CREATE TABLE KS.wide (k text, seq bigint, a bigint, b double, c decimal, d decimal, e text, f uuid, g double, \
         PRIMARY KEY (k, seq))",
    );
    keyspace.input(concat!(
            r#"{"k": "A", "t": 1, "a": -7, "b": 8, "c": 9007199254740993, "d": 0.1, "e": "00036d2f-394f-439c-95b4-a3822c1ff740", "f": "00036D2F-394F-439C-95B4-A3822C1FF740", "g": 0.5}"#,
            "\n",
            r#"{"k": "B", "t": 1, "a": 1, "b": 1, "c": 1, "d": 1, "e": "00036d2f-394f-439c-95b4-a3822c1ff740", "f": "no uuid", "g": 1}"#,
        ),
    );
    let columns = r#"k = "text", t = "timestamp_ms", a = "int", b = "int", c = "bigint", d = "double", e = "uuid", f = "text", g = "float""#;
    let names = r#"["k", "seq", "a", "b", "c", "d", "e", "f", "g"]"#;
    let sink = format!("table = \"wide\"\npartition_key = \"k\"\nclustering_key = \"seq\"\nselect = {names}");
    let totals = keyspace.run_well(&keyspace.flow(columns, "time = \"t\"\nkey = \"k\"", &sink));
    type Row = (i64, f64, BigDecimal, BigDecimal, String, Uuid, f64);
    let row = keyspace.row::<Row>("SELECT a, b, c, d, e, f, g FROM KS.wide");
    assert_eq!(
        (row.0, row.1, row.2.to_string(), row.3.to_string()),
        (-7, 8.0, "9007199254740993".into(), "0.1".into())
    );
    assert_eq!(
        (row.4.as_str(), row.5.to_string().as_str(), row.6),
        (row.5.to_string().as_str(), "00036d2f-394f-439c-95b4-a3822c1ff740", 0.5)
    );
    assert_eq!(totals["totals"]["dead_letters"], 1);
    let letters = keyspace.dead_letters();
    assert!(letters.contains("column `f`: `no uuid` is no UUID"), "{letters}");
}
