//! Challenges (R28): what a round asks, and which pieces it leads to.
//!
//! A round names some blobs, and with them a row of pieces: those of the challenged shards' slivers. Which of them are
//! asked for follows from the nonce and, for each but the first, from the bytes of the one before. So nobody knows a
//! piece before it has read the last one, and who has to fetch them fetches one after another.

use weft_redstuff::{Axis, BlobId, Hash, Layout, piece};

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    identity::{Incarnation, MemberId},
    keys::digest,
};

const ROUND: &str = "weft v1 challenge round";
const STEP: &str = "weft v1 challenge step";

/// One round: a member asks another for pieces of what it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Hash of the view that gives the challenged the shards.
    pub view: Hash,
    pub challenger: (MemberId, Incarnation),
    pub challenged: (MemberId, Incarnation),
    /// Seconds since 1970 by the challenger's clock: the round's number, for people.
    pub began: u64,
    /// Secret until the round begins.
    pub nonce: [u8; 32],
    pub shards: ShardSet,
    pub blobs: Vec<BlobId>,
    /// How many pieces are asked for.
    pub pieces: u32,
}

impl Round {
    /// A round asks for no more blobs: their slivers are closed to the challenged while it lasts.
    pub const MAX_BLOBS: usize = 8;
    /// A round asks for no more pieces.
    pub const MAX_PIECES: u32 = 64;

    /// The name under which answers and accusations cite it.
    pub fn digest(&self) -> Hash {
        digest(ROUND, &self.encode())
    }

    pub fn encode(&self) -> Vec<u8> {
        let who = |to: Encoder, (member, incarnation): (MemberId, Incarnation)| incarnation.encode(to.u32(member.0));
        let to = Encoder::new().fixed(self.view.as_bytes());
        who(who(to, self.challenger), self.challenged)
            .u64(self.began)
            .fixed(&self.nonce)
            .fixed(&self.shards.to_bytes())
            .list(&self.blobs, |to, blob| to.fixed(blob.as_bytes()))
            .u32(self.pieces)
            .finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("challenge round", bytes);
        let who = |from: &mut Decoder<'_>| Ok((MemberId(from.u32()?), Incarnation::decode(from)?));
        let round = Self {
            view: Hash(from.fixed()?),
            challenger: who(&mut from)?,
            challenged: who(&mut from)?,
            began: from.u64()?,
            nonce: from.fixed()?,
            shards: ShardSet::from_bytes(&from.fixed()?),
            blobs: from.list(|from| from.fixed().map(BlobId))?,
            pieces: from.u32()?,
        };
        if !round.blobs.is_sorted_by(|a, b| a < b) || round.blobs.len() > Self::MAX_BLOBS {
            return Err(from.invalid(format!("a round's blobs are sorted, and at most {}", Self::MAX_BLOBS)));
        }
        if !(1..=Self::MAX_PIECES).contains(&round.pieces) {
            return Err(from.invalid(format!("a round asks for 1 to {} pieces", Self::MAX_PIECES)));
        }
        from.finish()?;
        Ok(round)
    }
}

/// One piece: of which sliver, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub blob: BlobId,
    pub stripe: u32,
    pub axis: Axis,
    pub index: u16,
    /// Bytes of the sliver.
    pub length: usize,
    pub piece: u64,
}

/// The way of a round through its pieces, the same for both sides.
#[derive(Debug, Clone)]
pub struct Course {
    blobs: Vec<(BlobId, Layout)>,
    shards: Vec<u8>,
    total: u64,
    /// Binds the round and the pieces so far.
    state: Hash,
}

impl Course {
    /// `layout` gives that of each blob of the round. `None` where one isn't known, a shard is beyond its code, or
    /// there is no piece to ask for.
    pub fn new(round: &Round, layout: impl Fn(&BlobId) -> Option<Layout>) -> Option<Self> {
        let blobs: Vec<(BlobId, Layout)> =
            round.blobs.iter().map(|blob| Some((*blob, layout(blob)?))).collect::<Option<_>>()?;
        let all = |code: weft_redstuff::Code| ShardSet::first(code.shards());
        if blobs.iter().any(|(_, layout)| !round.shards.difference(all(layout.code())).is_empty()) {
            return None;
        }
        let shards: Vec<u8> = round.shards.iter().collect();
        let total = blobs.iter().map(|(_, layout)| shards.len() as u64 * pieces_of_shard(layout)).sum();
        (total > 0).then(|| Self { blobs, shards, total, state: round.digest() })
    }

    /// The piece that is next. Slivers count by their length.
    pub fn place(&self) -> Place {
        let word = u64::from_le_bytes(self.state.0[..8].try_into().expect("8 of 32 bytes"));
        let mut at = word % self.total;
        for (blob, layout) in &self.blobs {
            let of_shard = pieces_of_shard(layout);
            let of_blob = self.shards.len() as u64 * of_shard;
            if at < of_blob {
                return place(*blob, layout, self.shards[(at / of_shard) as usize], at % of_shard);
            }
            at -= of_blob;
        }
        unreachable!("the remainder by the total lies within it")
    }

    /// Goes on to the next piece, which follows from the bytes of this one.
    pub fn advance(&mut self, piece: &[u8]) {
        self.state = digest(STEP, &Encoder::new().fixed(self.state.as_bytes()).fixed(piece).finish());
    }

    /// Checks the next piece against its sliver's hash, and goes on if it is right.
    pub fn check(&mut self, sliver: &Hash, bytes: &[u8], path: &[Hash]) -> bool {
        let Place { length, piece, .. } = self.place();
        let right = piece::verify(sliver, length, piece, bytes, path);
        if right {
            self.advance(bytes);
        }
        right
    }

    /// Binds the round and all pieces so far: what an answer signs.
    pub fn state(&self) -> Hash {
        self.state
    }
}

fn pieces_of_stripe(layout: &Layout, stripe: u32) -> u64 {
    let Some(stripe) = layout.stripe(stripe) else { return 0 };
    Axis::BOTH.iter().map(|axis| piece::count(stripe.sliver_length(*axis))).sum()
}

/// All stripes but the last are alike.
fn pieces_of_shard(layout: &Layout) -> u64 {
    let Some(last) = layout.stripes().checked_sub(1) else { return 0 };
    u64::from(last) * pieces_of_stripe(layout, 0) + pieces_of_stripe(layout, last)
}

/// Number `at` of a shard's pieces: stripe by stripe, primary before secondary.
fn place(blob: BlobId, layout: &Layout, shard: u8, at: u64) -> Place {
    let of_stripe = pieces_of_stripe(layout, 0);
    // The last stripe may have fewer, and is never divided by.
    let number = (at / of_stripe).min(u64::from(layout.stripes() - 1)) as u32;
    let at = at - u64::from(number) * of_stripe;
    let stripe = layout.stripe(number).expect("the piece lies within the blob");
    let lengths = Axis::BOTH.map(|axis| stripe.sliver_length(axis));
    let primary = piece::count(lengths[0]);
    let (axis, length, piece) =
        if at < primary { (Axis::Primary, lengths[0], at) } else { (Axis::Secondary, lengths[1], at - primary) };
    let index = layout.code().sliver_index(u16::from(shard), axis);
    Place { blob, stripe: number, axis, index, length, piece }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use weft_redstuff::Code;

    use super::*;
    use crate::VolumeId;

    fn round(blobs: u8) -> Round {
        let who = |id| (MemberId(id), Incarnation { number: 1, volume: VolumeId([id as u8; 16]) });
        Round {
            view: Hash::of(b"view"),
            challenger: who(0),
            challenged: who(1),
            began: 7,
            nonce: [9; 32],
            shards: [2, 5].into_iter().collect(),
            blobs: (0..blobs).map(|id| BlobId([id; 32])).collect(),
            pieces: 8,
        }
    }

    fn layout(blob: &BlobId) -> Option<Layout> {
        Layout::for_length(Code::with_shards(7).unwrap(), 20_000_000 * u64::from(blob.0[0]) + 5_000).ok()
    }

    #[test]
    fn rounds_survive_their_encoding_and_others_are_refused() {
        let good = round(3);
        assert_eq!(Round::decode(&good.encode()), Ok(good.clone()));
        for bad in [
            Round { pieces: 0, ..good.clone() },
            Round { pieces: Round::MAX_PIECES + 1, ..good.clone() },
            Round { blobs: good.blobs.iter().rev().copied().collect(), ..good.clone() },
            round(Round::MAX_BLOBS as u8 + 1),
        ] {
            Round::decode(&bad.encode()).unwrap_err();
        }
    }

    #[test]
    fn every_piece_of_a_shard_has_one_place() {
        for blob in [BlobId([0; 32]), BlobId([2; 32])] {
            let layout = layout(&blob).unwrap();
            let of_shard = pieces_of_shard(&layout);
            let mut slivers = HashSet::new();
            for at in 0..of_shard {
                let Place { stripe, axis, index, length, piece, .. } = place(blob, &layout, 2, at);
                assert!(piece < weft_redstuff::piece::count(length));
                assert_eq!(length, layout.stripe(stripe).unwrap().sliver_length(axis));
                assert!(slivers.insert((stripe, axis.name(), index, piece)));
            }
            assert_eq!(slivers.len() as u64, of_shard);
        }
    }

    #[test]
    fn a_course_follows_nonce_and_pieces() {
        let places = |round: &Round, pieces: &[u8]| -> Vec<Place> {
            let mut course = Course::new(round, layout).unwrap();
            pieces
                .iter()
                .map(|byte| {
                    let place = course.place();
                    course.advance(&[*byte]);
                    place
                })
                .collect()
        };
        let (one, other) = (round(3), Round { nonce: [8; 32], ..round(3) });
        assert_eq!(places(&one, &[1, 2, 3]), places(&one, &[1, 2, 3]));
        assert_ne!(places(&one, &[1])[0], places(&other, &[1])[0]);
        let (this, that) = (places(&one, &[1, 2, 3]), places(&one, &[4, 2, 3]));
        assert_eq!(this[0], that[0]);
        assert_ne!(this[1..], that[1..], "later pieces depend on the bytes of earlier ones");
    }

    #[test]
    fn nothing_to_ask_for_is_no_course() {
        assert!(Course::new(&round(0), layout).is_none());
        assert!(Course::new(&Round { shards: ShardSet::EMPTY, ..round(2) }, layout).is_none());
        assert!(Course::new(&Round { shards: [7].into_iter().collect(), ..round(2) }, layout).is_none());
        assert!(Course::new(&round(2), |_| None).is_none());
    }
}
