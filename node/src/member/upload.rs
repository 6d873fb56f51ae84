//! Upload sessions: stripes, each durable before it is answered.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use weft_proto::v1::UploadRequest;
use weft_protocol::ShardSet;
use weft_redstuff::{Axis, Code, Hash, Layout, Metadata, StripeHashes, merkle};
use weft_store::{Room, SliverKey, Tx, UploadNumber, View};

use super::{Member, MemberError, index::Index, slivers};

/// How long a session is kept that gets no stripe and isn't finished, seconds: stripes of slow content are minutes apart.
const SESSION_SECONDS: u64 = 3600;

/// Sessions looked at in one commit.
const PAGE: usize = 256;

/// A stripe of a session, read and checked against its own hashes.
#[derive(Debug)]
pub(crate) struct StripeUpload {
    pub(crate) session: [u8; 16],
    pub(crate) stripe: u32,
    symbol_size: u32,
    root: Hash,
    description: Bytes,
    slivers: Vec<(Axis, u16, Bytes)>,
    /// Of all that is to be stored.
    pub(crate) bytes: u64,
    /// Bytes of both slivers of one shard.
    pair: u64,
}

impl StripeUpload {
    /// `session` is that of the stream's earlier messages.
    pub(crate) fn parse(code: Code, session: Option<[u8; 16]>, request: UploadRequest) -> Result<Self, MemberError> {
        let named = <[u8; 16]>::try_from(&request.session[..]).ok();
        let session = named.or(session).ok_or(MemberError::Malformed { field: "session" })?;
        let UploadRequest { stripe, symbol_size, .. } = request;
        if symbol_size == 0 || symbol_size > Layout::full_symbol_size(code) {
            return Err(MemberError::Malformed { field: "symbol_size" });
        }
        let hashes = StripeHashes::decode(code, &request.hashes)?;
        let mut slivers = Vec::with_capacity(request.slivers.len());
        for sliver in request.slivers {
            let axis = slivers::axis(sliver.axis).ok_or(MemberError::Malformed { field: "axis" })?;
            let index = u16::try_from(sliver.index).map_err(|_| MemberError::Malformed { field: "index" })?;
            slivers::check(code, stripe, &hashes, symbol_size, (axis, index, &sliver.data))?;
            slivers.push((axis, index, sliver.data));
        }
        let description = slivers::describe(symbol_size, &hashes);
        let bytes = description.len() as u64 + slivers.iter().map(|(_, _, data)| data.len() as u64).sum::<u64>();
        let root = hashes.root();
        let pair = Axis::BOTH.map(|axis| code.sliver_length(axis, symbol_size) as u64).iter().sum();
        Ok(Self { session, stripe, symbol_size, root, description, slivers, bytes, pair })
    }

    /// Whether it is all that there is of a blob.
    pub(crate) fn is_all_of(&self, metadata: &Metadata) -> bool {
        let mut stripes = metadata.layout.iter();
        let only = stripes.next().filter(|_| stripes.next().is_none());
        only.is_some_and(|only| (only.index, only.symbol_size) == (self.stripe, self.symbol_size))
            && merkle::root(&[self.root]) == metadata.root
    }

    /// The shards of which it brings both slivers.
    pub(crate) fn shards(&self, code: Code) -> ShardSet {
        let of = |axis: Axis| -> ShardSet {
            let slivers = self.slivers.iter().filter(|(of, ..)| *of == axis);
            slivers.map(|(axis, index, _)| code.shard_of(*axis, *index) as u8).collect()
        };
        of(Axis::Primary).intersection(of(Axis::Secondary))
    }

    /// Puts it into its session.
    pub(crate) fn put(self, tx: &mut Tx<'_>, now: u64) -> Result<UploadNumber, MemberError> {
        let upload = tx.open_upload(&self.session, now, &[])?.number;
        self.add(tx, upload)?;
        Ok(upload)
    }

    /// Puts it into an upload or a holding, beside what is there.
    pub(crate) fn add(self, tx: &mut Tx<'_>, upload: UploadNumber) -> Result<(), MemberError> {
        let Self { stripe, description, slivers, .. } = self;
        tx.put_stripe(upload, stripe, description)?;
        for (axis, index, data) in slivers {
            tx.put_sliver(&SliverKey { upload, stripe, axis: slivers::stored(axis), index: index as u8 }, data)?;
        }
        Ok(())
    }
}

/// What one shard may have of all blobs, in bytes, so that what is lost still fits on the others; 0: no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardLimit(u64);

impl ShardLimit {
    /// Refuses a blob that would bring so many bytes to each shard, if that is too much.
    pub(crate) fn admit(self, index: &Index, bytes: u64) -> Result<(), MemberError> {
        let (limit, all) = (self.0, index.totals().bytes.saturating_add(bytes));
        if limit == 0 || bytes == 0 || all <= limit {
            return Ok(());
        }
        Err(MemberError::NoRoomForRepair { bytes: all, limit })
    }
}

impl Member {
    /// Stores a stripe of an upload session; it is durable when this returns.
    pub(crate) async fn store_stripe(&self, stripe: StripeUpload) -> Result<(), MemberError> {
        self.must_be_healthy()?;
        // Sooner than when it's finished; stripes before the last one are no smaller. Whose blob it is isn't known yet: what is
        // stored already is refused too, once there is no room.
        self.shard_limit().admit(&self.index, u64::from(stripe.stripe + 1) * stripe.pair)?;
        let now = self.env.clock.unix_seconds();
        let room = Room::Grows { bytes: stripe.bytes };
        self.store.write(room, move |tx| stripe.put(tx, now)).await?;
        Ok(())
    }

    pub(super) fn shard_limit(&self) -> ShardLimit {
        ShardLimit(self.shard_limit.load(Ordering::Relaxed))
    }

    /// Drops sessions that got their last stripe an hour ago and were never finished.
    pub(crate) async fn drop_old_sessions(&self) -> Result<(), MemberError> {
        let now = self.env.clock.unix_seconds();
        let is_old = move |used_at: u64| used_at.saturating_add(SESSION_SECONDS) < now;
        let mut after = None;
        loop {
            let page = self.store.view().uploads(after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let old: Vec<[u8; 16]> =
                page.into_iter().filter(|(_, upload)| is_old(upload.used_at)).map(|(session, _)| session).collect();
            if old.is_empty() {
                continue;
            }
            let dropped = self.store.write(Room::Reserved, move |tx| {
                for session in &old {
                    tx.drop_upload(session)?;
                }
                Ok::<_, MemberError>(old.len())
            });
            let sessions = dropped.await?.value;
            tracing::info!(sessions, "dropped upload sessions that nobody finished");
        }
    }
}
