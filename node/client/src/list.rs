//! Listing blobs, page by page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use thiserror::Error;
use tokio::time::sleep;
use tonic::Status;
use weft_proto::v1::{ListReply, ListRequest};
use weft_protocol::ShardSet;
use weft_redstuff::{BlobId, Hash, Metadata};

use crate::{Client, FleetError, Holder, Order, Place};

/// For one member's page.
const ANSWER: Duration = Duration::from_secs(5);
/// After which another member is asked too.
const HEDGE: Duration = Duration::from_millis(150);

/// Why there is no list.
#[derive(Debug, Error)]
pub enum ListError {
    #[error("the fleet's view isn't known")]
    Fleet(#[from] FleetError),
    #[error("too few members answered: {}", reasons.join("; "))]
    Unavailable { reasons: Vec<String> },
}

/// Which blobs to list, and in which order.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub order: Order,
    /// Those that come after this place.
    pub after: Option<Place>,
    /// At most so many; members may give less.
    pub limit: u32,
    /// Those with this label, `key=value`.
    pub label: Option<String>,
    /// Those with content of this digest.
    pub digest: Option<Hash>,
    /// Those that were made then or later (milliseconds since 1970); what doesn't say counts as of 1970.
    pub since: Option<u64>,
    /// Those that were made before.
    pub until: Option<u64>,
}

impl ListQuery {
    /// Whether only members that know of times can answer it.
    fn is_dated(&self) -> bool {
        self.order != Order::Id || self.since.is_some() || self.until.is_some()
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub blobs: Vec<(BlobId, Metadata)>,
    /// Whether more come after the last one.
    pub more: bool,
}

impl Client {
    /// One page. It has every blob whose put was answered before: members with f + 1 shards are asked, and one of them
    /// knows it. A blob deleted a moment ago may still be there. Members of before, who list by ID alone and don't know of
    /// times, count as not having answered where it takes more.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let current = self.fleet().current().await?;
        let enough = current.view.code.fault_tolerance() + 1;
        let mut waiting = current.by_health(query.after.map_or(0, |place| place.id().0[31])).into_iter();
        let (mut asked, mut asked_shards) = (FuturesUnordered::new(), 0);
        let (mut answered, mut pages, mut reasons) = (ShardSet::EMPTY, Vec::new(), Vec::new());
        while answered.len() < enough {
            while asked_shards < enough
                && let Some(holder) = waiting.next()
            {
                asked_shards += holder.shards().len();
                asked.push(ask(holder, request(query)));
            }
            let next = tokio::select! {
                biased;
                next = asked.next() => next,
                () = sleep(HEDGE), if waiting.len() > 0 => {
                    asked.extend(waiting.next().map(|holder| ask(holder, request(query))));
                    continue;
                }
            };
            let Some((holder, reply)) = next else { return Err(ListError::Unavailable { reasons }) };
            let told = reply.map_err(|status| status.message().to_owned()).and_then(|reply| {
                let is_understood = reply.dated || !query.is_dated();
                is_understood.then_some(reply).ok_or_else(|| "it is of a release that doesn't list by time".to_owned())
            });
            match told {
                Ok(reply) => {
                    answered = answered.union(holder.shards());
                    pages.push(reply);
                }
                Err(reason) => {
                    asked_shards = asked_shards.saturating_sub(holder.shards().len());
                    reasons.push(format!("member {}: {reason}", holder.member()));
                }
            }
        }
        Ok(merge(pages, query))
    }
}

fn request(query: &ListQuery) -> ListRequest {
    ListRequest {
        after: query.after.map_or_else(Bytes::new, |place| query.order.encode(&place)),
        limit: query.limit,
        label: query.label.clone().unwrap_or_default(),
        digest: query.digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest.as_bytes())),
        order: query.order.wire(),
        since: query.since,
        until: query.until,
    }
}

async fn ask(holder: Arc<Holder>, request: ListRequest) -> (Arc<Holder>, Result<ListReply, Status>) {
    let reply = holder.call(ANSWER, holder.reads().list(request)).await;
    (holder, reply)
}

/// Puts pages of one query together. Past the end of a page that isn't the last, its member's blobs aren't known.
fn merge(pages: Vec<ListReply>, query: &ListQuery) -> Page {
    let (mut blobs, mut end, mut more) = (BTreeMap::new(), None, false);
    for ListReply { metadata, more: cut, dated: _ } in pages {
        let page: BTreeMap<Place, Metadata> = metadata
            .iter()
            .filter_map(|bytes| Metadata::decode(bytes).ok().map(|metadata| (Metadata::id_of(bytes), metadata)))
            .map(|(id, metadata)| (query.order.place(id, &metadata), metadata))
            .filter(|(place, _)| query.after.is_none_or(|after| after < *place))
            .collect();
        if cut && let Some((last, _)) = page.last_key_value() {
            end = Some(end.map_or(*last, |end: Place| end.min(*last)));
            more = true;
        }
        blobs.extend(page);
    }
    if let Some(end) = end {
        blobs.retain(|place, _| *place <= end);
    }
    let limit = query.limit as usize;
    more |= blobs.len() > limit;
    Page { blobs: blobs.into_iter().take(limit).map(|(place, metadata)| (place.id(), metadata)).collect(), more }
}

#[cfg(test)]
mod tests {
    use weft_redstuff::{Code, Labels, Layout, inline_root};

    use super::*;
    use crate::time;

    fn blob(nonce: u8) -> Metadata {
        made(nonce, None)
    }

    fn made(nonce: u8, created: Option<&str>) -> Metadata {
        let layout = Layout::for_length(Code::with_shards(4).unwrap(), 0).unwrap();
        let (root, digest) = (inline_root(b""), Hash::of(b""));
        let labels = created.map(|time| (time::CREATED.to_owned(), time.to_owned()));
        let labels = Labels::new(labels.into_iter().collect()).unwrap();
        Metadata { root, layout, labels, expiry: None, digest, nonce: [nonce; 16] }
    }

    fn page(blobs: &[&Metadata], more: bool) -> ListReply {
        ListReply { metadata: blobs.iter().map(|blob| blob.encode().into()).collect(), more, dated: true }
    }

    #[test]
    fn pages_are_merged_as_far_as_all_reach() {
        let mut blobs: Vec<Metadata> = (0..4).map(blob).collect();
        blobs.sort_by_key(Metadata::id);
        let [first, second, third, fourth] = &blobs[..] else { unreachable!() };
        let query = |limit| ListQuery { limit, ..ListQuery::default() };
        let ids = |page: &Page| page.blobs.iter().map(|(id, _)| *id).collect::<Vec<_>>();

        let merged = merge(vec![page(&[first, third], true), page(&[second, third, fourth], false)], &query(10));
        assert_eq!((ids(&merged), merged.more), (vec![first.id(), second.id(), third.id()], true));
        let merged = merge(vec![page(&[first, third], false), page(&[second, fourth], false)], &query(3));
        assert_eq!((ids(&merged), merged.more), (vec![first.id(), second.id(), third.id()], true));
        let merged = merge(vec![page(&[fourth], false), page(&[], false)], &query(3));
        assert_eq!((ids(&merged), merged.more), (vec![fourth.id()], false));
    }

    #[test]
    fn newest_first_is_by_time_and_ends_with_what_has_none() {
        let [old, new, newest] = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z", "2026-01-02T00:00:00+23:00"]
            .map(|time| made(1, Some(time)));
        let (undated, odd) = (blob(1), made(1, Some("once")));
        let mut last = [&undated, &odd];
        last.sort_by_key(|blob| blob.id());
        let query = ListQuery { order: Order::Newest, limit: 10, ..ListQuery::default() };
        let ids = |page: Page| page.blobs.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let all = [&newest, &new, &old, last[0], last[1]].map(Metadata::id);
        let pages = || vec![page(&[&new, last[0], last[1]], false), page(&[&newest, &old], false)];
        assert_eq!(ids(merge(pages(), &query)), all);
        let after = Some(query.order.place(new.id(), &new));
        assert_eq!(ids(merge(pages(), &ListQuery { after, ..query })), all[2..]);
    }
}
