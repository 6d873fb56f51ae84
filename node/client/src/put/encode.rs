//! Encoding a put's stripes, in their order, on threads of their own.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use weft_proto::v1::{Sliver, UploadRequest};
use weft_protocol::ShardSet;
use weft_redstuff::{Axis, Buffers, Code, EncodeError, EncodedStripe, Hash, Layout, LayoutError, StripeSource, merkle};

use crate::apart;

/// Bytes of content from which on two threads are faster than one.
const WORTH_TWO_THREADS: usize = 256 << 10;

/// Why a stripe can't be encoded.
#[derive(Debug, Error)]
pub enum StripeError {
    #[error("the content can't be laid out: {0}")]
    Layout(#[from] LayoutError),
    #[error("stripe {stripe} can't be encoded: {source}")]
    Encode { stripe: u32, source: EncodeError },
    #[error("the encoder ended abnormally")]
    Panicked,
}

/// One encoded stripe on its way to all holders.
#[derive(Debug)]
pub(super) struct Stripe {
    pub(super) index: u32,
    encoded: EncodedStripe,
    hashes: Bytes,
    /// Room in memory, given back when the last holder is done with the stripe.
    _room: Arc<OwnedSemaphorePermit>,
}

impl Stripe {
    /// The part of a holder of these shards.
    pub(super) fn request(&self, session: &[u8], view: &[u8], shards: ShardSet) -> UploadRequest {
        let code = self.encoded.code();
        let of_shard = |shard: u8| {
            Axis::BOTH.map(|axis| {
                let index = code.sliver_index(shard.into(), axis);
                Sliver { axis: axis as u32, index: index.into(), data: self.encoded.sliver(axis, index) }
            })
        };
        UploadRequest {
            session: Bytes::copy_from_slice(session),
            view: Bytes::copy_from_slice(view),
            stripe: self.index,
            symbol_size: self.encoded.symbol_size(),
            hashes: self.hashes.clone(),
            slivers: shards.iter().flat_map(of_shard).collect(),
        }
    }
}

/// What a put knows of its content so far.
#[derive(Debug)]
pub(super) struct Encoder {
    code: Code,
    buffers: Buffers,
    length: u64,
    digest: blake3::Hasher,
    roots: merkle::Builder,
}

impl Encoder {
    pub(super) fn new(code: Code, buffers: Buffers) -> Self {
        Self { code, buffers, length: 0, digest: blake3::Hasher::new(), roots: merkle::Builder::new() }
    }

    /// Bytes of symbols of a stripe with this content: all stripes but the last are full.
    fn symbol_size(&self, piece: &[u8]) -> Result<u32, LayoutError> {
        Ok(Layout::sliced(self.code, piece.len() as u64)?.tail_symbol_size())
    }

    /// Bytes of memory that a stripe's slivers take.
    pub(super) fn memory(&self, piece: &[u8]) -> Result<u64, LayoutError> {
        let symbol_size = self.symbol_size(piece)?;
        let sliver = |axis| self.code.sliver_length(axis, symbol_size) as u64;
        Ok(u64::from(self.code.shards()) * (sliver(Axis::Primary) + sliver(Axis::Secondary)))
    }

    /// Encodes the next stripe: the two axes of a large one on two threads, of which the one that has less to do also takes the digest.
    pub(super) async fn stripe(
        mut self,
        piece: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<(Self, Stripe), StripeError> {
        let index = self.roots.leaves().len() as u32;
        let (code, symbol_size, length) = (self.code, self.symbol_size(&piece)?, piece.len());
        let failed = move |source| StripeError::Encode { stripe: index, source };
        let source = if length < WORTH_TWO_THREADS {
            StripeSource::new(code, symbol_size, piece.clone())
        } else {
            let piece = piece.clone();
            apart(move || StripeSource::new(code, symbol_size, piece)).await.map_err(|_| StripeError::Panicked)?
        }
        .map_err(failed)?;
        // Who gives up meanwhile leaves the work to its end: until then the room is taken.
        let room = Arc::new(room);
        let mut digest = std::mem::take(&mut self.digest);
        let primaries = {
            let (source, buffers, room) = (source.clone(), self.buffers.clone(), Arc::clone(&room));
            move || {
                let _room = room;
                source.encode(Axis::Primary, &buffers)
            }
        };
        let secondaries = {
            let (source, buffers, room) = (source.clone(), self.buffers.clone(), Arc::clone(&room));
            move || {
                let _room = room;
                digest.update(&piece);
                (source.encode(Axis::Secondary, &buffers), digest)
            }
        };
        let (primaries, (secondaries, digest)) = if length < WORTH_TWO_THREADS {
            apart(move || (primaries(), secondaries())).await
        } else {
            try_join(apart(primaries), apart(secondaries)).await
        }
        .map_err(|_| StripeError::Panicked)?;
        let encoded = EncodedStripe::new(&source, primaries, secondaries);
        self.digest = digest;
        self.length += length as u64;
        self.roots.push(encoded.hashes().root());
        let hashes = encoded.hashes().encode().into();
        Ok((self, Stripe { index, encoded, hashes, _room: room }))
    }

    /// Root, layout and digest of all that was encoded.
    pub(super) fn finish(self) -> Result<(Hash, Layout, Hash), StripeError> {
        let layout = Layout::sliced(self.code, self.length)?;
        Ok((self.roots.root(), layout, self.digest.finalize().into()))
    }
}
