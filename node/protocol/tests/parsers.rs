//! Every parser of what travels signed or is kept: it panics on nothing, takes no more memory than its input is worth, and takes
//! each value in one spelling alone, since digests and signatures are over bytes.

mod sample;
#[path = "sample/parsers.rs"]
mod table;

use std::sync::LazyLock;

use proptest::prelude::*;

use table::{Parser, parsers};

static SEEDS: LazyLock<Vec<Parser>> = LazyLock::new(parsers);

/// A change of an input.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    /// A length, or a count, that is more than there is.
    Length(prop::sample::Index, u32),
    /// A part of it once more.
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Change> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), prop_oneof![Just(u32::MAX), 0_u32..9, any::<u32>()])
            .prop_map(|(at, length)| Change::Length(at, length)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Set(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Insert(at, new) => drop(bytes.splice(at.index(length)..at.index(length), new.iter().copied())),
            Self::Length(at, new) => {
                let at = at.index(length);
                let end = length.min(at + 4);
                bytes[at..end].copy_from_slice(&new.to_be_bytes()[..end - at]);
            }
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                drop(bytes.splice(to..to, part));
            }
        }
    }
}

#[test]
fn what_was_written_is_read() {
    for Parser { name, read, seed } in SEEDS.iter().cloned() {
        assert_eq!(read(&seed).as_ref(), Some(&seed), "{name}");
        assert_eq!(read(&[&seed[..], &[0]].concat()), None, "{name} with a byte behind it");
        let cut = (1..seed.len()).find(|end| read(&seed[..*end]).is_some());
        assert!(cut.is_none() || name == "Sketch", "{name} of {cut:?} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_taken_has_one_spelling(changes in prop::collection::vec(changes(), 1..6)) {
        for Parser { name, read, seed } in SEEDS.iter().cloned() {
            let mut bytes = seed;
            for change in &changes {
                change.make(&mut bytes);
            }
            if let Some(again) = read(&bytes) {
                prop_assert_eq!(again, bytes, "{}", name);
            }
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for Parser { name, read, .. } in SEEDS.iter().cloned() {
            if let Some(again) = read(&bytes) {
                prop_assert_eq!(&again, &bytes, "{}", name);
            }
        }
    }
}
