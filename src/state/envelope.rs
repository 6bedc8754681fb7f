//! Small JSON documents with a checksum around them, so that a damaged one is seen.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::format::supported;
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Envelope<'a> {
    format: u32,
    xxh3: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// A document of the version `format`, with its checksum.
pub fn wrap(format: u32, body: &impl Serialize) -> Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(body).map_err(Error::run)?;
    let checksum = hash(format, &body);
    Ok(format!("{{\n\"format\": {format},\n\"xxh3\": \"{checksum:016x}\",\n\"body\": {body}\n}}\n").into_bytes())
}

/// Reads what [`wrap`] wrote: the checksum comes before the version, and that before the body.
pub fn unwrap<T: DeserializeOwned>(what: &str, bytes: &[u8], read: std::ops::RangeInclusive<u32>) -> Result<T> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|_| Error::run("it is cut short or damaged"))?;
    if envelope.xxh3 != format!("{:016x}", hash(envelope.format, envelope.body.get())) {
        return Err(Error::run("its checksum does not fit: it is damaged"));
    }
    supported(what, envelope.format, read)?;
    serde_json::from_str(envelope.body.get()).map_err(|error| Error::run(format!("it cannot be understood: {error}")))
}

fn hash(format: u32, body: &str) -> u64 {
    xxh3_64(format!("{format}\n{body}").as_bytes())
}

/// Says in which file something is wrong.
pub fn of_file(path: &str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Run(message) => Error::Run(format!("{path}: {message}")),
        Error::Unsafe(message) => Error::Unsafe(format!("{path}: {message}")),
        other => other,
    }
}
