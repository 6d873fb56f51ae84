//! Certificates and tombstones from gateways, and the receipts for them (R8, R13).

use std::sync::Arc;

use weft_protocol::{Entry, ShardSet, Signed, Statement, Subject, Tombstone};
use weft_redstuff::Hash;
use weft_store::View;

use super::{Member, MemberError, index::expiry_of, leftovers, records, registry, shards_in};
use crate::telemetry;

impl Member {
    /// Stores a certificate and receipts it: only one of the newest view, and only before that is refused.
    pub(crate) async fn certify(&self, view: Hash, entry: Entry) -> Result<Signed, MemberError> {
        self.must_be_healthy()?;
        let Entry::Live { certificate, .. } = &entry else { return Err(MemberError::Malformed { field: "entry" }) };
        // A certificate of an older view might be one that the fleet knows nothing of: a receipt of this view must not
        // acknowledge it (R8, R12).
        if certificate.view != view {
            let known = self.known();
            if let Err(source) = known.fence.permit(&view) {
                return Err(MemberError::view(&known.fence, source));
            }
            return Err(MemberError::OtherCertificate { certificate: certificate.view, request: view });
        }
        self.receipt(view, entry, Subject::Certificate).await
    }

    /// Stores a tombstone, drops what it deletes, and receipts it.
    pub(crate) async fn delete(&self, view: Hash, tombstone: Tombstone) -> Result<Signed, MemberError> {
        self.must_be_healthy()?;
        self.receipt(view, Entry::Deleted(tombstone), Subject::Tombstone).await
    }

    /// The shards that the view which an entry names gave this member.
    fn shards_by(&self, entry: &Entry) -> ShardSet {
        let view = entry.names().and_then(|hash| self.known().views.get(&hash).cloned());
        view.map_or(ShardSet::EMPTY, |view| shards_in(&self.identity, &view.view))
    }

    async fn receipt(
        &self,
        view: Hash,
        entry: Entry,
        subject: impl FnOnce(weft_redstuff::BlobId) -> Subject,
    ) -> Result<Signed, MemberError> {
        let blob = entry.blob();
        telemetry::about(&blob);
        if let Err(error) = self.check(&entry) {
            // A view that isn't known here is a newer one, or none: say which is the newest here.
            let known = self.known();
            return Err(match known.fence.permit(&view) {
                Err(source) => MemberError::view(&known.fence, source),
                Ok(_) => error,
            });
        }
        let receipt = Statement::Receipt { view, subject: subject(blob) };
        let (identity, floor) = (self.identity.clone(), Arc::clone(&self.floor));
        if entry.is_live() && !self.is_live(&blob)? {
            self.mark_fresh(blob, self.shards_by(&entry));
        }
        let wants_live = entry.is_live();
        let write = self.write_registry(move |tx, changes| {
            let fence = records::fence(tx)?;
            let permitted = fence.permit(&view).map_err(|source| MemberError::view(&fence, source))?;
            // A fenced incarnation, or one that is to become a holder, signs nothing (R25).
            if shards_in(&identity, permitted).is_empty() {
                return Err(MemberError::NoSeat);
            }
            let deleted = tx.entry(&blob.0)?.map(|entry| Entry::decode(&entry)).transpose()?;
            if wants_live && deleted.is_some_and(|entry| entry.is_deleted()) {
                return Err(MemberError::Deleted(blob));
            }
            floor.must_be_below(expiry_of(&entry))?;
            registry::store(tx, &identity, changes, &entry)?;
            if entry.is_deleted() {
                leftovers::renew(tx, changes, &blob)?;
            }
            Ok(receipt)
        });
        let written = write.await?;
        self.notify();
        Ok(self.sign_at(written.value, written.sequence))
    }
}
