//! The challenged's side: telling what is missing before it is asked, and answering a round (R28).

use bytes::{BufMut, Bytes, BytesMut};
use weft_proto::v1::{ChallengePiece, ChallengeReply, LacksReply};
use weft_protocol::{Course, Entry, FenceError, MemberId, Round, ShardSet, Statement};
use weft_redstuff::{BlobId, Layout, piece};
use weft_store::{Room, StoreError, View};

use crate::member::{DigestKind, Member, MemberError};

/// Rows of the work list that are told. Of shards that miss more, only that they aren't to be asked for.
const MAX_ROWS: usize = 16 * 1024;

/// What this member lacks by its own work list. Read inside a write, behind everything that the digests tell of.
pub(crate) async fn lacks(member: &Member, kind: DigestKind) -> Result<LacksReply, MemberError> {
    let digests: Vec<u8> = member.registry_digests(kind).await?.iter().flat_map(|digest| digest.0).collect();
    let known = member.known();
    let newest = known.newest.as_ref().ok_or(MemberError::NoSeat)?;
    let own = member.seated().intersection(known.work);
    let read = member.store().write(Room::Reserved, move |tx| {
        let rows = tx.missing(None, MAX_ROWS + 1)?;
        if rows.len() <= MAX_ROWS {
            return Ok((own, rows));
        }
        let mut whole = ShardSet::EMPTY;
        for shard in own.iter() {
            if !tx.lacks(shard)? {
                whole.insert(shard);
            }
        }
        Ok::<_, StoreError>((whole, Vec::new()))
    });
    let (shards, rows) = read.await?.value;
    let mut missing = BytesMut::with_capacity(rows.len() * (BlobId::LENGTH + 1));
    for (blob, shard) in rows {
        missing.put_slice(&blob);
        missing.put_u8(shard);
    }
    Ok(LacksReply {
        digest_kind: kind.wire(),
        view: Bytes::copy_from_slice(newest.view.hash().as_bytes()),
        shards: shards.to_bytes().to_vec().into(),
        digests: digests.into(),
        missing: missing.freeze(),
    })
}

/// Follows a round's course through this member's slivers, to its end or to the first that is lacking. That one goes
/// on the work list: whatever the challenger makes of it, it is mended.
pub(crate) async fn answer(
    member: &Member,
    caller: (MemberId, u32),
    round: &Round,
) -> Result<ChallengeReply, MemberError> {
    member.must_be_healthy()?;
    let layouts = match asked(member, caller, round)? {
        Asked::Of(layouts) => layouts,
        Asked::Gone(gone) => return Ok(ChallengeReply { gone, ..ChallengeReply::default() }),
    };
    let layout = |blob: &BlobId| layouts.iter().find(|(known, _)| known == blob).map(|(_, layout)| *layout);
    let mut course = Course::new(round, layout).ok_or(MemberError::Malformed { field: "round" })?;
    let (mut pieces, mut lacks) = (Vec::new(), None);
    for _ in 0..round.pieces {
        let place = course.place();
        let sliver = member.read_sliver(&place.blob, place.stripe, place.axis, place.index).await?;
        let Some((data, path)) = sliver.as_ref().and_then(|sliver| piece::prove(sliver, place.piece)) else {
            member.mark_missing(place.blob, place.axis, place.index).await?;
            // Deleted, or given away, while it was being asked about: nobody may expect it any more.
            if let Asked::Gone(gone) = asked(member, caller, round)? {
                return Ok(ChallengeReply { gone, ..ChallengeReply::default() });
            }
            lacks = Some(place.blob);
            break;
        };
        course.advance(data);
        let path = path.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect();
        pieces.push(ChallengePiece { data: Bytes::copy_from_slice(data), path });
    }
    member.metrics().challenge_answered(lacks.is_none());
    let answer = Statement::Answer { round: round.digest(), state: course.state(), lacks };
    Ok(ChallengeReply { pieces, answer: member.sign_now(answer).encode().into(), gone: Vec::new() })
}

enum Asked {
    Of(Vec<(BlobId, Layout)>),
    /// Entries that say that some of the blobs aren't live any more.
    Gone(Vec<Bytes>),
}

/// Whether the round is this member's to answer, and what it asks about.
fn asked(member: &Member, caller: (MemberId, u32), round: &Round) -> Result<Asked, MemberError> {
    let identity = member.identity();
    if round.challenged != (identity.member, identity.incarnation)
        || caller != (round.challenger.0, round.challenger.1.number)
    {
        return Err(MemberError::Malformed { field: "round" });
    }
    let known = member.known();
    let newest = known.newest.as_ref().ok_or(MemberError::NoSeat)?;
    if newest.view.hash() != round.view {
        let source = FenceError::NotNewest { asked: round.view, newest: newest.view.id() };
        return Err(MemberError::view(&known.fence, source));
    }
    if !round.shards.difference(member.seated()).is_empty() {
        return Err(MemberError::NoSeat);
    }
    let (mut layouts, mut gone) = (Vec::new(), Vec::new());
    for blob in &round.blobs {
        match member.entry(blob)?.ok_or(MemberError::NoBlob(*blob))? {
            Entry::Live { metadata, .. } => layouts.push((*blob, metadata.layout)),
            entry => gone.push(entry.encode().into()),
        }
    }
    Ok(if gone.is_empty() { Asked::Of(layouts) } else { Asked::Gone(gone) })
}
