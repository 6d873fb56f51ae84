//! Orders to members, and their inventories. One call does both, so the same code asks and orders: level-triggered,
//! in parallel, each with its own deadline.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use thiserror::Error;
use tonic::transport::Channel;
use weft_client::ConnectError;
use weft_planner::{Heard, MemberOrder, PodPhase, Record, Timestamp};
use weft_proto::v1::{self, control_client::ControlClient};
use weft_protocol::{FleetId, Seal, SealOrder, ShardSet, SigningKey, TermClaim, TimeFloor};
use weft_redstuff::BlobId;

use crate::{
    observe::{
        inventory::{self, Answer, InventoryError},
        seal,
    },
    session::{Incarnation, Session},
    traffic::Shares,
};

/// Members answer from memory; who takes longer counts as silent.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {DEADLINE:?}")]
    Deadline,
    #[error("refused")]
    Refused(#[source] Box<tonic::Status>),
    #[error("understand the answer")]
    Answer(#[from] InventoryError),
}

/// Where the processes of incarnations listen: of each the newest pod that has an address.
pub type Addresses = BTreeMap<Incarnation, String>;

/// What all orders say.
#[derive(Debug)]
pub struct Standing<'a> {
    pub fleet: FleetId,
    pub record: &'a Record,
    pub key: &'a SigningKey,
    pub shares: Shares,
    /// Between two rounds of challenges with one peer (R28).
    pub challenges: Duration,
    /// In which a member reads everything that it holds once.
    pub scrub: Duration,
    /// Bytes that a shard may have of all blobs; `None`: it isn't known what there is room for, and what was ordered last holds.
    pub room: Option<u64>,
    /// The fleet's time, in seconds since 1970 (R15).
    pub floor: Option<u64>,
}

/// The newest pod of each incarnation that has an address and may answer.
pub fn addresses(pods: &[(weft_planner::Pod, Option<String>)]) -> Addresses {
    let mut newest: BTreeMap<Incarnation, (u32, String)> = BTreeMap::new();
    for (pod, address) in pods {
        let (Some(address), PodPhase::Running | PodPhase::Unknown) = (address, pod.phase) else { continue };
        let entry = newest.entry((pod.member, pod.incarnation)).or_insert_with(|| (pod.attempt, address.clone()));
        if pod.attempt > entry.0 {
            *entry = (pod.attempt, address.clone());
        }
    }
    newest.into_iter().map(|(which, (_, address))| (which, address)).collect()
}

/// Sends every process its order, and keeps the answers. Gives how many didn't answer.
pub async fn order(
    session: &mut Session,
    standing: &Standing<'_>,
    addresses: &Addresses,
    orders: &[MemberOrder],
    now: impl Fn() -> Timestamp,
) -> usize {
    let Some(channels) = session.channels.clone() else { return addresses.len() };
    let common = Common::new(standing, session.seal.as_ref(), addresses);
    let asked = addresses.iter().map(|(which, address)| {
        let order = orders.iter().find(|order| (order.member, order.incarnation) == *which);
        let request = common.request(standing, *which, order);
        let channel = channels.connector.channel(address);
        async move { (*which, ask(channel, request).await) }
    });
    let mut silent = 0;
    for (which, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => hear(session, standing, which, answer, now()),
            Err(error) => {
                silent += 1;
                session.missed.entry(which).or_insert_with(&now);
                session.claimed = session.claimed.max(claimed(&error, standing));
                let (member, incarnation) = which;
                let error = &error as &dyn std::error::Error;
                tracing::debug!(%member, incarnation, error, "a member does not answer");
            }
        }
    }
    let view = standing.record.view.as_ref().map(|view| view.view.position());
    let heard = session.heard.values().map(|heard| &heard.inventory);
    if session.seal.as_ref().map(|seal| seal.successor.view.position()) < view
        && let Some(seal) = seal::recalled(standing.record, heard)
    {
        session.seal = Some(seal);
    }
    silent
}

/// The term for which a member refuses an order: only what the operator has signed counts (R4).
fn claimed(error: &AskError, standing: &Standing<'_>) -> u64 {
    let AskError::Refused(status) = error else { return 0 };
    let claim = TermClaim::decode(status.details()).ok();
    let own = |claim: &TermClaim| claim.fleet == standing.fleet && claim.verify(&standing.key.public()).is_ok();
    claim.filter(own).map_or(0, |claim| claim.term)
}

async fn ask(channel: Result<Channel, ConnectError>, request: v1::OrderRequest) -> Result<Answer, AskError> {
    let mut client = ControlClient::new(channel?).max_decoding_message_size(weft_proto::MAX_MESSAGE);
    let answer = tokio::time::timeout(DEADLINE, client.order(request)).await.map_err(|_| AskError::Deadline)?;
    let inventory = answer.map_err(|status| AskError::Refused(Box::new(status)))?.into_inner();
    Ok(inventory::decode(inventory)?)
}

fn hear(session: &mut Session, standing: &Standing<'_>, which: Incarnation, answer: Answer, at: Timestamp) {
    let (member, incarnation) = which;
    let Answer { inventory, room, moved, floor } = answer;
    // What put the newest view into effect must reach who was away; this leader may not have seen it happen.
    let position = |seal: &Seal| seal.successor.view.position();
    if let Some(seal) = &inventory.newest_seal
        && session.seal.as_ref().is_none_or(|ours| position(ours) < position(seal))
    {
        session.seal = Some(seal.clone());
    }
    if let Some(room) = room {
        session.rooms.insert(which, room);
    }
    // The operator's own word, whoever keeps it.
    let own = |floor: &TimeFloor| floor.verify(standing.fleet, &standing.key.public()).is_ok();
    session.told_floor = session.told_floor.max(floor.filter(own).map(|floor| floor.seconds));
    session.moved.insert(which, moved);
    session.missed.remove(&which);
    session.heard.insert(which, Heard { member, incarnation, at, inventory });
}

/// The parts that are the same in every order, encoded once.
struct Common {
    claim: Bytes,
    first_view: Bytes,
    seal_order: Bytes,
    seals: Vec<Bytes>,
    peers: Vec<v1::Peer>,
    time_floor: Bytes,
}

impl Common {
    fn new(standing: &Standing<'_>, seal: Option<&Seal>, addresses: &Addresses) -> Self {
        let Standing { fleet, record, key, shares: _, challenges: _, scrub: _, room: _, floor } = standing;
        let floor = floor.map(|seconds| TimeFloor::sign(*fleet, seconds, key).encode());
        let first = record.view.as_ref().filter(|view| view.view.predecessor.is_none());
        let seal_order = record.view.as_ref().zip(record.pending.as_ref()).map(|(view, pending)| {
            let (successor, declaration) = (pending.view.clone(), pending.declaration.clone());
            SealOrder::declaring(record.term, view.view.hash(), successor, declaration, key).encode()
        });
        // Only what status has as in effect is passed on: a seal that it doesn't know yet is recorded first.
        let known = |seal: &&Seal| {
            record.view.as_ref().is_some_and(|view| view.view.position() >= seal.successor.view.position())
        };
        let peers = addresses.iter().map(|((member, incarnation), address)| v1::Peer {
            member: member.0,
            incarnation: *incarnation,
            address: address.clone(),
        });
        Self {
            claim: TermClaim::sign(*fleet, record.term, key).encode().into(),
            first_view: first.map(weft_protocol::SignedView::encode).unwrap_or_default().into(),
            seal_order: seal_order.unwrap_or_default().into(),
            seals: seal.filter(known).map(|seal| seal.encode().into()).into_iter().collect(),
            peers: peers.collect(),
            time_floor: floor.unwrap_or_default().into(),
        }
    }

    fn request(&self, standing: &Standing<'_>, which: Incarnation, order: Option<&MemberOrder>) -> v1::OrderRequest {
        let (member, incarnation) = which;
        let shards = |set: &ShardSet| Bytes::copy_from_slice(&set.to_bytes());
        let id = |blob: &BlobId| Bytes::copy_from_slice(&blob.0);
        let target = order.and_then(|order| order.target.as_ref());
        let retire = order.and_then(|order| order.retire.as_ref());
        let records = standing.record.members.iter().filter(|record| record.id == member);
        let mut incarnations = records.flat_map(|record| std::iter::once(&record.current).chain(&record.successor));
        let volume = incarnations.find(|record| record.number == incarnation).and_then(|record| record.volume);
        v1::OrderRequest {
            claim: self.claim.clone(),
            identity: Some(v1::Identity {
                fleet: Bytes::copy_from_slice(&standing.fleet.0),
                member: member.0,
                incarnation,
                volume: volume.map(|volume| Bytes::copy_from_slice(&volume.0)).unwrap_or_default(),
            }),
            first_view: self.first_view.clone(),
            seal_order: if order.is_some_and(|order| order.seal) { self.seal_order.clone() } else { Bytes::new() },
            seals: self.seals.clone(),
            peers: self.peers.clone(),
            target: target.map(|(epoch, set)| v1::Target { epoch: *epoch, shards: shards(set) }),
            retire: retire
                .map(|(view, set)| v1::Retire { view: Bytes::copy_from_slice(view.as_bytes()), shards: shards(set) }),
            budgets: Some(v1::Budgets {
                // 0: no limit.
                repair_bytes_per_second: standing.shares.of(which),
            }),
            challenge_interval_ms: standing.challenges.as_millis() as u64,
            scrub_period_seconds: standing.scrub.as_secs(),
            // 0 is no limit: where there is no room at all, it's one byte.
            shard_bytes_limit: standing.room.map(|limit| limit.max(1)),
            time_floor: self.time_floor.clone(),
            unrecoverable: order.map(|order| order.listed.iter().map(id).collect()).unwrap_or_default(),
        }
    }
}
