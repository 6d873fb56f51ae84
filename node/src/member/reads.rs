//! What readers ask a member.

use weft_protocol::Entry;
use weft_redstuff::{BlobId, Hash, Metadata};
use weft_store::View;

use super::{Member, MemberError};

/// Entries read at a time while listing.
const PAGE: usize = 512;

/// Entries looked at in one call at the most, so that a rare label doesn't read the registry in one breath.
const SCAN: usize = 16 * 1024;

/// The largest page of a list.
const MAX_LIST: usize = 1000;

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) label: Option<(String, String)>,
    pub(crate) digest: Option<Hash>,
}

impl Filter {
    fn takes(&self, metadata: &Metadata) -> bool {
        let label = self.label.as_ref().is_none_or(|(key, value)| metadata.labels.get(key) == Some(value));
        label && self.digest.is_none_or(|digest| metadata.digest == digest)
    }
}

impl Member {
    /// Live blobs in order of ID, and whether there are more.
    pub(crate) fn list(
        &self,
        mut after: Option<BlobId>,
        limit: usize,
        filter: &Filter,
    ) -> Result<(Vec<Metadata>, bool), MemberError> {
        let limit = limit.clamp(1, MAX_LIST);
        let (view, mut found, mut scanned) = (self.store.view(), Vec::new(), 0);
        loop {
            let page = view.entries(after.as_ref().map(|blob| &blob.0), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok((found, false)) };
            after = Some(BlobId(*last));
            scanned += page.len();
            for (_, entry) in page {
                let Entry::Live { metadata, .. } = Entry::decode(&entry)? else { continue };
                if !filter.takes(&metadata) || self.has_expired(&metadata) {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push(metadata);
            }
            // A page that ends early still tells where to go on, if it has anything to tell.
            if scanned >= SCAN && !found.is_empty() {
                return Ok((found, true));
            }
        }
    }
}
