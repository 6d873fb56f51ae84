//! Eight members and a gateway, each a process, and the operator's part: the first view, and custody of what is lost.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use hyper::{Method, Uri};
use weft_client::{Connector, TlsConnector};
use weft_proto::v1::{Identity, Inventory, OrderRequest, Peer, control_client::ControlClient};
use weft_protocol::{
    Authority, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, Seat, ShardSet, Signed, SignedView,
    SigningKey, TermClaim, View, VolumeId,
};
use weft_redstuff::Code;

use crate::{
    Failure, MEMBERS, certificates,
    load::Target,
    process::{Process, eventually, free_address},
};

const FLEET: FleetId = FleetId([7; 16]);
const TERM: u64 = 1;

struct Place {
    member: u32,
    address: SocketAddr,
    /// Gone once it is lost.
    process: Option<Process>,
}

pub(crate) struct Fleet {
    folder: PathBuf,
    code: Code,
    key: SigningKey,
    authority: certificates::Authority,
    operator: TlsConnector,
    places: Vec<Place>,
    view: Option<SignedView>,
    seals: Vec<Bytes>,
    gateway: SocketAddr,
    gateway_process: Option<Process>,
}

impl Fleet {
    /// Starts everything in a folder, and waits until puts are taken.
    pub(crate) async fn start(folder: &Path, code: Code) -> Result<Self, Failure> {
        let authority = certificates::Authority::new();
        let (certificate, key) = authority.issue(&format!("weft://{FLEET}/operator"));
        let operator = TlsConnector::new(&authority.pem(), &certificate, &key);
        let mut fleet = Self {
            folder: folder.to_owned(),
            code,
            key: SigningKey::from_seed([100; 32]),
            authority,
            operator,
            places: Vec::new(),
            view: None,
            seals: Vec::new(),
            gateway: free_address()?,
            gateway_process: None,
        };
        for member in 0..u32::from(MEMBERS) {
            let place = fleet.member(member)?;
            fleet.places.push(place);
        }
        fleet.form().await?;
        fleet.gateway_process = Some(fleet.start_gateway()?);
        let http = crate::load::http();
        let some = Bytes::from_static(b"some");
        eventually("the gateway takes puts", || async {
            let (method, uri) = fleet.put(0)?;
            let answer = crate::load::ask(&http, method, uri, some.clone()).await?;
            let uri = fleet.stored(0, &answer)?;
            crate::load::ask(&http, Method::DELETE, uri, Bytes::new()).await.map(|_| Some(()))
        })
        .await?;
        Ok(fleet)
    }

    /// A folder with what a role needs for mutual TLS.
    fn secrets(&self, name: &str, role: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder.join(format!("{name}-tls"));
        fs::create_dir_all(&folder)?;
        let (certificate, key) = self.authority.issue(&format!("weft://{FLEET}/{role}"));
        fs::write(folder.join("ca.crt"), self.authority.pem())?;
        fs::write(folder.join("tls.crt"), certificate)?;
        fs::write(folder.join("tls.key"), key)?;
        Ok(folder)
    }

    fn program(&self, role: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft-node"));
        command
            .args([role, "--fleet", &FLEET.to_string(), "--trust-key", &self.key.public().to_string()])
            .env("RUST_LOG", "warn");
        command
    }

    fn member(&self, member: u32) -> Result<Place, Failure> {
        let (address, name) = (free_address()?, format!("member-{member}"));
        let mut command = self.program("serve");
        command
            .args(["--member", &member.to_string(), "--incarnation", "1"])
            .args(["--listen", &address.to_string(), "--admin", &free_address()?.to_string()])
            .arg("--data-dir")
            .arg(self.folder.join(&name))
            .arg("--tls-dir")
            .arg(self.secrets(&name, &format!("member/{member}/1"))?);
        let process = Process::start(&mut command, &self.folder.join(format!("{name}.log")))?;
        Ok(Place { member, address, process: Some(process) })
    }

    fn start_gateway(&self) -> Result<Process, Failure> {
        let secrets = self.secrets("gateway", "gateway")?;
        fs::write(secrets.join("delete.key"), hex::encode([101; 32]))?;
        let seeds: Vec<String> = self.places.iter().map(|place| place.address.to_string()).collect();
        let mut command = self.program("gateway");
        command
            .args(["--access", "Open", "--seeds", &seeds.join(","), "--listen", &self.gateway.to_string()])
            .args(["--listen-tls", &free_address()?.to_string(), "--admin", &free_address()?.to_string()])
            .arg("--tls-dir")
            .arg(secrets);
        Process::start(&mut command, &self.folder.join("gateway.log"))
    }

    async fn order(&self, place: &Place, seal_order: Option<&SealOrder>) -> Result<Inventory, Failure> {
        let channel = self.operator.channel(&place.address.to_string())?;
        let peers = self.places.iter().map(|place| Peer {
            member: place.member,
            incarnation: 1,
            address: place.address.to_string(),
        });
        let first = self.view.as_ref().filter(|view| view.view.predecessor.is_none());
        let request = OrderRequest {
            claim: TermClaim::sign(FLEET, TERM, &self.key).encode().into(),
            identity: Some(Identity {
                fleet: FLEET.0.to_vec().into(),
                member: place.member,
                incarnation: 1,
                volume: Bytes::new(),
            }),
            first_view: first.map(|view| view.encode().into()).unwrap_or_default(),
            seal_order: seal_order.map(|order| order.encode().into()).unwrap_or_default(),
            seals: self.seals.clone(),
            peers: peers.collect(),
            ..OrderRequest::default()
        };
        Ok(ControlClient::new(channel).order(request).await?.into_inner())
    }

    /// Orders everyone who is there.
    pub(crate) async fn order_all(&self, seal_order: Option<&SealOrder>) -> Result<Vec<Inventory>, Failure> {
        let there = self.places.iter().filter(|place| place.process.is_some());
        let ordered = there.map(|place| self.order(place, seal_order));
        futures::future::try_join_all(ordered).await
    }

    /// Makes view 1 of what the members say they are (R3).
    async fn form(&mut self) -> Result<(), Failure> {
        let inventories =
            eventually("the members are there", || async { self.order_all(None).await.map(Some) }).await?;
        let each = self.code.shards() / MEMBERS;
        let mut seats = Vec::new();
        for inventory in &inventories {
            let mut seat = seat(inventory)?;
            let first = seat.member.0 as u16 * each;
            seat.shards = (first as u8..(first + each) as u8).collect();
            seats.push(seat);
        }
        let deletes = vec![SigningKey::from_seed([101; 32]).public()];
        let view = View {
            fleet: FLEET,
            epoch: 1,
            revision: 0,
            term: TERM,
            predecessor: None,
            code: self.code,
            seats,
            authority: Authority { views: self.key.public(), deletes },
            declared: vec![],
        };
        self.view = Some(SignedView::sign(view, &self.key));
        self.serving().await
    }

    /// Waits until everyone who is there serves the newest view.
    async fn serving(&self) -> Result<(), Failure> {
        eventually("the members serve the view", || async {
            let inventories = self.order_all(None).await?;
            Ok(inventories.iter().all(|inventory| inventory.counts && inventory.ailment == 0).then_some(()))
        })
        .await
    }

    /// A member and its volume are gone; others have its shards in custody from here on.
    pub(crate) async fn lose(&mut self, member: u32) -> Result<(), Failure> {
        let place = self.places.iter_mut().find(|place| place.member == member).ok_or("no such member")?;
        drop(place.process.take());
        fs::remove_dir_all(self.folder.join(format!("member-{member}")))?;
        let sealed = self.view.clone().ok_or("there is no view")?;
        let (gone, mut seats): (Vec<Seat>, Vec<Seat>) =
            sealed.view.seats.iter().cloned().partition(|seat| seat.member.0 == member);
        for shard in gone.iter().flat_map(|seat| seat.shards.iter()) {
            let fewest = seats.iter_mut().min_by_key(|seat| seat.shards.len()).ok_or("nobody is left")?;
            fewest.shards.insert(shard);
        }
        let predecessor = Some(sealed.view.id());
        let successor = View { revision: sealed.view.revision + 1, predecessor, seats, ..sealed.view.clone() };
        let successor = SignedView::sign(successor, &self.key);
        let order = SealOrder::sign(TERM, sealed.view.hash(), successor.clone(), &self.key);
        let inventories = self.order_all(Some(&order)).await?;
        let refusals = inventories.iter().filter(|inventory| !inventory.refusal.is_empty());
        let refusals: Vec<Signed> =
            refusals.map(|inventory| Signed::decode(&inventory.refusal)).collect::<Result<_, _>>()?;
        let seal = Seal { sealed, successor: successor.clone(), refusals, declaration: order.declaration.clone() };
        let sealed_here = seal.check(&self.key.public()).is_ok();
        self.view = Some(successor);
        if sealed_here {
            self.seals = vec![seal.encode().into()];
        } else {
            // They sealed it among themselves meanwhile.
            let seal = eventually("the members seal the view", || async {
                let inventories = self.order_all(None).await?;
                Ok(inventories.into_iter().map(|inventory| inventory.newest_seal).find(|seal| !seal.is_empty()))
            });
            self.seals = vec![seal.await?];
        }
        self.order_all(None).await.map(drop)
    }
}

impl Target for Fleet {
    fn name(&self) -> &'static str {
        "Weft"
    }

    fn put(&self, _number: u64) -> Result<(Method, Uri), Failure> {
        Ok((Method::PUT, format!("http://{}/v1/blobs", self.gateway).parse()?))
    }

    fn stored(&self, _number: u64, answer: &Bytes) -> Result<Uri, Failure> {
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        let id = answer["id"].as_str().ok_or("the answer names no ID")?;
        Ok(format!("http://{}/v1/blobs/{id}", self.gateway).parse()?)
    }

    fn processes(&self) -> Vec<u32> {
        let members = self.places.iter().filter_map(|place| place.process.as_ref());
        members.chain(&self.gateway_process).map(Process::id).collect()
    }
}

/// A seat without shards for what a member says it is.
fn seat(inventory: &Inventory) -> Result<Seat, Failure> {
    let identity = inventory.identity.as_ref().ok_or("an inventory names no member")?;
    let volume = VolumeId(identity.volume[..].try_into()?);
    Ok(Seat {
        member: MemberId(identity.member),
        incarnation: Incarnation { number: identity.incarnation, volume },
        key: PublicKey(inventory.public_key[..].try_into()?),
        shards: ShardSet::EMPTY,
    })
}
