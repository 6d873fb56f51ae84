//! Merkle paths: that a stripe is of its blob.
//!
//! A path takes the hashes of all the blob's stripes. Whoever reads or mends a large blob asks for one stripe after the other, so that
//! the trees of the large ones that were asked about last are kept.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use weft_client::apart_unwinding;
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

/// What is known of blobs, those asked for last first. A blob's ID commits to its tree, so that none is ever out of date.
#[derive(Debug, Default)]
struct Trees(VecDeque<(BlobId, Known)>);

#[derive(Debug, Clone)]
enum Known {
    Tree(Arc<Tree>),
    /// This stripe was wanting.
    Gap(u32),
}

impl Known {
    fn path(&self, stripe: u32) -> Option<Vec<Hash>> {
        match self {
            Self::Tree(tree) => tree.path(stripe),
            Self::Gap(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Tree(tree) => tree.bytes(),
            Self::Gap(_) => 0,
        }
    }
}

impl Trees {
    fn get(&mut self, blob: &BlobId) -> Option<Known> {
        let at = self.0.iter().position(|(of, _)| of == blob)?;
        let found = self.0.remove(at)?;
        let known = found.1.clone();
        self.0.push_front(found);
        Some(known)
    }

    fn keep(&mut self, blob: BlobId, known: Known) {
        if known.bytes() > KEPT_BYTES {
            return;
        }
        self.0.retain(|(of, _)| *of != blob);
        self.0.push_front((blob, known));
        let mut bytes = 0;
        self.0.retain(|(_, known)| {
            bytes += known.bytes();
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
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Ok(None) };
        let (stripes, root) = (metadata.layout.stripes(), metadata.root);
        if stripes <= FEW {
            let view = self.store.view();
            let Some(upload) = view.holding(&blob.0)? else { return Ok(None) };
            let tree = tree(&view, upload, stripes)?.ok().filter(|tree| tree.root() == root);
            return Ok(tree.and_then(|tree| tree.path(stripe)));
        }
        if let ControlFlow::Break(path) = self.known_path(blob, stripe)? {
            return Ok(path);
        }
        let _making = self.paths.making.lock().await;
        if let ControlFlow::Break(path) = self.known_path(blob, stripe)? {
            return Ok(path);
        }
        let view = self.store.view();
        let Some(upload) = view.holding(&blob.0)? else { return Ok(None) };
        let known = match apart_unwinding(move || tree(&view, upload, stripes)).await? {
            Ok(tree) if tree.root() == root => Known::Tree(Arc::new(tree)),
            Ok(_) => return Ok(None),
            Err(gap) => Known::Gap(gap),
        };
        lock(&self.paths.trees).keep(*blob, known.clone());
        Ok(known.path(stripe))
    }

    /// Goes on where it isn't known yet whether there is a path.
    fn known_path(&self, blob: &BlobId, stripe: u32) -> Result<ControlFlow<Option<Vec<Hash>>>, MemberError> {
        let known = lock(&self.paths.trees).get(blob);
        let view = self.store.view();
        let Some(upload) = view.holding(&blob.0)? else { return Ok(ControlFlow::Break(None)) };
        Ok(match known {
            None => ControlFlow::Continue(()),
            // It may have been filled since.
            Some(Known::Gap(gap)) if view.stripe(upload, gap)?.is_some() => ControlFlow::Continue(()),
            Some(known) => ControlFlow::Break(known.path(stripe)),
        })
    }
}

/// The tree of an upload, or a stripe of it that is wanting.
fn tree(view: &impl View, upload: UploadNumber, stripes: u32) -> Result<Result<Tree, u32>, MemberError> {
    let mut roots = Builder::new();
    each_stripe(view, upload, |stripe, _, hashes| {
        let is_next = stripe as usize == roots.leaves().len();
        if is_next {
            roots.push(hashes.root());
        }
        is_next
    })?;
    let all = roots.leaves();
    Ok(if !all.is_empty() && all.len() == stripes as usize { Ok(Tree::of(all)) } else { Err(all.len() as u32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(at: usize) -> BlobId {
        BlobId(*blake3::hash(&at.to_le_bytes()).as_bytes())
    }

    fn of(leaves: usize) -> Known {
        Known::Tree(Arc::new(Tree::of(&vec![Hash([7; 32]); leaves])))
    }

    #[test]
    fn the_trees_that_were_asked_for_last_are_kept_few_and_small() {
        let mut trees = Trees::default();
        for at in 0..KEPT {
            trees.keep(id(at), of(9));
        }
        assert!(trees.get(&id(0)).is_some(), "asked for, so that another one goes");
        trees.keep(id(KEPT), Known::Gap(3));
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
