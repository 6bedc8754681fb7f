//! The file of a snapshot.
//!
//! ```text
//! magic                 8 bytes   the same in all versions, as are the next three
//! version               u16       of this format
//! length of the header  u32
//! checksum              u64       xxh3 of all before it and of the header
//! header                          kind, version of the state, full; per group: group, codec, entries, lengths, xxh3
//! sections                        one a group, in the order of the header, to the end of the file
//! ```
//!
//! A section holds its entries one after the other: key, then 0 for a key that is gone, else the length of the
//! value plus 1 and the value.

use std::io::Read;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::Entry;
use super::binary::{Reader, cut_short, put_sized, put_varint};
use crate::error::{Error, Result};

/// What a file of a snapshot begins with.
pub const MAGIC: [u8; 8] = *b"TFSTATE\n";
/// The version that is written.
pub const VERSION: u16 = 1;
/// The oldest version that is read.
pub const OLDEST: u16 = 1;

const PREFIX: usize = 8 + 2 + 4;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// State changes all the time: speed counts.
const LEVEL: i32 = 1;

/// What a file says of itself before its sections.
pub struct Header {
    /// The version of the format.
    pub format: u16,
    /// The kind of operator.
    pub kind: String,
    /// The version of its state.
    pub version: u16,
    /// Whether a group is all there is of it.
    pub full: bool,
    /// The groups, rising.
    pub sections: Vec<Index>,
}

/// Where a section lies.
pub struct Index {
    /// The group of keys.
    pub group: u8,
    codec: u8,
    entries: u64,
    unpacked: u64,
    start: usize,
    end: usize,
    xxh3: u64,
}

/// The entries of a group, packed.
pub struct Section {
    group: u8,
    codec: u8,
    entries: u64,
    unpacked: u64,
    bytes: Vec<u8>,
}

/// The entries of a group, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    entries: u64,
    bytes: Vec<u8>,
}

impl Plain {
    /// These entries.
    pub fn of(entries: &[Entry]) -> Plain {
        let mut plain = Plain::default();
        entries.iter().for_each(|Entry { key, value }| plain.put(key, value.as_deref()));
        plain
    }

    /// Adds one.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        put_sized(&mut self.bytes, key);
        match value {
            None => put_varint(&mut self.bytes, 0),
            Some(value) => {
                put_varint(&mut self.bytes, value.len() as u64 + 1);
                self.bytes.extend_from_slice(value);
            }
        }
        self.entries += 1;
    }
}

impl Section {
    /// Packs the entries of a group.
    pub fn pack(group: u8, plain: Plain) -> Section {
        let Plain { entries, bytes: plain } = plain;
        let unpacked = plain.len() as u64;
        // What cannot be compressed stays as it is; so does what fails to be, which has no reason to.
        match zstd::bulk::compress(&plain, LEVEL) {
            Ok(bytes) if bytes.len() < plain.len() => Section { group, codec: ZSTD, entries, unpacked, bytes },
            _ => Section { group, codec: PLAIN, entries, unpacked, bytes: plain },
        }
    }
}

/// The file of these sections; their groups rise.
pub fn assemble(kind: &str, version: u16, full: bool, sections: &[Section]) -> Vec<u8> {
    let mut header = Vec::new();
    put_sized(&mut header, kind.as_bytes());
    header.extend_from_slice(&version.to_le_bytes());
    header.push(u8::from(full));
    put_varint(&mut header, sections.len() as u64);
    for section in sections {
        header.extend_from_slice(&[section.group, section.codec]);
        put_varint(&mut header, section.entries);
        put_varint(&mut header, section.unpacked);
        put_varint(&mut header, section.bytes.len() as u64);
        header.extend_from_slice(&xxh3_64(&section.bytes).to_le_bytes());
    }
    let mut out = Vec::with_capacity(PREFIX + 8 + header.len() + sections.iter().map(|s| s.bytes.len()).sum::<usize>());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    let checksum = checksum(&out, &header);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    sections.iter().for_each(|section| out.extend_from_slice(&section.bytes));
    out
}

fn checksum(prefix: &[u8], header: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(prefix);
    hasher.update(header);
    hasher.digest()
}

/// Reads what stands before the sections, and whether they are all there.
pub fn read_header(file: &[u8]) -> Result<Header> {
    let mut reader = Reader(file);
    if reader.bytes(MAGIC.len())? != MAGIC {
        return Err(Error::run("it is no state file of tapeflow, or damaged"));
    }
    let format = reader.u16()?;
    let length = reader.u32()? as usize;
    let stated = reader.u64()?;
    let header = reader.bytes(length)?;
    if checksum(&file[..PREFIX], header) != stated {
        return Err(Error::run("its header is damaged"));
    }
    supported("state file", u32::from(format), u32::from(OLDEST)..=u32::from(VERSION))?;
    read_index(format, header, file.len() - reader.0.len(), file.len())
}

/// Whether this release reads that version of a format; if not, in words that name both.
pub fn supported(what: &str, version: u32, read: std::ops::RangeInclusive<u32>) -> Result<()> {
    let (oldest, newest) = (read.start(), read.end());
    if version > *newest {
        return Err(Error::Unsafe(format!(
            "this {what} has format version {version}, and this release (tapeflow {}) reads up to {newest}: use the \
             release that wrote it, or a newer one",
            env!("CARGO_PKG_VERSION")
        )));
    }
    if version < *oldest {
        return Err(Error::Unsafe(format!(
            "this {what} has format version {version}, and this release (tapeflow {}) reads from {oldest} on: let \
             `tapeflow checkpoint migrate` of a release between rewrite it first",
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(())
}

fn read_index(format: u16, header: &[u8], mut start: usize, end_of_file: usize) -> Result<Header> {
    let mut reader = Reader(header);
    let kind = String::from_utf8(reader.sized()?.to_vec()).map_err(|_| cut_short())?;
    let version = reader.u16()?;
    let full = reader.u8()? != 0;
    let count = reader.varint()?;
    let mut sections: Vec<Index> = Vec::new();
    for _ in 0..count {
        let (group, codec) = (reader.u8()?, reader.u8()?);
        let (entries, unpacked, packed) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let packed = usize::try_from(packed).map_err(|_| cut_short())?;
        let end = start.checked_add(packed).filter(|end| *end <= end_of_file).ok_or_else(cut_short)?;
        let rises = sections.last().is_none_or(|last| last.group < group);
        if !rises || codec > ZSTD {
            return Err(Error::run("its header is damaged"));
        }
        sections.push(Index { group, codec, entries, unpacked, start, end, xxh3: reader.u64()? });
        start = end;
    }
    if start != end_of_file || !reader.0.is_empty() {
        return Err(Error::run("there is more in it than belongs there: it is damaged"));
    }
    Ok(Header { format, kind, version, full, sections })
}

/// The entries of a section.
pub fn unpack(file: &[u8], index: &Index) -> Result<Vec<Entry>> {
    let damaged = || Error::run(format!("the section of key group {} is damaged", index.group));
    let packed = file.get(index.start..index.end).ok_or_else(damaged)?;
    if xxh3_64(packed) != index.xxh3 {
        return Err(damaged());
    }
    match index.codec {
        PLAIN => read_entries(packed, index),
        _ => {
            let mut plain = Vec::new();
            // Never more than announced, whatever the packed bytes would become.
            let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| damaged())?;
            decoder.take(index.unpacked.saturating_add(1)).read_to_end(&mut plain).map_err(|_| damaged())?;
            if plain.len() as u64 != index.unpacked { Err(damaged()) } else { read_entries(&plain, index) }
        }
    }
}

fn read_entries(plain: &[u8], index: &Index) -> Result<Vec<Entry>> {
    let mut reader = Reader(plain);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        let key = reader.sized()?.to_vec();
        let value = match reader.varint()?.checked_sub(1) {
            None => None,
            Some(length) => Some(reader.bytes(usize::try_from(length).map_err(|_| cut_short())?)?.to_vec()),
        };
        entries.push(Entry { key, value });
    }
    if entries.len() as u64 == index.entries { Ok(entries) } else { Err(cut_short()) }
}
