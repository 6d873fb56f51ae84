//! Lists of live blobs, by the page.

use std::time::Duration;

use weft_client::{ListQuery, Order, Place};
use weft_protocol::Entry;
use weft_redstuff::{BlobId, Metadata};
use weft_store::{ReadTx, View};

use super::{Member, MemberError, index};

/// Entries read at a time, unless fewer are wanted.
const BATCH: usize = 512;

/// A page ends once so many entries were looked at, so that a rare label doesn't read the registry in one breath.
const SCAN: usize = 16 * 1024;

/// A page that its asker goes on from ends with the batch that takes it beyond this: askers wait for some seconds.
const BREATH: Duration = Duration::from_secs(1);

/// The largest page of a list.
const MAX_LIST: usize = 1000;

/// A page of a list: all live blobs of the query up to a place, or to the end.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) blobs: Vec<Metadata>,
    pub(crate) reached: Option<Place>,
}

/// A batch of the entries in an order: those that are live, and the place of the last that was looked at; `None` where nothing
/// is left.
fn batch(
    view: &ReadTx,
    order: Order,
    after: Option<Place>,
    size: usize,
) -> Result<Option<(Vec<Metadata>, Place)>, MemberError> {
    match order {
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

fn live(entry: &[u8]) -> Result<Option<Metadata>, MemberError> {
    match Entry::decode(entry)? {
        Entry::Live { metadata, .. } => Ok(Some(metadata)),
        Entry::Deleted(_) | Entry::Void(_) => Ok(None),
    }
}

impl Member {
    /// A page of live blobs. It may end before it is full, once `look` entries were looked at, about; with zero only if it has
    /// something: who asks so knows no other place to go on from than that of the last blob.
    ///
    /// # Errors
    /// [`MemberError::NotOrdered`] while the order of creation is made (see [`Member::order_by_creation`]).
    pub(crate) fn list(&self, query: &ListQuery, look: usize) -> Result<Listed, MemberError> {
        let &ListQuery { order, after, ref filter, limit } = query;
        let by_time = order == Order::Newest;
        if by_time && !self.index.is_ordered() {
            return Err(MemberError::NotOrdered);
        }
        let limit = (limit as usize).clamp(1, MAX_LIST);
        // Nothing that was made at `until` or later is looked at.
        let before = filter.until.filter(|_| by_time).map(|until| Place::new(until, BlobId([0xff; 32])));
        let (view, mut after, began) = (self.store.view(), after.max(before), self.env.clock.now());
        let scan = if look == 0 { SCAN } else { look.min(SCAN) };
        // One more than is wanted tells whether there are more.
        let size = if filter.takes_all_of_its_time() { BATCH.min(limit + 1) } else { BATCH.min(scan) };
        let (mut blobs, mut looked_at) = (Vec::new(), 0);
        while let Some((page, last)) = batch(&view, order, after, size)? {
            after = Some(last);
            looked_at += size;
            for metadata in page {
                if !filter.takes(&metadata) || self.has_expired(&metadata) {
                    continue;
                }
                if blobs.len() == limit {
                    let last = blobs.last().map(|metadata: &Metadata| order.place(metadata.id(), metadata));
                    return Ok(Listed { blobs, reached: last });
                }
                blobs.push(metadata);
            }
            if by_time && filter.since.is_some_and(|since| last.created() < since) {
                break;
            }
            let is_enough = looked_at >= scan || self.env.clock.now() - began >= BREATH;
            if is_enough && (look > 0 || !blobs.is_empty()) {
                return Ok(Listed { blobs, reached: after });
            }
        }
        Ok(Listed { blobs, reached: None })
    }
}
