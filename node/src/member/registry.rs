//! The registry: every certified blob and every tombstone of the fleet.

use std::{collections::HashMap, sync::Arc};

use weft_protocol::{Entry, EntryError, PublicKey, SignedView, View as ProtocolView};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Room, Tx, View};

use super::{Identity, Kind, Member, MemberError, finish, index::Index, records, signing};

/// Entries stored in one commit.
const BATCH: usize = 256;

/// What came of a merge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) stored: usize,
    /// Entries that didn't pass their check.
    pub(crate) refused: usize,
}

impl Member {
    /// A blob's entry.
    pub fn entry(&self, blob: &BlobId) -> Result<Option<Entry>, MemberError> {
        Ok(self.store.view().entry(&blob.0)?.map(|entry| Entry::decode(&entry)).transpose()?)
    }

    /// Checks an entry against the views that are known here.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), MemberError> {
        let known = self.known();
        check(self.identity.fleet, entry, &known.views)
    }

    /// Merges entries that a peer gave, each checked as if a gateway had brought it; `views` are those that their
    /// certificates name. The checks take their time, so they run apart.
    pub(crate) async fn merge(&self, entries: Vec<Entry>, views: Vec<SignedView>) -> Result<Merged, MemberError> {
        self.learn_views(views).await?;
        let (views, fleet) = (self.known().views.clone(), self.identity.fleet);
        let checked = tokio::task::spawn_blocking(move || {
            let total = entries.len();
            let good: Vec<Entry> = entries.into_iter().filter(|entry| check(fleet, entry, &views).is_ok()).collect();
            (total - good.len(), good)
        });
        let (refused, good) = checked.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let mut merged = Merged { stored: 0, refused };
        let mut rest = good.into_iter();
        loop {
            let batch: Vec<Entry> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let (identity, index) = (self.identity.clone(), Arc::clone(&self.index));
            let write = self.store.write(Room::Reserved, move |tx| {
                let mut stored = 0;
                for entry in batch {
                    stored += usize::from(store(tx, &identity, &index, &entry)?);
                }
                Ok::<_, MemberError>(stored)
            });
            merged.stored += write.await?.value;
        }
        if merged.stored > 0 {
            self.notify();
        }
        Ok(merged)
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

    /// The views that these entries' certificates name.
    pub(crate) fn views_of(&self, entries: &[Entry]) -> Vec<Arc<SignedView>> {
        let known = self.known();
        let mut named = HashMap::new();
        for entry in entries {
            if let Entry::Live { certificate, .. } = entry
                && let Some(view) = known.views.get(&certificate.view)
            {
                named.insert(certificate.view, view.clone());
            }
        }
        named.into_values().collect()
    }

    /// IDs and kinds of the given parts of the registry (none: all), in order of ID, and whether there are more.
    pub(crate) fn entry_ids(&self, parts: &[u8], after: Option<BlobId>, limit: usize) -> (Vec<(BlobId, Kind)>, bool) {
        self.index.page(parts, after, limit)
    }

    /// The digests of the registry's parts.
    pub(crate) fn registry_digests(&self) -> Vec<Hash> {
        self.index.digests()
    }

    /// Kind of a blob's entry.
    pub(crate) fn kind(&self, blob: &BlobId) -> Option<Kind> {
        self.index.get(blob)
    }

    /// The digest of the registry: equal digests mean equal sets of blobs and tombstones.
    pub(crate) fn registry_digest(&self) -> Hash {
        self.index.digest()
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
pub(crate) fn store(tx: &mut Tx<'_>, identity: &Identity, index: &Index, entry: &Entry) -> Result<bool, MemberError> {
    let blob = entry.blob();
    let known = tx.entry(&blob.0)?.map(|entry| Entry::decode(&entry)).transpose()?;
    if let Entry::Live { certificate, .. } = entry {
        signing::note(tx, &certificate.acks)?;
    }
    if known.as_ref().is_some_and(|known| !entry.supersedes(known) && !is_newer(tx, entry, known)) {
        return Ok(false);
    }
    tx.put_entry(&blob.0, entry.encode())?;
    match entry {
        Entry::Deleted(_) => {
            tx.release_blob(&blob.0)?;
            tx.remove_missing_of(&blob.0)?;
        }
        Entry::Live { .. } => {
            for shard in finish::lacking(tx, identity, entry)?.iter() {
                tx.add_missing(&blob.0, shard)?;
            }
        }
    }
    index.set(blob, Kind::of(entry));
    Ok(true)
}

/// Whether an entry's certificate is of a newer view than the known one's: the one that was receipted last.
fn is_newer(tx: &Tx<'_>, entry: &Entry, known: &Entry) -> bool {
    let (Entry::Live { certificate: new, .. }, Entry::Live { certificate: old, .. }) = (entry, known) else {
        return false;
    };
    if new.view == old.view {
        return false;
    }
    let views = records::views(tx).unwrap_or_default();
    let position = |hash: &Hash| views.iter().find(|view| view.view.hash() == *hash).map(|view| view.view.position());
    position(&new.view) > position(&old.view)
}
