//! State sealed with a key: AES-256-GCM through OpenSSL, a nonce of its own for each object, its path as associated
//! data, so that no object can be put in another's place. Nonces are random: one key is good for 2^32 objects, which
//! are many years of checkpoints.
//!
//! ```text
//! magic 8 bytes, version 1 byte, id of the key 8 bytes, nonce 12 bytes, sealed bytes, tag 16 bytes
//! ```

use std::fmt;
use std::path::Path;

use openssl::symm::{Cipher, Crypter, Mode};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TFSEALED";
const VERSION: u8 = 1;
const ID: usize = 8;
const NONCE: usize = 12;
const TAG: usize = 16;
const HEAD: usize = MAGIC.len() + 1 + ID;

/// What sealing adds to an object.
pub const OVERHEAD: u64 = (HEAD + NONCE + TAG) as u64;
/// OpenSSL counts in C's `int`.
const SLICE: usize = 1 << 20;

/// What state is sealed with; it shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    secret: [u8; 32],
    id: [u8; ID],
}

impl Key {
    /// The key in a file: 32 bytes as they are, in hexadecimal or in base64.
    pub fn read(path: &Path) -> Result<Key> {
        let cannot = |error| Error::Usage(format!("cannot read the key in {}: {error}", path.display()));
        let content = std::fs::read(path).map_err(cannot)?;
        parse(&content).map(Key::new).ok_or_else(|| {
            Error::Usage(format!(
                "{} holds no key: 32 bytes as they are, in hexadecimal or in base64; make one with \
                 `openssl rand -hex 32`",
                path.display()
            ))
        })
    }

    /// The key made of these bytes.
    pub fn new(secret: [u8; 32]) -> Key {
        let digest = Sha256::new().chain_update("tapeflow state key id\n").chain_update(secret).finalize();
        let mut id = [0; ID];
        id.copy_from_slice(&digest[..ID]);
        Key { secret, id }
    }

    /// What tells it from other keys without giving it away.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// Seals the object at `path`.
    pub fn seal(&self, path: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        openssl::rand::rand_bytes(&mut nonce).map_err(Error::run)?;
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD as usize);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.id);
        let mut crypter = self.crypter(Mode::Encrypt, &nonce, &out, path).map_err(Error::run)?;
        out.extend_from_slice(&nonce);
        run(&mut crypter, plain, &mut out).map_err(Error::run)?;
        let mut tag = [0; TAG];
        crypter.get_tag(&mut tag).map_err(Error::run)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens the object at `path`.
    pub fn open(&self, path: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let damaged = || Error::run("it cannot be decrypted: it is damaged, or was moved here from another place");
        let Some(id) = sealed_with(sealed) else {
            return Err(Error::run(
                "it is not encrypted, though all else here is: it is damaged, or not of this store",
            ));
        };
        if sealed[MAGIC.len()] != VERSION {
            let version = sealed[MAGIC.len()];
            return Err(Error::Unsafe(format!("it is encrypted in a newer way ({version}) than this release knows")));
        }
        if id != self.id {
            let (theirs, ours) = (hex(id), self.id());
            return Err(Error::Unsafe(format!("it is encrypted with the key {theirs}, and the key given is {ours}")));
        }
        let (head, rest) = sealed.split_at(HEAD);
        let (nonce, rest) = rest.split_at_checked(NONCE).ok_or_else(damaged)?;
        let (body, tag) = rest.len().checked_sub(TAG).map(|at| rest.split_at(at)).ok_or_else(damaged)?;
        let mut plain = Vec::with_capacity(body.len());
        let opened = self.crypter(Mode::Decrypt, nonce, head, path).and_then(|mut crypter| {
            crypter.set_tag(tag)?;
            run(&mut crypter, body, &mut plain)
        });
        opened.map(|()| plain).map_err(|_| damaged())
    }

    fn crypter(
        &self,
        mode: Mode,
        nonce: &[u8],
        head: &[u8],
        path: &str,
    ) -> Result<Crypter, openssl::error::ErrorStack> {
        let mut crypter = Crypter::new(Cipher::aes_256_gcm(), mode, &self.secret, Some(nonce))?;
        crypter.aad_update(head)?;
        crypter.aad_update(path.as_bytes())?;
        Ok(crypter)
    }
}

/// The id of the key that an object is sealed with, if it is.
pub fn sealed_with(object: &[u8]) -> Option<&[u8]> {
    (object.len() >= HEAD && object.starts_with(MAGIC)).then(|| &object[MAGIC.len() + 1..HEAD])
}

fn run(crypter: &mut Crypter, input: &[u8], out: &mut Vec<u8>) -> Result<(), openssl::error::ErrorStack> {
    let mut piece = vec![0; SLICE.min(input.len()) + TAG];
    for slice in input.chunks(SLICE) {
        let length = crypter.update(slice, &mut piece)?;
        out.extend_from_slice(&piece[..length]);
    }
    let length = crypter.finalize(&mut piece)?;
    out.extend_from_slice(&piece[..length]);
    Ok(())
}

fn parse(content: &[u8]) -> Option<[u8; 32]> {
    if let Ok(raw) = content.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(content).ok()?.trim();
    let bytes = match text.len() {
        64 => (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect::<Option<_>>()?,
        43 | 44 => {
            let plain = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
            openssl::base64::decode_block(&format!("{plain}=")).ok()?
        }
        _ => return None,
    };
    bytes.try_into().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_key_at_its_place_only() {
        let (key, other) = (Key::new([7; 32]), Key::new([8; 32]));
        for plain in [vec![], b"price".to_vec(), vec![42; SLICE + 1], vec![1; 3 * SLICE]] {
            let sealed = key.seal("a/b", &plain).expect("sealed");
            assert_eq!(sealed.len() as u64, plain.len() as u64 + OVERHEAD);
            assert_eq!(key.open("a/b", &sealed).expect("opened"), plain);
            assert!(key.open("a/c", &sealed).is_err_and(|error| error.to_string().contains("damaged")));
            let error = other.open("a/b", &sealed).expect_err("another key");
            assert!(error.to_string().contains(&key.id()) && error.to_string().contains(&other.id()));
        }
        assert_ne!(key.seal("a", b"x").expect("sealed"), key.seal("a", b"x").expect("sealed"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let key = Key::new([7; 32]);
        let sealed = key.seal("a", b"price and size").expect("sealed");
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone();
            bytes[at] ^= 0x10;
            assert!(key.open("a", &bytes).is_err(), "byte {at}");
            assert!(key.open("a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn keys_are_read_in_three_ways_and_not_shown() {
        let raw: Vec<u8> = (100..132).collect();
        let encoded = openssl::base64::encode_block(&raw);
        let url = encoded.trim_end_matches('=').replace('+', "-").replace('/', "_");
        for text in [raw.clone(), format!("{}\n", hex(&raw)).into_bytes(), encoded.into_bytes(), url.into_bytes()] {
            assert_eq!(parse(&text).map(|key| key.to_vec()), Some(raw.clone()));
        }
        for text in ["", "secret", &"x".repeat(64), &"ä".repeat(32), &"!".repeat(44)] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(format!("{:?}", Key::new([7; 32])), "***");
    }
}
