//! One message after the other.

use super::*;
use crate::sources::shape::Shaper;
use crate::spec::{DELETE, INSERT};

fn trade(n: i64, id: &str, price: f64) -> Message {
    message(n, "", id, "", price)
}

/// A message at the second `n`.
fn message(n: i64, kind: &'static str, id: &str, about: &str, price: f64) -> Message {
    let time = START + n * SECOND;
    let (id, about) = (id.to_string(), about.to_string());
    Message {
        symbol: "A",
        kind,
        id,
        about,
        time,
        price,
        volume: 1,
        offset: n as u64,
        place: time,
        ..Message::default()
    }
}

/// What comes of messages, each taken alone.
fn follow(subject: &Subject, messages: &[Message]) -> (Vec<Change>, Vec<String>, u64) {
    let (mut operator, mut out) = (subject.build(), Output::default());
    for message in messages {
        operator.rows(subject.rows(std::slice::from_ref(message)), &mut out).expect("followed");
    }
    (changes(&out), out.refused.iter().map(|refused| refused.reason.clone()).collect(), out.unmatched)
}

/// A change of the trade that came at the second `n`.
fn change(op: &str, revision: i64, n: i64, id: &str, price: f64) -> Change {
    let seq = trade(n, "", 0.0).seq();
    (op.to_string(), revision, seq, id.to_string(), START + n * SECOND, price)
}

#[test]
fn a_cancelled_trade_is_deleted_as_it_was() {
    let messages = [trade(1, "x", 10.0), trade(2, "y", 11.0), message(30, "cancel", "x", "", 0.0)];
    let expected = [change(INSERT, 0, 1, "x", 10.0), change(INSERT, 0, 2, "y", 11.0), change(DELETE, 0, 1, "x", 10.0)];
    assert_eq!(follow(&Subject::new(IDS), &messages), (expected.to_vec(), vec![], 0));
}

#[test]
fn a_corrected_trade_stays_where_it_was() {
    let messages = [
        trade(1, "x", 10.0),
        message(5, "correct", "x", "", 12.0),
        message(9, "correct", "x", "", 13.0),
        message(9, "cancel", "x", "", 0.0),
    ];
    let expected = [
        change(INSERT, 0, 1, "x", 10.0),
        change(DELETE, 0, 1, "x", 10.0),
        change(INSERT, 1, 1, "x", 12.0),
        change(DELETE, 1, 1, "x", 12.0),
        change(INSERT, 2, 1, "x", 13.0),
        change(DELETE, 2, 1, "x", 13.0),
    ];
    let subject = Subject::new(IDS);
    assert_eq!(follow(&subject, &messages), (expected.to_vec(), vec![], 0));
    // Whether they come one by one or together.
    let (mut operator, mut out) = (subject.build(), Output::default());
    operator.rows(subject.rows(&messages), &mut out).expect("followed");
    assert_eq!((changes(&out), out.rows.len()), (expected.to_vec(), 1));
    let edge = &subject.plan.nodes[0].edge;
    assert_eq!(out.rows[0].data.schema(), edge.schema);
    assert!(edge.retracts && edge.placed && edge.reach == 86_400 * SECOND);
}

#[test]
fn a_corrected_trade_is_known_by_its_old_and_its_new_id() {
    let subject = Subject::new(&format!("{IDS}\nrefers_to = \"about\""));
    let messages = [
        trade(1, "x1", 10.0),
        message(2, "correct", "x2", "x1", 11.0),
        message(3, "correct", "x3", "x2", 12.0),
        message(4, "correct", "x4", "x1", 13.0),
        message(5, "correct", "x4", "x1", 14.0),
        message(6, "cancel", "", "x3", 0.0),
    ];
    let (changes, refused, unmatched) = follow(&subject, &messages);
    let last: Vec<(&str, f64)> =
        changes.iter().filter(|change| change.0 == INSERT).map(|change| (change.3.as_str(), change.5)).collect();
    assert_eq!(last, [("x1", 10.0), ("x2", 11.0), ("x3", 12.0), ("x4", 13.0)]);
    assert_eq!(changes.last(), Some(&change(DELETE, 3, 1, "x4", 13.0)));
    assert_eq!((refused.len(), unmatched), (1, 0));
    assert!(refused[0].contains("the trade `x4` came before"), "{refused:?}");
}

#[test]
fn what_cannot_be_followed_is_told_and_changes_nothing() {
    let messages = [
        message(1, "cancel", "x", "", 0.0),
        trade(2, "x", 10.0),
        trade(3, "x", 11.0),
        trade(4, "", 12.0),
        message(5, "correct", "", "", 13.0),
        message(6, "cancel", "x", "", 0.0),
        message(7, "correct", "x", "", 14.0),
        trade(8, "x", 10.0),
    ];
    let (changes, refused, unmatched) = follow(&Subject::new(IDS), &messages);
    assert_eq!(changes, [change(INSERT, 0, 2, "x", 10.0), change(DELETE, 0, 2, "x", 10.0)]);
    let expected = [
        "there is no trade `x` that it could be about: none came, or more than 1day",
        "the trade `x` came before: an id is that of one trade for 1day",
        "it has no id (id)",
        "it does not say which trade it is about",
        "the trade `x` was cancelled before",
        "the trade `x` came before, and was cancelled",
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    expected.iter().zip(&refused).for_each(|(words, reason)| assert!(reason.contains(words), "{reason}"));
    assert_eq!(unmatched, 2, "the others are wrong in themselves");
}

#[test]
fn another_key_has_other_trades() {
    let other = Message { symbol: "B", ..message(2, "cancel", "x", "", 0.0) };
    let (changes, refused, _) = follow(&Subject::new(IDS), &[trade(1, "x", 10.0), other]);
    assert_eq!((changes.len(), refused.len()), (1, 1));
}

#[test]
fn the_horizon_is_told_by_the_place_of_a_message() {
    let subject = Subject::new(&format!("{IDS}\nhorizon = \"10s\""));
    let at = |n: i64, place: i64, message: Message| Message {
        time: START + n * SECOND,
        place: START + place * SECOND,
        ..message
    };
    let messages = [
        trade(1, "x", 10.0),
        trade(2, "y", 11.0),
        // Its own time is that of the trade: what counts is how far event time has come.
        at(1, 11, message(3, "correct", "x", "", 12.0)),
        at(1, 12, message(4, "cancel", "x", "", 0.0)),
        at(12, 12, message(5, "cancel", "y", "", 0.0)),
        at(2, 12, trade(6, "late", 13.0)),
        at(1, 12, trade(7, "later", 13.0)),
        // The id is free again.
        at(12, 12, trade(8, "x", 14.0)),
    ];
    let (changes, refused, unmatched) = follow(&subject, &messages);
    let ops: Vec<(&str, &str)> = changes.iter().map(|change| (change.0.as_str(), change.3.as_str())).collect();
    let expected =
        [(INSERT, "x"), (INSERT, "y"), (DELETE, "x"), (INSERT, "x"), (DELETE, "y"), (INSERT, "late"), (INSERT, "x")];
    assert_eq!((ops, unmatched), (expected.to_vec(), 1));
    assert!(refused[1].contains("`later` came more than 10s (the horizon of corrections) behind"), "{refused:?}");
}

#[test]
fn trades_are_forgotten_when_the_watermark_is_a_horizon_behind_them() {
    let subject = Subject::new(&format!("{IDS}\nhorizon = \"10s\""));
    let (mut operator, mut out, mut store) = (subject.build(), Output::default(), Store::new());
    operator.rows(subject.rows(&[trade(1, "x", 10.0), trade(5, "y", 10.0)]), &mut out).expect("rows");
    save(operator.as_mut(), &mut store, false);
    let size = |store: &Store| store.values().map(Vec::len).sum::<usize>();
    let both = size(&store);
    operator.watermark(START + 11 * SECOND, &mut out).expect("watermark");
    save(operator.as_mut(), &mut store, false);
    assert_eq!(size(&store), both);
    operator.watermark(START + 12 * SECOND, &mut out).expect("watermark");
    save(operator.as_mut(), &mut store, false);
    assert!(size(&store) < both);
    operator.watermark(START + 100 * SECOND, &mut out).expect("watermark");
    save(operator.as_mut(), &mut store, false);
    assert!(store.is_empty(), "nothing is kept of a key without trades");
    // A place that event time has passed here is none: the trade comes too late.
    operator.rows(subject.rows(&[trade(50, "z", 10.0), trade(95, "z", 10.0)]), &mut out).expect("rows");
    assert_eq!((out.refused.len(), changes(&out).len()), (1, 3));
}

#[test]
fn a_message_that_corrects_needs_no_time() {
    let shaped = |order: &str| {
        let subject = Subject::with(&format!("order = \"{order}\""), IDS);
        let Role::Source(source) = &subject.plan.nodes[0].role else { panic!("a source") };
        let plan = source.shape();
        let rows = subject.rows(&[trade(1, "x", 10.0), message(2, "cancel", "x", "", 0.0), trade(3, "y", 10.0)]);
        let mut columns = rows.data.columns()[..7].to_vec();
        columns[4] = Arc::new(TimestampMillisecondArray::from(vec![Some(START / 1_000_000), None, None]));
        let schema = Arc::new(rows.data.schema().project(&[0, 1, 2, 3, 4, 5, 6]).expect("the columns of a message"));
        let messages = RecordBatch::try_new(schema, columns).expect("messages");
        let shaped = Shaper::new(Arc::clone(plan)).shape(messages, vec![1, 2, 3]).expect("shaped");
        let refused: Vec<usize> = shaped.refused.iter().map(|refused| refused.0).collect();
        (shaped.times(plan).to_vec(), shaped.latest(plan), refused)
    };
    assert_eq!(shaped("arrival"), (vec![START, i64::MIN], Some(START), vec![2]));
    assert_eq!(shaped("event_time"), (vec![START], Some(START), vec![1, 2]), "it would have no place");
}

#[test]
fn what_is_wrong_with_corrections_is_told() {
    let mistakes = |column: &str, corrections: &str| {
        let text = format!(
            "version = 1\nname = \"t\"\n[sources.trades]\ntype = \"kafka\"\nbrokers = \"b:1\"\ntopic = \"t\"\n\
             schema = {{ symbol = \"text\", {column} = \"int\", at = \"timestamp_ms\" }}\ntime = \"at\"\nkey = \"symbol\"\n\
             [sources.trades.corrections]\n{corrections}\n[sinks.out]\ntype = \"discard\"\ninput = \"trades\"\n"
        );
        match Plan::of(Path::new("t.toml"), &text, &Files::default()) {
            Ok(_) => panic!("a mistake"),
            Err(error) => error.to_string(),
        }
    };
    let told = |wrong: String, words: &[&str]| words.iter().for_each(|words| assert!(wrong.contains(words), "{wrong}"));
    told(
        mistakes("size", "id = \"symbol\"\nretarct = \"true\""),
        &["needs `retract`, `replace` or both", "did you mean `retract`"],
    );
    told(mistakes("size", "id = \"nothing\"\nretract = \"symbol\""), &["no column `nothing`", "true or false"]);
    let other = "id = \"symbol\"\nrefers_to = \"size\"\nretract = \"false\"";
    told(mistakes("size", other), &["an id is text, but `refers_to` is int"]);
    let fine = "id = \"symbol\"\nretract = \"false\"\n";
    told(mistakes("revision", fine), &["there is a column `revision` already"]);
    let same = "[operators.same]\ntype = \"filter\"\ninput = \"trades\"\nwhen = \"true\"\n\
                [sinks.both]\ntype = \"discard\"\ninput = [\"trades\", \"same\"]";
    told(mistakes("size", &format!("{fine}{same}")), &["known by `seq`: of several nodes they would be mixed up"]);
}
