//! Sets of the numbers of keys.

/// Numbers of keys, each once.
#[derive(Default)]
pub struct KeySet {
    words: Vec<u64>,
    /// Before this word there is nothing.
    first: usize,
}

impl KeySet {
    /// All numbers below `bound`.
    pub fn below(bound: usize) -> Self {
        let mut words = vec![u64::MAX; bound.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !bound.is_multiple_of(64)) {
            *last = (1 << (bound % 64)) - 1;
        }
        KeySet { words, first: 0 }
    }

    /// Adds numbers below `bound`; not after some were taken out.
    #[inline]
    pub fn add(&mut self, ids: &[u32], bound: usize) {
        if self.words.len() * 64 < bound {
            self.words.resize(bound.div_ceil(64), 0);
        }
        for id in ids {
            self.words[*id as usize / 64] |= 1 << (id % 64);
        }
    }

    /// Takes a number out; whether it was there.
    #[inline]
    pub fn remove(&mut self, id: u32) -> bool {
        let Some(word) = self.words.get_mut(id as usize / 64) else { return false };
        let bit = 1 << (id % 64);
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    /// Takes numbers out, the least first, so many at most.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(u32)) {
        let mut left = most;
        while let Some(word) = self.words.get_mut(self.first) {
            while *word != 0 {
                if left == 0 {
                    return;
                }
                left -= 1;
                each((self.first * 64) as u32 + word.trailing_zeros());
                *word &= *word - 1;
            }
            self.first += 1;
        }
    }

    /// Whether there are none, once they are taken out.
    pub fn is_empty(&self) -> bool {
        self.words[self.first.min(self.words.len())..].iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_once_and_in_order() {
        let mut set = KeySet::default();
        set.add(&[130, 5, 64, 5, 63, 7], 131);
        assert!(set.remove(7) && !set.remove(7) && !set.remove(1000));
        let mut seen = Vec::new();
        set.take(3, |id| seen.push(id));
        assert!(!set.is_empty());
        set.take(3, |id| seen.push(id));
        assert_eq!((seen, set.is_empty()), (vec![5, 63, 64, 130], true));
    }

    #[test]
    fn all_numbers_below_a_bound() {
        for bound in [0, 1, 63, 64, 65, 200] {
            let (mut set, mut seen) = (KeySet::below(bound), Vec::new());
            set.take(usize::MAX, |id| seen.push(id));
            assert_eq!(seen, (0..bound as u32).collect::<Vec<_>>());
        }
    }
}
