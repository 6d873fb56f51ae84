//! Upload sessions: stripes, each durable before it is answered.

use bytes::Bytes;
use weft_proto::v1::UploadRequest;
use weft_redstuff::{Axis, Code, Layout, StripeHashes};
use weft_store::{Room, SliverKey, View};

use super::{Member, MemberError, slivers};

/// How long a session is kept that gets no stripe and isn't finished, seconds: stripes of slow content are minutes apart.
const SESSION_SECONDS: u64 = 3600;

/// Sessions looked at in one commit.
const PAGE: usize = 256;

/// A stripe of a session, read and checked against its own hashes.
#[derive(Debug)]
pub(crate) struct StripeUpload {
    pub(crate) session: [u8; 16],
    pub(crate) stripe: u32,
    description: Bytes,
    slivers: Vec<(Axis, u16, Bytes)>,
    pub(crate) bytes: u64,
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
        let bytes = slivers.iter().map(|(_, _, data)| data.len() as u64).sum();
        Ok(Self { session, stripe, description: slivers::describe(symbol_size, &hashes), slivers, bytes })
    }
}

impl Member {
    /// Stores a stripe of an upload session; it is durable when this returns.
    pub(crate) async fn store_stripe(&self, stripe: StripeUpload) -> Result<(), MemberError> {
        self.must_be_healthy()?;
        let now = self.env.clock.unix_seconds();
        let room = Room::Grows { bytes: stripe.bytes + stripe.description.len() as u64 };
        let write = self.store.write(room, move |tx| {
            let upload = tx.open_upload(&stripe.session, now, &[])?.number;
            tx.put_stripe(upload, stripe.stripe, stripe.description)?;
            for (axis, index, data) in stripe.slivers {
                let place =
                    SliverKey { upload, stripe: stripe.stripe, axis: slivers::stored(axis), index: index as u8 };
                tx.put_sliver(&place, data)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
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
