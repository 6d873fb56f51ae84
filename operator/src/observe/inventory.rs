//! A member's inventory, decoded. A member may lie or be of another release: nothing here trusts it.

use std::time::Duration;

use thiserror::Error;
use weft_planner::{Ailment, Inventory, ShardReport};
use weft_proto::v1;
use weft_protocol::{
    Accusation, DecodeError, Decoder, FleetId, Incarnation, MemberId, PublicKey, Seal, SealOrder, Signed, SignedView,
    TimeFloor, ViewId, VolumeId,
};
use weft_redstuff::BlobId;

use crate::session::{Moved, Room};

#[derive(Debug, Error)]
pub enum InventoryError {
    #[error("the inventory has no {0}")]
    Missing(&'static str),
    #[error("the inventory's {what} has {length} bytes")]
    Length { what: &'static str, length: usize },
    #[error("decode the inventory's {what}")]
    Decode { what: &'static str, source: DecodeError },
    #[error("the inventory names shard {0}, beyond any code")]
    Shard(u32),
}

/// What a member said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub inventory: Inventory,
    // What only the status tells of.
    pub room: Option<Room>,
    pub moved: Vec<Moved>,
    /// Not verified yet.
    pub floor: Option<TimeFloor>,
}

/// Understands what a member said.
pub fn decode(said: v1::Inventory) -> Result<Answer, InventoryError> {
    let identity = said.identity.ok_or(InventoryError::Missing("identity"))?;
    let volume = fixed("volume ID", &identity.volume)?;
    let ailment = match v1::Ailment::try_from(said.ailment).unwrap_or(v1::Ailment::None) {
        v1::Ailment::None => None,
        v1::Ailment::ReadOnly => Some(Ailment::ReadOnly),
        v1::Ailment::Rewound => Some(Ailment::Rewound),
        v1::Ailment::ForeignVolume => Some(Ailment::ForeignVolume),
        v1::Ailment::WaitingForPeers => Some(Ailment::WaitingForPeers),
    };
    let room = said.volume.map(|volume| Room {
        free: volume.free_bytes.saturating_add(volume.reclaimable_bytes),
        lacks: said.shards.iter().fold(0, |all, shard| shard.missing_bytes.saturating_add(all)),
        shard: said.shard_bytes,
    });
    let moved = said.moved.iter().map(moved).collect();
    let inventory = Inventory {
        fleet: FleetId(fixed("fleet ID", &identity.fleet)?),
        member: MemberId(identity.member),
        incarnation: Incarnation { number: identity.incarnation, volume: VolumeId(volume) },
        key: PublicKey(fixed("public key", &said.public_key)?),
        term: said.term,
        newest_view: optional("newest view", &said.newest_view, view_id)?,
        newest_signed: optional("newest signed view", &said.newest_signed_view, SignedView::decode)?,
        newest_seal: optional("newest seal", &said.newest_seal, Seal::decode)?,
        seal_order: optional("seal order", &said.seal_order, SealOrder::decode)?,
        refusal: optional("refusal", &said.refusal, Signed::decode)?,
        synced: optional("synced view", &said.synced, view_id)?,
        counts: said.counts,
        blobs: said.blobs,
        tombstones: said.tombstones,
        shards: said.shards.iter().map(shard).collect::<Result<_, _>>()?,
        held_slivers: said.held_slivers,
        held_bytes: said.held_sliver_bytes,
        reachable: said.reachable.into_iter().map(MemberId).collect(),
        ailment,
        lacking: lacking(&said.lacking)?,
        // One that can't be read is worth as much as one that isn't signed.
        unanswered: said.unanswered.iter().map(unanswered).collect(),
        accusations: said.accusations.iter().filter_map(|accusation| Accusation::decode(accusation).ok()).collect(),
        unrecoverable: blobs(&said.unrecoverable)?,
        unrecoverable_blobs: said.unrecoverable_blobs,
        invalid: blobs(&said.invalid)?,
        invalid_blobs: said.invalid_blobs,
        set_aside: blobs(&said.set_aside)?,
    };
    // Likewise.
    let floor = TimeFloor::decode(&said.time_floor).ok();
    Ok(Answer { inventory, room, moved, floor })
}

fn moved(said: &v1::Moved) -> Moved {
    let v1::Moved { epoch, shard, copied_bytes, rebuilt_bytes } = *said;
    Moved { epoch, shard, copied: copied_bytes, rebuilt: rebuilt_bytes }
}

fn unanswered(said: &v1::Unanswered) -> ((MemberId, u32), Duration) {
    ((MemberId(said.member), said.incarnation), Duration::from_secs(said.seconds))
}

fn shard(report: &v1::ShardReport) -> Result<ShardReport, InventoryError> {
    Ok(ShardReport {
        shard: u8::try_from(report.shard).map_err(|_| InventoryError::Shard(report.shard))?,
        missing_slivers: report.missing_slivers,
        missing_bytes: report.missing_bytes,
        missing_blobs: report.missing_blobs,
        target: report.target,
        verified: report.verified,
    })
}

/// No more than can be listed: a member may say anything.
fn blobs(said: &[bytes::Bytes]) -> Result<Vec<BlobId>, InventoryError> {
    said.iter().take(weft_planner::LISTED).map(|id| Ok(BlobId(fixed("blob ID", id)?))).collect()
}

fn lacking(slots: &[u8]) -> Result<Vec<u8>, InventoryError> {
    match slots.len() {
        0 | weft_planner::SLOTS => Ok(slots.to_vec()),
        length => Err(InventoryError::Length { what: "lacking slots", length }),
    }
}

fn view_id(bytes: &[u8]) -> Result<ViewId, DecodeError> {
    let mut from = Decoder::new("view ID", bytes);
    let id = ViewId::decode(&mut from)?;
    from.finish()?;
    Ok(id)
}

fn optional<T>(
    what: &'static str,
    bytes: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<Option<T>, InventoryError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    decode(bytes).map(Some).map_err(|source| InventoryError::Decode { what, source })
}

fn fixed<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], InventoryError> {
    bytes.try_into().map_err(|_| InventoryError::Length { what, length: bytes.len() })
}
