//! About how much memory state takes. It is looked at now and then, and by the worker: so a few samples must do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// So many samples are taken of what there is a lot of.
const SAMPLES: usize = 64;

/// What has memory beside itself.
pub trait Heap {
    /// An estimate of it, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// Nothing but itself.
macro_rules! plain {
    ($($kind:ty),+) => {
        $(impl Heap for $kind {
            fn heap_bytes(&self) -> usize {
                0
            }
        })+
    };
}
plain!(u8, u32, u64, i64, usize, bool);

/// What so many things have that are like the `samples`, in bytes.
pub fn like<T>(count: usize, samples: impl Iterator<Item = T>, bytes: impl Fn(T) -> usize) -> usize {
    let (looked_at, sum) = samples.take(SAMPLES).fold((0, 0), |(n, sum), sample| (n + 1, sum + bytes(sample)));
    (sum * count).checked_div(looked_at).unwrap_or(0)
}

/// What a vector has, in bytes, where each of its items has what `bytes` tells.
pub fn of_vec<T>(items: &Vec<T>, bytes: impl Fn(&T) -> usize) -> usize {
    let samples = items.iter().step_by(items.len().div_ceil(SAMPLES).max(1));
    items.capacity() * size_of::<T>() + like(items.len(), samples, bytes)
}

impl Heap for Box<[u8]> {
    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl Heap for Rc<[u8]> {
    /// Of whoever looks at it last there is one: shared bytes count as often as they are held.
    fn heap_bytes(&self) -> usize {
        self.len() + 2 * size_of::<usize>()
    }
}

impl<T: Heap> Heap for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<A: Heap, B: Heap> Heap for (A, B) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes()
    }
}

impl<T: Heap> Heap for Vec<T> {
    fn heap_bytes(&self) -> usize {
        of_vec(self, T::heap_bytes)
    }
}

impl<K: Heap, V: Heap> Heap for BTreeMap<K, V> {
    fn heap_bytes(&self) -> usize {
        let keys = like(self.len(), self.keys(), K::heap_bytes);
        self.len() * size_of::<(K, V)>() + keys + like(self.len(), self.values(), V::heap_bytes)
    }
}

impl<K: Heap> Heap for BTreeSet<K> {
    fn heap_bytes(&self) -> usize {
        self.len() * size_of::<K>() + like(self.len(), self.iter(), K::heap_bytes)
    }
}

impl<K: Heap, V: Heap> Heap for HashMap<K, V> {
    fn heap_bytes(&self) -> usize {
        let keys = like(self.len(), self.keys(), K::heap_bytes);
        self.capacity() * size_of::<(K, V)>() + keys + like(self.len(), self.values(), V::heap_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_told_within_a_tenth_however_much_it_is() {
        let row = |size: usize| vec![0_u8; size].into_boxed_slice();
        for count in [0, 1, 63, 64, 1_000, 100_000] {
            let rows: BTreeMap<i64, Box<[u8]>> = (0..count).map(|n| (n, row(90 + (n % 21) as usize))).collect();
            let whole: usize = rows.values().map(|row| row.len() + 24).sum();
            let told = rows.heap_bytes();
            assert!(told.abs_diff(whole) * 10 <= whole, "{count} rows of {whole} bytes: {told}");
        }
        let nested: Vec<Vec<u64>> = (0..10_000).map(|n| Vec::with_capacity(n % 7 + 1)).collect();
        let whole = nested.capacity() * 24 + nested.iter().map(|inner| inner.capacity() * 8).sum::<usize>();
        assert!(nested.heap_bytes().abs_diff(whole) * 10 <= whole);
    }
}
