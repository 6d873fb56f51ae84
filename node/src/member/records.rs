//! The member's records on its volume: their names and bytes.

use std::collections::BTreeMap;

use weft_protocol::{
    Accusation, DecodeError, Decoder, Encoder, Fence, FleetId, Incarnation, MemberId, PublicKey, SealError, ShardSet,
    Signed, SignedView, SigningKey, TermClaim, TimeFloor, ViewId, VolumeId,
};
use weft_redstuff::BlobId;
use weft_store::{IDENTITY, Tx, UploadNumber, View};

use super::{MemberError, moved::Moved};

const FENCE: &str = "fence";
const SYNCED: &str = "synced";
const TARGET: &str = "target";
const PEERS: &str = "peers";
const VIEWS: &str = "views";
const WORK: &str = "work";
const VERIFIED: &str = "verified";
const UNJUDGED: &str = "unjudged";
const REWOUND: &str = "rewound";
const ACCUSATIONS: &str = "accusations";
const CLAIM: &str = "claim";
const CANDIDATES: &str = "candidates";
const MOVED: &str = "moved";
const HORIZON: &str = "horizon";
const FLOOR: &str = "time floor";

/// Who a volume belongs to (R1), and the key made on it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub fleet: FleetId,
    pub member: MemberId,
    pub incarnation: Incarnation,
    pub(crate) key: SigningKey,
}

impl Identity {
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    pub(crate) fn load(from: &impl View) -> Result<Option<Self>, MemberError> {
        let Some(bytes) = from.state(IDENTITY)? else { return Ok(None) };
        let mut from = Decoder::new("identity of the volume", &bytes);
        let identity = Self {
            fleet: FleetId(from.fixed()?),
            member: MemberId(from.u32()?),
            incarnation: Incarnation { number: from.u32()?, volume: VolumeId(from.fixed()?) },
            key: SigningKey::from_seed(from.fixed()?),
        };
        from.finish()?;
        Ok(Some(identity))
    }

    pub(crate) fn save(&self, to: &mut Tx<'_>) {
        let Self { fleet, member, incarnation, key } = self;
        let bytes = Encoder::new().fixed(&fleet.0).u32(member.0).u32(incarnation.number).fixed(&incarnation.volume.0);
        to.put_state(IDENTITY, bytes.fixed(&key.seed()).finish());
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member {} of fleet {}, incarnation {}", self.member, self.fleet, self.incarnation)
    }
}

/// The shards that the planned next epoch gives this member: to be held before the boundary (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub epoch: u64,
    pub shards: ShardSet,
}

/// A member and the number of its incarnation: an old one may still serve while its successor learns.
pub type Peer = (MemberId, u32);

/// Where they are, `host:port`.
pub type Peers = BTreeMap<Peer, String>;

/// Reads a record; `None` where there is none.
pub(super) fn load<T>(
    from: &impl View,
    name: &'static str,
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, MemberError> {
    let Some(bytes) = from.state(name)? else { return Ok(None) };
    let mut decoder = Decoder::new(name, &bytes);
    let value = read(&mut decoder)?;
    decoder.finish()?;
    Ok(Some(value))
}

pub(crate) fn fence(from: &impl View) -> Result<Fence, MemberError> {
    // It is written together with the identity.
    let bytes = from.state(FENCE)?.ok_or(MemberError::Malformed { field: "fence" })?;
    Ok(Fence::decode(&bytes)?)
}

pub(crate) fn put_fence(to: &mut Tx<'_>, fence: &Fence) {
    to.put_state(FENCE, fence.encode());
}

pub(crate) fn synced(from: &impl View) -> Result<Option<ViewId>, MemberError> {
    load(from, SYNCED, ViewId::decode)
}

pub(crate) fn put_synced(to: &mut Tx<'_>, synced: &ViewId) {
    to.put_state(SYNCED, synced.encode(Encoder::new()).finish());
}

pub(crate) fn target(from: &impl View) -> Result<Option<Target>, MemberError> {
    load(from, TARGET, |from| Ok(Target { epoch: from.u64()?, shards: ShardSet::from_bytes(&from.fixed()?) }))
}

pub(crate) fn put_target(to: &mut Tx<'_>, target: Option<&Target>) {
    match target {
        None => to.remove_state(TARGET),
        Some(target) => {
            to.put_state(TARGET, Encoder::new().u64(target.epoch).fixed(&target.shards.to_bytes()).finish());
        }
    }
}

/// What came of shards that epochs gave this member.
pub(crate) fn moved(from: &impl View) -> Result<Vec<Moved>, MemberError> {
    let moved = load(from, MOVED, |from| {
        from.list(|from| Ok(Moved { epoch: from.u64()?, shard: from.u8()?, copied: from.u64()?, rebuilt: from.u64()? }))
    })?;
    Ok(moved.unwrap_or_default())
}

pub(crate) fn put_moved(to: &mut Tx<'_>, moved: &[Moved]) {
    let bytes = Encoder::new().list(moved, |to, row| {
        let Moved { epoch, shard, copied, rebuilt } = *row;
        to.u64(epoch).u8(shard).u64(copied).u64(rebuilt)
    });
    to.put_state(MOVED, bytes.finish());
}

pub(crate) fn peers(from: &impl View) -> Result<Peers, MemberError> {
    let peers = load(from, PEERS, |from| {
        from.list(|from| {
            let (member, incarnation) = (MemberId(from.u32()?), from.u32()?);
            let address = String::from_utf8_lossy(from.bytes()?).into_owned();
            Ok(((member, incarnation), address))
        })
    })?;
    Ok(peers.unwrap_or_default().into_iter().collect())
}

pub(crate) fn put_peers(to: &mut Tx<'_>, peers: &Peers) {
    let peers: Vec<_> = peers.iter().collect();
    let bytes = Encoder::new().list(&peers, |to, ((member, incarnation), address)| {
        to.u32(member.0).u32(*incarnation).bytes(address.as_bytes())
    });
    to.put_state(PEERS, bytes.finish());
}

/// Every view that was ever seen in effect or named by a certificate: few, small, and needed as long as one names them.
pub(crate) fn views(from: &impl View) -> Result<Vec<SignedView>, MemberError> {
    Ok(load(from, VIEWS, |from| from.list(|from| SignedView::decode(from.bytes()?)))?.unwrap_or_default())
}

/// Adds views that aren't there yet. Their signatures are for the caller to check.
pub(crate) fn add_views<'v>(to: &mut Tx<'_>, new: impl IntoIterator<Item = &'v SignedView>) -> Result<(), MemberError> {
    let mut views = views(to)?;
    let before = views.len();
    for view in new {
        if !views.contains(view) {
            views.push(view.clone());
        }
    }
    if views.len() > before {
        let bytes = Encoder::new().list(&views, |to, view| to.bytes(&view.encode()));
        to.put_state(VIEWS, bytes.finish());
    }
    Ok(())
}

/// Whether the operator signed the view: with the key trusted from the start, or one that a known view names.
pub(crate) fn is_operators(view: &SignedView, fence: &Fence, known: &[SignedView]) -> Result<(), SealError> {
    by_operators_keys(fence, known.iter(), |key| view.verify(key).map_err(SealError::Sealed))
}

/// Whether one of the operator's keys verifies: one that a known view names, or the one trusted from the start.
pub(crate) fn by_operators_keys<'v, E>(
    fence: &Fence,
    known: impl Iterator<Item = &'v SignedView>,
    verify: impl Fn(&PublicKey) -> Result<(), E>,
) -> Result<(), E> {
    let mut last = Ok(());
    for key in known.map(|known| &known.view.authority.views).chain([fence.authority()]) {
        last = verify(key);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// What an incarnation signed with the highest sequence that this member saw (R1).
pub(crate) fn remembered(
    from: &impl View,
    member: MemberId,
    incarnation: Incarnation,
) -> Result<Option<Signed>, MemberError> {
    let bytes = from.state(&memory_of(member, incarnation))?;
    Ok(bytes.map(|bytes| Signed::decode(&bytes)).transpose()?)
}

pub(crate) fn put_remembered(to: &mut Tx<'_>, signed: &Signed) {
    to.put_state(&memory_of(signed.header.member, signed.header.incarnation), signed.encode());
}

/// A record of its own for each incarnation, so that what is written follows what changed.
fn memory_of(member: MemberId, incarnation: Incarnation) -> String {
    format!("memory {member} {incarnation}")
}

fn shards(from: &impl View, name: &'static str) -> Result<ShardSet, MemberError> {
    Ok(load(from, name, |from| Ok(ShardSet::from_bytes(&from.fixed()?)))?.unwrap_or_default())
}

/// The shards for which the list of what is missing was made from the whole registry.
pub(crate) fn work(from: &impl View) -> Result<ShardSet, MemberError> {
    shards(from, WORK)
}

pub(crate) fn put_work(to: &mut Tx<'_>, done: ShardSet) {
    to.put_state(WORK, done.to_bytes().to_vec());
}

/// The shards of which every sliver was read again, against its hash, since this member got them (R23).
pub(crate) fn verified(from: &impl View) -> Result<ShardSet, MemberError> {
    shards(from, VERIFIED)
}

pub(crate) fn put_verified(to: &mut Tx<'_>, verified: ShardSet) {
    to.put_state(VERIFIED, verified.to_bytes().to_vec());
}

/// The sequence at which the volume was when a process opened it that no peers have told yet what they remember (R1).
/// It outlives that process: what is committed while waiting must not hide that the volume was behind.
pub(crate) fn unjudged(from: &impl View) -> Result<Option<u64>, MemberError> {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough in its lifetime")]
    load(from, UNJUDGED, |from| from.u64())
}

pub(crate) fn put_unjudged(to: &mut Tx<'_>, sequence: Option<u64>) {
    match sequence {
        None => to.remove_state(UNJUDGED),
        Some(sequence) => to.put_state(UNJUDGED, Encoder::new().u64(sequence).finish()),
    }
}

/// A view's epoch and revision.
type Position = (u64, u64);

fn position(from: &impl View, name: &str) -> Result<Option<Position>, MemberError> {
    let Some(bytes) = from.state(name)? else { return Ok(None) };
    let mut from = Decoder::new("position of a view", &bytes);
    let position = (from.u64()?, from.u64()?);
    from.finish()?;
    Ok(Some(position))
}

fn put_position(to: &mut Tx<'_>, name: &str, position: Option<Position>) {
    match position {
        None => to.remove_state(name),
        Some((epoch, revision)) => to.put_state(name, Encoder::new().u64(epoch).u64(revision).finish()),
    }
}

/// The position of the newest view when a tombstone or void came, or was last receipted, or when a voided blob was last
/// acked since (R12, R14).
pub(crate) fn noted(from: &impl View, blob: &BlobId) -> Result<Option<Position>, MemberError> {
    position(from, &noted_name(blob))
}

pub(crate) fn put_noted(to: &mut Tx<'_>, blob: &BlobId, position: Option<Position>) {
    put_position(to, &noted_name(blob), position);
}

fn noted_name(blob: &BlobId) -> String {
    format!("noted/{blob}")
}

/// Whether a blob's tombstone or void isn't told any more (R14).
pub(crate) fn is_hidden(from: &impl View, blob: &BlobId) -> Result<bool, MemberError> {
    Ok(from.state(&hidden_name(blob))?.is_some())
}

pub(crate) fn put_hidden(to: &mut Tx<'_>, blob: &BlobId, is_hidden: bool) {
    if is_hidden { to.put_state(&hidden_name(blob), vec![]) } else { to.remove_state(&hidden_name(blob)) }
}

fn hidden_name(blob: &BlobId) -> String {
    format!("hidden/{blob}")
}

/// Puts that began under views up to this position get no acks: they may be of blobs whose tombstones were collected
/// (R14).
pub(crate) fn horizon(from: &impl View) -> Result<Option<Position>, MemberError> {
    position(from, HORIZON)
}

pub(crate) fn raise_horizon(to: &mut Tx<'_>, position: Position) -> Result<(), MemberError> {
    let highest = horizon(to)?.max(Some(position));
    put_position(to, HORIZON, highest);
    Ok(())
}

/// The latest recorded time floor (R15).
pub(crate) fn floor(from: &impl View) -> Result<Option<TimeFloor>, MemberError> {
    let bytes = from.state(FLOOR)?;
    Ok(bytes.map(|bytes| TimeFloor::decode(&bytes)).transpose()?)
}

pub(crate) fn raise_floor(to: &mut Tx<'_>, floor: &TimeFloor) -> Result<(), MemberError> {
    if self::floor(to)?.is_none_or(|recorded| recorded.seconds < floor.seconds) {
        to.put_state(FLOOR, floor.encode());
    }
    Ok(())
}

/// The accusations that this member stands by, one an incarnation (R29).
pub(crate) fn accusations(from: &impl View) -> Result<Vec<Accusation>, MemberError> {
    let accusations = load(from, ACCUSATIONS, |from| from.list(|from| Accusation::decode(from.bytes()?)))?;
    Ok(accusations.unwrap_or_default())
}

pub(crate) fn put_accusations(to: &mut Tx<'_>, accusations: &[Accusation]) {
    let bytes = Encoder::new().list(accusations, |to, accusation| to.bytes(&accusation.encode()));
    to.put_state(ACCUSATIONS, bytes.finish());
}

/// Where the volume was found, and what peers remembered, if it was found rewound: for good (R1).
pub(crate) fn rewound(from: &impl View) -> Result<Option<(u64, u64)>, MemberError> {
    load(from, REWOUND, |from| Ok((from.u64()?, from.u64()?)))
}

pub(crate) fn put_rewound(to: &mut Tx<'_>, here: u64, remembered: u64) {
    to.put_state(REWOUND, Encoder::new().u64(here).u64(remembered).finish());
}

/// The newest claim of a leader's that this member has taken, as it was signed.
pub(crate) fn claim(from: &impl View) -> Result<Option<TermClaim>, MemberError> {
    let bytes = from.state(CLAIM)?;
    Ok(bytes.map(|bytes| TermClaim::decode(&bytes)).transpose()?)
}

pub(crate) fn put_claim(to: &mut Tx<'_>, claim: &TermClaim) {
    to.put_state(CLAIM, claim.encode());
}

/// What a volume held when it was admitted again (R25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// Uploads with lower numbers are from before.
    pub(crate) below: UploadNumber,
    /// Whether those that belong to no blob have been dropped.
    pub(crate) swept: bool,
}

pub(crate) fn candidates(from: &impl View) -> Result<Option<Candidates>, MemberError> {
    load(from, CANDIDATES, |from| Ok(Candidates { below: UploadNumber(from.u64()?), swept: from.u8()? == 1 }))
}

pub(crate) fn put_candidates(to: &mut Tx<'_>, candidates: Candidates) {
    let Candidates { below, swept } = candidates;
    to.put_state(CANDIDATES, Encoder::new().u64(below.0).u8(u8::from(swept)).finish());
}
