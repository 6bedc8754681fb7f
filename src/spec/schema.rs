//! The JSON Schema of dataflow files, for editors: made from the same declarations that read them.

use serde_json::{Map, Value as Json, json};

use super::fields::{Fields, FromToml, Known, Named, Raw};
use super::mistakes::Findings;
use super::read::{JobSpec, SECTIONS, keys};

/// The JSON Schema (2020-12) of a dataflow file.
pub fn json_schema() -> Json {
    let mut properties = Map::new();
    for (section, doc) in SECTIONS {
        let mut schema = match *section {
            "job" => table(job_keys(), true),
            "kafka" | "cassandra" => {
                table([keys("sources", section), keys("sinks", section)].into_iter().flatten(), false)
            }
            "tests" => tests(),
            role => json!({ "type": "object", "additionalProperties": nodes(role) }),
        };
        schema["description"] = json!(doc);
        properties.insert((*section).to_string(), schema);
    }
    properties.insert("version".to_string(), json!({ "const": 1, "description": "the version of the format" }));
    properties.insert("name".to_string(), json!({ "type": "string", "description": "the job's name" }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tapeflow dataflow file",
        "type": "object",
        "properties": properties,
        "required": ["version", "name", "sources", "sinks"],
        "additionalProperties": false,
    })
}

fn job_keys() -> Vec<Known> {
    let findings = Findings::default();
    let mut fields = Fields::describe(&findings);
    JobSpec::read(&mut fields);
    fields.finish()
}

/// The JSON Schema of a table with these keys.
pub fn table(keys: impl IntoIterator<Item = Known>, with_required: bool) -> Json {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for key in keys {
        let mut schema = key.schema;
        schema["description"] = json!(key.doc);
        if key.required {
            required.push(key.key);
        }
        properties.insert(key.key.to_string(), schema);
    }
    let required = if with_required { required } else { Vec::new() };
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn nodes(role: &str) -> Json {
    let kinds: Vec<&str> = match role {
        "sources" => crate::sources::KINDS.iter().map(|kind| kind.0).collect(),
        "operators" => crate::operators::KINDS.iter().map(|kind| kind.0).collect(),
        _ => crate::sinks::KINDS.iter().map(|kind| kind.0).collect(),
    };
    let one = |kind: &&str| {
        let mut schema = table(keys(role, kind), false);
        schema["properties"]["type"] = json!({ "const": kind });
        schema["required"] = json!(["type"]);
        schema
    };
    json!({ "oneOf": kinds.iter().map(one).collect::<Vec<_>>() })
}

fn tests() -> Json {
    let rows = Named::<Raw>::schema();
    let properties = json!({ "name": { "type": "string" }, "input": rows.clone(), "expect": rows });
    json!({ "type": "array", "items": { "type": "object", "properties": properties, "additionalProperties": false } })
}
