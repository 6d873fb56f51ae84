//! Every parser of what travels signed or is kept, with an input that it takes. What is fuzzed shares it.

use weft_protocol::{
    Accusation, Certificate, Declaration, Entry, Fault, Fence, MemberId, Round, Seal, SealOrder, ShardSet, Signed,
    SignedView, Sketch, Statement, TermClaim, TimeFloor, Tombstone, View, Void,
};
use weft_redstuff::{BlobId, Hash, Metadata, StripeHashes};

use crate::sample::{FLEET, batch, first_view, gateway, incarnation, operator, small_blob};

const BLOB: BlobId = BlobId([3; 32]);

/// A parser, which gives back the bytes of what it read; and an input that it takes.
#[derive(Clone)]
pub(crate) struct Parser {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]) -> Option<Vec<u8>>,
    pub(crate) seed: Vec<u8>,
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

pub(crate) fn parsers() -> Vec<Parser> {
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
