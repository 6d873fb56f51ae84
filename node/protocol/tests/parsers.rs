//! Every parser of what travels signed or is kept: it panics on nothing, takes no more memory than its input is worth, and takes
//! each value in one spelling alone, since digests and signatures are over bytes.

mod sample;

use std::sync::LazyLock;

use proptest::prelude::*;
use weft_protocol::{
    Accusation, Certificate, Declaration, Entry, Fault, Fence, MemberId, Round, Seal, SealOrder, ShardSet, Signed,
    SignedView, Sketch, Statement, TermClaim, TimeFloor, Tombstone, View, Void,
};
use weft_redstuff::{BlobId, Hash, Metadata, StripeHashes};

use sample::{FLEET, batch, first_view, gateway, incarnation, operator, small_blob};

const BLOB: BlobId = BlobId([3; 32]);

static SEEDS: LazyLock<Vec<Parser>> = LazyLock::new(parsers);

/// A parser, which gives back the bytes of what it read; and an input that it takes.
#[derive(Clone)]
struct Parser {
    name: &'static str,
    read: fn(&[u8]) -> Option<Vec<u8>>,
    seed: Vec<u8>,
}

macro_rules! parser {
    ($type:ty, $seed:expr) => {
        Parser {
            name: stringify!($type),
            read: |bytes| Some(<$type>::decode(bytes).ok()?.encode()),
            seed: $seed.encode(),
        }
    };
}

fn all(statement: &Statement) -> Vec<Signed> {
    (0..5).flat_map(|id| batch(id, vec![statement.clone(), Statement::Sequence])).step_by(2).collect()
}

fn metadata() -> Metadata {
    Metadata { expiry: Some(1_800_000_000), ..small_blob().0 }
}

fn parsers() -> Vec<Parser> {
    let (view, operator) = (first_view(), operator());
    let next = View { revision: 1, predecessor: Some(view.id()), ..view.clone() };
    let signed = |view: &View| SignedView::sign(view.clone(), &operator);
    let lost = vec![(MemberId(6), incarnation(6))];
    let declaration = Declaration::sign(2, (&view, &next), lost, &operator);
    let order = SealOrder::declaring(2, view.hash(), signed(&next), Some(declaration.clone()), &operator);
    let refusal = Statement::Refusal { view: view.hash(), successor: next.hash(), term: 2 };
    let seal = Seal {
        sealed: signed(&view),
        successor: signed(&next),
        refusals: all(&refusal),
        declaration: Some(declaration.clone()),
    };
    let mut fence = Fence::new(FLEET, operator.public());
    fence.begin(signed(&view)).unwrap();
    let ack = Statement::Ack { view: view.hash(), blob: metadata().id(), shards: ShardSet::first(255) };
    let certificate = Certificate::new(&view, metadata().id(), all(&ack)).unwrap();
    let live = Entry::Live { metadata: metadata(), inline: Some(small_blob().1), certificate: certificate.clone() };
    let lacking = Statement::Lacking { synced: view.id(), blob: BLOB };
    let void = Void { view: view.id(), blob: BLOB, counted: next.hash(), lacks: all(&lacking) };
    let round = Round {
        view: view.hash(),
        challenger: (MemberId(1), incarnation(1)),
        challenged: (MemberId(2), incarnation(2)),
        began: 1,
        nonce: [5; 32],
        shards: [2].into_iter().collect(),
        blobs: vec![BLOB],
        pieces: 4,
    };
    let accuses = Statement::Accusation {
        accused: MemberId(2),
        incarnation: incarnation(2),
        blob: BLOB,
        began: 1,
        round: round.digest(),
        fault: Fault::Lacks,
    };
    let answers = Statement::Answer { round: round.digest(), state: view.hash(), lacks: Some(BLOB) };
    let accusation =
        Accusation { statement: batch(1, vec![accuses.clone()]).remove(0), answer: batch(2, vec![answers]).pop() };
    let tombstone = Tombstone::sign(FLEET, BLOB, &gateway());
    let hashes = |seed: u8| (0..7).map(|index| Hash([seed + index; 32])).collect::<Vec<_>>();
    let stripe = StripeHashes::new(view.code, hashes(1), hashes(50)).unwrap();
    let mut sketch = Sketch::<9>::empty(64);
    (0..40_u8).for_each(|row| sketch.insert(&[row; 9]));
    vec![
        parser!(View, view),
        parser!(SignedView, signed(&view)),
        parser!(TermClaim, TermClaim::sign(FLEET, 3, &operator)),
        parser!(TimeFloor, TimeFloor::sign(FLEET, 3, &operator)),
        parser!(Declaration, declaration),
        parser!(SealOrder, order),
        parser!(Seal, seal),
        parser!(Fence, fence),
        parser!(Statement, accuses),
        parser!(Signed, batch(3, vec![ack, Statement::Sequence, refusal]).remove(1)),
        parser!(Certificate, certificate),
        parser!(Entry, live),
        parser!(Entry, Entry::Deleted(tombstone.clone())),
        parser!(Entry, Entry::Void(void.clone())),
        parser!(Tombstone, tombstone),
        parser!(Void, void),
        parser!(Round, round),
        parser!(Accusation, accusation),
        parser!(Metadata, metadata()),
        Parser { name: "Sketch", read: |bytes| Some(Sketch::<9>::decode(bytes)?.encode()), seed: sketch.encode() },
        Parser {
            name: "StripeHashes",
            read: |bytes| Some(StripeHashes::decode(first_view().code, bytes).ok()?.encode()),
            seed: stripe.encode(),
        },
    ]
}

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
