//! As much of JSON Schema as ours uses, read independently of what wrote it.

use serde_json::Value as Json;

/// What is wrong with `value`, if anything.
pub fn mistake(schema: &Json, value: &Json) -> Option<String> {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords.iter().find_map(|(keyword, argument)| check(keyword, argument, schema, value))
}

fn check(keyword: &str, argument: &Json, schema: &Json, value: &Json) -> Option<String> {
    let wrong = |is_right: bool| (!is_right).then(|| format!("{value} is not {keyword} {argument}"));
    let list = || argument.as_array().expect("a list").iter();
    let fits = |schema: &&Json| mistake(schema, value).is_none();
    match keyword {
        "type" => wrong(is_of_type(value, argument.as_str().expect("a type"))),
        "const" => wrong(value == argument),
        "enum" => wrong(list().any(|word| word == value)),
        "minimum" => wrong(value.as_f64() >= argument.as_f64()),
        "exclusiveMinimum" => wrong(value.as_f64() > argument.as_f64()),
        "anyOf" => wrong(list().any(|schema| fits(&schema))),
        "oneOf" => wrong(list().filter(fits).count() == 1),
        "required" => list().find_map(|key| wrong(value.get(key.as_str().expect("a key")).is_some())),
        "items" => value.as_array()?.iter().find_map(|item| mistake(argument, item)),
        "properties" => {
            let known = argument.as_object().expect("properties");
            known.iter().find_map(|(key, schema)| mistake(schema, value.get(key)?))
        }
        "additionalProperties" => {
            let known = schema.get("properties").and_then(Json::as_object);
            let others =
                value.as_object()?.iter().filter(|(key, _)| !known.is_some_and(|known| known.contains_key(*key)));
            let allowed = |value: &Json| match argument {
                Json::Bool(allowed) => (!allowed).then(|| format!("{value} is not expected")),
                schema => mistake(schema, value),
            };
            others.into_iter().find_map(|(_, value)| allowed(value))
        }
        // Patterns and examples are for editors.
        "$schema" | "title" | "description" | "pattern" | "examples" | "default" => None,
        other => panic!("the schema uses {other}, which this does not know"),
    }
}

fn is_of_type(value: &Json, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no type {other}"),
    }
}
