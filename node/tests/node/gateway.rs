//! The gateway in front of real members: HTTP, tokens, ranges, failures.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use weft_node::gateway::{self, Access, AccessMode, Gateway, GatewayArgs};
use weft_redstuff::{Code, Layout};

use super::fleet::{self, Fleet, OrderChanges, Port, content, eventually};
use futures::TryStreamExt;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use weft_client::{
    Consistency,
    http::{Gateways, GatewaysConfig, HttpError, Listing, Put, PutAnswer},
};

/// A gateway over plain HTTP on loopback, until dropped.
pub(crate) struct Running {
    gateway: Arc<Gateway>,
    url: String,
    _tasks: JoinSet<()>,
}

impl Running {
    pub(crate) async fn start(fleet: &Fleet, access: Access) -> Self {
        let client = fleet.client();
        let mut tasks = JoinSet::new();
        let tracked = client.fleet().clone();
        tasks.spawn(async move { tracked.track(std::time::Duration::from_millis(500)).await });
        let gateway = Gateway::new(client, access, fleet.deletes.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let serving = axum::serve(listener, gateway.router()).into_future();
        tasks.spawn(async move { serving.await.expect("the gateway serves") });
        Self { gateway, url, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn client(&self, token: Option<&str>) -> Gateways {
        let urls = vec![self.url.clone()];
        let config = GatewaysConfig { urls, token: token.map(str::to_owned), ..GatewaysConfig::default() };
        Gateways::new(config).expect("the URL is one")
    }
}

pub(crate) async fn put(gateways: &Gateways, key: &str, bytes: &Bytes) -> Result<PutAnswer, HttpError> {
    gateways.put(&Put { key: key.to_owned(), ..Put::default() }, bytes.clone()).await
}

fn status_of<T: std::fmt::Debug>(outcome: Result<T, HttpError>) -> u16 {
    outcome.expect_err("the gateway refuses").status().expect("it answers").as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_all_sizes_are_stored_and_come_back() {
    let fleet = Fleet::start(7).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let code = Code::with_shards(28).expect("a code");
    let stripe = code.stripe_capacity(Layout::full_symbol_size(code)) as usize;
    for (seed, length) in (0..).zip([0, 1, 64 * 28, 64 * 28 + 1, 1 << 20, stripe, 2 * stripe + 54_321]) {
        let bytes = content(seed, length);
        let stored = put(&gateways, &format!("key {seed}"), &bytes).await.expect("the put is answered");
        assert_eq!((stored.length, stored.view.epoch), (length as u64, 1));
        assert!(gateways.get(&stored.id, None).await.expect("the blob is there") == bytes, "{length} bytes");
        if length > 2000 {
            let (first, last) = (length as u64 / 3, length as u64 / 2);
            let part = gateways.get(&stored.id, Some(first..=last)).await.expect("the range is there");
            assert!(part == bytes.slice(first as usize..=last as usize), "a range of {length} bytes");
        }
        let stat = gateways.stat(&stored.id).await.expect("the blob is known");
        assert_eq!((stat.length, stat.digest), (length as u64, blake3::hash(&bytes).to_hex().to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_may_die_and_a_third_may_not() {
    let mut fleet = Fleet::start(7).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let bytes = content(1, 3 << 20);
    let before = put(&gateways, "before", &bytes).await.expect("the put is answered");
    for dead in [0, 1] {
        fleet.kill(dead).await;
        let stored = put(&gateways, &format!("without {dead}"), &bytes).await.expect("the put is answered");
        for id in [&before.id, &stored.id] {
            assert!(gateways.get(id, None).await.expect("the blob is there") == bytes);
        }
    }
    assert_eq!(status_of(gateways.get(&"5".repeat(64), None).await), 404);
    fleet.kill(2).await;
    assert_eq!(status_of(put(&gateways, "without three", &bytes).await), 503);
    // With 16 shards "not found" can't be told, but what is there can be read.
    assert_eq!(status_of(gateways.get(&"5".repeat(64), None).await), 503);
    assert!(gateways.get(&before.id, None).await.expect("the blob is there") == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_lists_and_deletes() {
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let labelled = Put {
        key: "one".to_owned(),
        labels: vec![("app".to_owned(), "grün".to_owned())],
        content_type: Some("text/plain".to_owned()),
        ..Put::default()
    };
    let one = gateways.put(&labelled, Bytes::from_static(b"one")).await.expect("stored");
    let two = put(&gateways, "two", &content(2, 5000)).await.expect("stored");
    // A retry with its key is the same blob.
    assert_eq!(gateways.put(&labelled, Bytes::from_static(b"one")).await.expect("stored").id, one.id);

    let stat = gateways.stat(&one.id).await.expect("known");
    assert_eq!(stat.content_type.as_deref(), Some("text/plain"));
    assert_eq!(stat.labels.get("app").map(String::as_str), Some("grün"));

    let all = gateways.list(&Listing::default(), 10).await.expect("listed");
    assert_eq!((all.blobs.len(), all.next), (2, None));
    let some =
        gateways.list(&Listing { label: Some("app=grün".to_owned()), ..Listing::default() }, 10).await.expect("listed");
    assert_eq!(some.blobs.iter().map(|blob| &blob.id).collect::<Vec<_>>(), [&one.id]);
    let first = gateways.list(&Listing::default(), 1).await.expect("listed");
    let next = gateways.list(&Listing { after: first.next.clone(), ..Listing::default() }, 1).await.expect("listed");
    assert_eq!((first.blobs.len(), next.blobs.len(), next.next), (1, 1, None));
    assert_ne!(first.blobs, next.blobs);

    gateways.delete(&two.id).await.expect("deleted");
    assert_eq!(status_of(gateways.get(&two.id, None).await), 410);
    assert_eq!(status_of(put(&gateways, "two", &content(2, 5000)).await), 410);
    gateways.delete(&two.id).await.expect("deleted again");
    assert_eq!(status_of(gateways.delete(&"0".repeat(64)).await), 404);
    eventually("the list is without the deleted blob", || async {
        gateways.list(&Listing::default(), 10).await.is_ok_and(|page| page.blobs.len() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_tells_when_it_expires_and_reads_as_unknown_from_then_on() {
    const TIME: u64 = 1_800_000_000;
    let mut fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let (bytes, expiry) = (content(1, 5000), Some(TIME + 100));
    let request = Put { key: "one".to_owned(), expiry, ..Put::default() };
    // It may have heard of no member yet when it is asked first.
    eventually("a put is refused because there is no time yet", || async {
        let refused = gateways.put(&request, bytes.clone()).await.expect_err("there is no time yet");
        assert!(refused.is_passing(), "{refused}");
        refused.to_string().contains("R15")
    })
    .await;
    fleet.floor = Some(TIME);
    fleet.order_all(OrderChanges::default()).await;
    let stored = gateways.put(&request, bytes.clone()).await.expect("stored");
    let kept = put(&gateways, "two", &bytes).await.expect("stored");

    let expires = Some("2027-01-15T08:01:40Z".to_owned());
    assert_eq!(gateways.stat(&stored.id).await.expect("known").expires, expires);
    assert_eq!(gateways.stat(&kept.id).await.expect("known").expires, None);
    let got = gateways.download(&stored.id, Consistency::Committed).await.expect("there");
    assert_eq!(got.stat.expires, expires);
    let listed = gateways.list(&Listing::default(), 10).await.expect("listed").blobs;
    let told = |id: &str| listed.iter().find(|blob| blob.id == id).expect("listed").expires.clone();
    assert_eq!((told(&stored.id), told(&kept.id)), (expires, None));

    fleet.floor = expiry;
    fleet.order_all(OrderChanges::default()).await;
    assert_eq!(status_of(gateways.get(&stored.id, None).await), 404);
    assert_eq!(status_of(gateways.stat(&stored.id).await), 404);
    assert_eq!(status_of(gateways.delete(&stored.id).await), 404);
    let listed = gateways.list(&Listing::default(), 10).await.expect("listed").blobs;
    assert_eq!(listed.iter().map(|blob| &blob.id).collect::<Vec<_>>(), [&kept.id]);
    let refused = gateways.put(&request, bytes.clone()).await.expect_err("it has expired");
    assert_eq!(refused.status().expect("it answers").as_u16(), 410);
    assert!(refused.to_string().contains("the fleet's time is 2027-01-15T08:01:40Z"), "{refused}");
    assert!(gateways.get(&kept.id, None).await.expect("there") == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_what_is_wrong() {
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let stored = put(&gateways, "one", &content(1, 3000)).await.expect("stored");
    assert_eq!(status_of(gateways.get(&stored.id, Some(3000..=4000)).await), 416);
    assert_eq!(status_of(gateways.get("7", None).await), 400);
    let bad = || Some("7".to_owned());
    for listing in [
        Listing { after: bad(), ..Listing::default() },
        Listing { newest: true, after: Some(stored.id.clone()), ..Listing::default() },
        Listing { label: bad(), ..Listing::default() },
        Listing { digest: bad(), ..Listing::default() },
        Listing { since: bad(), ..Listing::default() },
        Listing { until: bad(), ..Listing::default() },
    ] {
        assert_eq!(status_of(gateways.list(&listing, 1).await), 400, "{listing:?}");
    }
    let label = Put { labels: vec![("a b".to_owned(), String::new())], ..Put::default() };
    assert_eq!(status_of(gateways.put(&label, Bytes::new()).await), 400);
}

/// The bytes of a strict read, or what is told instead.
async fn strictly(gateways: &Gateways, id: &str) -> Result<Vec<u8>, HttpError> {
    let download = gateways.download(id, Consistency::Strict).await?;
    Ok(download.bytes.try_collect::<Vec<Bytes>>().await?.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_writers_blob_is_told_and_not_sent_when_it_is_read_strictly() {
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let (first, second) = (content(1, 200_000), content(2, 200_000));
    let sound = put(&gateways, "sound", &first).await.expect("stored");
    assert!(strictly(&gateways, &sound.id).await.expect("consistent") == first);

    let bad = fleet.put_contradiction(&first, &second).await.to_string();
    assert!(gateways.get(&bad, None).await.expect("its primaries are a content") == first);
    let HttpError::Refused { status, detail } = strictly(&gateways, &bad).await.expect_err("refused") else {
        panic!("it isn't refused")
    };
    assert_eq!((status.as_u16(), detail.contains("isn't what its writer committed to")), (422, true), "{detail}");
    assert_eq!(status_of(gateways.page(&format!("/v1/blobs/{bad}?consistency=odd")).await), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fenced_member_holds_is_read_when_holders_are_gone() {
    let mut fleet = Fleet::start(7).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let bytes = content(1, 1 << 20);
    let stored = put(&gateways, "one", &bytes).await.expect("stored");
    fleet.whole().await;
    // Member 6 is in no view any more, and serves what it holds (R22, R25).
    let custody = fleet.without(&[6]);
    fleet.change_view(&custody).await;
    for gone in 0..4 {
        fleet.kill(gone).await;
    }
    // 8 shards are left at two holders; it takes 10.
    eventually("the blob is read", || async { gateways.get(&stored.id, None).await.is_ok_and(|read| read == bytes) })
        .await;
    fleet.kill(6).await;
    assert_eq!(status_of(gateways.get(&stored.id, None).await), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blobs_slivers_are_found() {
    let mut fleet = Fleet::start(7).await;
    let running = Running::start(&fleet, Access::Open).await;
    let gateways = running.client(None);
    let stored = put(&gateways, "one", &content(1, 3 << 20)).await.expect("stored");
    let small = put(&gateways, "two", &content(1, 3)).await.expect("stored");
    fleet.whole().await;
    let found = gateways.slivers(&stored.id).await.expect("found");
    assert_eq!((found.shards.len(), found.held, found.to_read, found.margin, found.inline), (28, 28, 10, 18, false));
    fleet.kill(3).await;
    let found = gateways.slivers(&stored.id).await.expect("found");
    assert_eq!((found.held, found.margin), (24, 14));
    let silent: Vec<u16> = found.shards.iter().filter(|shard| shard.error.is_some()).map(|shard| shard.shard).collect();
    assert_eq!(silent.len(), 4);
    assert!(
        found.shards.iter().all(|shard| shard.primary == shard.secondary && shard.primary == shard.error.is_none())
    );
    let inline = gateways.slivers(&small.id).await.expect("found");
    assert!(inline.inline && inline.held == 24);
    assert_eq!(status_of(gateways.slivers(&"0".repeat(64)).await), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for() {
    let fleet = Fleet::start(4).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "all").expect("written");
    std::fs::write(dir.path().join("read-token"), "look").expect("written");
    let running = Running::start(&fleet, Access::tokens(dir.path()).expect("tokens")).await;
    let bytes = content(1, 100);
    let stored = put(&running.client(Some("all")), "one", &bytes).await.expect("stored");
    assert!(running.client(Some("look")).get(&stored.id, None).await.expect("read") == bytes);
    assert_eq!(status_of(running.client(Some("look")).delete(&stored.id).await), 403);
    assert_eq!(status_of(running.client(Some("other")).get(&stored.id, None).await), 401);
    assert_eq!(status_of(running.client(None).get(&stored.id, None).await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_is_asked_when_the_first_is_away_or_silent() {
    let fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent_url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let closed = Port::hold();
    let closed_url = format!("http://{}", closed.address());
    for (key, bad) in [("silent", silent_url), ("closed", closed_url)] {
        let urls = vec![bad, running.url.clone()];
        let gateways = Gateways::new(GatewaysConfig { urls, ..GatewaysConfig::default() }).expect("URLs");
        let bytes = content(1, 10_000);
        let stored = put(&gateways, key, &bytes).await.expect("stored");
        assert!(gateways.get(&stored.id, None).await.expect("read") == bytes, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_while_blobs_can_be_read() {
    let mut fleet = Fleet::start(4).await;
    let running = Running::start(&fleet, Access::Open).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut tasks = JoinSet::new();
    let serving = axum::serve(listener, running.gateway.admin()).into_future();
    tasks.spawn(async move { serving.await.expect("the admin port is served") });
    let admin = Gateways::new(GatewaysConfig { urls: vec![url], ..GatewaysConfig::default() }).expect("a URL");
    eventually("the gateway is ready", || async { admin.page("/readyz").await.is_ok() }).await;
    let bytes = content(1, 10_000);
    let stored = put(&running.client(None), "one", &bytes).await.expect("stored");
    let metrics = String::from_utf8(admin.page("/metrics").await.expect("metrics").to_vec()).expect("text");
    assert!(metrics.contains("weft_gateway_requests_total{method=\"PUT\",code=\"201\"} 1"), "{metrics}");
    fleet.kill(0).await;
    fleet.kill(1).await;
    // Two of four are beyond f = 1: nothing can be written, and the gateway stays to say so and to serve what can be read.
    let refused = put(&running.client(None), "two", &content(2, 10)).await;
    assert_eq!(status_of(refused), 503);
    assert!(running.client(None).get(&stored.id, None).await.expect("read") == bytes);
    assert!(admin.page("/readyz").await.is_ok());
    fleet.kill(2).await;
    eventually("the gateway isn't ready", || async { admin.page("/readyz").await.is_err() }).await;
    admin.page("/livez").await.expect("alive");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_serves_over_tls_and_finds_the_fleet_by_one_seed() {
    let fleet = Fleet::start(4).await;
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
    let (certificate, key) = fleet.authority.issue(&format!("weft://{}/gateway", fleet::FLEET));
    write("tls.crt", &certificate);
    write("tls.key", &key);
    write("ca.crt", &fleet.authority.pem());
    write("token", b"all");
    write("delete.key", hex::encode(fleet.deletes.seed()).as_bytes());
    let [listen, listen_tls, admin] = [Port::hold(), Port::hold(), Port::hold()];
    let args = GatewayArgs {
        seeds: vec![fleet.places[&1].port.address().to_string()],
        fleet: fleet::FLEET,
        trust_key: fleet.key.public(),
        tls_dir: dir.path().to_owned(),
        serving_tls_dir: None,
        token_dir: dir.path().to_owned(),
        access: AccessMode::Token,
        listen: listen.address(),
        listen_tls: listen_tls.address(),
        admin: admin.address(),
    };
    let urls = vec![format!("https://{}", args.listen_tls)];
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { gateway::run(args).await.expect("the gateway serves") });
    let config = GatewaysConfig {
        urls,
        token: Some("all".to_owned()),
        ca: Some(fleet.authority.pem()),
        server_name: Some(weft_client::MEMBER_NAME.to_owned()),
        ..GatewaysConfig::default()
    };
    let trusting = Gateways::new(config.clone()).expect("a configuration");
    let bytes = content(1, 100_000);
    eventually("the gateway serves", || async { put(&trusting, "one", &bytes).await.is_ok() }).await;
    let stored = put(&trusting, "one", &bytes).await.expect("stored");
    assert!(trusting.get(&stored.id, None).await.expect("read") == bytes);
    trusting.delete(&stored.id).await.expect("deleted");
    let other = GatewaysConfig { ca: Some(fleet::Authority::new().pem()), ..config };
    let distrusting = Gateways::new(other).expect("a configuration");
    assert!(matches!(distrusting.stat(&stored.id).await, Err(HttpError::Unreachable { .. })));
}

/// Puts and gets, one after the other, until told to end; counts them, and gives what failed.
async fn work(gateways: Gateways, worker: u64, all: Arc<AtomicU64>, end: watch::Receiver<bool>) -> Vec<String> {
    let (mut done, mut failures, mut stored) = (0, Vec::new(), Vec::new());
    while !*end.borrow() {
        let seed = worker << 32 | done;
        let bytes = content(seed, [500, 20_000, 300_000][done as usize % 3]);
        match put(&gateways, &seed.to_string(), &bytes).await {
            Ok(answer) => stored.push((answer.id, bytes)),
            Err(error) => failures.push(format!("put {done}: {error}")),
        }
        if let Some((id, bytes)) = stored.get((done as usize * 7) % stored.len().max(1)) {
            match gateways.get(id, None).await {
                Ok(read) if read == *bytes => {}
                Ok(_) => failures.push(format!("get {done}: other bytes")),
                Err(error) => failures.push(format!("get {done}: {error}")),
            }
        }
        done += 1;
        all.fetch_add(1, Ordering::Relaxed);
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_nothing_of_a_loss_custody_and_a_new_epoch() {
    let mut fleet = Fleet::start(7).await;
    let running = Running::start(&fleet, Access::Open).await;
    let (end, ended) = watch::channel(false);
    let done = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..2 {
        workers.spawn(work(running.client(None), worker, Arc::clone(&done), ended.clone()));
    }
    let go_on = async |when| {
        let goal = done.load(Ordering::Relaxed) + 6;
        eventually(&format!("clients go on {when}"), || async { done.load(Ordering::Relaxed) >= goal }).await;
    };
    go_on("before").await;
    let lost = fleet.newest().seats[3].shards;
    fleet.kill(3).await;
    go_on("after the loss").await;
    let custody = fleet.without(&[3]);
    fleet.change_view(&custody).await;
    fleet.whole().await;
    go_on("in custody").await;
    fleet.wipe(3).await;
    let epoch = fleet.with(3, lost).await;
    fleet.change_view(&epoch).await;
    fleet.whole().await;
    go_on("in the new epoch").await;
    end.send_replace(true);
    let mut failures = Vec::new();
    while let Some(worked) = workers.join_next().await {
        failures.extend(worked.expect("the worker ends"));
    }
    assert!(failures.is_empty(), "failed: {failures:#?}");
}
