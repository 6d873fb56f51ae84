//! Listing blobs, page by page.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use thiserror::Error;
use tokio::time::sleep;
use tonic::Status;
use weft_proto::v1::{ListReply, ListRequest};
use weft_protocol::ShardSet;
use weft_redstuff::{BlobId, Hash, Metadata};

use crate::{Client, FleetError, Holder, Order, Place, time};

/// For one member's page.
const ANSWER: Duration = Duration::from_secs(5);
/// Entries that a member looks at for one page, about, so that it answers in a fraction of that time, whatever is rare.
const LOOK: u32 = 16 * 1024;
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
    /// At most so many; there may be less, also none, on a page that isn't the last.
    pub limit: u32,
    pub filter: Filter,
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Blobs with this label: its key and value.
    pub label: Option<(String, String)>,
    /// Those with content of this digest.
    pub digest: Option<Hash>,
    /// Those that were made then or later (milliseconds since 1970); what doesn't say when counts as of 1970.
    pub since: Option<u64>,
    /// Those that were made before.
    pub until: Option<u64>,
}

impl Filter {
    /// Whether all blobs of its times are taken.
    pub fn takes_all_of_its_time(&self) -> bool {
        self.label.is_none() && self.digest.is_none()
    }

    pub fn takes(&self, metadata: &Metadata) -> bool {
        let label = self.label.as_ref().is_none_or(|(key, value)| metadata.labels.get(key) == Some(value));
        let digest = self.digest.is_none_or(|digest| metadata.digest == digest);
        let created = time::created(&metadata.labels).unwrap_or_default();
        let in_time = self.since.is_none_or(|since| since <= created) && self.until.is_none_or(|until| created < until);
        label && digest && in_time
    }
}

impl ListQuery {
    /// How many blobs a page has at the most: one, so that there is a next place, or more.
    fn limit(&self) -> usize {
        self.limit.max(1) as usize
    }

    /// Whether only members that know of times can answer it.
    fn is_dated(&self) -> bool {
        self.order != Order::Id || self.filter.since.is_some() || self.filter.until.is_some()
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub blobs: Vec<(BlobId, Metadata)>,
    /// Where the next part begins ([`ListQuery::after`]), unless this is the last.
    pub next: Option<Place>,
}

impl Client {
    /// One page. It has every blob whose put was answered before, as far as it reaches: members with f + 1 shards are asked, and
    /// one of them knows it. A blob deleted a moment ago may still be there. Members of before, who list by ID alone and don't
    /// know of times, count as not having answered where it takes more.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let current = self.fleet().current().await?;
        let f = current.view.code.fault_tolerance();
        let mut waiting = current.by_health(query.after.map_or(0, |place| place.id().0[31])).into_iter();
        let (mut asked, mut asked_shards) = (FuturesUnordered::new(), 0);
        let (mut told, mut reasons) = (Told::default(), Vec::new());
        loop {
            let enough = told.wanted(f, query);
            if told.shards.len() >= enough {
                break;
            }
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
            let Some((holder, reply)) = next else { break };
            match reply.map_err(|status| status.message().to_owned()).and_then(|reply| read(&reply, query)) {
                Ok(page) => told.add(holder.shards(), page),
                Err(reason) => {
                    asked_shards = asked_shards.saturating_sub(holder.shards().len());
                    reasons.push(format!("member {}: {reason}", holder.member()));
                }
            }
        }
        told.merge(f + 1, query).ok_or(ListError::Unavailable { reasons })
    }
}

fn request(query: &ListQuery) -> ListRequest {
    let Filter { label, digest, since, until } = &query.filter;
    ListRequest {
        after: query.after.map_or_else(Bytes::new, |place| query.order.encode(&place)),
        limit: query.limit,
        label: label.as_ref().map(|(key, value)| format!("{key}={value}")).unwrap_or_default(),
        digest: digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest.as_bytes())),
        order: query.order.wire(),
        since: *since,
        until: *until,
        look: LOOK,
    }
}

async fn ask(holder: Arc<Holder>, request: ListRequest) -> (Arc<Holder>, Result<ListReply, Status>) {
    let reply = holder.call(ANSWER, holder.reads().list(request)).await;
    (holder, reply)
}

/// What one member knows: all blobs up to a place, or to the end.
#[derive(Debug)]
struct Known {
    blobs: BTreeMap<Place, Metadata>,
    reached: Option<Place>,
}

/// Reads a member's page; what it has that wasn't asked for is left away.
fn read(reply: &ListReply, query: &ListQuery) -> Result<Known, String> {
    if query.is_dated() && !reply.dated {
        return Err("it is of a release that doesn't list by time".to_owned());
    }
    let lies_ahead = |place: &Place| query.after.is_none_or(|after| after < *place);
    let blobs: BTreeMap<Place, Metadata> = (reply.metadata.iter())
        .filter_map(|bytes| Metadata::decode(bytes).ok().map(|metadata| (Metadata::id_of(bytes), metadata)))
        .filter(|(_, metadata)| query.filter.takes(metadata))
        .map(|(id, metadata)| (query.order.place(id, &metadata), metadata))
        .filter(|(place, _)| lies_ahead(place))
        .collect();
    let reached = match &reply.reached {
        _ if !reply.more => return Ok(Known { blobs, reached: None }),
        before if before.is_empty() => blobs.last_key_value().map(|(last, _)| *last),
        place => query.order.decode(place),
    };
    // Who takes such a page asks for the same one for ever.
    let reached = reached.filter(lies_ahead).ok_or("it knows more, and doesn't say after which place")?;
    Ok(Known { blobs, reached: Some(reached) })
}

/// What members have told of one query.
#[derive(Debug, Default)]
struct Told {
    shards: ShardSet,
    pages: Vec<(ShardSet, Known)>,
}

impl Told {
    fn add(&mut self, shards: ShardSet, page: Known) {
        self.shards = self.shards.union(shards);
        self.pages.push((shards, page));
    }

    /// So many shards' holders are to tell. Where those of f + 1 don't reach equally far, a member may be among them that keeps
    /// a list from going on: of 2f + 1, there are f + 1 without any such.
    fn wanted(&self, f: u16, query: &ListQuery) -> u16 {
        let Some(page) = self.merge(f + 1, query) else { return f + 1 };
        let is_short = page.next.is_some() && page.blobs.len() < query.limit();
        let agree = self.pages.iter().all(|(_, known)| known.reached == page.next);
        if is_short && !agree { 2 * f + 1 } else { f + 1 }
    }

    /// Puts the pages together, as far as those of so many shards reach; `None` where they are too few.
    fn merge(&self, enough: u16, query: &ListQuery) -> Option<Page> {
        let mut pages: Vec<_> = self.pages.iter().collect();
        // The furthest first; what reaches the end has no place.
        pages.sort_by_key(|(_, known)| (known.reached.is_some(), Reverse(known.reached)));
        let mut shards = ShardSet::EMPTY;
        let (_, least) = pages.into_iter().find(|(holders, _)| {
            shards = shards.union(*holders);
            shards.len() >= enough
        })?;
        let mut next = least.reached;
        let known = self.pages.iter().flat_map(|(_, known)| &known.blobs);
        let blobs: BTreeMap<&Place, &Metadata> =
            known.filter(|(place, _)| next.is_none_or(|next| **place <= next)).collect();
        let limit = query.limit();
        if blobs.len() > limit {
            next = blobs.keys().nth(limit - 1).map(|place| **place);
        }
        let blobs = blobs.into_iter().take(limit).map(|(place, metadata)| (place.id(), metadata.clone())).collect();
        Some(Page { blobs, next })
    }
}

#[cfg(test)]
mod tests {
    use weft_redstuff::{Code, Labels, Layout, inline_root};

    use super::*;

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
        let metadata = blobs.iter().map(|blob| blob.encode().into()).collect();
        ListReply { metadata, more, dated: true, reached: Bytes::new() }
    }

    /// What comes of the pages of members with a shard each, all of which are wanted.
    fn merged(pages: &[ListReply], query: &ListQuery) -> (Vec<BlobId>, Option<Place>) {
        let Page { blobs, next } = told(pages, query).merge(pages.len() as u16, query).unwrap();
        (blobs.into_iter().map(|(id, _)| id).collect(), next)
    }

    fn told(pages: &[ListReply], query: &ListQuery) -> Told {
        let mut told = Told::default();
        for (shard, page) in (0..).zip(pages) {
            told.add([shard].into_iter().collect(), read(page, query).unwrap());
        }
        told
    }

    /// Four blobs in the order of their IDs, and their places.
    fn in_order() -> (Vec<Metadata>, Vec<Place>) {
        let mut blobs: Vec<Metadata> = (0..4).map(blob).collect();
        blobs.sort_by_key(Metadata::id);
        let places = blobs.iter().map(|blob| Order::Id.place(blob.id(), blob)).collect();
        (blobs, places)
    }

    #[test]
    fn pages_are_merged_as_far_as_all_reach() {
        let (blobs, places) = in_order();
        let [first, second, third, fourth] = &blobs[..] else { unreachable!() };
        let query = |limit| ListQuery { limit, ..ListQuery::default() };
        let [cut, whole] = [page(&[first, third], true), page(&[second, third, fourth], false)];
        let ids = vec![first.id(), second.id(), third.id()];
        assert_eq!(merged(&[cut, whole], &query(10)), (ids.clone(), Some(places[2])));
        let [odd, even] = [page(&[first, third], false), page(&[second, fourth], false)];
        assert_eq!(merged(&[odd, even], &query(3)), (ids, Some(places[2])));
        assert_eq!(merged(&[page(&[fourth], false), page(&[], false)], &query(3)), (vec![fourth.id()], None));
    }

    #[test]
    fn pages_without_a_blob_reach_as_far_as_they_say() {
        let (blobs, places) = in_order();
        let [first, second, third, _] = &blobs[..] else { unreachable!() };
        let query = ListQuery { limit: 10, ..ListQuery::default() };
        let reaching = |page: ListReply, place: &Place| ListReply { reached: query.order.encode(place), ..page };
        let [empty, cut] = [reaching(page(&[], true), &places[1]), page(&[first, second, third], true)];
        assert_eq!(merged(&[empty, cut], &query), (vec![first.id(), second.id()], Some(places[1])));
        let [near, far] = [1, 2].map(|end| reaching(page(&[], true), &places[end]));
        assert_eq!(merged(&[far.clone(), near], &query), (vec![], Some(places[1])));
        // Further than its last blob; the other one has all that there is.
        let further = reaching(page(&[first], true), &places[2]);
        let ids = vec![first.id(), second.id(), third.id()];
        assert_eq!(merged(&[further, page(&[second, third], false)], &query), (ids, Some(places[2])));
    }

    #[test]
    fn who_reaches_less_than_others_is_outvoted() {
        let (blobs, places) = in_order();
        let [first, second, _, _] = &blobs[..] else { unreachable!() };
        let query = ListQuery { limit: 2, ..ListQuery::default() };
        let reaching = |blobs: &[&Metadata], end: usize| ListReply {
            reached: query.order.encode(&places[end]),
            ..page(blobs, true)
        };
        let (far, near, whole) = (reaching(&[second], 2), reaching(&[], 0), page(&[first, second], false));
        // f is 1. Those that agree are enough, and so are those who fill a page.
        assert_eq!(told(std::slice::from_ref(&far), &query).wanted(1, &query), 2);
        assert_eq!(told(&[far.clone(), far.clone()], &query).wanted(1, &query), 2);
        assert_eq!(told(&[far.clone(), whole.clone()], &query).wanted(1, &query), 2);
        assert_eq!(told(&[far.clone(), near.clone()], &query).wanted(1, &query), 3);
        let next = |pages: &[ListReply]| told(pages, &query).merge(2, &query).unwrap().next;
        assert_eq!(next(&[far.clone(), near.clone()]), Some(places[0]));
        assert_eq!(next(&[near.clone(), far.clone(), far.clone()]), Some(places[2]));
        assert_eq!(next(&[near, whole.clone(), far]), Some(places[2]));
        assert_eq!(next(&[whole.clone(), whole]), None);
    }

    #[test]
    fn pages_that_lead_nowhere_are_no_answers() {
        let (blobs, places) = in_order();
        let query = ListQuery { after: Some(places[1]), limit: 10, ..ListQuery::default() };
        let reaching = |reached: &[u8]| ListReply { reached: reached.to_vec().into(), ..page(&[&blobs[3]], true) };
        for reached in [&query.order.encode(&places[0])[..], &query.order.encode(&places[1]), b"malformed"] {
            assert!(read(&reaching(reached), &query).is_err(), "{reached:?}");
        }
        assert!(read(&reaching(&query.order.encode(&places[2])), &query).is_ok());
        assert!(read(&page(&[&blobs[0]], true), &query).is_err());
        assert!(read(&page(&[], true), &query).is_err());
    }

    #[test]
    fn what_was_not_asked_for_is_left_away() {
        let [old, new] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"].map(|time| made(1, Some(time)));
        let of = |filter| ListQuery { order: Order::Newest, after: None, limit: 10, filter };
        let both = [page(&[&old, &new], false)];
        let since = time::created(&new.labels);
        assert_eq!(merged(&both, &of(Filter { since, ..Filter::default() })).0, [new.id()]);
        assert_eq!(merged(&both, &of(Filter { until: since, ..Filter::default() })).0, [old.id()]);
        let label = Some((time::CREATED.to_owned(), "2026-01-01T00:00:00Z".to_owned()));
        assert_eq!(merged(&both, &of(Filter { label, ..Filter::default() })).0, [old.id()]);
        assert_eq!(merged(&both, &of(Filter { digest: Some(Hash([7; 32])), ..Filter::default() })).0, []);
    }

    #[test]
    fn newest_first_is_by_time_and_ends_with_what_has_none() {
        let [old, new, newest] = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z", "2026-01-02T00:00:00+23:00"]
            .map(|time| made(1, Some(time)));
        let (undated, odd) = (blob(1), made(1, Some("once")));
        let mut last = [&undated, &odd];
        last.sort_by_key(|blob| blob.id());
        let query = ListQuery { order: Order::Newest, limit: 10, ..ListQuery::default() };
        let all = [&newest, &new, &old, last[0], last[1]].map(Metadata::id);
        let pages = [page(&[&new, last[0], last[1]], false), page(&[&newest, &old], false)];
        assert_eq!(merged(&pages, &query).0, all);
        let after = Some(query.order.place(new.id(), &new));
        assert_eq!(merged(&pages, &ListQuery { after, ..query }).0, all[2..]);
    }
}
