//! The manifest of a checkpoint: which files make it. It is written last; before it, there is no checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Setting;
use super::envelope::{unwrap, wrap};
use crate::error::Result;

/// The version of manifests that is written.
pub const FORMAT: u32 = 1;
const OLDEST: u32 = 1;

/// What makes a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format; [`FORMAT`] when written.
    pub format: u32,
    /// The name of the job.
    pub job: String,
    /// Its id.
    pub id: String,
    /// The number of the checkpoint: it rises, also across generations.
    pub number: u64,
    /// The generation that wrote it.
    pub generation: u64,
    /// The epoch at whose beginning the state stands: everything of the epochs before it, nothing of later ones.
    pub boundary: u64,
    /// When it was written (RFC 3339).
    pub written: String,
    /// How many workers wrote it.
    pub workers: usize,
    /// The hash of the dataflow file.
    pub hash: String,
    /// What belongs to each node that has state, by its name.
    pub nodes: BTreeMap<String, NodeState>,
    /// Whether it was asked for by name, and is kept until it is removed by name.
    pub savepoint: bool,
    /// The epoch that readers that cut epochs by rows count from.
    #[serde(default)]
    pub origin: u64,
    /// The sources, by their names.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceAt>,
    /// The sinks, by their names: what kind of node each is.
    #[serde(default)]
    pub sinks: BTreeMap<String, String>,
    /// What was set of nodes while the job ran, by their names: in force from the boundary on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_force: BTreeMap<String, Setting>,
}

/// What is known of a source beside where its partitions stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAt {
    /// What it reads: positions in something else mean nothing.
    pub what: String,
    /// The epoch that its readers count from, where they cut epochs by rows.
    pub origin: u64,
}

/// The state of a node: a chain of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// The kind of the node.
    pub kind: String,
    /// The version of its state.
    pub version: u16,
    /// Its files, oldest first.
    pub files: Vec<FileRef>,
}

/// A file, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its path in the store.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The xxh3 of its bytes; hexadecimal in JSON, where large integers are not safe.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub xxh3: u64,
}

fn to_hex<S: Serializer>(number: &u64, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{number:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(text: D) -> Result<u64, D::Error> {
    let text = String::deserialize(text)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

impl Manifest {
    /// As the bytes of a file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wrap(self.format, self)
    }

    /// Reads the bytes of a file; what is wrong is told without the file's name.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        unwrap("manifest", bytes, OLDEST..=FORMAT)
    }

    /// All files it names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.nodes.values().flat_map(|node| &node.files)
    }

    /// How many bytes of state it names.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn manifest() -> Manifest {
        let file = FileRef { path: "jobs/a/1/0000000001/n.0.1.state".to_string(), size: 7, xxh3: u64::MAX - 5 };
        let node = NodeState { kind: "indicators".to_string(), version: 3, files: vec![file] };
        Manifest {
            format: FORMAT,
            job: "a".to_string(),
            number: 1,
            boundary: 1_700_000_000_000_000,
            nodes: BTreeMap::from([("n".to_string(), node)]),
            ..Manifest::default()
        }
    }

    #[test]
    fn a_manifest_comes_back() {
        let manifest = manifest();
        assert_eq!(Manifest::decode(&manifest.encode().expect("bytes")).expect("a manifest"), manifest);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (manifest, bytes) = (manifest(), manifest().encode().expect("bytes"));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                // White space outside of the body may become other white space.
                assert!(Manifest::decode(&bytes).map_or(true, |read| read == manifest), "bit {bit} of byte {at}");
            }
            // Only the end of the last line may be missing.
            assert!(Manifest::decode(&bytes[..at]).is_err() || at + 1 == bytes.len(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_one_is_refused_by_name_of_both_versions() {
        let newer = Manifest { format: 9, ..manifest() };
        let error = Manifest::decode(&newer.encode().expect("bytes")).expect_err("newer");
        assert!(matches!(&error, Error::Unsafe(text) if text.contains("version 9") && text.contains("up to 1")));
    }
}
