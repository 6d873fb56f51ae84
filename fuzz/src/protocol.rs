//! What travels signed or is kept, and sketches that somebody made up.

use std::sync::LazyLock;

use weft_protocol::{
    Accusation, Accusers, Certificate, Entry, Fence, MemberId, Seal, SealOrder, Signed, SignedView, Sketch, Void,
};

use crate::Target;
use crate::input::{Input, noise};
use crate::sample::{FLEET, first_view, gateway, operator};
use crate::table::{Parser, parsers};

pub(crate) const PARSERS: Target = Target { name: "protocol", run: parse, seeds: parser_seeds, catches: false };
pub(crate) const CHECKS: Target = Target { name: "protocol-checks", run: check, seeds: parser_seeds, catches: false };
pub(crate) const SKETCH: Target = Target { name: "sketch", run: sketch, seeds: sketch_seeds, catches: false };

static TABLE: LazyLock<Vec<Parser>> = LazyLock::new(parsers);

/// Each value has one spelling.
fn parse(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let parser = &TABLE[usize::from(*which) % TABLE.len()];
    if let Some(again) = (parser.read)(bytes) {
        assert_eq!(again, bytes, "{}", parser.name);
    }
}

/// What is read is judged, whatever it says. Nothing that the seeds don't hold is rightly signed.
fn check(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (view, key) = (first_view(), operator().public());
    let name = TABLE[usize::from(*which) % TABLE.len()].name;
    match name {
        "View" | "SignedView" => drop(SignedView::decode(bytes).map(|signed| {
            let _ = (signed.verify(&key), signed.view.check(), view.check_successor(&signed));
            let _ = (view.moved_to(&signed.view), signed.view.vacant(), signed.view.quorum());
            let _ = Fence::new(FLEET, key).begin(signed);
        })),
        "SealOrder" => drop(SealOrder::decode(bytes).map(|order| {
            let _ = (order.verify(&key), order.declared());
            let _ = fence().refuse(&order);
        })),
        "Seal" => drop(Seal::decode(bytes).map(|seal| {
            let _ = seal.check(&key);
            let _ = fence().install(seal);
        })),
        "Fence" => drop(Fence::decode(bytes).map(|fence| {
            let _ = (fence.term(), fence.newest(), fence.successor(), fence.refusal(), fence.permit(&view.hash()));
            let _ = (fence.refuses(&view.id()), fence.order(), fence.seal());
        })),
        "Signed" | "Statement" => drop(Signed::decode(bytes).map(|signed| {
            let _ = view.seats.iter().map(|seat| signed.verify(FLEET, seat)).collect::<Vec<_>>();
        })),
        "Certificate" => drop(Certificate::decode(bytes).map(|certificate| certificate.check(&view))),
        "Void" => drop(Void::decode(bytes).map(|void| void.check(&view))),
        "Accusation" => drop(Accusation::decode(bytes).map(|accusation| {
            let _ = (accusation.check(&view), accusation.accuser(), accusation.incarnation());
            let owned = view.holder(1).map(|seat| seat.shards).unwrap_or_default();
            let _ = Accusers::new(&view, MemberId(2)).add(&accusation, owned);
        })),
        "Entry" => drop(Entry::decode(bytes).map(|entry| {
            let _ = (entry.blob(), entry.is_live(), entry.names(), entry.rank(|_| (1, 0)));
            if let Entry::Deleted(tombstone) = &entry {
                assert!(tombstone.verify().is_err() || tombstone.key == gateway().public(), "a forged tombstone");
            }
        })),
        _ => parse(bytes),
    }
}

fn fence() -> Fence {
    let mut fence = Fence::new(FLEET, operator().public());
    fence.begin(SignedView::sign(first_view(), &operator())).expect("the fleet's first");
    fence
}

const ITEM: usize = 9;

fn item(number: u8) -> [u8; ITEM] {
    noise(ITEM, &[number]).try_into().expect("as long as an item")
}

/// A peer's cells beside one's own: what is told of them, if anything, explains all of both.
fn sketch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (count, cells) = (input.byte(), 1 + usize::from(input.byte()));
    let mut own = Sketch::<ITEM>::empty(cells);
    (0..count).for_each(|number| own.insert(&item(number)));
    // The peer's: an honest one of other items, over which the input's bytes are laid.
    let mut peer = Sketch::<ITEM>::empty(cells);
    let from = input.byte();
    (from..from.saturating_add(input.byte())).for_each(|number| peer.insert(&item(number)));
    let mut encoded = peer.encode();
    let changed = input.rest();
    encoded.iter_mut().zip(changed).for_each(|(byte, change)| *byte ^= change);
    let Some(peer) = Sketch::<ITEM>::decode(&encoded) else { panic!("whole cells") };
    assert_eq!(peer.encode(), encoded);
    let _ = own.excess(&peer);
    if let Some(difference) = own.difference(&peer) {
        assert!(difference.here.is_disjoint(&difference.there));
        difference.here.iter().for_each(|item| own.remove(item));
        difference.there.iter().for_each(|item| own.insert(item));
        assert_eq!(own, peer, "a difference that isn't one");
    }
    if let Some(raw) = Sketch::<ITEM>::decode(changed) {
        assert_eq!(raw.encode(), changed);
        let _ = raw.difference(&own);
    }
}

fn parser_seeds() -> Vec<Vec<u8>> {
    (0..).zip(TABLE.iter()).map(|(which, parser)| [&[which], &parser.seed[..]].concat()).collect()
}

fn sketch_seeds() -> Vec<Vec<u8>> {
    vec![vec![40, 63, 20, 40], vec![40, 63, 40, 0], [&[5, 7, 3, 5][..], &noise(200, b"cells")].concat()]
}
