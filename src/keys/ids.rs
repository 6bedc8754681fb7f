//! Small numbers for keys, so that what is kept of them stands in vectors.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of keys that are gone are worth the work of packing the others from here on.
const WORTH_PACKING: usize = 4096;

/// Gives every key a small dense number, in order of first sight. Numbers of keys that are gone are given again.
#[derive(Default)]
pub struct KeyIds {
    table: HashTable<(u64, u32)>,
    bytes: Vec<u8>,
    /// Where the key of each number begins and ends.
    spans: Vec<(usize, usize)>,
    free: Vec<u32>,
    /// How many bytes are those of keys that are gone.
    unused: usize,
}

impl KeyIds {
    /// The number of `key`, which is given one where it has none.
    #[inline]
    pub fn id(&mut self, key: &[u8]) -> u32 {
        let hash = xxh3_64(key);
        if let Some(id) = self.find(hash, key) {
            return id;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let span = (start, self.bytes.len());
        let id = match self.free.pop() {
            Some(id) => {
                self.spans[id as usize] = span;
                id
            }
            None => {
                self.spans.push(span);
                self.spans.len() as u32 - 1
            }
        };
        self.table.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }

    /// The number of `key`, where it has one.
    pub fn known(&self, key: &[u8]) -> Option<u32> {
        self.find(xxh3_64(key), key)
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let found = self.table.find(hash, |(other, id)| *other == hash && self.key(*id) == key);
        found.map(|(_, id)| *id)
    }

    /// The key with the number `id`.
    pub fn key(&self, id: u32) -> &[u8] {
        let (start, end) = self.spans[id as usize];
        &self.bytes[start..end]
    }

    /// Forgets the key with the number `id`, which another one may get then.
    pub fn free(&mut self, id: u32) {
        let hash = xxh3_64(self.key(id));
        let Ok(entry) = self.table.find_entry(hash, |(_, other)| *other == id) else { return };
        entry.remove();
        let (start, end) = std::mem::take(&mut self.spans[id as usize]);
        self.unused += end - start;
        self.free.push(id);
        if self.unused > WORTH_PACKING.max(self.bytes.len() / 2) {
            self.pack();
        }
    }

    fn pack(&mut self) {
        let mut packed = Vec::with_capacity(self.bytes.len() - self.unused);
        for (start, end) in &mut self.spans {
            let from = packed.len();
            packed.extend_from_slice(&self.bytes[*start..*end]);
            (*start, *end) = (from, packed.len());
        }
        (self.bytes, self.unused) = (packed, 0);
    }

    /// How many numbers there are, those that are free among them: all are below it.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there was never a key.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// An estimate of the memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let numbers = (self.table.capacity() + self.spans.capacity()) * size_of::<(usize, usize)>();
        self.bytes.capacity() + numbers + self.free.capacity() * size_of::<u32>()
    }

    /// The numbers that no key has any more.
    pub fn unused(&self) -> &[u32] {
        &self.free
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn ids_are_dense_and_stable() {
        let mut ids = KeyIds::default();
        let keys: Vec<String> = (0..10_000).map(|i| format!("K{}", i * 7)).collect();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(ids.id(key.as_bytes()), i as u32);
        }
        for (i, key) in keys.iter().enumerate() {
            assert_eq!((ids.id(key.as_bytes()), ids.key(i as u32)), (i as u32, key.as_bytes()));
        }
        assert_eq!(ids.id(b""), 10_000);
    }

    #[test]
    fn numbers_of_keys_that_are_gone_are_given_again_and_the_others_stay() {
        let mut rng = StdRng::seed_from_u64(5);
        let (mut ids, mut known, mut most) = (KeyIds::default(), BTreeMap::<String, u32>::new(), 0);
        for _ in 0..50_000 {
            let key = format!("key number {}", rng.random_range(0..700));
            match known.remove(&key) {
                Some(id) if rng.random_bool(0.5) => ids.free(id),
                Some(id) => {
                    assert_eq!(ids.id(key.as_bytes()), id);
                    known.insert(key, id);
                }
                None => drop(known.insert(key.clone(), ids.id(key.as_bytes()))),
            }
            most = most.max(known.len());
        }
        assert!(known.iter().all(|(key, id)| ids.key(*id) == key.as_bytes()));
        assert_eq!(known.values().collect::<std::collections::BTreeSet<_>>().len(), known.len(), "each has its own");
        assert_eq!((ids.len(), ids.unused().len()), (most, most - known.len()));
        assert!(ids.bytes.len() < 700 * 20 + 2 * WORTH_PACKING, "{} bytes", ids.bytes.len());
    }
}
