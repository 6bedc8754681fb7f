//! `tapeflow functions`: what nodes can compute, and what expressions may call.

use serde_json::{Value as Json, json};

use super::print::say;
use crate::aggregates::{self, AGGREGATES, Aggregate};
use crate::error::{Error, Result};
use crate::indicators::{Compat, FUNCTIONS, Function, check, find};
use crate::operators::{ALERT_FUNCTIONS, signature};
use crate::spec::{did_you_mean, expression};

/// Lists all indicators, or explains one.
pub fn show(name: Option<&str>, as_json: bool) -> Result<()> {
    let functions: Vec<&Function> = match name {
        None => FUNCTIONS.to_vec(),
        Some(name) => vec![find(name).ok_or_else(|| unknown(name))?],
    };
    if as_json {
        let list: Vec<Json> = functions.iter().map(|function| describe(function)).collect();
        return say(&format!("{:#}\n", Json::from(list)));
    }
    match functions.as_slice() {
        [one] if name.is_some() => say(&explain(one)),
        all => say(&list(all)),
    }
}

fn unknown(name: &str) -> Error {
    if expression::functions().contains(&name) {
        return Error::Usage(format!("`{name}` is an SQL function of expressions; it is documented by DataFusion"));
    }
    if let Some((call, says)) = ALERT_FUNCTIONS.iter().find(|(call, _)| call.split('(').next() == Some(name)) {
        return Error::Usage(format!("`{call}` is a function of alerts: {says}"));
    }
    if let Some(aggregate) = aggregates::find(name) {
        let Aggregate { signature, summary, .. } = aggregate;
        return Error::Usage(format!("`{signature}` is an aggregate, for a `window`: {summary}"));
    }
    let near = did_you_mean(name, FUNCTIONS.iter().map(|function| function.name));
    Error::Usage(format!("there is no indicator `{name}`{near}"))
}

fn list(functions: &[&Function]) -> String {
    let mut out =
        "Indicators, for the `columns` of an `indicators` node and in the expressions of an `alert` (tapeflow functions \
         NAME tells more):\n\n"
            .to_string();
    let width = functions.iter().map(|function| signature(function).len()).max().unwrap_or(0);
    for function in functions {
        out.push_str(&format!("  {:width$}  {}\n", signature(function), function.summary));
    }
    out.push_str("\nAggregates, for the `columns` of a `window`; each also with `filter (where CONDITION)`:\n\n");
    for Aggregate { signature, summary, .. } in AGGREGATES {
        out.push_str(&format!("  {signature:width$}  {summary}\n"));
    }
    out.push_str("\nOnly in the expressions of an `alert`:\n\n");
    for (call, says) in ALERT_FUNCTIONS {
        out.push_str(&format!("  {call:width$}  {says}\n"));
    }
    out.push_str("\nSQL functions, for expressions:\n\n");
    let mut line = " ".to_string();
    for name in expression::functions() {
        if line.len() + name.len() > 98 {
            out.push_str(&format!("{line}\n"));
            line = " ".to_string();
        }
        line.push_str(&format!(" {name}"));
    }
    out + &line + "\n"
}

fn explain(function: &Function) -> String {
    let mut out = format!("{}\n  {}\n\n{}\n\nArguments:\n", signature(function), function.summary, function.formula);
    for argument in function.arguments {
        let default = argument
            .default
            .filter(|default| !default.is_empty())
            .map_or(String::new(), |default| format!(" (default {default})"));
        out.push_str(&format!("  {:10}  {}{default}\n", argument.name, argument.doc));
    }
    let outputs: Vec<String> = function.outputs.iter().map(|suffix| format!("NAME{suffix}")).collect();
    out.push_str(&format!("\nColumns: {}\n", outputs.join(", ")));
    if let Some(rows) = warm_up(function) {
        out.push_str(&format!("Warm-up: {rows} rows with the default arguments\n"));
    }
    if !function.dialects.is_empty() {
        out.push_str(&format!("Dialects: {}\n", function.dialects));
    }
    out
}

/// With the default arguments, where all have one.
fn warm_up(function: &Function) -> Option<usize> {
    let arguments = check(function, &[], Compat::Talib).ok()?;
    (function.warm_up)(&arguments)
}

fn describe(function: &Function) -> Json {
    let arguments = function.arguments.iter();
    json!({
        "name": function.name,
        "signature": signature(function),
        "summary": function.summary,
        "formula": function.formula,
        "arguments": arguments.map(|argument| json!({ "name": argument.name, "default": argument.default, "doc": argument.doc })).collect::<Vec<_>>(),
        "outputs": function.outputs,
        "dialects": function.dialects,
        "warm_up": warm_up(function),
    })
}
