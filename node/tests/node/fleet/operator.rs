//! The operator's part: orders, the first view, changes of view.

use std::collections::BTreeMap;

use tonic::Status;
use weft_client::Connector;
use weft_proto::v1::{Inventory, OrderRequest, Peer, control_client::ControlClient};
use weft_protocol::{
    Authority, Incarnation, MemberId, PublicKey, Seal, SealOrder, Seat, ShardSet, Signed, SignedView, TermClaim,
    TimeFloor, View, VolumeId,
};
use weft_redstuff::{BlobId, Code};

use super::{FLEET, Fleet, eventually};

/// What an order says besides the term, the peers and the newest view.
#[derive(Default, Clone)]
pub(crate) struct OrderChanges {
    pub seal_order: Option<SealOrder>,
    pub target: Option<weft_proto::v1::Target>,
    pub retire: Option<weft_proto::v1::Retire>,
    /// The blobs that are listed as unrecoverable (R20).
    pub unrecoverable: Vec<BlobId>,
    /// Another term than the operator's.
    pub term: Option<u64>,
    /// Another time floor than the fleet's.
    pub time_floor: Option<TimeFloor>,
}

impl Fleet {
    /// Orders one member, and gets its inventory.
    pub(crate) async fn order(&self, id: u32, changes: OrderChanges) -> Result<Inventory, Status> {
        let place = &self.places[&id];
        let channel =
            self.connector("operator").channel(&place.port.address().to_string()).expect("the address is one");
        let peers = self.places.iter().map(|(member, place)| Peer {
            member: *member,
            incarnation: place.incarnation,
            address: place.port.address().to_string(),
        });
        let first = self.view.as_ref().filter(|view| view.view.predecessor.is_none());
        let request = OrderRequest {
            claim: TermClaim::sign(FLEET, changes.term.unwrap_or(self.term), &self.key).encode().into(),
            identity: Some(weft_proto::v1::Identity {
                fleet: FLEET.0.to_vec().into(),
                member: id,
                incarnation: place.incarnation,
                volume: bytes::Bytes::new(),
            }),
            first_view: first.map(|view| view.encode().into()).unwrap_or_default(),
            seal_order: changes.seal_order.map(|order| order.encode().into()).unwrap_or_default(),
            seals: self.seal.iter().map(|seal| seal.encode().into()).collect(),
            peers: peers.collect(),
            target: changes.target,
            retire: changes.retire,
            budgets: None,
            challenge_interval_ms: self.challenge_interval_ms,
            scrub_period_seconds: self.scrub_period_seconds,
            shard_bytes_limit: Some(self.shard_bytes_limit),
            time_floor: changes.time_floor.or_else(|| self.time_floor()).map(|f| f.encode().into()).unwrap_or_default(),
            unrecoverable: changes.unrecoverable.iter().map(|blob| blob.0.to_vec().into()).collect(),
        };
        Ok(ControlClient::new(channel).order(request).await?.into_inner())
    }

    /// The operator's word that the fleet's time is what the fleet of the test says.
    pub(crate) fn time_floor(&self) -> Option<TimeFloor> {
        self.floor.map(|seconds| TimeFloor::sign(FLEET, seconds, &self.key))
    }

    /// Orders everyone who runs, and has them know what time it is.
    pub(crate) async fn time_is(&mut self, seconds: u64) {
        self.floor = Some(seconds);
        for inventory in self.order_all(OrderChanges::default()).await.into_values() {
            assert_eq!(TimeFloor::decode(&inventory.time_floor).unwrap(), self.time_floor().unwrap());
        }
    }

    /// Orders everyone who runs.
    pub(crate) async fn order_all(&self, changes: OrderChanges) -> BTreeMap<u32, Inventory> {
        let mut inventories = BTreeMap::new();
        for (id, place) in &self.places {
            if place.running.is_some() {
                inventories.insert(*id, self.order(*id, changes.clone()).await.expect("the member obeys"));
            }
        }
        inventories
    }

    /// Makes view 1 of what the members say they are (R3).
    pub(crate) async fn form(&mut self) {
        let inventories = self.order_all(OrderChanges::default()).await;
        let shards = 4 * inventories.len() as u16;
        let seat = |(id, inventory): (&u32, &Inventory)| Seat {
            shards: (4 * *id as u8..4 * *id as u8 + 4).collect(),
            ..unseated(inventory)
        };
        let view = View {
            fleet: FLEET,
            epoch: 1,
            revision: 0,
            term: self.term,
            predecessor: None,
            code: Code::with_shards(shards).expect("the members suffice"),
            seats: inventories.iter().map(seat).collect(),
            authority: Authority { views: self.key.public(), deletes: vec![self.deletes.public()] },
            declared: vec![],
        };
        self.view = Some(SignedView::sign(view, &self.key));
        self.order_all(OrderChanges::default()).await;
        self.settled().await;
    }

    pub(crate) fn newest(&self) -> &View {
        &self.view.as_ref().expect("there is a view").view
    }

    /// The successor in which others hold what `lost` held: a custody, or a new epoch's assignment.
    pub(crate) fn without(&self, lost: &[u32]) -> View {
        let view = self.newest();
        let (gone, mut seats): (Vec<Seat>, Vec<Seat>) =
            view.seats.iter().cloned().partition(|seat| lost.contains(&seat.member.0));
        for shard in gone.iter().flat_map(|seat| seat.shards.iter()) {
            let fewest = seats.iter_mut().min_by_key(|seat| seat.shards.len()).expect("somebody survives");
            fewest.shards.insert(shard);
        }
        View { revision: view.revision + 1, predecessor: Some(view.id()), seats, term: self.term, ..view.clone() }
    }

    /// `without(lost)`, in which they are declared destroyed (R7).
    pub(crate) fn declaring(&self, lost: &[u32]) -> View {
        let seats = self.newest().seats.iter().filter(|seat| lost.contains(&seat.member.0));
        let declared = seats.map(|seat| (seat.member, seat.incarnation)).collect();
        View { declared, ..self.without(lost) }
    }

    /// The next epoch's view, in which `member`'s present incarnation takes `shards` from whoever holds them.
    pub(crate) async fn with(&self, member: u32, shards: ShardSet) -> View {
        let inventory = self.order(member, OrderChanges::default()).await.expect("the newcomer obeys");
        let view = self.newest();
        let mut seats: Vec<Seat> = view.seats.iter().filter(|seat| seat.member.0 != member).cloned().collect();
        for seat in &mut seats {
            seat.shards = seat.shards.difference(shards);
        }
        seats.push(Seat { shards, ..unseated(&inventory) });
        seats.sort_by_key(|seat| seat.member);
        let (epoch, term) = (view.epoch + 1, self.term);
        View { epoch, revision: 0, predecessor: Some(view.id()), seats, term, ..view.clone() }
    }

    pub(crate) fn seal_order(&self, successor: &View) -> SealOrder {
        let successor = SignedView::sign(successor.clone(), &self.key);
        SealOrder::sign(self.term, self.newest().hash(), successor, &self.key)
    }

    /// Seals the newest view and puts its successor into effect everywhere.
    pub(crate) async fn change_view(&mut self, successor: &View) {
        let order = self.seal_order(successor);
        let changes = OrderChanges { seal_order: Some(order.clone()), ..OrderChanges::default() };
        let inventories = self.order_all(changes).await;
        // Members seal it among themselves too, and one that did has no refusal to give any more.
        let refusals: Vec<Signed> = inventories
            .values()
            .filter(|inventory| !inventory.refusal.is_empty())
            .map(|inventory| Signed::decode(&inventory.refusal).expect("a refusal"))
            .collect();
        let sealed = self.view.clone().expect("there is a view");
        let seal =
            Seal { sealed, successor: order.successor.clone(), refusals, declaration: order.declaration.clone() };
        self.view = Some(order.successor);
        if seal.check(&self.key.public()).is_ok() {
            self.seal = Some(seal);
        } else {
            let (_, member) = self.members().remove(0);
            let newest = self.view.clone().expect("there is a view");
            eventually("the members seal the view", || async { member.newest().is_some_and(|view| *view == newest) })
                .await;
            let inventory = self.order_all(OrderChanges::default()).await.into_values().next().expect("one runs");
            self.seal = Some(Seal::decode(&inventory.newest_seal).expect("a seal"));
        }
        self.order_all(OrderChanges::default()).await;
        self.settled().await;
    }
}

/// A seat without shards for what a member says it is.
pub(crate) fn unseated(inventory: &Inventory) -> Seat {
    let identity = inventory.identity.as_ref().expect("an inventory names its member");
    let volume = VolumeId(identity.volume[..].try_into().expect("a volume ID is 16 bytes"));
    Seat {
        member: MemberId(identity.member),
        incarnation: Incarnation { number: identity.incarnation, volume },
        key: PublicKey(inventory.public_key[..].try_into().expect("a key is 32 bytes")),
        shards: ShardSet::EMPTY,
    }
}
