//! A fleet in one process: real members, real gRPC over mutual TLS on 127.0.0.1, disks that lose their power, and an
//! operator that orders. Shared by the tests of node, repair and gateway.

mod certificates;
mod clock;
pub(crate) mod liar;
mod losses;
pub(crate) mod older;
mod operator;
mod port;
pub(crate) mod requests;
pub(crate) mod timeless;
mod writer;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::service::Routes;
use weft_client::{Client, FleetConfig, PutError, PutRequest, Stored, TlsConnector};
use weft_node::{
    env::Env,
    member::{Condition, Member, WhoAmI},
    serve::Node,
    tls::Tls,
};
use weft_protocol::{FleetId, MemberId, Seal, SignedView, SigningKey};
use weft_redstuff::{BlobId, Labels};
use weft_store::{Options, fake::FakeDisk};

pub(crate) use certificates::Authority;
pub(crate) use clock::TestClock;
pub(crate) use losses::{delete_slivers, lose};
pub(crate) use operator::OrderChanges;
pub(crate) use port::Port;

pub(crate) const FLEET: FleetId = FleetId([7; 16]);

/// For a condition to come true; generous, for machines that do a lot at once, and for peers who are waited for in vain, one after
/// the other.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Running {
    /// `None` on a foreign volume.
    pub member: Option<Arc<Member>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// A member's place: it outlives the processes that serve it.
pub(crate) struct Place {
    pub incarnation: u32,
    /// The incarnation that the disk was made for, when it is to be admitted again.
    pub readmit: Option<u32>,
    pub port: Port,
    pub disk: FakeDisk,
    pub running: Option<Running>,
}

pub(crate) struct Fleet {
    pub places: BTreeMap<u32, Place>,
    pub authority: Authority,
    /// The operator's key for views.
    pub key: SigningKey,
    /// The gateways' key for deletes.
    pub deletes: SigningKey,
    pub term: u64,
    pub view: Option<SignedView>,
    pub seal: Option<Seal>,
    /// What orders say of challenges; 0: none are held.
    pub challenge_interval_ms: u64,
    /// What orders say of the scrub; 0: there is none.
    pub scrub_period_seconds: u64,
    /// What orders say of the room that there is for a shard, in bytes; 0: no limit.
    pub shard_bytes_limit: u64,
    /// What orders say of the fleet's time, in seconds since 1970 (R15).
    pub floor: Option<u64>,
    /// The members' clock.
    pub clock: Arc<TestClock>,
    /// What stands between the network and a member's services.
    pub fronts: BTreeMap<u32, Front>,
    disks: u64,
}

/// Wraps a member's services.
pub(crate) type Front = Arc<dyn Fn(Arc<Member>, Routes) -> Routes + Send + Sync>;

impl Fleet {
    /// So many members with four shards each, under view 1.
    pub(crate) async fn start(members: u32) -> Self {
        let mut fleet = Self::unformed(members).await;
        fleet.form().await;
        fleet
    }

    /// Members that run and have no view yet.
    pub(crate) async fn unformed(members: u32) -> Self {
        // Tests of one binary share it.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _told = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let mut fleet = Self {
            places: BTreeMap::new(),
            authority: Authority::new(),
            key: SigningKey::from_seed([100; 32]),
            deletes: SigningKey::from_seed([101; 32]),
            term: 1,
            view: None,
            seal: None,
            challenge_interval_ms: 0,
            scrub_period_seconds: 0,
            shard_bytes_limit: 0,
            floor: None,
            clock: Arc::default(),
            fronts: BTreeMap::new(),
            disks: 0,
        };
        for member in 0..members {
            let disk = fleet.new_disk();
            let place = Place { incarnation: 1, readmit: None, port: Port::hold(), disk, running: None };
            fleet.places.insert(member, place);
            fleet.run(member).await;
        }
        fleet
    }

    pub(crate) fn new_disk(&mut self) -> FakeDisk {
        self.disks += 1;
        FakeDisk::new(self.disks)
    }

    /// Starts the process of a member on its disk.
    pub(crate) async fn run(&mut self, id: u32) {
        let place = self.places.get_mut(&id).expect("the member has a place");
        let (certificate, key) = self.authority.issue(&format!("weft://{FLEET}/member/{id}/{}", place.incarnation));
        let connector = TlsConnector::new(&self.authority.pem(), &certificate, &key);
        let who = WhoAmI {
            fleet: FLEET,
            member: MemberId(id),
            incarnation: place.incarnation,
            readmit: place.readmit,
            trust: self.key.public(),
        };
        let env = Env { clock: self.clock.clone(), ..Env::host(Arc::new(connector)) };
        let node = Node::open(Arc::new(place.disk.clone()), who, env, &Options::default()).await;
        let node = node.expect("the volume opens");
        let listener = place.port.listen().await;
        let member = node.member();
        let tls = Tls::new(&self.authority.pem(), &certificate, &key).expect("the certificates are sound");
        let (stop, stopped) = oneshot::channel::<()>();
        let front = self.fronts.get(&id).cloned().zip(member.clone());
        let behind = move |routes| match front {
            Some((front, member)) => front(member, routes),
            None => routes,
        };
        let served = tokio::spawn(async move {
            let ended = async move { drop(stopped.await) };
            node.run_behind(behind, listener, None, &tls, ended).await.expect("the member serves");
        });
        place.running = Some(Running { member, stop, served });
    }

    /// Flips a bit of a sliver on the disk of a member, which doesn't run.
    pub(crate) fn rot(&self, id: u32, sliver: &[u8]) {
        let disk = &self.places[&id].disk;
        let (segment, at) = disk.find(&sliver[..64]).pop().expect("the sliver is on the disk");
        assert!(disk.flip_bit(&segment, at + 10, 3));
    }

    /// The disk of a member doesn't give a sliver any more.
    pub(crate) fn make_unreadable(&self, id: u32, sliver: &[u8]) {
        let disk = &self.places[&id].disk;
        let places = disk.find(sliver);
        assert!(!places.is_empty(), "the sliver is on the disk");
        for (segment, at) in places {
            disk.make_unreadable(&segment, at..at + sliver.len() as u64);
        }
    }

    /// Ends a member's process, and cuts its disk's power.
    pub(crate) async fn kill(&mut self, id: u32) {
        let place = self.places.get_mut(&id).expect("the member has a place");
        let Some(Running { member, stop, served }) = place.running.take() else { return };
        drop(member);
        let _ended = stop.send(());
        served.await.expect("the member ends");
        place.disk.crash();
    }

    pub(crate) async fn restart(&mut self, id: u32) {
        self.kill(id).await;
        self.run(id).await;
    }

    /// Kills a member and loses its disk: a new incarnation starts in its place, on an empty one.
    pub(crate) async fn wipe(&mut self, id: u32) {
        self.kill(id).await;
        let disk = self.new_disk();
        let place = self.places.get_mut(&id).expect("the member has a place");
        place.disk = disk;
        place.incarnation += 1;
        self.run(id).await;
    }

    /// Starts the next incarnation of a member on the disk of the one before (R25).
    pub(crate) async fn readmit(&mut self, id: u32) {
        self.kill(id).await;
        let place = self.places.get_mut(&id).expect("the member has a place");
        place.readmit = Some(place.incarnation);
        place.incarnation += 1;
        self.run(id).await;
    }

    pub(crate) fn member(&self, id: u32) -> Arc<Member> {
        self.running(id).member.clone().expect("the volume is its own")
    }

    fn running(&self, id: u32) -> &Running {
        self.places[&id].running.as_ref().expect("the member runs")
    }

    /// The members that run on volumes of their own.
    pub(crate) fn members(&self) -> Vec<(u32, Arc<Member>)> {
        let running = self.places.iter().filter_map(|(id, place)| Some((*id, place.running.as_ref()?)));
        running.filter_map(|(id, running)| Some((id, running.member.clone()?))).collect()
    }

    /// A client with a gateway's certificate.
    pub(crate) fn client(&self) -> Client {
        let config = FleetConfig {
            fleet: FLEET,
            trust: self.key.public(),
            seeds: self.places.values().map(|place| place.port.address().to_string()).collect(),
            connector: Arc::new(self.connector("gateway")),
        };
        Client::new(weft_client::Fleet::new(config))
    }

    /// Channels for a role: `operator`, `gateway` or `member/<id>/<incarnation>`.
    pub(crate) fn connector(&self, role: &str) -> TlsConnector {
        let (certificate, key) = self.authority.issue(&format!("weft://{FLEET}/{role}"));
        TlsConnector::new(&self.authority.pem(), &certificate, &key)
    }

    /// Waits until all running members take writes under the operator's newest view, those that it seats acks included.
    pub(crate) async fn settled(&self) {
        let newest = self.view.clone().expect("there is a view");
        for (id, member) in self.members() {
            let seat = newest.view.seat(MemberId(id));
            let seated = seat.is_some_and(|seat| seat.incarnation == member.identity().incarnation);
            eventually(&format!("member {id} serves the newest view"), || async {
                let newest = member.newest().is_some_and(|view| *view == newest);
                newest && member.condition() == Condition::Healthy && (member.counts() || !seated)
            })
            .await;
        }
    }

    /// Waits until all running members know of the same blobs, and none misses any of its slivers: a put ends with a quorum, so
    /// that a member may miss nothing because it hasn't heard of the blob yet.
    pub(crate) async fn whole(&self) {
        for (id, member) in self.members() {
            eventually(&format!("member {id} is whole"), || async {
                let most = self.members().iter().filter_map(|(_, other)| Some(other.levels().ok()?.blobs)).max();
                member.levels().is_ok_and(|levels| levels.missing_slivers == 0 && Some(levels.blobs) == most)
                    && member.counts()
            })
            .await;
        }
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Content that is alike for the same seed.
pub(crate) fn content(seed: u64, length: usize) -> Bytes {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out.into()
}

pub(crate) async fn put(client: &Client, nonce: u8, content: &Bytes) -> Stored {
    put_until(client, nonce, content, None).await.expect("the put is answered")
}

/// Puts what expires then.
pub(crate) async fn put_until(
    client: &Client,
    nonce: u8,
    content: &Bytes,
    expiry: Option<u64>,
) -> Result<Stored, PutError> {
    let request = PutRequest { nonce: [nonce; 16], labels: Labels::default(), expiry };
    let pieces: Vec<io::Result<Bytes>> = vec![Ok(content.clone())];
    client.put(request, stream::iter(pieces)).await
}

pub(crate) async fn get(client: &Client, blob: BlobId) -> Bytes {
    let found = client.get(blob, None).await.expect("the blob is there");
    let pieces: Vec<Bytes> = found.bytes.boxed().try_collect().await.expect("the blob is readable");
    pieces.concat().into()
}
