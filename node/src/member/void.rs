//! Voids (R12): what a member says of blobs that it lacks, and what becomes of a voided blob's slivers.

use weft_protocol::{Entry, Signed, Statement, ViewId};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, Tx, View};

use super::{Kind, Member, MemberError, index, records, registry, shards_in};

/// Blobs looked at in one commit.
const PAGE: usize = 256;

/// What a member says of a blob whose certificate turned up late.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// It lacks it, synced to the certificate's view.
    Lacks(Box<Signed>),
    /// It has a certificate or tombstone of it.
    Knows,
    /// It isn't synced to the certificate's view, so that its lacking it proves nothing.
    Nothing,
}

impl Member {
    /// Says of each blob whether this member, synced to `view`, lacks it. No promise is needed for what it signs: a
    /// view that it is synced to is refused, so it never receipts a certificate of it.
    pub(crate) fn opinion(&self, view: &ViewId, blobs: &[BlobId]) -> Result<Vec<Said>, MemberError> {
        self.must_be_healthy()?;
        let snapshot = self.store.view();
        let synced = records::synced(&snapshot)?.filter(|synced| synced.position() >= view.position());
        let (mut said, mut lacked, mut at) = (Vec::with_capacity(blobs.len()), Vec::new(), Vec::new());
        for blob in blobs {
            // Who has the void has no certificate. Were it among those who know the blob, then of the members that meet a
            // certificate at one time, the last would take it, outvoted by the voids of the first. And what isn't told any more
            // is as good as gone: nobody could learn from here that it holds.
            let lacks = !matches!(index::kind(&snapshot, blob)?, Some(Kind::Live { .. } | Kind::Deleted));
            said.push(if lacks { Said::Nothing } else { Said::Knows });
            if let Some(synced) = synced.filter(|_| lacks) {
                at.push(said.len() - 1);
                lacked.push(Statement::Lacking { synced, blob: *blob });
            }
        }
        for (at, signed) in at.into_iter().zip(self.sign(lacked, snapshot.sequence())) {
            said[at] = Said::Lacks(Box::new(signed));
        }
        Ok(said)
    }

    /// Drops the slivers of voided blobs (R11), once this member is synced to the view that was the newest when the
    /// void came, or when a later ack was given: a blob that was acknowledged since would have taken the void's place.
    pub(crate) async fn drop_void(&self) -> Result<(), MemberError> {
        let Some(synced) = self.synced() else { return Ok(()) };
        if self.index.totals().voids == 0 {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = index::leftovers(&self.store.view(), after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let voids: Vec<BlobId> =
                page.into_iter().filter(|(_, kind)| matches!(kind, Kind::Void { .. })).map(|(blob, _)| blob).collect();
            if !voids.is_empty() {
                let write = self.store.write(Room::Reserved, move |tx| {
                    for blob in &voids {
                        let still = matches!(index::kind(tx, blob)?, Some(Kind::Void { .. }));
                        if still && records::noted(tx, blob)?.is_some_and(|noted| noted <= synced.position()) {
                            tx.release_blob(&blob.0)?;
                        }
                    }
                    Ok::<_, MemberError>(())
                });
                write.await?;
            }
        }
    }

    /// The name of a view that is known here.
    pub(crate) fn view_id(&self, hash: &Hash) -> Option<ViewId> {
        self.known().views.get(hash).map(|view| view.view.id())
    }

    /// Whether this member has a seat in the newest view: what it lacks counts.
    pub(crate) fn is_seated(&self) -> bool {
        self.newest().is_some_and(|newest| !shards_in(&self.identity, &newest.view).is_empty())
    }
}

/// Whether an entry is a certificate of a view that this member is synced to, and of a blob that it lacks: it was never
/// acknowledged, or the blob is gone.
pub(super) fn is_late(tx: &Tx<'_>, entry: &Entry) -> Result<bool, MemberError> {
    let Entry::Live { certificate, .. } = entry else { return Ok(false) };
    let Some(synced) = records::synced(tx)? else { return Ok(false) };
    if registry::position(tx, &certificate.view)? > synced.position() {
        return Ok(false);
    }
    let known = tx.entry(&certificate.blob.0)?.map(|entry| Entry::decode(&entry)).transpose()?;
    Ok(known.is_none_or(|known| matches!(known, Entry::Void(_))))
}

/// Notes under which view a tombstone or void came, or what isn't certified was acked last.
pub(super) fn note(tx: &mut Tx<'_>, blob: &BlobId) -> Result<(), MemberError> {
    let newest = records::fence(tx)?.newest().map(|newest| newest.view.position());
    records::put_noted(tx, blob, newest);
    Ok(())
}
