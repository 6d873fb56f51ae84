//! Listing blobs, in the order of their IDs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use thiserror::Error;
use tokio::time::sleep;
use tonic::Status;
use weft_proto::v1::{ListReply, ListRequest};
use weft_protocol::ShardSet;
use weft_redstuff::{BlobId, Hash, Metadata};

use crate::{Client, FleetError, Holder};

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

/// Which blobs to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Those whose IDs come after this one.
    pub after: Option<BlobId>,
    /// At most so many; members may give less.
    pub limit: u32,
    /// Those with this label, `key=value`.
    pub label: Option<String>,
    /// Those with content of this digest.
    pub digest: Option<Hash>,
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
    /// knows it. A blob deleted a moment ago may still be there.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, ListError> {
        let current = self.fleet().current().await?;
        let enough = current.view.code.fault_tolerance() + 1;
        let mut waiting = current.by_health(query.after.map_or(0, |id| id.0[31])).into_iter();
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
            match reply {
                Ok(reply) => {
                    answered = answered.union(holder.shards());
                    pages.push(reply);
                }
                Err(status) => {
                    asked_shards = asked_shards.saturating_sub(holder.shards().len());
                    reasons.push(format!("member {}: {}", holder.member(), status.message()));
                }
            }
        }
        Ok(merge(pages, query))
    }
}

fn request(query: &ListQuery) -> ListRequest {
    ListRequest {
        after: query.after.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes())),
        limit: query.limit,
        label: query.label.clone().unwrap_or_default(),
        digest: query.digest.map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest.as_bytes())),
    }
}

async fn ask(holder: Arc<Holder>, request: ListRequest) -> (Arc<Holder>, Result<ListReply, Status>) {
    let reply = holder.call(ANSWER, holder.reads().list(request)).await;
    (holder, reply)
}

/// Puts pages of one query together. Past the end of a page that isn't the last, its member's blobs aren't known.
fn merge(pages: Vec<ListReply>, query: &ListQuery) -> Page {
    let (mut blobs, mut end, mut more) = (BTreeMap::new(), None, false);
    for ListReply { metadata, more: cut } in pages {
        let page: BTreeMap<BlobId, Metadata> = metadata
            .iter()
            .filter_map(|bytes| Metadata::decode(bytes).ok().map(|metadata| (Metadata::id_of(bytes), metadata)))
            .filter(|(id, _)| query.after.is_none_or(|after| after < *id))
            .collect();
        if cut && let Some((last, _)) = page.last_key_value() {
            end = Some(end.map_or(*last, |end: BlobId| end.min(*last)));
            more = true;
        }
        blobs.extend(page);
    }
    if let Some(end) = end {
        blobs.retain(|id, _| *id <= end);
    }
    let limit = query.limit as usize;
    more |= blobs.len() > limit;
    Page { blobs: blobs.into_iter().take(limit).collect(), more }
}

#[cfg(test)]
mod tests {
    use weft_redstuff::{Code, Labels, Layout, inline_root};

    use super::*;

    fn blob(nonce: u8) -> Metadata {
        let layout = Layout::for_length(Code::with_shards(4).unwrap(), 0).unwrap();
        let (root, digest) = (inline_root(b""), Hash::of(b""));
        Metadata { root, layout, labels: Labels::default(), expiry: None, digest, nonce: [nonce; 16] }
    }

    fn page(blobs: &[&Metadata], more: bool) -> ListReply {
        ListReply { metadata: blobs.iter().map(|blob| blob.encode().into()).collect(), more }
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
}
