//! A stripe's hashes, the tree over stripes, and the pieces of slivers: nothing but what was committed to is proved.

use weft_redstuff::{Axis, Code, Hash, StripeHashes, merkle, piece};

use crate::Target;
use crate::input::{Input, noise};

pub(crate) const STRIPE_HASHES: Target =
    Target { name: "stripe-hashes", run: stripe_hashes, seeds: stripe_seeds, catches: false };
pub(crate) const MERKLE: Target = Target { name: "merkle", run: merkle, seeds: proof_seeds, catches: false };
pub(crate) const PIECE: Target = Target { name: "piece", run: piece, seeds: proof_seeds, catches: false };

fn stripe_hashes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let code = input.code();
    let bytes = input.rest();
    let shards = usize::from(code.shards());
    let decoded = StripeHashes::decode(code, bytes);
    assert_eq!(decoded.is_ok(), bytes.len() == 64 * shards);
    let Ok(hashes) = decoded else { return };
    assert_eq!(hashes.encode(), bytes);
    for axis in Axis::BOTH {
        assert_eq!(hashes.axis(axis).len(), shards);
        assert_eq!(hashes.get(axis, code.shards()), None);
        // libFuzzer sees what is compared, and puts the right hash there in no time.
        assert_eq!(hashes.matches(axis, 0, b"sliver"), hashes.get(axis, 0) == Some(Hash::of(b"sliver")));
        assert!(!hashes.matches(axis, code.shards(), b""));
    }
    let of = |axis| hashes.axis(axis).to_vec();
    let again = StripeHashes::new(code, of(Axis::Primary), of(Axis::Secondary)).expect("n hashes of each");
    assert_eq!(again.root(), hashes.root());
    let swapped = StripeHashes::new(code, of(Axis::Secondary), of(Axis::Primary)).expect("n hashes of each");
    assert_eq!(swapped.root() == hashes.root(), swapped == hashes);
}

/// A proof, changed in any way.
fn change(input: &mut Input<'_>, path: &mut Vec<Hash>) {
    for _ in 0..input.byte() % 8 {
        let at = usize::from(input.byte());
        let end = path.len().max(1);
        match input.byte() % 6 {
            0 => path.truncate(at % (end + 1)),
            1 => path.push(input.hash()),
            2 if !path.is_empty() => path[at % end].0[usize::from(input.byte() % 32)] ^= input.byte(),
            3 if !path.is_empty() => path.swap(at % end, usize::from(input.byte()) % end),
            4 => path.insert(at % (path.len() + 1), input.hash()),
            5 if !path.is_empty() => drop(path.remove(at % end)),
            _ => {}
        }
    }
}

fn merkle(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    // Whatever is given, there is an answer.
    let (index, count) = (input.u32(), input.u32());
    let given: Vec<Hash> = input.clone().rest().as_chunks().0.iter().copied().map(Hash).collect();
    if let [root, leaf, path @ ..] = &given[..] {
        let _ = merkle::verify(root, leaf, index, count, path);
    }
    let leaves: Vec<Hash> = (0..=count % 80).map(|leaf| Hash::of(&leaf.to_le_bytes())).collect();
    let (root, width) = (merkle::root(&leaves), leaves.len() as u32);
    let index = index % width;
    let honest = merkle::path(&leaves, index).expect("a leaf");
    let mut path = honest.clone();
    let (claimed, of) =
        (index ^ u32::from(input.byte()), width.wrapping_add_signed(i32::from(input.byte() as i8 / 64)));
    change(&mut input, &mut path);
    let leaf = leaves[index as usize];
    let holds = merkle::verify(&root, &leaf, claimed, of, &path);
    assert_eq!(holds, path == honest && (claimed, of) == (index, width), "{claimed} of {of}");
    assert!(!merkle::verify(&root, &Hash::of(b"no leaf"), claimed, of, &path));
}

fn piece(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (index, length) = (input.u64(), input.u32());
    let given: Vec<Hash> = input.clone().rest().as_chunks().0.iter().copied().map(Hash).collect();
    if let [hash, path @ ..] = &given[..] {
        for length in [length as usize, (length as usize) << 16] {
            let _ = piece::verify(hash, length, index, hash.as_bytes(), path);
        }
    }
    let sliver = noise(1 + length as usize % 40_000, b"sliver");
    let hash = Hash::of(&sliver);
    assert_eq!(piece::prove(&sliver, piece::count(sliver.len())), None);
    let index = index % piece::count(sliver.len());
    let (honest, proof) = piece::prove(&sliver, index).expect("a piece");
    let (mut bytes, mut path) = (honest.to_vec(), proof.clone());
    let (claimed, of) = (index ^ u64::from(input.byte()), sliver.len() ^ usize::from(input.u16()));
    let end = bytes.len() + 1;
    match input.byte() % 4 {
        0 => bytes.truncate(usize::from(input.u16()) % end),
        1 => bytes.push(input.byte()),
        2 => bytes[usize::from(input.u16()) % (end - 1)] ^= input.byte(),
        _ => {}
    }
    change(&mut input, &mut path);
    let holds = piece::verify(&hash, of, claimed, &bytes, &path);
    // The length isn't bound by the proof of a piece: where the tree has the same forks there, another one passes.
    let same = claimed == index && bytes == honest && path == proof;
    assert!(if of == sliver.len() { holds == same } else { !holds || bytes == honest }, "{claimed} of {of} bytes");
}

fn stripe_seeds() -> Vec<Vec<u8>> {
    let seed = |shards: u8| [&[shards - 4, 0][..], &noise(64 * usize::from(shards), &[shards])].concat();
    vec![seed(4), seed(28), noise(100, b"")]
}

fn proof_seeds() -> Vec<Vec<u8>> {
    let code = Code::with_shards(10).expect("a code");
    let mut seeds = vec![vec![], vec![0; 16], noise(200, b"proof")];
    for (index, count) in [(0_u32, 0_u32), (3, 7), (70, 79), (u32::MAX, u32::from(code.shards()))] {
        let numbers = [index.to_le_bytes(), count.to_le_bytes()].concat();
        seeds.push([&numbers[..], &[0; 64]].concat());
        seeds.push([&numbers[..], &noise(100, &numbers)].concat());
    }
    seeds
}
