//! Merkle paths: that a stripe is of its blob.
//!
//! A path takes the hashes of all the blob's stripes. Whoever reads or mends a large blob asks for one stripe after the other, so that
//! the trees of the large ones that were asked about last are kept.

use std::{
    collections::VecDeque,
    panic::resume_unwind,
    sync::{Arc, Mutex},
};

use weft_client::apart;
use weft_protocol::Entry;
use weft_redstuff::{
    BlobId, Hash,
    merkle::{Builder, Tree},
};
use weft_store::{UploadNumber, View};

use super::{Member, MemberError, lock, slivers::each_stripe};

/// Trees of no more stripes are made anew for each path.
const FEW: u32 = 8;

/// Trees that are kept, at most, and bytes of them: one of a blob of 4 TiB in stripes of 8 MiB has as many.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 32 << 20;

/// What paths are made of.
#[derive(Debug, Default)]
pub(super) struct Paths {
    trees: Mutex<Trees>,
    /// Whoever makes a large tree: who wants the same one waits for it.
    making: tokio::sync::Mutex<()>,
}

/// Trees of blobs, those asked for last first. A blob's ID commits to its tree, so that none is ever out of date.
#[derive(Debug, Default)]
struct Trees(VecDeque<(BlobId, Arc<Tree>)>);

impl Trees {
    fn get(&mut self, blob: &BlobId) -> Option<Arc<Tree>> {
        let at = self.0.iter().position(|(of, _)| of == blob)?;
        let found = self.0.remove(at)?;
        let tree = found.1.clone();
        self.0.push_front(found);
        Some(tree)
    }

    fn keep(&mut self, blob: BlobId, tree: Arc<Tree>) {
        if tree.bytes() > KEPT_BYTES {
            return;
        }
        self.0.retain(|(of, _)| *of != blob);
        self.0.push_front((blob, tree));
        let mut bytes = 0;
        self.0.retain(|(_, tree)| {
            bytes += tree.bytes();
            bytes <= KEPT_BYTES
        });
        self.0.truncate(KEPT);
    }
}

impl Member {
    /// The Merkle path from a stripe's root to the blob's, where this member has the hashes of all stripes.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub async fn stripe_path(&self, blob: &BlobId, stripe: u32) -> Result<Option<Vec<Hash>>, MemberError> {
        let view = self.store.view();
        let Some(upload) = view.holding(&blob.0)? else { return Ok(None) };
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(None) };
        let (stripes, root) = (metadata.layout.stripes(), metadata.root);
        if stripes <= FEW {
            let tree = tree(&view, upload, stripes)?.filter(|tree| tree.root() == root);
            return Ok(tree.and_then(|tree| tree.path(stripe)));
        }
        if let Some(tree) = lock(&self.paths.trees).get(blob) {
            return Ok(tree.path(stripe));
        }
        let _making = self.paths.making.lock().await;
        if let Some(tree) = lock(&self.paths.trees).get(blob) {
            return Ok(tree.path(stripe));
        }
        let made = apart(move || tree(&view, upload, stripes)).await;
        let made = made.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))?;
        let Some(tree) = made.filter(|tree| tree.root() == root) else { return Ok(None) };
        let path = tree.path(stripe);
        lock(&self.paths.trees).keep(*blob, Arc::new(tree));
        Ok(path)
    }
}

/// The tree of an upload, unless some of its stripes are wanting.
fn tree(view: &impl View, upload: UploadNumber, stripes: u32) -> Result<Option<Tree>, MemberError> {
    // They mostly come in order.
    let Some(last) = stripes.checked_sub(1) else { return Ok(None) };
    if view.stripe(upload, last)?.is_none() {
        return Ok(None);
    }
    let mut roots = Builder::new();
    each_stripe(view, upload, |_, _, hashes| roots.push(hashes.root()))?;
    let all = roots.leaves().len() == stripes as usize;
    Ok(all.then(|| Tree::of(roots.leaves())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(at: usize) -> BlobId {
        BlobId(*blake3::hash(&at.to_le_bytes()).as_bytes())
    }

    fn of(leaves: usize) -> Arc<Tree> {
        Arc::new(Tree::of(&vec![Hash([7; 32]); leaves]))
    }

    #[test]
    fn the_trees_that_were_asked_for_last_are_kept_few_and_small() {
        let mut trees = Trees::default();
        for at in 0..KEPT {
            trees.keep(id(at), of(9));
        }
        assert!(trees.get(&id(0)).is_some(), "asked for, so that another one goes");
        trees.keep(id(KEPT), of(10));
        trees.keep(id(KEPT), of(9));
        assert_eq!(trees.0.len(), KEPT);
        assert!(trees.get(&id(1)).is_none() && trees.get(&id(0)).is_some());
        // A little more than half of the bytes each.
        let half = of(KEPT_BYTES / 64 / 2 + 9);
        trees.keep(id(1000), half.clone());
        assert!(trees.get(&id(1000)).is_some() && trees.get(&id(KEPT)).is_some());
        trees.keep(id(1001), half);
        assert!(trees.get(&id(1001)).is_some() && trees.get(&id(1000)).is_none());
        trees.keep(id(1002), of(KEPT_BYTES / 64 + 9));
        assert!(trees.get(&id(1001)).is_some() && trees.get(&id(1002)).is_none(), "it is too large");
    }
}
