//! What a round asks about: blobs that both sides know, of shards that the challenged doesn't say to miss (R28).

use std::collections::{BTreeSet, HashSet};

use tonic::Status;
use weft_client::Traced;
use weft_proto::v1::{LacksReply, LacksRequest, challenges_client::ChallengesClient};
use weft_protocol::{Entry, Round, Seat, ShardSet, SignedView};
use weft_redstuff::{BlobId, Hash};

use crate::member::{DigestKind, Kind, Member, MemberError, read_digests};

/// Blobs of a round: few, for they are closed to the challenged while it lasts.
const BLOBS: usize = 4;

/// Pieces of a round.
const PIECES: u32 = 16;

/// Rows of the registry that are looked at from a random place on.
const SCAN: usize = 256;

/// A blob that ends so soon after the fleet's time isn't asked about (seconds): it may be gone there already. Whoever answers
/// exchanges isn't ahead by so much (R15).
const ENDING: u64 = 60 * 60;

/// What the challenged said before it knew what it would be asked.
pub(super) struct Told {
    shards: ShardSet,
    /// Parts of the registry in which both sides know the same blobs.
    shared: Vec<u8>,
    missing: HashSet<(BlobId, u8)>,
}

/// Asks the challenged what it lacks. `None` when it is of another view, or its answer makes no sense.
pub(super) async fn ask(member: &Member, newest: &SignedView, channel: Traced) -> Result<Option<Told>, Status> {
    let mut client = ChallengesClient::new(channel).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let reply = client.lacks(LacksRequest { digest_kind: DigestKind::Sets.wire() }).await?.into_inner();
    let ours = member.registry_digests(DigestKind::read(reply.digest_kind)).await?;
    Ok(Told::compared(&ours, newest, &reply))
}

impl Told {
    fn compared(ours: &[Hash], newest: &SignedView, reply: &LacksReply) -> Option<Self> {
        if Hash::from_slice(&reply.view)? != newest.view.hash() {
            return None;
        }
        let theirs = read_digests(&reply.digests)?;
        let parts = theirs.iter().zip(ours).zip(0..=u8::MAX);
        let shared = parts.filter(|((theirs, ours), _)| theirs == ours).map(|(_, part)| part).collect();
        let row = |row: &[u8]| Some((BlobId::from_slice(row.get(..BlobId::LENGTH)?)?, *row.get(BlobId::LENGTH)?));
        Some(Self {
            shards: ShardSet::from_bytes(reply.shards.as_ref().try_into().ok()?),
            shared,
            missing: reply.missing.chunks(BlobId::LENGTH + 1).map(row).collect::<Option<_>>()?,
        })
    }
}

/// Draws a round. `None` when there is nothing to ask about.
pub(super) fn round(
    member: &Member,
    newest: &SignedView,
    seat: &Seat,
    told: &Told,
) -> Result<Option<Round>, MemberError> {
    let mut shards = told.shards.intersection(seat.shards);
    let env = member.env();
    let drawn = candidates(member, told, BlobId(env.random()))?;
    let blobs: BTreeSet<BlobId> = drawn.into_iter().take(BLOBS).collect();
    // A shard that lacks one of these blobs isn't asked about, rather than the blob: a member that has just lost one
    // shard proves the others.
    shards = shards.iter().filter(|shard| blobs.iter().all(|blob| !told.missing.contains(&(*blob, *shard)))).collect();
    if blobs.is_empty() || shards.is_empty() {
        return Ok(None);
    }
    let identity = member.identity();
    Ok(Some(Round {
        view: newest.view.hash(),
        challenger: (identity.member, identity.incarnation),
        challenged: (seat.member, seat.incarnation),
        began: env.clock.unix_seconds(),
        nonce: env.random(),
        shards,
        blobs: blobs.into_iter().collect(),
        pieces: PIECES,
    }))
}

/// Blobs with slivers from a random place of the registry on, whose hashes this member has to check the answer by.
fn candidates(member: &Member, told: &Told, from: BlobId) -> Result<Vec<BlobId>, MemberError> {
    let mut found = Vec::new();
    if told.shared.is_empty() {
        return Ok(found);
    }
    let (behind, _) = member.entry_ids(&told.shared, Some(from), SCAN)?;
    let (before, _) = member.entry_ids(&told.shared, None, SCAN)?;
    for (blob, kind) in behind.into_iter().chain(before) {
        if found.len() == BLOBS {
            break;
        }
        let Kind::Live { slivers: 1.., .. } = kind else { continue };
        if found.contains(&blob) || !member.coming_in(&blob).is_empty() || member.stripe_hashes(&blob, 0)?.is_none() {
            continue;
        }
        let Some(Entry::Live { metadata, .. }) = member.entry(&blob)? else { continue };
        let time = member.time_floor().map(|floor| floor.seconds.saturating_add(ENDING));
        if metadata.expiry.is_none_or(|ends| time.is_some_and(|time| time < ends)) {
            found.push(blob);
        }
    }
    Ok(found)
}
