//! Being synced (R9): to which view, and what it needs next.

use std::sync::Arc;

use weft_protocol::{Incarnation, MemberId, Signed, SignedView, Statement, View as ProtocolView, ViewId};
use weft_redstuff::Hash;
use weft_store::{Room, Tx, View};

use super::{Condition, DigestKind, Known, Member, MemberError, records, shards_in};

/// A view that a member can become synced to.
#[derive(Debug, Clone)]
pub(crate) struct ToSync {
    pub(crate) view: Arc<SignedView>,
    /// What later views, in effect, declare lost, and what was declared beside the newest one (R7).
    pub(crate) declared: Vec<(MemberId, Incarnation)>,
}

impl Member {
    /// Up to which view this member is synced.
    pub fn synced(&self) -> Option<ViewId> {
        self.known().synced
    }

    /// Whether this member counts towards inventories, "whole" and "not found": it is synced to the newest view's
    /// predecessor; or the newest view is the first, made on its empty volume (R3).
    pub fn counts(&self) -> bool {
        self.counts_by(&self.known())
    }

    fn counts_by(&self, known: &Known) -> bool {
        let Some(newest) = &known.newest else { return false };
        if newest.view.predecessor.is_none() && shards_in(&self.identity, &newest.view).is_empty() {
            return false;
        }
        knows_before(known.synced, &newest.view)
    }

    /// The hash of the newest view, and whether its not knowing a blob counts under it. Not while it refuses that view: the
    /// successor may be in effect elsewhere already, and have acknowledged blobs that nobody told of here (R10).
    pub(crate) fn counts_for_not_found(&self) -> (Option<Hash>, bool) {
        let known = self.known();
        (known.newest_hash, self.counts_by(&known) && !known.refuses_newest)
    }

    /// Refuses what asks for an ack that this member couldn't give now, as far as is known without looking further.
    pub(crate) fn may_ack(&self, view: &Hash) -> Result<(), MemberError> {
        let known = self.known();
        let view = known.fence.permit(view).map_err(|source| MemberError::view(&known.fence, source))?;
        if knows_before(known.synced, view) { Ok(()) } else { Err(MemberError::NotSynced(view.id())) }
    }

    /// The views to be synced to, oldest first: refused here, later than what is synced, and known.
    pub(crate) fn to_sync(&self) -> Vec<ToSync> {
        let known = self.known();
        let Some(newest) = &known.newest else { return Vec::new() };
        let after = known.synced.map(|synced| synced.position());
        let (mut chain, mut declared) = (Vec::new(), Vec::new());
        let mut next = Some(newest.clone());
        while let Some(view) = next {
            if after.is_some_and(|after| view.view.position() <= after) {
                break;
            }
            next = view.view.predecessor.and_then(|id| known.views.get(&id.hash).cloned());
            let mut also = view.view.declared.clone();
            let seal = known.fence.seal().filter(|seal| seal.successor == *view);
            also.extend(
                seal.and_then(|seal| seal.declaration.as_ref()).into_iter().flat_map(|beside| &beside.declared),
            );
            if known.fence.refuses(&view.view.id()) {
                chain.push(ToSync { view, declared: declared.clone() });
            }
            declared.extend(also);
        }
        chain.reverse();
        chain
    }

    /// What this member says of itself while it refuses the view; nothing while it doesn't, nor before it is judged:
    /// who syncs remembers the sequence of this, and by that the member would be found rewound (R1).
    ///
    /// The refusal is read from the newest commit before the digest is taken, so that everything that was ever
    /// receipted of the view is in the registry that the digest tells of.
    pub(crate) async fn standing(&self, view: &ViewId, digests: DigestKind) -> Result<Option<Signed>, MemberError> {
        let snapshot = self.store.view();
        if self.condition() != Condition::Healthy || !records::fence(&snapshot)?.refuses(view) {
            return Ok(None);
        }
        let synced = records::synced(&snapshot)?;
        let registry = self.registry_digest(digests).await?;
        let standing = Statement::Standing { view: view.hash, synced, registry };
        Ok(Some(self.sign_at(standing, snapshot.sequence())))
    }

    /// Up to which view puts began too early to be acked (R14).
    pub(crate) fn horizon(&self) -> Result<Option<(u64, u64)>, MemberError> {
        records::horizon(&self.store.view())
    }

    /// Records that this member is synced to a view, by peers whose horizon it keeps too.
    pub(crate) async fn set_synced(&self, view: ViewId, horizon: Option<(u64, u64)>) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            if records::synced(tx)?.is_none_or(|synced| synced.position() < view.position()) {
                records::put_synced(tx, &view);
            }
            if let Some(horizon) = horizon {
                records::raise_horizon(tx, horizon)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        tracing::info!(epoch = view.epoch, revision = view.revision, "synced to the view");
        self.refresh()
    }
}

/// Whether who is synced to `synced` knows everything acknowledged and deleted before `view` came into effect: it is
/// synced to the view's predecessor. A first view has none (R3).
pub(super) fn knows_before(synced: Option<ViewId>, view: &ProtocolView) -> bool {
    let before = view.predecessor.map(|predecessor| predecessor.position());
    before.is_none_or(|before| synced.is_some_and(|synced| synced.position() >= before))
}

/// Refuses an ack by a member that may not know yet which blobs were deleted before the view (R13).
pub(super) fn may_ack(tx: &Tx<'_>, view: &ProtocolView) -> Result<(), MemberError> {
    if knows_before(records::synced(tx)?, view) { Ok(()) } else { Err(MemberError::NotSynced(view.id())) }
}
