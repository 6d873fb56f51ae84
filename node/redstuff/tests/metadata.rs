//! Metadata: one byte string a blob, and no other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_redstuff::{Code, Hash, Labels, Layout, Metadata, MetadataError, inline_root};

fn codes() -> impl Strategy<Value = Code> {
    (4u16..=255)
        .prop_flat_map(|shards| (Just(shards), 1..=(shards - 1) / 3))
        .prop_map(|(shards, fault_tolerance)| Code::new(shards, fault_tolerance).unwrap())
}

fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![
        (codes(), 0u64..1 << 44).prop_map(|(code, length)| Layout::for_length(code, length).unwrap()),
        (codes(), 0u64..64 * 255).prop_map(|(code, length)| Layout::for_length(code, length).unwrap()),
        (codes(), 0u64..1 << 20, 1u32..10_000)
            .prop_map(|(code, length, symbol_size)| { Layout::with_symbol_size(code, length, symbol_size).unwrap() }),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let labels = prop::collection::btree_map("[!-<>-~]{1,64}", "[^\\p{Cc}]{0,40}", 0..=32);
    (layouts(), labels, any::<Option<u64>>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<[u8; 16]>()).prop_map(
        |(layout, labels, expiry, root, digest, nonce)| Metadata {
            root: Hash(root),
            layout,
            labels: Labels::new(labels).unwrap(),
            expiry,
            digest: Hash(digest),
            nonce,
        },
    )
}

fn sample() -> Metadata {
    let content = b"a thread";
    Metadata {
        root: inline_root(content),
        layout: Layout::for_length(Code::with_shards(28).unwrap(), 8).unwrap(),
        labels: Labels::new(BTreeMap::from([("b".into(), "2".into()), ("c".into(), "3".into())])).unwrap(),
        expiry: Some(5),
        digest: Hash::of(content),
        nonce: [7; 16],
    }
}

proptest! {
    #[test]
    fn metadata_survive_their_encoding(metadata in metadata()) {
        let bytes = metadata.encode();
        prop_assert!(bytes.len() <= Metadata::MAX_ENCODED);
        prop_assert_eq!(Metadata::id_of(&bytes), metadata.id());
        prop_assert_eq!(Metadata::decode(&bytes), Ok(metadata));
    }

    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes(metadata in metadata(), at: prop::sample::Index, byte: u8, cut: Option<prop::sample::Index>) {
        let mut bytes = metadata.encode();
        *at.get_mut(&mut bytes) = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(decoded) = Metadata::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), prefixed: bool) {
        let bytes = if prefixed { [b"weft\x01\x1c\x09".as_slice(), &bytes].concat() } else { bytes };
        if let Ok(decoded) = Metadata::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn the_rules_layout_is_the_only_one_a_fleet_takes(code in codes(), length in 0u64..1 << 24, symbol_size in 1u32..3000) {
        let rule = Layout::for_length(code, length).unwrap();
        prop_assert_eq!(Metadata { layout: rule, ..sample() }.check_layout(), Ok(()));
        let layout = Layout::with_symbol_size(code, length, symbol_size).unwrap();
        prop_assume!(layout != rule);
        prop_assert_eq!(Metadata { layout, ..sample() }.check_layout(), Err(MetadataError::SymbolSizes { length }));
    }
}

#[test]
fn an_inline_blob_is_known_by_its_content() {
    assert!(sample().matches_inline(b"a thread"));
    assert!(!sample().matches_inline(b"a threat"));
    assert!(!Metadata { root: Hash([0; 32]), ..sample() }.matches_inline(b"a thread"));
    assert!(!Metadata { digest: Hash([0; 32]), ..sample() }.matches_inline(b"a thread"));
    let sliced = Layout::sliced(Code::with_shards(28).unwrap(), 8).unwrap();
    assert!(!Metadata { layout: sliced, ..sample() }.matches_inline(b"a thread"));
}

#[test]
fn other_spellings_are_refused() {
    let good = sample().encode();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Metadata::decode(&bytes).unwrap_err()
    };
    let end = good.len();
    assert_eq!(refused(&|bytes| bytes[4] = 2), MetadataError::Version);
    assert_eq!(refused(&|bytes| bytes.push(0)), MetadataError::Length);
    assert_eq!(refused(&|bytes| bytes.truncate(end - 1)), MetadataError::Length);
    assert!(matches!(refused(&|bytes| bytes[6] = 10), MetadataError::Code(_)));
    assert!(matches!(refused(&|bytes| bytes[15] = 1), MetadataError::Layout(_)));
    assert!(matches!(refused(&|bytes| bytes[103] = 2), MetadataError::NotCanonical { .. }));
    // Labels "b" = "2" and "c" = "3" take five bytes each.
    assert!(matches!(refused(&|bytes| bytes[end - 4] = b'a'), MetadataError::NotCanonical { .. }));
    assert!(matches!(refused(&|bytes| bytes[end - 4] = b'b'), MetadataError::NotCanonical { .. }));
    assert!(matches!(
        refused(&|bytes| bytes[end - 4] = b'='),
        MetadataError::NotCanonical { .. } | MetadataError::Labels(_)
    ));
    assert!(matches!(
        refused(&|bytes| bytes[end - 4] = b' '),
        MetadataError::NotCanonical { .. } | MetadataError::Labels(_)
    ));
}
