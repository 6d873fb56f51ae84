//! Lists of live blobs, by the page.

use weft_client::{Order, Place, time};
use weft_protocol::Entry;
use weft_redstuff::{BlobId, Hash, Metadata};
use weft_store::{ReadTx, View};

use super::{Member, MemberError, index};

/// Entries read at a time, unless fewer are wanted.
const PAGE: usize = 512;

/// Entries looked at in one call at the most, so that a rare label doesn't read the registry in one breath.
const SCAN: usize = 16 * 1024;

/// The largest page of a list.
const MAX_LIST: usize = 1000;

/// What is listed, and how.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) order: Order,
    /// What comes after this place.
    pub(crate) after: Option<Place>,
    pub(crate) limit: usize,
    pub(crate) filter: Filter,
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) label: Option<(String, String)>,
    pub(crate) digest: Option<Hash>,
    /// Milliseconds since 1970; what doesn't say when it was made counts as of then.
    pub(crate) since: Option<u64>,
    pub(crate) until: Option<u64>,
}

impl Filter {
    /// Whether it leaves none out but those of other times.
    fn takes_all(&self) -> bool {
        self.label.is_none() && self.digest.is_none()
    }

    fn takes(&self, metadata: &Metadata) -> bool {
        let label = self.label.as_ref().is_none_or(|(key, value)| metadata.labels.get(key) == Some(value));
        let digest = self.digest.is_none_or(|digest| metadata.digest == digest);
        let created = time::created(&metadata.labels).unwrap_or_default();
        let in_time = self.since.is_none_or(|since| since <= created) && self.until.is_none_or(|until| created < until);
        label && digest && in_time
    }
}

impl Listing {
    /// The next live blobs, taken or not, and the place of the last that was looked at; `None` where nothing is left.
    fn page(
        &self,
        view: &ReadTx,
        after: Option<Place>,
        size: usize,
    ) -> Result<Option<(Vec<Metadata>, Place)>, MemberError> {
        match self.order {
            Order::Id => {
                let page = view.entries(after.map(|place| place.id()).as_ref().map(|blob| &blob.0), size)?;
                let Some((last, _)) = page.last() else { return Ok(None) };
                let last = Place::new(0, BlobId(*last));
                let live = page.into_iter().map(|(_, entry)| live(&entry)).filter_map(Result::transpose);
                Ok(Some((live.collect::<Result<_, _>>()?, last)))
            }
            Order::Newest => {
                let page = index::newest(view, after, size)?;
                let Some(last) = page.last().copied() else { return Ok(None) };
                let mut found = Vec::with_capacity(page.len());
                for place in page {
                    // A row without a live entry tells of nothing.
                    found.extend(view.entry(&place.id().0)?.map(|entry| live(&entry)).transpose()?.flatten());
                }
                Ok(Some((found, last)))
            }
        }
    }
}

fn live(entry: &[u8]) -> Result<Option<Metadata>, MemberError> {
    match Entry::decode(entry)? {
        Entry::Live { metadata, .. } => Ok(Some(metadata)),
        Entry::Deleted(_) | Entry::Void(_) => Ok(None),
    }
}

impl Member {
    /// Live blobs in order, and whether there are more.
    ///
    /// # Errors
    /// [`MemberError::NotOrdered`] while the order of creation is made (see [`Member::order_by_creation`]).
    pub(crate) fn list(&self, listing: &Listing) -> Result<(Vec<Metadata>, bool), MemberError> {
        let by_time = listing.order == Order::Newest;
        if by_time && !self.index.is_ordered() {
            return Err(MemberError::NotOrdered);
        }
        let Filter { since, until, .. } = listing.filter;
        let limit = listing.limit.clamp(1, MAX_LIST);
        // Nothing that was made at `until` or later is looked at.
        let before = until.filter(|_| by_time).map(|until| Place::new(until, BlobId([0xff; 32])));
        let (view, mut after) = (self.store.view(), listing.after.max(before));
        // One more than is wanted tells whether there are more.
        let size = if listing.filter.takes_all() { PAGE.min(limit + 1) } else { PAGE };
        let (mut found, mut scanned) = (Vec::new(), 0);
        while let Some((page, last)) = listing.page(&view, after, size)? {
            after = Some(last);
            scanned += size;
            for metadata in page {
                if !listing.filter.takes(&metadata) || self.has_expired(&metadata) {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push(metadata);
            }
            if by_time && since.is_some_and(|since| last.created() < since) {
                break;
            }
            // A page that ends early still tells where to go on, if it has anything to tell.
            if scanned >= SCAN && !found.is_empty() {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }
}
