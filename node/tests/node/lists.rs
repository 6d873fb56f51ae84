//! Lists through a gateway, and one member's pages.

use bytes::Bytes;
use weft_client::{
    Order,
    http::{Listing, Put},
};
use weft_node::gateway::Access;
use weft_proto::v1::{ListReply, ListRequest};
use weft_redstuff::Metadata;

use super::{
    fleet::{Fleet, content, eventually, put, requests},
    gateway::Running,
};

#[tokio::test(flavor = "multi_thread")]
async fn lists_by_time_page_by_page() {
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let mut ids = Vec::new();
    // Two of one moment are in the order of IDs.
    for (key, created) in
        [("old", Some("00.5")), ("none", None), ("new", Some("02")), ("one", Some("01")), ("two", Some("01"))]
    {
        let labels = created.map(|second| ("created".to_owned(), format!("2026-01-01T00:00:{second}Z")));
        let request = Put { key: key.to_owned(), labels: labels.into_iter().collect(), ..Put::default() };
        ids.push(gateways.put(&request, Bytes::from(key)).await.expect("stored").id);
    }
    let [old, none, new, one, two] = &ids[..] else { panic!("five were put") };
    let (first, second) = if one < two { (one, two) } else { (two, one) };
    let all = [new, first, second, old, none];
    for size in [1, 2, 5] {
        let (mut listing, mut listed) = (Listing { newest: true, ..Listing::default() }, Vec::new());
        loop {
            let page = gateways.list(&listing, size).await.expect("listed");
            listed.extend(page.blobs);
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
        }
        assert_eq!(listed.iter().map(|blob| &blob.id).collect::<Vec<_>>(), all, "{size} a page");
        assert_eq!(listed[3].created.as_deref(), Some("2026-01-01T00:00:00.5Z"));
        assert_eq!(listed[4].created, None);
    }
    for newest in [true, false] {
        let between = async |since: Option<&str>, until: Option<&str>| {
            let time = |time: Option<&str>| time.map(|second| format!("2026-01-01T00:00:{second}Z"));
            let listing = Listing { newest, since: time(since), until: time(until), ..Listing::default() };
            let page = gateways.list(&listing, 10).await.expect("listed");
            let mut found: Vec<String> = page.blobs.into_iter().map(|blob| blob.id).collect();
            found.sort();
            found
        };
        let sorted = |ids: &[&String]| {
            let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
            ids.sort();
            ids
        };
        assert_eq!(between(Some("01"), None).await, sorted(&[new, one, two]));
        assert_eq!(between(None, Some("01")).await, sorted(&[old, none]));
        assert_eq!(between(Some("00.5"), Some("02")).await, sorted(&[old, one, two]));
    }
    gateways.delete(new).await.expect("deleted");
    eventually("the deleted blob is gone from the order of creation", || async {
        let page = gateways.list(&Listing { newest: true, ..Listing::default() }, 10).await;
        page.is_ok_and(|page| page.blobs.iter().map(|blob| &blob.id).eq(all[1..].iter().copied()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_after_so_many_entries_and_says_where() {
    let fleet = Fleet::start(4).await;
    let client = fleet.client();
    let mut blobs = Vec::new();
    for nonce in 0..6 {
        blobs.push(put(&client, nonce, &content(nonce.into(), 100)).await);
    }
    fleet.whole().await;
    // None says when it was made: the order is the same either way.
    let last = blobs.iter().max_by_key(|blob| blob.id).expect("some were put");
    let digest = Bytes::copy_from_slice(last.metadata.digest.as_bytes());
    let mut reads = requests::reads(&fleet, 0);
    for order in [Order::Id, Order::Newest] {
        let whole = ListRequest { limit: 10, digest: digest.clone(), order: order.wire(), ..ListRequest::default() };
        // Who asks as before gets all that there is.
        let ListReply { metadata, more, .. } = reads.list(whole.clone()).await.expect("listed").into_inner();
        assert_eq!((metadata.len(), more), (1, false));
        let (mut request, mut pages, mut found) = (ListRequest { look: 2, ..whole }, Vec::new(), Vec::new());
        loop {
            let reply = reads.list(request.clone()).await.expect("listed").into_inner();
            pages.push(reply.metadata.len());
            found.extend(reply.metadata.iter().map(|bytes| Metadata::id_of(bytes)));
            request.after = reply.reached;
            if !reply.more {
                break;
            }
        }
        assert_eq!(found, [last.id]);
        assert_eq!(pages, [0, 0, 1, 0], "{order:?}");
    }
}
