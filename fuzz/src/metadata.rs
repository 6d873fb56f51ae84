//! Metadata, labels and layouts.

use std::collections::BTreeMap;

use weft_redstuff::{Code, Hash, Labels, Layout, Metadata, inline_root};

use crate::Target;
use crate::input::Input;

pub(crate) const METADATA: Target = Target { name: "metadata", run: metadata, seeds: encoded, catches: false };
pub(crate) const LABELS: Target = Target { name: "labels", run: labels, seeds: label_seeds, catches: false };
pub(crate) const LAYOUT: Target = Target { name: "layout", run: layout, seeds: layout_seeds, catches: false };

/// What is accepted is written back byte for byte, and is consistent in itself.
fn metadata(bytes: &[u8]) {
    let Ok(decoded) = Metadata::decode(bytes) else { return };
    assert_eq!(decoded.encode(), bytes);
    assert!(bytes.len() <= Metadata::MAX_ENCODED);
    assert_eq!(Metadata::id_of(bytes), decoded.id());
    assert_eq!(Metadata::decode(&decoded.encode()).as_ref(), Ok(&decoded));
    let rule = Layout::for_length(decoded.code(), decoded.length());
    assert_eq!(decoded.check_layout().is_ok(), rule == Ok(decoded.layout));
    assert!(!decoded.matches_inline(b"what") || decoded.root == inline_root(b"what"));
    consistent(&decoded.layout);
}

/// Labels within the bounds, and no others.
fn labels(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut labels = BTreeMap::new();
    while !input.is_empty() {
        let length = usize::from(input.byte());
        let key = String::from_utf8_lossy(input.take(length)).into_owned();
        labels.insert(key, String::from_utf8_lossy(input.bytes()).into_owned());
    }
    let fits = |(key, value): (&String, &String)| {
        (1..=64).contains(&key.len())
            && key.chars().all(|symbol| ('!'..='~').contains(&symbol) && symbol != '=')
            && value.len() <= 1024
            && !value.chars().any(char::is_control)
    };
    let good = labels.len() <= 32 && labels.iter().all(fits);
    match Labels::new(labels.clone()) {
        Ok(checked) => {
            assert!(good);
            assert!(labels.iter().all(|(key, value)| checked.get(key) == Some(value)));
            assert_eq!(checked.into_map(), labels);
        }
        Err(error) => assert!(!good && !error.to_string().is_empty()),
    }
}

/// Any sizes are laid out or refused.
fn layout(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let code = input.code();
    let (length, size, tail) = (input.u64(), input.u32(), input.u32());
    for layout in [
        Layout::from_sizes(code, length, size, tail),
        Layout::with_symbol_size(code, length, size),
        Layout::for_length(code, length),
        Layout::sliced(code, length),
    ] {
        let Ok(layout) = layout else { continue };
        assert_eq!((layout.code(), layout.length()), (code, length));
        consistent(&layout);
        let again = Layout::from_sizes(code, length, layout.symbol_size(), layout.tail_symbol_size());
        assert_eq!(again, Ok(layout));
        let at = input.u64();
        let found = layout.stripe_at(at);
        assert_eq!(found.is_some(), at < length && !layout.is_inline());
        assert!(found.is_none_or(|stripe| (stripe.offset..stripe.offset + stripe.length).contains(&at)));
    }
}

fn consistent(layout: &Layout) {
    let Some(last) = layout.stripes().checked_sub(1) else {
        assert!(layout.is_inline() && layout.length() <= Layout::max_inline_length(layout.code()));
        return;
    };
    assert_eq!(layout.stripe(last + 1).filter(|_| last < u32::MAX), None);
    let (mut end, code) = (0, layout.code());
    for index in (0..=last.min(2)).chain(last.saturating_sub(2)..=last) {
        let stripe = layout.stripe(index).expect("a stripe");
        assert!(stripe.offset >= end || index <= 2);
        assert!(stripe.length <= code.stripe_capacity(stripe.symbol_size));
        assert!(code.stripe_capacity(stripe.symbol_size) <= Layout::MAX_STRIPE && stripe.symbol_size > 0);
        end = stripe.offset + stripe.length;
        if stripe.length > 0 {
            assert_eq!(layout.stripe_at(stripe.offset), Some(stripe));
            assert_eq!(layout.stripe_at(end - 1), Some(stripe));
        }
    }
    assert_eq!(end, layout.length());
}

fn samples() -> Vec<Metadata> {
    let pairs = [("app", "weft"), ("content-type", "text/plain"), ("größe", "")];
    let mut samples = Vec::new();
    for (shards, length, count, expiry) in
        [(4, 8, 0, None), (28, 20_000_000, 2, Some(1_800_000_000)), (255, 1 << 40, 1, None)]
    {
        let content = vec![7; 8];
        let labels = pairs[..count].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        samples.push(Metadata {
            root: inline_root(&content),
            layout: Layout::for_length(Code::with_shards(shards).expect("a code"), length).expect("a layout"),
            labels: Labels::new(labels).expect("labels"),
            expiry,
            digest: Hash::of(&content),
            nonce: *b"0123456789abcdef",
        });
    }
    samples
}

fn encoded() -> Vec<Vec<u8>> {
    samples().iter().map(Metadata::encode).collect()
}

fn label_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\x03app\x04\0weft".to_vec(),
        b"\x01k\0\0\x05a=b c\x01\0\n".to_vec(),
        [b"\x01k\x10\x02", &[b'v'; 600][..]].concat(),
    ]
}

fn layout_seeds() -> Vec<Vec<u8>> {
    let sizes = |layout: &Layout| {
        let (shards, faults) = (layout.code().shards() as u8, layout.code().fault_tolerance() as u8);
        let mut seed = vec![shards - 4, faults - 1];
        seed.extend_from_slice(&layout.length().to_le_bytes());
        seed.extend_from_slice(&layout.symbol_size().to_le_bytes());
        seed.extend_from_slice(&layout.tail_symbol_size().to_le_bytes());
        seed
    };
    samples().iter().map(|metadata| sizes(&metadata.layout)).collect()
}
