//! Pulling a peer's registry: which entries differ first, then those.

use std::collections::BTreeSet;

use thiserror::Error;
use tonic::Status;
use weft_proto::v1::{EntriesRequest, peers_client::PeersClient};
use weft_protocol::{DecodeError, Entry, Rank, SignedView};
use weft_redstuff::{BlobId, Hash};

use super::{differ::differ, void};
use crate::member::{Late, Member, MemberError, Peer, kind};

/// Entries asked for at a time.
const ENTRIES: usize = 256;

#[derive(Debug, Error)]
pub(super) enum PullError {
    #[error("ask the peer: {0}")]
    Call(#[from] Status),
    #[error("read the peer's answer: {0}")]
    Decode(#[from] DecodeError),
    #[error("the peer's answer is malformed")]
    Malformed,
    #[error("store what the peer has: {0}")]
    Store(#[from] MemberError),
    #[error("the peer's registry is no longer the one that it told of")]
    Moved,
    #[error("{0} entries of the peer are wanting, or did not pass their check")]
    Wanting(usize),
}

/// Merges a peer's registry into this one, at a cost that follows the difference. When it succeeds, this registry has
/// everything that the peer's had, but for what has expired; and where a digest is `expected`, the peer's was the one of that digest.
pub(super) async fn pull(member: &Member, peer: Peer, expected: Option<Hash>) -> Result<(), PullError> {
    let mut client = PeersClient::new(member.channel_to(peer)?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let rows = differ(member, &mut client, expected).await?;
    let wanted = lacking(member, &rows)?;
    let mut expired = BTreeSet::new();
    for some in wanted.chunks(ENTRIES) {
        let request = EntriesRequest { blobs: some.iter().map(|blob| blob.0.to_vec().into()).collect() };
        let reply = client.entries(request).await?.into_inner();
        member.metrics().received("registry", reply.entries.iter().map(bytes::Bytes::len).sum());
        let entries = reply.entries.iter().map(|entry| Entry::decode(entry)).collect::<Result<_, _>>()?;
        let views = reply.views.iter().map(|view| SignedView::decode(view)).collect::<Result<_, _>>()?;
        let merged = member.merge(entries, views, Late::Aside).await?;
        tracing::debug!(member = %peer.0, incarnation = peer.1, stored = merged.stored, refused = merged.refused,
            late = merged.late.len(), expired = merged.expired.len(), "registry: merged from the peer");
        expired.extend(merged.expired);
        void::settle(member, merged.late).await?;
    }
    // What the floor has ended here isn't wanting: the peer has yet to hear of the floor (R15).
    match lacking(member, &rows)?.iter().filter(|blob| !expired.contains(blob)).count() {
        0 => Ok(()),
        wanting => Err(PullError::Wanting(wanting)),
    }
}

/// Those of a peer's rows that this registry lacks.
fn lacking(member: &Member, rows: &[(BlobId, Rank)]) -> Result<Vec<BlobId>, MemberError> {
    let mut lacking = Vec::new();
    let view = member.store().view();
    for (blob, rank) in rows {
        if kind(&view, blob)?.is_none_or(|kind| kind.rank() < *rank) {
            lacking.push(*blob);
        }
    }
    Ok(lacking)
}
