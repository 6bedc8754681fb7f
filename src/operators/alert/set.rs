//! Thresholds that are set while the job runs: the whole table, or values of one key.

use csv::{ReaderBuilder, StringRecord, Trim, Writer};

use super::AlertPlan;
use super::thresholds::ANY;
use crate::operators::Settable;
use crate::spec::did_you_mean;

impl Settable for AlertPlan {
    fn name(&self) -> &'static str {
        "thresholds"
    }

    fn initial(&self) -> &str {
        &self.thresholds.text
    }

    fn check(&self, text: &str) -> Result<(), String> {
        self.thresholds.anew(text, &self.input).map(drop)
    }

    fn changed(&self, text: &str, key: &[String], values: &[(String, String)]) -> Result<String, String> {
        let broken = |error: csv::Error| format!(": {error}");
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(broken)?.clone();
        let mut rows: Vec<StringRecord> = reader.records().collect::<Result<_, _>>().map_err(broken)?;
        let position = |name: &str| header.iter().position(|column| column == name);
        let parts: Vec<&str> = self.input.key.iter().map(|at| self.input.schema.field(*at).name().as_str()).collect();
        let key: Vec<&str> = match key {
            [] => vec![ANY; parts.len()],
            key if key.len() == parts.len() => key.iter().map(String::as_str).collect(),
            key => return Err(format!(": the key is {}, and {} were given", parts.join(", "), key.len())),
        };
        let at: Vec<usize> = parts.iter().filter_map(|part| position(part)).collect();
        let is_it = |row: &StringRecord| at.iter().zip(&key).all(|(at, part)| row[*at] == **part);
        let row = rows.iter().position(is_it).unwrap_or_else(|| {
            let cell = |column| at.iter().position(|at| *at == column).map_or("", |part| key[part]);
            rows.push((0..header.len()).map(cell).collect());
            rows.len() - 1
        });
        let mut cells: Vec<&str> = rows[row].iter().collect();
        for (name, value) in values {
            let names = &self.thresholds.names;
            match position(name).filter(|_| names.contains(name)) {
                Some(at) => cells[at] = value,
                None => {
                    let near = did_you_mean(name, names.iter().map(String::as_str));
                    return Err(format!(": there is no value `{name}`{near}"));
                }
            }
        }
        rows[row] = cells.into_iter().collect();
        let mut writer = Writer::from_writer(Vec::new());
        std::iter::once(&header).chain(&rows).try_for_each(|record| writer.write_record(record)).map_err(broken)?;
        let bytes = writer.into_inner().map_err(|error| format!(": {error}"))?;
        String::from_utf8(bytes).map_err(|error| format!(": {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array};
    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    use crate::batch::Rows;
    use crate::operators::testing::texts;
    use crate::operators::{BuildContext, Built, Operator, Output};
    use crate::sources::{ORDER, TIME};
    use crate::spec::{Edge, Files, OP, Plan, PlannedNode, Role};
    use crate::state::Snapshot;

    /// A source `ticks`, bars of it that may be revised, and the alert `it` over one of them, with these thresholds.
    fn plan(input: &str, thresholds: &str) -> Plan {
        let text = format!(
            "version = 1\nname = \"j\"\n[sources.ticks]\ntype = \"file\"\npath = \"ticks.jsonl\"\ntime = \"time\"\n\
             key = \"symbol\"\nschema = {{ symbol = \"text\", time = \"timestamp_ms\", high = \"double\" }}\n\
             [operators.bars]\ntype = \"window\"\ninput = \"ticks\"\ntumbling = \"1s\"\nlate = \"revise\"\n\
             revise_for = \"1h\"\ncolumns = {{ high = \"max(high)\" }}\n\
             [operators.it]\ntype = \"alert\"\ninput = \"{input}\"\nwhen = \"high > limit\"\nrepeat = true\n\
             thresholds = \"limits.csv\"\nmessage = \"{{symbol}} {{high}} {{limit}}\"\n\
             [sinks.out]\ntype = \"discard\"\ninput = \"it\"\n[sinks.none]\ntype = \"discard\"\ninput = \"bars\"\n"
        );
        let files = BTreeMap::from([("limits.csv".to_string(), thresholds.to_string())]);
        Plan::of("f.toml".as_ref(), &text, &Files::shipped(PathBuf::new(), files)).expect("a plan").0
    }

    fn node<'p>(plan: &'p Plan, name: &str) -> &'p PlannedNode {
        plan.nodes.iter().find(|node| node.name == name).expect("a node")
    }

    fn built(plan: &Plan) -> Box<dyn Operator> {
        let Role::Operator(operator) = &node(plan, "it").role else { panic!("an operator") };
        let Built::Keyed(operator) = operator.build(&BuildContext::default()).expect("built") else {
            panic!("it has state")
        };
        operator
    }

    /// What a row does, its symbol, its second and its price.
    type Row = (&'static str, &'static str, i64, f64);

    /// An epoch of rows of `edge`; what is told, and of which price and limit.
    fn epoch(operator: &mut dyn Operator, edge: &Edge, rows: &[Row]) -> Vec<String> {
        let nanos: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2 * 1_000_000_000)));
        let column = |name: &str, kind: &DataType| match name {
            OP => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef,
            "symbol" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            "high" => Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
            TIME | ORDER | "start" | "end" => cast(&nanos, kind).expect("an instant"),
            _ if kind == &DataType::Int64 => Arc::new(Int64Array::from(vec![0; rows.len()])),
            _ => new_null_array(kind, rows.len()),
        };
        let columns = edge.schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
        let data = RecordBatch::try_new(Arc::clone(&edge.schema), columns).expect("rows");
        let mut out = Output::default();
        if !rows.is_empty() {
            operator.rows(Rows { data, source: 0 }, &mut out).expect("rows");
        }
        operator.end_of_epoch(&mut out).expect("the end of an epoch");
        let told = out.rows.iter().flat_map(|rows| texts(&rows.data));
        // What may have been told before a restart is deleted by what it is known by, without a message.
        let message = |row: Vec<String>| row.into_iter().find(|text| text.matches(' ').count() == 2);
        told.filter_map(|(op, row)| Some(format!("{op} {}", message(row)?).trim().to_string())).collect()
    }

    /// What goes on with a snapshot of `operator`.
    fn put_back(plan: &Plan, operator: &mut dyn Operator) -> Box<dyn Operator> {
        operator.begin_snapshot(true);
        let draft = operator.snapshot(usize::MAX).expect("a snapshot").expect("whole");
        let snapshot = Snapshot::decode(&draft.encode("alert", 1)).expect("read");
        let mut other = built(plan);
        for entry in snapshot.groups.into_values().flatten() {
            other.restore(&entry.key, &entry.value.expect("there")).expect("a state");
        }
        other
    }

    const LIMITS: &str = "symbol,limit\n*,10\nB,20\n";

    #[test]
    fn rows_are_judged_by_what_is_set_before_them() {
        let plan = plan("ticks", LIMITS);
        let (mut it, edge) = (built(&plan), &node(&plan, "ticks").edge);
        let rows = [("", "A", 1, 15.0), ("", "B", 1, 15.0), ("", "C", 1, 5.0)];
        assert_eq!(epoch(it.as_mut(), edge, &rows), ["A 15 10"]);
        it.set("limit,symbol\n1,*\n30,A\n").expect("checked");
        assert_eq!(epoch(it.as_mut(), edge, &rows), ["B 15 1", "C 5 1"]);
        let error = it.set("symbol,limit\nA,x\n").expect_err("not checked");
        assert!(error.to_string().contains("thresholds, line 2"), "{error}");
    }

    #[test]
    fn rows_that_change_are_judged_anew_and_others_stay_also_where_they_were_put_back() {
        let plan = plan("bars", LIMITS);
        let edge = &node(&plan, "bars").edge;
        for at in 0..4 {
            let mut it = built(&plan);
            let steps: [&[Row]; 4] = [
                &[("insert", "A", 1, 15.0), ("insert", "A", 2, 5.0), ("insert", "B", 1, 25.0)],
                &[("insert", "A", 3, 12.0), ("insert", "B", 2, 21.0)],
                &[("replace", "A", 1, 16.0)],
                &[("insert", "B", 3, 8.0)],
            ];
            let expected: [&[&str]; 4] = [
                &["insert A 15 10", "insert B 25 20"],
                // From here on A has 14, and B no more than others, 7.
                &["insert B 21 7"],
                &["replace A 16 14"],
                &["insert B 8 7"],
            ];
            for (step, (rows, expected)) in steps.into_iter().zip(expected).enumerate() {
                if step == at {
                    it = put_back(&plan, it.as_mut());
                }
                if step == 1 || (step == at && step > 1) {
                    it.set("symbol,limit\n*,7\nA,14\n").expect("checked");
                }
                assert_eq!(epoch(it.as_mut(), edge, rows), expected, "step {step}, put back at {at}");
            }
        }
    }

    #[test]
    fn values_of_one_key_are_changed_in_the_text() {
        let plan = plan("ticks", "symbol , limit\n*,10\n B ,20\n");
        let settable = node(&plan, "it").settable().expect("thresholds");
        let changed = |key: &[&str], values: &[(&str, &str)]| {
            let key: Vec<String> = key.iter().map(ToString::to_string).collect();
            let values = values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>();
            settable.changed(settable.initial(), &key, &values)
        };
        assert_eq!(changed(&["B"], &[("limit", "7")]).expect("changed"), "symbol,limit\n*,10\nB,7\n");
        assert_eq!(changed(&[], &[("limit", "")]).expect("changed"), "symbol,limit\n*,\nB,20\n");
        assert_eq!(changed(&["x,\"y"], &[("limit", "7")]).expect("new"), "symbol,limit\n*,10\nB,20\n\"x,\"\"y\",7\n");
        for (key, values, message) in [
            (&["A", "B"][..], ("limit", "7"), ": the key is symbol, and 2 were given"),
            (&["A"], ("limt", "7"), ": there is no value `limt`; did you mean `limit`?"),
            (&["A"], ("symbol", "7"), ": there is no value `symbol`"),
        ] {
            assert!(changed(key, &[values]).expect_err(message).starts_with(message));
        }
        assert!(settable.check("symbol,limit\nA,7\nA,7\n").expect_err("twice").starts_with(", line 3"));
        assert!(node(&plan, "bars").settable().is_none());
    }
}
