//! The registry: every certified blob and every tombstone of the fleet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use weft_protocol::{Entry, EntryError, PublicKey, SignedView, Sketch, View as ProtocolView};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Pending, Room, Tx, View};

use super::{
    Compared, DigestKind, Identity, Kind, Member, MemberError, ROW, expire, finish,
    index::{self, Changes, Times, expiry_of},
    records, signing, void, whole,
};

/// Entries stored in one commit.
const BATCH: usize = 256;

/// What came of a merge.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) stored: usize,
    /// Entries that didn't pass their check.
    pub(crate) refused: usize,
    /// Certificates that turned up after this member was synced to their views, without them (R12).
    pub(crate) late: Vec<Entry>,
    /// Blobs whose certificates hold, and that have expired here (R15).
    pub(crate) expired: Vec<BlobId>,
}

/// Which certificates of views that this member is synced to are taken (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// They may be void: kept aside.
    Aside,
    /// Others have them: they spread.
    Taken,
}

impl Member {
    /// A blob's entry.
    pub fn entry(&self, blob: &BlobId) -> Result<Option<Entry>, MemberError> {
        Ok(self.encoded_entry(blob)?.map(|entry| Entry::decode(&entry)).transpose()?)
    }

    /// The same, as it is stored and as peers are told it.
    pub(crate) fn encoded_entry(&self, blob: &BlobId) -> Result<Option<Vec<u8>>, MemberError> {
        Ok(self.store.view().entry(&blob.0)?)
    }

    /// Checks an entry against the views that are known here.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), MemberError> {
        let known = self.known();
        check(self.identity.fleet, entry, &known.views)
    }

    /// Merges entries that a peer gave, each checked as if a gateway had brought it; `views` are those that their
    /// certificates name. The checks take their time, so they run apart.
    pub(crate) async fn merge(
        &self,
        entries: Vec<Entry>,
        views: Vec<SignedView>,
        late: Late,
    ) -> Result<Merged, MemberError> {
        self.learn_views(views).await?;
        let (views, fleet) = (self.known().views.clone(), self.identity.fleet);
        let checked = weft_client::apart_unwinding(move || {
            let total = entries.len();
            let good: Vec<Entry> = entries.into_iter().filter(|entry| check(fleet, entry, &views).is_ok()).collect();
            (total - good.len(), good)
        });
        let (refused, good) = checked.await;
        let mut merged = Merged { refused, ..Merged::default() };
        let mut rest = good.into_iter();
        loop {
            let batch: Vec<Entry> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let batch = self.leave_expired(batch, &mut merged.expired);
            let identity = self.identity.clone();
            let write = self.write_registry(move |tx, changes| {
                let (mut stored, mut aside) = (0, Vec::new());
                for entry in batch {
                    if late == Late::Aside && void::is_late(tx, &entry)? {
                        aside.push(entry);
                    } else {
                        stored += usize::from(store(tx, &identity, changes, &entry)?);
                    }
                }
                Ok::<_, MemberError>((stored, aside))
            });
            let (stored, aside) = write.await?.value;
            merged.stored += stored;
            merged.late.extend(aside);
        }
        if merged.stored > 0 {
            self.notify();
        }
        Ok(merged)
    }

    /// Leaves out what has expired. A floor that comes between this and the commit ends it then: it is due at once.
    fn leave_expired(&self, batch: Vec<Entry>, expired: &mut Vec<BlobId>) -> Vec<Entry> {
        let (gone, rest): (Vec<Entry>, Vec<Entry>) =
            batch.into_iter().partition(|entry| self.floor.has_reached(expiry_of(entry)));
        expired.extend(gone.iter().map(Entry::blob));
        rest
    }

    /// Keeps views that are the operator's.
    async fn learn_views(&self, views: Vec<SignedView>) -> Result<(), MemberError> {
        let known = self.known();
        let new: Vec<_> = views.into_iter().filter(|view| !known.views.contains_key(&view.view.hash())).collect();
        if new.is_empty() {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let (fence, known) = (records::fence(tx)?, records::views(tx)?);
            let own = |view: &&SignedView| records::is_operators(view, &fence, &known).is_ok();
            records::add_views(tx, new.iter().filter(own))
        });
        write.await?;
        self.refresh()
    }

    /// The views that are needed to check these entries.
    pub(crate) fn views_of(&self, entries: &[Entry]) -> Vec<Arc<SignedView>> {
        let known = self.known();
        let mut named = BTreeMap::new();
        for entry in entries {
            if let Some(view) = entry.names().and_then(|hash| known.views.get(&hash)) {
                named.insert(view.view.hash(), view.clone());
            }
        }
        named.into_values().collect()
    }

    /// Makes a write that changes the registry, and with it the index.
    pub(super) fn write_registry<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Tx<'_>, &mut Changes) -> Result<R, MemberError> + Send + 'static,
    ) -> Pending<R, MemberError> {
        index::write(&self.store, &self.index, write)
    }

    /// IDs and kinds of the given parts of the registry (none: all), in order of ID, and whether there are more.
    pub(crate) fn entry_ids(
        &self,
        parts: &[u8],
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<(Vec<(BlobId, Kind)>, bool), MemberError> {
        index::page(&self.store.view(), parts, after, limit)
    }

    /// The digests of the registry's parts.
    pub(crate) async fn registry_digests(&self, kind: DigestKind) -> Result<Vec<Hash>, MemberError> {
        let index = Arc::clone(&self.index);
        let view = self.store.view();
        match kind {
            DigestKind::Sets => index.digests(kind, &view),
            // That takes a while.
            DigestKind::Rows => weft_client::apart_unwinding(move || index.digests(kind, &view)).await,
        }
    }

    /// The digests of the registry's parts, and the first cells of its sketch, of one moment.
    pub(crate) fn registry_sketch(&self, cells: usize) -> (Vec<Hash>, Sketch<ROW>) {
        self.index.sketch(cells)
    }

    /// What a registry of these digests and this sketch has that this one hasn't; where that is unclear, by how many rows they
    /// differ at least.
    pub(crate) async fn compare_registry(&self, digests: Vec<Hash>, sketch: Sketch<ROW>) -> (Compared, u64) {
        let index = Arc::clone(&self.index);
        weft_client::apart_unwinding(move || (index.compare(&digests, &sketch), index.excess(&sketch))).await
    }

    /// Whether a blob is live here.
    pub(crate) fn is_live(&self, blob: &BlobId) -> Result<bool, MemberError> {
        index::is_live(&self.store.view(), blob)
    }

    /// The digest of the registry: equal digests mean equal sets of blobs and tombstones.
    pub(crate) async fn registry_digest(&self, kind: DigestKind) -> Result<Hash, MemberError> {
        match kind {
            DigestKind::Sets => Ok(self.index.digest()),
            DigestKind::Rows => Ok(whole(&self.registry_digests(kind).await?)),
        }
    }
}

fn check(
    fleet: weft_protocol::FleetId,
    entry: &Entry,
    views: &HashMap<Hash, Arc<SignedView>>,
) -> Result<(), MemberError> {
    let view = |hash: &Hash| -> Option<&ProtocolView> { views.get(hash).map(|view| &view.view) };
    let may_delete = |key: &PublicKey| views.values().any(|view| view.view.authority.deletes.contains(key));
    entry.check(fleet, view, may_delete).map_err(|error: EntryError| error.into())
}

/// Stores a checked entry where it says more than what is there. What this member must hold of a new blob and doesn't
/// goes on the work list; what a tombstone deletes goes.
pub(crate) fn store(
    tx: &mut Tx<'_>,
    identity: &Identity,
    changes: &mut Changes,
    entry: &Entry,
) -> Result<bool, MemberError> {
    let blob = entry.blob();
    let known = index::kind(tx, &blob)?;
    if let Entry::Live { certificate, .. } = entry {
        signing::note(tx, &certificate.acks)?;
    }
    let kind = kind_of(tx, entry)?;
    if known.is_some_and(|known| kind.rank() <= known.rank()) {
        return Ok(false);
    }
    changes.set(tx, blob, kind, Times::of(entry))?;
    tx.put_entry(&blob.0, entry.encode())?;
    let acked = expire::settle_acked(tx, &blob)?;
    if records::noted(tx, &blob)?.is_some() {
        records::put_noted(tx, &blob, None);
    }
    if known.is_some() {
        records::put_hidden(tx, &blob, false);
    }
    match entry {
        Entry::Deleted(_) => {
            tx.release_blob(&blob.0)?;
            tx.remove_missing_of(&blob.0)?;
            void::note(tx, &blob)?;
        }
        // Its slivers may have been acked under a later view: see `Member::drop_void`.
        Entry::Void(_) => {
            tx.remove_missing_of(&blob.0)?;
            void::note(tx, &blob)?;
        }
        Entry::Live { .. } => {
            for shard in finish::lacking(tx, identity, entry)?.iter() {
                tx.add_missing(&blob.0, shard)?;
            }
        }
    }
    if let Some(expiry) = acked {
        index::settle_expiry(tx, &blob, expiry)?;
    }
    Ok(true)
}

/// The kind of a checked entry.
pub(super) fn kind_of(tx: &Tx<'_>, entry: &Entry) -> Result<Kind, MemberError> {
    let position = entry.names().map(|view| position(tx, &view)).transpose()?;
    Ok(Kind::of(entry, |_| position.unwrap_or_default()))
}

/// The position of a view that is known here.
pub(crate) fn position(tx: &Tx<'_>, view: &Hash) -> Result<(u64, u64), MemberError> {
    let views = records::views(tx)?;
    let known = views.iter().find(|known| known.view.hash() == *view);
    Ok(known.map(|known| known.view.position()).unwrap_or_default())
}
