//! Finding what a peer's registry has and this one hasn't: by its sketch, at a cost that follows the difference; or from
//! the lists of the parts that differ.

use tonic::Code;
use weft_client::Traced;
use weft_proto::v1::{EntryIdsRequest, RegistryDigestsRequest, SketchRequest, peers_client::PeersClient};
use weft_protocol::{Rank, SetHash, Sketch};
use weft_redstuff::{BlobId, Hash};

use super::pull::PullError;
use crate::member::{Compared, Digest, DigestKind, Member, ROW, read_digests, read_row, row, whole};

/// Cells asked for, until they are enough; more differences are found faster in lists.
const CELLS: [usize; 3] = [64, 256, 1024];

/// IDs asked for at a time.
const IDS: u32 = 32 * 1024;

/// Rows of the peer's registry, all that this one lacks among them, in order of ID. Where a digest is `expected`, the
/// registry that they are of is proven to be the one of that digest.
pub(super) async fn differ(
    member: &Member,
    client: &mut PeersClient<Traced>,
    expected: Option<Hash>,
) -> Result<Vec<(BlobId, Rank)>, PullError> {
    match sketched(member, client, expected).await? {
        Some(rows) => Ok(rows),
        None => listed(member, client, expected).await,
    }
}

/// What its sketch tells; `None` where they differ by too much, and of a peer that tells none.
async fn sketched(
    member: &Member,
    client: &mut PeersClient<Traced>,
    expected: Option<Hash>,
) -> Result<Option<Vec<(BlobId, Rank)>>, PullError> {
    let mut excess = 0;
    // A registry that is proven mustn't move while it's asked for: all at once, then.
    let steps = if expected.is_some() { &CELLS[CELLS.len() - 1..] } else { &CELLS };
    for &cells in steps {
        if excess >= cells as u64 {
            continue;
        }
        let reply =
            match client.sketch(SketchRequest { cells: cells as u32, digest_kind: DigestKind::Sets.wire() }).await {
                Err(status) if status.code() == Code::Unimplemented => return Ok(None),
                reply => reply?.into_inner(),
            };
        member.metrics().received("registry", reply.digests.len() + reply.cells.len());
        // A sketch is proven by digests of sets.
        if DigestKind::read(reply.digest_kind) != DigestKind::Sets {
            return Ok(None);
        }
        let digests = as_expected(&reply.digests, expected)?;
        let sketch = Sketch::decode(&reply.cells).ok_or(PullError::Malformed)?;
        match member.compare_registry(digests, sketch).await {
            (Compared::Equal, _) => return Ok(Some(Vec::new())),
            (Compared::Lacks(rows), _) => {
                member.metrics().registry_compared("sketch");
                return Ok(Some(rows));
            }
            (Compared::Unclear, least) => excess = least,
        }
    }
    Ok(None)
}

/// The lists of all parts that differ.
async fn listed(
    member: &Member,
    client: &mut PeersClient<Traced>,
    expected: Option<Hash>,
) -> Result<Vec<(BlobId, Rank)>, PullError> {
    let reply =
        client.registry_digests(RegistryDigestsRequest { digest_kind: DigestKind::Sets.wire() }).await?.into_inner();
    member.metrics().received("registry", reply.digests.len());
    let theirs = as_expected(&reply.digests, expected)?;
    let kind = DigestKind::read(reply.digest_kind);
    let parts = theirs.iter().zip(member.registry_digests(kind).await?).zip(0..=u8::MAX);
    let parts: Vec<u8> = parts.filter(|((theirs, ours), _)| *theirs != ours).map(|(_, part)| part).collect();
    member.metrics().registry_compared("lists");
    // No parts would be all of them.
    let rows = if parts.is_empty() { Vec::new() } else { list(member, client, &parts).await? };
    if expected.is_some() && !parts.iter().all(|part| theirs[usize::from(*part)] == digest(kind, &rows, *part)) {
        return Err(PullError::Moved);
    }
    Ok(rows)
}

/// Reads the digests of a peer's parts, which are to be those of the registry that is expected.
fn as_expected(digests: &[u8], expected: Option<Hash>) -> Result<Vec<Hash>, PullError> {
    let digests = read_digests(digests).ok_or(PullError::Malformed)?;
    if expected.is_some_and(|expected| expected != whole(&digests)) {
        return Err(PullError::Moved);
    }
    Ok(digests)
}

fn digest(kind: DigestKind, rows: &[(BlobId, Rank)], part: u8) -> Hash {
    let rows = rows.iter().filter(|(blob, _)| blob.0[0] == part);
    match kind {
        DigestKind::Sets => {
            let mut set = SetHash::default();
            rows.for_each(|(blob, rank)| set.insert(&row(blob, *rank)));
            set.digest()
        }
        DigestKind::Rows => {
            let mut digest = Digest::default();
            rows.for_each(|(blob, rank)| digest.add(blob, *rank));
            digest.finish()
        }
    }
}

async fn list(
    member: &Member,
    client: &mut PeersClient<Traced>,
    parts: &[u8],
) -> Result<Vec<(BlobId, Rank)>, PullError> {
    let mut rows: Vec<(BlobId, Rank)> = Vec::new();
    loop {
        let after = rows.last().map(|(blob, _)| blob.0.to_vec().into()).unwrap_or_default();
        let reply =
            client.entry_ids(EntryIdsRequest { after, limit: IDS, parts: parts.to_vec().into() }).await?.into_inner();
        member.metrics().received("registry", reply.ids.len());
        if reply.ids.len() % ROW != 0 || (reply.more && reply.ids.is_empty()) {
            return Err(PullError::Malformed);
        }
        for row in reply.ids.chunks_exact(ROW) {
            let (blob, rank) = read_row(row).ok_or(PullError::Malformed)?;
            // In order, so that a peer that repeats itself is not listened to for ever.
            if rows.last().is_some_and(|(last, _)| *last >= blob) {
                return Err(PullError::Malformed);
            }
            rows.push((blob, rank));
        }
        if !reply.more {
            return Ok(rows);
        }
    }
}
