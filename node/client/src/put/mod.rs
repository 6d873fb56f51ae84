//! Storing a blob: stripes to all holders, then acks, a certificate, receipts (R8).
//!
//! A put is answered when holders of n − f shards of one view have receipted its certificate, and not before. Holders
//! that fail or fall behind don't slow it down: what they lack they rebuild.

pub(crate) mod chain;
mod encode;
mod lane;
pub(crate) mod settle;
mod source;
mod upload;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use thiserror::Error;
use weft_protocol::{CertificateError, ViewId};
use weft_redstuff::{BlobId, Hash, Labels, Layout, LayoutError, Metadata, inline_root};

pub use self::{encode::StripeError, source::ContentError, upload::UploadError};
use self::{
    encode::{Encoder, Stripe},
    source::Source,
    upload::{Upload, Uploaded},
};
use crate::{Client, Current, FleetError, time};

/// Bytes of the largest content that holders get with what finishes it, in one message and one commit.
const WHOLE: usize = 4 << 20;

/// Why a blob isn't known to be stored.
#[derive(Debug, Error)]
pub enum PutError {
    #[error("the fleet's view isn't known")]
    Fleet(#[from] FleetError),
    #[error("the content can't be read")]
    Content(#[from] ContentError),
    #[error("a stripe can't be made")]
    Stripe(#[from] StripeError),
    #[error("the upload stopped")]
    Upload(#[from] UploadError),
    #[error("holders of only {answered} shards {did}, which takes {quorum}: {}", reasons.join("; "))]
    TooFew { did: &'static str, answered: u16, quorum: u16, reasons: Vec<String> },
    #[error("members have no room: {}", reasons.join("; "))]
    NoRoom { reasons: Vec<String> },
    #[error("the acks make no certificate")]
    Certificate(#[from] CertificateError),
    #[error("no quorum of acks and receipts within {after:?}")]
    Late { after: Duration },
    #[error("blob {0} was deleted: an ID never comes back (R13)")]
    Deleted(BlobId),
    #[error("the blob expires at {}, and the fleet's time is {} already (R15)", time::format(*expiry), time::format(*time))]
    Expired { expiry: u64, time: u64 },
}

impl From<LayoutError> for PutError {
    fn from(error: LayoutError) -> Self {
        Self::Stripe(error.into())
    }
}

/// What belongs to a blob besides its content.
#[derive(Debug, Clone, Default)]
pub struct PutRequest {
    /// A retried put repeats it, and gets the same ID for the same content (R16).
    pub nonce: [u8; 16],
    pub labels: Labels,
    /// Seconds since 1970: it is gone once the fleet's time floor has reached them (R15).
    pub expiry: Option<u64>,
}

/// A blob that holders of n − f shards of `view` have receipted.
#[derive(Debug, Clone)]
pub struct Stored {
    pub id: BlobId,
    pub metadata: Metadata,
    pub view: ViewId,
}

/// How a blob's content gets to its holders.
#[derive(Debug)]
enum Carried {
    /// In its entry.
    Inline(Bytes),
    /// With what finishes it: all of a small blob.
    Whole(Stripe),
    /// By streams that came before.
    Uploaded(Uploaded),
}

/// A blob whose content is on its way and whose metadata are known.
#[derive(Debug)]
struct Prepared {
    id: BlobId,
    metadata: Metadata,
    /// The encoded metadata.
    encoded: Bytes,
    carried: Carried,
    /// The encoded ID of the view that was the newest when the put began (R14).
    begun: Bytes,
}

impl Prepared {
    fn new(current: &Current, metadata: Metadata, carried: Carried) -> Self {
        let encoded = metadata.encode();
        let begun = current.view.id().encode(weft_protocol::Encoder::new()).finish().into();
        Self { id: Metadata::id_of(&encoded), metadata, encoded: encoded.into(), carried, begun }
    }

    /// The content, where the entry has it.
    fn inline(&self) -> Option<&Bytes> {
        match &self.carried {
            Carried::Inline(content) => Some(content),
            Carried::Whole(_) | Carried::Uploaded(_) => None,
        }
    }
}

impl Client {
    /// Stores content of any length. The nonce names the upload session too, so that a retry goes on with it.
    pub async fn put(
        &self,
        request: PutRequest,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Stored, PutError> {
        let current = self.fleet().current().await?;
        if let Some((expiry, time)) = request.expiry.zip(self.fleet().time()).filter(|(expiry, time)| expiry <= time) {
            // Members would say so in the end; this spares the content.
            return Err(PutError::Expired { expiry, time });
        }
        let prepared = self.upload(&current, request, content).await?;
        settle::settle(self, prepared).await
    }

    async fn upload(
        &self,
        current: &Arc<Current>,
        request: PutRequest,
        content: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Prepared, PutError> {
        let code = current.view.code;
        let capacity = code.stripe_capacity(Layout::full_symbol_size(code));
        let mut source = Source::new(content, capacity, self.buffers.clone());
        let first = source.next().await?.unwrap_or_default();
        if first.len() as u64 <= Layout::max_inline_length(code) {
            return Ok(inline(current, request, first)?);
        }
        if source.has_ended() && first.len() <= WHOLE {
            return self.whole(current, request, first).await;
        }
        let mut upload = Upload::open(Arc::clone(current), request.nonce);
        let (mut encoder, mut next) = (Encoder::new(code, self.buffers.clone()), Some(first));
        // A whole number of stripes ends with an empty piece.
        while let Some(piece) = next.filter(|piece| !piece.is_empty()) {
            upload.gate().await?;
            let memory = encoder.memory(&piece)?;
            let room = upload.meanwhile(self.write_memory.room(memory)).await;
            let stripe;
            (encoder, stripe) = encoder.stripe(piece, room).await?;
            upload.send(stripe);
            next = source.next().await?;
        }
        let metadata = finish(encoder, request)?;
        Ok(Prepared::new(current, metadata, Carried::Uploaded(upload.close())))
    }

    /// Encodes content of a single stripe that goes to its holders with what finishes it.
    async fn whole(&self, current: &Current, request: PutRequest, content: Bytes) -> Result<Prepared, PutError> {
        let encoder = Encoder::new(current.view.code, self.buffers.clone());
        let room = self.write_memory.room(encoder.memory(&content)?).await;
        let (encoder, stripe) = encoder.stripe(content, room).await?;
        Ok(Prepared::new(current, finish(encoder, request)?, Carried::Whole(stripe)))
    }
}

/// The metadata of a coded blob.
fn finish(encoder: Encoder, request: PutRequest) -> Result<Metadata, StripeError> {
    let (root, layout, digest) = encoder.finish()?;
    let PutRequest { nonce, labels, expiry } = request;
    Ok(Metadata { root, layout, labels, expiry, digest, nonce })
}

fn inline(current: &Current, request: PutRequest, content: Bytes) -> Result<Prepared, LayoutError> {
    let PutRequest { nonce, labels, expiry } = request;
    let layout = Layout::for_length(current.view.code, content.len() as u64)?;
    let (root, digest) = (inline_root(&content), Hash::of(&content));
    let metadata = Metadata { root, layout, labels, expiry, digest, nonce };
    Ok(Prepared::new(current, metadata, Carried::Inline(content)))
}
