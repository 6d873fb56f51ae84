//! Hashes of sets, changed at the same cost by one item however many there are.
//!
//! `LtHash` with 1,024 words of 16 bits (Bellare, Micciancio: A New Paradigm for Collision-Free Hashing, EUROCRYPT 1997; Lewi, Kim, Maykov,
//! Weis: Securing Update Propagation with Homomorphic Hashing, 2019): the sum, word by word, of 2 KiB that BLAKE3 makes of
//! each item. To find two sets of one hash takes about 2²⁰⁰ steps, also for who chooses the items.

use weft_redstuff::Hash;

const WORDS: usize = 1024;

/// The sum over a set's items. Adding what is in the set already, or taking away what isn't, makes it another set's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHash(Box<[u16; WORDS]>);

impl Default for SetHash {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl SetHash {
    /// Bytes of the sum.
    pub const LENGTH: usize = 2 * WORDS;

    /// Adds an item, which isn't in the set.
    pub fn insert(&mut self, item: &[u8]) {
        self.change(item, u16::wrapping_add);
    }

    /// Takes an item away, which is in the set.
    pub fn remove(&mut self, item: &[u8]) {
        self.change(item, u16::wrapping_sub);
    }

    fn change(&mut self, item: &[u8], by: fn(u16, u16) -> u16) {
        let mut expanded = [0; Self::LENGTH];
        blake3::Hasher::new().update(item).finalize_xof().fill(&mut expanded);
        for (word, bytes) in self.0.iter_mut().zip(expanded.as_chunks().0) {
            *word = by(*word, u16::from_le_bytes(*bytes));
        }
    }

    /// What stands for the set: BLAKE3 of the sum.
    pub fn digest(&self) -> Hash {
        blake3::hash(&self.encode()).into()
    }

    /// The sum, words of 16 bits (little-endian) one after the other.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0.iter()) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// Reads a sum; every one is that of some set.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        let mut hash = Self::default();
        for (word, bytes) in hash.0.iter_mut().zip(bytes.as_chunks().0) {
            *word = u16::from_le_bytes(*bytes);
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn of<'a>(items: impl IntoIterator<Item = &'a u32>) -> SetHash {
        let mut hash = SetHash::default();
        items.into_iter().for_each(|item| hash.insert(&item.to_le_bytes()));
        hash
    }

    #[test]
    fn the_digest_of_a_set_is_the_one_it_always_was() {
        assert_eq!(
            of([&1, &2, &3]).digest().to_string(),
            "6b2852d1d8eddb46d04354014cc408977b7ebed034b3c2cd798331d170d0995a"
        );
    }

    proptest! {
        #[test]
        fn a_set_has_one_hash_in_whichever_order_it_came_to_be(items in btree_set(any::<u32>(), 0..40), gone in btree_set(any::<u32>(), 0..9)) {
            let set = of(&items);
            prop_assert_eq!(&of(items.iter().rev()), &set);
            let mut other = of(&gone);
            items.difference(&gone).for_each(|item| other.insert(&item.to_le_bytes()));
            gone.difference(&items).for_each(|item| other.remove(&item.to_le_bytes()));
            prop_assert_eq!(&other, &set);
            prop_assert_eq!(&SetHash::decode(&set.encode()), &set);
        }

        #[test]
        fn other_sets_have_other_hashes(items in btree_set(any::<u32>(), 1..40), which: prop::sample::Index) {
            let set = of(&items);
            let mut fewer = set.clone();
            fewer.remove(&which.get(&items.iter().copied().collect::<Vec<_>>()).to_le_bytes());
            prop_assert_ne!(fewer.digest(), set.digest());
        }
    }
}
