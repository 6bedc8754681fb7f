//! What build of tapeflow this is.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// The beginning of an executable, which holds its notes.
const HEAD: usize = 1 << 16;

/// Version and hash of the executable: processes with the same one understand each other's bytes.
pub fn build_id() -> Result<String> {
    // The file that runs, also where another was put in its place meanwhile.
    let running = PathBuf::from("/proc/self/exe");
    let path = if running.exists() { running } else { std::env::current_exe().map_err(Error::run)? };
    let read = || {
        let mut file = File::open(&path)?;
        let mut head = Vec::with_capacity(HEAD);
        (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
        match linked(&head) {
            // The linker has hashed it already; debug information makes it hundreds of megabytes.
            Some(id) => Ok(id.iter().take(8).map(|byte| format!("{byte:02x}")).collect()),
            None => hash(file),
        }
    };
    let hash: String = read().map_err(|error: std::io::Error| Error::run(format!("{}: {error}", path.display())))?;
    Ok(format!("{}-{hash}", env!("CARGO_PKG_VERSION")))
}

fn hash(mut file: File) -> std::io::Result<String> {
    file.rewind()?;
    let (mut hash, mut part) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(format!("{:016x}", hash.digest())),
            length => hash.update(&part[..length]),
        }
    }
}

/// The build id that the linker has noted in an ELF file (64 bits, little endian).
fn linked(head: &[u8]) -> Option<&[u8]> {
    const NOTE: u64 = 4;
    const BUILD_ID: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    for segment in (0..count).filter_map(|index| table.checked_add(index * size)) {
        if number(segment, 4)? != NOTE {
            continue;
        }
        let (from, length) = (number(segment + 8, 8)? as usize, number(segment + 32, 8)? as usize);
        let mut notes = head.get(from..from.checked_add(length)?)?;
        let mut at = from;
        while notes.len() >= 12 {
            let (name, content, kind) = (number(at, 4)? as usize, number(at + 4, 4)? as usize, number(at + 8, 4)?);
            let begin = 12 + name.next_multiple_of(4);
            if kind == BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
                return notes.get(begin..begin.checked_add(content)?);
            }
            let whole = begin + content.next_multiple_of(4);
            notes = notes.get(whole..)?;
            at += whole;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_known() {
        let id = build_id().expect("an id");
        assert!(id.starts_with(env!("CARGO_PKG_VERSION")) && id.len() > 16, "{id}");
        assert_eq!(id, build_id().expect("an id"));
    }

    #[test]
    fn what_is_no_executable_has_no_build_id() {
        [&b""[..], b"\x7fELF\x02\x01", &[0xff; 4096]].iter().for_each(|head| assert_eq!(linked(head), None));
        let mut broken = b"\x7fELF\x02\x01".to_vec();
        broken.resize(4096, 0xff);
        assert_eq!(linked(&broken), None);
    }
}
