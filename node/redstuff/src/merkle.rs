//! The Merkle tree over a blob's stripe roots.
//!
//! Leaves, inner nodes and the root are hashed in domains of their own, and the root binds the number of leaves: neither a node nor a shorter tree passes for
//! something else. On every level, neighbours are hashed in pairs; a node without a neighbour goes up as it is.

use crate::hash::Hash;

const LEAF: &str = "weft v1 blob leaf";
const NODE: &str = "weft v1 blob node";
const ROOT: &str = "weft v1 blob root";

fn leaf(hash: &Hash) -> Hash {
    Hash::derived(LEAF, &[hash.as_bytes()])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Hash::derived(NODE, &[left.as_bytes(), right.as_bytes()])
}

fn seal(top: &Hash, count: u32) -> Hash {
    Hash::derived(ROOT, &[&count.to_le_bytes(), top.as_bytes()])
}

fn parents(level: &[Hash]) -> Vec<Hash> {
    level.chunks(2).map(|pair| if let [left, right] = pair { node(left, right) } else { pair[0] }).collect()
}

/// The root over the given leaves (stripe roots, in order).
///
/// # Panics
/// When there are no leaves, or more than `u32::MAX`: a blob that isn't inline has at least one stripe.
pub fn root(leaves: &[Hash]) -> Hash {
    let count = u32::try_from(leaves.len()).expect("at most u32::MAX stripes");
    let mut level: Vec<Hash> = leaves.iter().map(leaf).collect();
    while level.len() > 1 {
        level = parents(&level);
    }
    seal(level.first().expect("at least one stripe"), count)
}

/// All nodes of the tree, for whoever is asked for many paths: less than 64 bytes a leaf and another 32 a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The leaves' first, the top last.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over the given leaves (stripe roots, in order).
    ///
    /// # Panics
    /// As [`root`].
    pub fn of(leaves: &[Hash]) -> Self {
        assert!(!leaves.is_empty() && u32::try_from(leaves.len()).is_ok(), "one to u32::MAX leaves");
        let mut levels = vec![leaves.iter().map(leaf).collect::<Vec<Hash>>()];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let parents = parents(level);
            levels.push(parents);
        }
        Self { levels }
    }

    /// [`root`] over its leaves.
    pub fn root(&self) -> Hash {
        let (leaves, top) = (&self.levels[0], &self.levels[self.levels.len() - 1]);
        seal(&top[0], leaves.len() as u32)
    }

    /// The siblings, from the leaf's upwards, that prove leaf `index` against [`root`]. `None` when there is no such leaf.
    pub fn path(&self, index: u32) -> Option<Vec<Hash>> {
        let (top, below) = self.levels.split_last()?;
        let mut position = index as usize;
        if position >= below.first().unwrap_or(top).len() {
            return None;
        }
        let mut path = Vec::with_capacity(below.len());
        for level in below {
            path.extend(level.get(position ^ 1));
            position /= 2;
        }
        Some(path)
    }

    /// Bytes of its nodes.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * Hash::LENGTH).sum()
    }
}

/// [`Tree::path`], for one leaf.
pub fn path(leaves: &[Hash], index: u32) -> Option<Vec<Hash>> {
    if leaves.is_empty() { None } else { Tree::of(leaves).path(index) }
}

/// Whether `path` proves that `leaf_hash` (a stripe's root) is number `index` of the `count` leaves under `root`.
pub fn verify(root: &Hash, leaf_hash: &Hash, index: u32, count: u32, path: &[Hash]) -> bool {
    if index >= count {
        return false;
    }
    let (mut position, mut width) = (index, count);
    let mut siblings = path.iter();
    let mut hash = leaf(leaf_hash);
    while width > 1 {
        // The sibling of the last node of an odd level doesn't exist: the node goes up alone.
        if position ^ 1 < width {
            let Some(sibling) = siblings.next() else { return false };
            hash = if position % 2 == 0 { node(&hash, sibling) } else { node(sibling, &hash) };
        }
        position /= 2;
        width = width.div_ceil(2);
    }
    siblings.next().is_none() && seal(&hash, count) == *root
}

/// Collects stripe roots as a blob streams by, 32 bytes a stripe.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    leaves: Vec<Hash>,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next stripe's root.
    pub fn push(&mut self, stripe_root: Hash) {
        self.leaves.push(stripe_root);
    }

    /// The stripe roots so far, in order.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// [`root`] over the stripes so far. Panics when there are none.
    pub fn root(&self) -> Hash {
        root(&self.leaves)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|i| Hash::of(&i.to_le_bytes())).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved() {
        for count in 1..40 {
            let leaves = leaves(count);
            let (root, tree) = (root(&leaves), Tree::of(&leaves));
            assert_eq!(tree.root(), root);
            for index in 0..count {
                let path = tree.path(index).unwrap();
                assert!(verify(&root, &leaves[index as usize], index, count, &path), "{index} of {count}");
            }
            assert_eq!((tree.path(count), tree.path(u32::MAX)), (None, None));
        }
    }

    #[test]
    fn a_node_does_not_pass_for_a_leaf() {
        let leaves = leaves(4);
        let inner = [node(&leaf(&leaves[0]), &leaf(&leaves[1])), node(&leaf(&leaves[2]), &leaf(&leaves[3]))];
        assert_ne!(root(&inner), root(&leaves));
        assert!(!verify(&root(&leaves), &inner[0], 0, 2, &inner[1..]));
    }

    proptest! {
        #[test]
        fn a_proof_for_anything_else_is_refused(count in 1u32..70, at in any::<u32>(), other in any::<u32>(), flip in any::<u8>()) {
            let leaves = leaves(count);
            let root = root(&leaves);
            let index = at % count;
            let proof = path(&leaves, index).unwrap();
            let hash = &leaves[index as usize];
            let elsewhere = other % count;
            prop_assume!(elsewhere != index);
            prop_assert!(!verify(&root, hash, elsewhere, count, &proof));
            prop_assert!(!verify(&root, &leaves[elsewhere as usize], index, count, &proof));
            prop_assert!(!verify(&root, hash, index, count + 1, &proof));
            prop_assert!(!verify(&root, hash, index, count - 1, &proof));
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(!verify(&root, hash, index, count, &longer));
            if let Some(last) = proof.len().checked_sub(1) {
                prop_assert!(!verify(&root, hash, index, count, &proof[..last]));
                let mut changed = proof.clone();
                changed[flip as usize % proof.len()].0[0] ^= 1;
                prop_assert!(!verify(&root, hash, index, count, &changed));
            }
        }
    }
}
