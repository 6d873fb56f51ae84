//! Finishing an upload: a session becomes a blob's holding, atomically, and is acked (R8).

use std::sync::Arc;

use weft_protocol::{Entry, ShardSet, Signed, Statement, ViewId, check_content};
use weft_redstuff::{BlobId, Hash, Layout, Metadata};
use weft_store::{Room, Tx, UploadNumber, View};

use super::{
    Identity, Member, MemberError, StripeUpload, expire, index, orphans, records, shards_in, slivers, syncing,
};
use crate::telemetry;

/// What the gateway asks to have finished and acked.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) view: Hash,
    pub(crate) session: [u8; 16],
    pub(crate) metadata: Metadata,
    pub(crate) inline: Option<Vec<u8>>,
    /// The newest view when the put began.
    pub(crate) begun: ViewId,
    /// All that there is of the blob for this member, where it wasn't uploaded before.
    pub(crate) stripe: Option<StripeUpload>,
}

impl Member {
    /// Acks the shards of the named view whose slivers are durable here. Idempotent: a blob that is held already is
    /// acked as it is held. Not before this member knows what was deleted under earlier views (R13).
    pub(crate) async fn finish(&self, finish: Finish) -> Result<Signed, MemberError> {
        self.must_be_healthy()?;
        check_content(&finish.metadata, finish.inline.as_deref())?;
        let Finish { view: asked, session, metadata, inline: _, begun, stripe } = finish;
        if stripe.as_ref().is_some_and(|stripe| !stripe.is_all_of(&metadata)) {
            return Err(MemberError::WrongStripes);
        }
        let (blob, layout, now) = (metadata.id(), metadata.layout, self.env.clock.unix_seconds());
        telemetry::about(&blob);
        let (snapshot, limit) = (self.store.view(), self.shard_limit());
        // Reading all stripes takes a while, and nothing but the session's end changes what is found.
        let verified = match &stripe {
            Some(_) => Verified(None),
            None => Verified::of(&snapshot, &session, &metadata)?,
        };
        let stripe = stripe.filter(|stripe| !is_held(&snapshot, stripe, &blob, &layout).unwrap_or(false));
        let room = stripe.as_ref().map_or(Room::Reserved, |stripe| Room::Grows { bytes: stripe.bytes });
        let identity = self.identity.clone();
        let (sums, floor) = (Arc::clone(&self.index), Arc::clone(&self.floor));
        let write = self.store.write(room, move |tx| {
            let fence = records::fence(tx)?;
            let view = fence.permit(&asked).map_err(|source| MemberError::view(&fence, source))?;
            if view.code != metadata.code() {
                return Err(weft_protocol::EntryError::OtherCode.into());
            }
            if is_deleted(tx, &blob)? {
                return Err(MemberError::Deleted(blob));
            }
            floor.admit(metadata.expiry)?;
            let mine = shards_in(&identity, view);
            if mine.is_empty() {
                return Err(MemberError::NoSeat);
            }
            syncing::may_ack(tx, view)?;
            if records::horizon(tx)?.is_some_and(|horizon| begun.position() <= horizon) {
                return Err(MemberError::BegunEarly(begun));
            }
            let was_held = !slivers::whole(tx, slivers::counted(tx, &blob)?, &layout, mine)?.is_empty();
            match stripe {
                Some(stripe) => bring(tx, stripe, now, blob, &layout)?,
                None if layout.is_inline() => {}
                None => take(tx, &session, &verified, blob, &layout)?,
            }
            let shards = slivers::whole(tx, slivers::counted(tx, &blob)?, &layout, mine)?;
            if shards.is_empty() {
                return Err(MemberError::Incomplete);
            }
            // What was held before, or is certified already, takes no more room.
            let is_live = index::is_live(tx, &blob)?;
            if !was_held && !is_live {
                limit.admit(&sums, slivers::bytes_of_a_shard(&layout))?;
            }
            orphans::acked(tx, &blob, is_live)?;
            if is_live {
                clear_missing(tx, &blob, shards)?;
            } else if let Some(expiry) = metadata.expiry.filter(|_| !layout.is_inline()) {
                expire::expect_certificate(tx, blob, expiry);
            }
            Ok(Statement::Ack { view: asked, blob, shards })
        });
        let written = write.await?;
        Ok(self.sign_at(written.value, written.sequence))
    }
}

/// A session all of whose stripes are those of the metadata, or that there is none.
#[derive(Debug, Clone, Copy)]
struct Verified(Option<UploadNumber>);

impl Verified {
    fn of(view: &impl View, session: &[u8; 16], metadata: &Metadata) -> Result<Self, MemberError> {
        let Some(upload) = view.upload(session)?.filter(|_| !metadata.layout.is_inline()) else {
            return Ok(Self(None));
        };
        match slivers::are_of(view, upload.number, metadata)? {
            None => Ok(Self(None)),
            Some(true) => Ok(Self(Some(upload.number))),
            Some(false) => Err(MemberError::WrongStripes),
        }
    }
}

/// Makes the session the blob's holding, unless what is held has something that the session lacks: acked slivers go
/// only with the blob (R11).
fn take(
    tx: &mut Tx<'_>,
    session: &[u8; 16],
    verified: &Verified,
    blob: BlobId,
    layout: &Layout,
) -> Result<(), MemberError> {
    let open = tx.upload(session)?.map(|upload| upload.number);
    let Some(upload) = verified.0.filter(|upload| open == Some(*upload)) else { return Ok(()) };
    let all = ShardSet::first(layout.code().shards());
    let brought = slivers::whole(tx, Some(upload), layout, all)?;
    let held = slivers::whole(tx, slivers::counted(tx, &blob)?, layout, all)?;
    if brought.difference(held).is_empty() {
        tx.drop_upload(session)?;
    } else if held.difference(brought).is_empty() {
        tx.release_blob(&blob.0)?;
        tx.finish_upload(session, &blob.0)?;
    }
    Ok(())
}

/// Whether all that a stripe brings is held already.
fn is_held(view: &impl View, stripe: &StripeUpload, blob: &BlobId, layout: &Layout) -> Result<bool, MemberError> {
    let brought = stripe.shards(layout.code());
    let held = slivers::whole(view, slivers::counted(view, blob)?, layout, brought)?;
    Ok(brought.difference(held).is_empty())
}

/// Makes a blob's only stripe its holding, or adds it to what is held. What its session had before was another put's, or the
/// same one's under a view before.
fn bring(tx: &mut Tx<'_>, stripe: StripeUpload, now: u64, blob: BlobId, layout: &Layout) -> Result<(), MemberError> {
    if is_held(tx, &stripe, &blob, layout)? {
        return Ok(());
    }
    if let Some(upload) = slivers::counted(tx, &blob)? {
        return stripe.add(tx, upload);
    }
    let session = stripe.session;
    tx.drop_upload(&session)?;
    let upload = stripe.put(tx, now)?;
    take(tx, &session, &Verified(Some(upload)), blob, layout)
}

pub(crate) fn is_deleted(tx: &Tx<'_>, blob: &BlobId) -> Result<bool, MemberError> {
    match tx.entry(&blob.0)? {
        None => Ok(false),
        Some(entry) => Ok(Entry::decode(&entry)?.is_deleted()),
    }
}

fn clear_missing(tx: &mut Tx<'_>, blob: &BlobId, shards: ShardSet) -> Result<(), MemberError> {
    for shard in shards.iter() {
        tx.remove_missing(&blob.0, shard)?;
    }
    Ok(())
}

/// Names the identity's shards that an entry's slivers are wanting of, for the work list.
pub(crate) fn lacking(tx: &Tx<'_>, identity: &Identity, entry: &Entry) -> Result<ShardSet, MemberError> {
    let Entry::Live { metadata, .. } = entry else { return Ok(ShardSet::EMPTY) };
    let fence = records::fence(tx)?;
    let wanted = super::must_hold(identity, &fence, records::target(tx)?.as_ref());
    let held = slivers::whole(tx, slivers::counted(tx, &metadata.id())?, &metadata.layout, wanted)?;
    Ok(wanted.difference(held))
}
