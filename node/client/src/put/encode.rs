//! Encoding a put's stripes, in their order, on a thread of their own.

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use weft_proto::v1::{Sliver, UploadRequest};
use weft_protocol::ShardSet;
use weft_redstuff::{Axis, Code, EncodeError, EncodedStripe, Hash, Layout, LayoutError, encode_stripe, merkle};

use crate::apart;

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
    _room: OwnedSemaphorePermit,
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
    length: u64,
    digest: blake3::Hasher,
    roots: merkle::Builder,
}

impl Encoder {
    pub(super) fn new(code: Code) -> Self {
        Self { code, length: 0, digest: blake3::Hasher::new(), roots: merkle::Builder::new() }
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

    /// Encodes the next stripe.
    pub(super) async fn stripe(
        mut self,
        piece: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<(Self, Stripe), StripeError> {
        let symbol_size = self.symbol_size(&piece)?;
        let work = move || {
            let stripe = self.roots.leaves().len() as u32;
            self.length += piece.len() as u64;
            self.digest.update(&piece);
            let encoded = encode_stripe(self.code, symbol_size, piece)
                .map_err(|source| StripeError::Encode { stripe, source })?;
            let hashes = encoded.hashes();
            self.roots.push(hashes.root());
            Ok((self, Stripe { index: stripe, encoded, hashes: hashes.encode().into(), _room: room }))
        };
        apart(work).await.map_err(|_| StripeError::Panicked)?
    }

    /// Root, layout and digest of all that was encoded.
    pub(super) fn finish(self) -> Result<(Hash, Layout, Hash), StripeError> {
        let layout = Layout::sliced(self.code, self.length)?;
        Ok((self.roots.root(), layout, self.digest.finalize().into()))
    }
}
