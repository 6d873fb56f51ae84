//! Pieces of a sliver, provable against its hash: BLAKE3 hashes chunks of 1 KiB into a tree (BLAKE3 paper, section 2.1), so the chaining values
//! beside a chunk's way up prove that chunk alone.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::hash::Hash;

/// Bytes of a piece; the last one of a sliver may be shorter.
pub const LENGTH: usize = blake3::CHUNK_LEN;

/// How many pieces a sliver of `length` bytes has.
pub const fn count(length: usize) -> u64 {
    length.div_ceil(LENGTH) as u64
}

/// Piece `index` of a sliver, and the chaining values that prove it, from the root downwards. `None` when there is no such piece.
pub fn prove(sliver: &[u8], index: u64) -> Option<(&[u8], Vec<Hash>)> {
    let (mut rest, mut offset, mut path) = (sliver, 0, Vec::new());
    if index >= count(sliver.len()) {
        return None;
    }
    let place = index * LENGTH as u64;
    while rest.len() > LENGTH {
        let (left, right) = rest.split_at(left_subtree_len(rest.len() as u64) as usize);
        let middle = offset + left.len() as u64;
        if place < middle {
            path.push(Hash(subtree(right, middle)));
            rest = left;
        } else {
            path.push(Hash(subtree(left, offset)));
            (rest, offset) = (right, middle);
        }
    }
    Some((rest, path))
}

/// Whether `piece` is number `index` of the sliver of `length` bytes whose hash is `sliver`.
pub fn verify(sliver: &Hash, length: usize, index: u64, piece: &[u8], path: &[Hash]) -> bool {
    if index >= count(length) {
        return false;
    }
    // Which way the piece lies at each fork, from the root downwards.
    let (mut offset, mut rest, mut forks) = (0, length as u64, Vec::new());
    let place = index * LENGTH as u64;
    while rest > LENGTH as u64 {
        let left = left_subtree_len(rest);
        let is_left = place < offset + left;
        forks.push(is_left);
        if is_left {
            rest = left;
        } else {
            (offset, rest) = (offset + left, rest - left);
        }
    }
    if piece.len() as u64 != rest || path.len() != forks.len() {
        return false;
    }
    let (Some((top, beside)), Some((fork, forks))) = (path.split_first(), forks.split_first()) else {
        return Hash::of(piece) == *sliver;
    };
    let below = forks.iter().zip(beside).rev().fold(subtree(piece, offset), |below, (is_left, beside)| {
        let (left, right) = if *is_left { (&below, beside.as_bytes()) } else { (beside.as_bytes(), &below) };
        merge_subtrees_non_root(left, right, Mode::Hash)
    });
    let (left, right) = if *fork { (&below, top.as_bytes()) } else { (top.as_bytes(), &below) };
    Hash::from(merge_subtrees_root(left, right, Mode::Hash)) == *sliver
}

/// The chaining value of a subtree that begins at `offset` of its sliver.
fn subtree(bytes: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"piece").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn every_piece_of_slivers_around_the_tree_s_forks_is_proven() {
        for length in [1, 1023, 1024, 1025, 2048, 2049, 3072, 4096, 5000, 16 * 1024, 16 * 1024 + 1, 100_000] {
            let sliver = bytes(length);
            let hash = Hash::of(&sliver);
            for index in 0..count(length) {
                let (piece, path) = prove(&sliver, index).unwrap();
                assert_eq!(piece, sliver.chunks(LENGTH).nth(index as usize).unwrap());
                assert!(verify(&hash, length, index, piece, &path), "piece {index} of {length} bytes");
            }
            assert_eq!(prove(&sliver, count(length)), None);
        }
    }

    #[test]
    fn an_empty_sliver_has_no_pieces() {
        assert_eq!((count(0), prove(&[], 0)), (0, None));
        assert!(!verify(&Hash::of(&[]), 0, 0, &[], &[]));
    }

    proptest! {
        #[test]
        fn a_proof_of_anything_else_is_refused(length in 1usize..40_000, at: u64, other: u64, flip: prop::sample::Index) {
            let sliver = bytes(length);
            let (hash, pieces) = (Hash::of(&sliver), count(length));
            let index = at % pieces;
            let (piece, path) = prove(&sliver, index).unwrap();
            let mut changed = piece.to_vec();
            changed[flip.index(piece.len())] ^= 1;
            prop_assert!(!verify(&hash, length, index, &changed, &path));
            prop_assert!(!verify(&Hash::of(&changed), length, index, piece, &path));
            prop_assert!(!verify(&hash, length, pieces, piece, &path));
            if other % pieces != index {
                prop_assert!(!verify(&hash, length, other % pieces, piece, &path));
            }
            let mut longer = path.clone();
            longer.push(hash);
            prop_assert!(!verify(&hash, length, index, piece, &longer));
            if let Some(last) = path.len().checked_sub(1) {
                prop_assert!(!verify(&hash, length, index, piece, &path[..last]));
                let mut changed = path.clone();
                changed[flip.index(path.len())].0[0] ^= 1;
                prop_assert!(!verify(&hash, length, index, piece, &changed));
            }
        }
    }
}
