//! The client against members who fail, lag and lie.

mod changes;
mod degraded;
mod expiring;
mod fake;
mod reading;
mod strict;
mod writing;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use weft_client::{ByteRange, Client, GetError, PutError, PutRequest, Stored};
use weft_redstuff::{BlobId, Code, Layout};

/// Bytes without a period that a mistake could hide in.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) async fn put(client: &Client, nonce: u8, bytes: &[u8]) -> Result<Stored, PutError> {
    let chunks: Vec<_> = bytes.chunks(100_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    client.put(PutRequest { nonce: [nonce; 16], ..PutRequest::default() }, stream::iter(chunks)).await
}

pub(crate) async fn get(client: &Client, id: BlobId, range: Option<ByteRange>) -> Result<Vec<u8>, GetError> {
    let pieces: Vec<Bytes> = client.get(id, range).await?.bytes.try_collect().await?;
    Ok(pieces.concat())
}

/// Bytes of a full stripe's content.
pub(crate) fn stripe(code: Code) -> usize {
    code.stripe_capacity(Layout::full_symbol_size(code)) as usize
}

/// Waits until something holds, as nothing tells when it begins to.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let looks = stream::iter(0..500).then(async |_| {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        holds()
    });
    assert!(std::pin::pin!(looks).any(async |held| held).await, "{what}");
}
