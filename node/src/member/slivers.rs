//! The slivers that a member holds of certified blobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::{Entry, ShardSet};
use weft_redstuff::{Axis, BlobId, Code, Hash, Layout, Metadata, StripeHashes, merkle};
use weft_store::{Room, SliverKey, StoreError, UploadNumber, View};

use super::{
    Member, MemberError, index,
    moved::{self, Way},
    records,
};

/// Stripes whose hashes are in memory together.
const STRIPES_AT_ONCE: usize = 1024;

impl Member {
    /// Stores slivers of a live blob, and takes a shard off the work list when both its slivers of all stripes are
    /// there. `hashes` are the caller's to have proven against the blob's root; the slivers are checked against them
    /// here. Without slivers, only the hashes are kept. `way` tells how they came, for the epoch that gave their shards
    /// to this member.
    pub async fn put_slivers(
        &self,
        blob: BlobId,
        stripe: u32,
        hashes: &StripeHashes,
        symbol_size: u32,
        slivers: Vec<(Axis, u16, Bytes)>,
        way: Way,
    ) -> Result<(), MemberError> {
        let Some(Entry::Live { metadata, .. }) = self.entry(&blob)? else { return Err(MemberError::NoBlob(blob)) };
        let layout = metadata.layout;
        for (axis, index, data) in &slivers {
            check(layout.code(), stripe, hashes, symbol_size, (*axis, *index, data))?;
        }
        let description = describe(symbol_size, hashes);
        let bytes = slivers.iter().map(|(_, _, data)| data.len() as u64).sum();
        let write = self.store.write(Room::Grows { bytes }, move |tx| {
            // Deleted meanwhile: what is put now would never be released.
            if !index::is_live(tx, &blob)? {
                return Err(MemberError::NoBlob(blob));
            }
            // What is put beside candidates would count with them, before they are confirmed.
            if tx.holding(&blob.0)?.is_some() && counted(tx, &blob)?.is_none() {
                return Err(MemberError::Unconfirmed(blob));
            }
            let upload = tx.hold(&blob.0)?;
            match tx.stripe(upload, stripe)? {
                Some(known) if known[..] != description[..] => return Err(MemberError::NoStripe { blob, stripe }),
                Some(_) => {}
                None => tx.put_stripe(upload, stripe, description)?,
            }
            let (mut touched, mut came) = (ShardSet::EMPTY, BTreeMap::new());
            for (axis, index, data) in slivers {
                let shard = layout.code().shard_of(axis, index) as u8;
                let place = SliverKey { upload, stripe, axis: stored(axis), index: index as u8 };
                touched.insert(shard);
                if !tx.has_sliver(&place)? {
                    *came.entry(shard).or_default() += data.len() as u64;
                }
                tx.put_sliver(&place, data)?;
            }
            moved::count(tx, way, &came)?;
            for shard in touched.iter() {
                // As stripes are mended in order, a gap is found soonest behind this one.
                if is_whole(tx, upload, &layout, shard, stripe.saturating_add(1))? {
                    tx.remove_missing(&blob.0, shard)?;
                }
            }
            Ok(())
        });
        write.await?;
        Ok(())
    }

    /// Puts a sliver's shard on the work list: it must be held here, and isn't.
    pub(crate) async fn mark_missing(&self, blob: BlobId, axis: Axis, index: u16) -> Result<(), MemberError> {
        let shards = self.must_hold();
        let Some(Entry::Live { metadata, .. }) = self.entry(&blob)? else { return Ok(()) };
        let shard = metadata.code().shard_of(axis, index) as u8;
        if !shards.contains(shard) {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let held = whole(tx, tx.holding(&blob.0)?, &metadata.layout, [shard].into_iter().collect())?;
            if index::is_live(tx, &blob)? && held.is_empty() {
                tx.add_missing(&blob.0, shard)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        self.notify();
        Ok(())
    }

    /// The symbol size and the hashes of a stripe, where this member has them.
    pub fn stripe_hashes(&self, blob: &BlobId, stripe: u32) -> Result<Option<(u32, StripeHashes)>, MemberError> {
        let view = self.store.view();
        let Some(upload) = view.holding(&blob.0)? else { return Ok(None) };
        view.stripe(upload, stripe)?.map(|description| read_description(&description)).transpose()
    }

    /// In how many stripes (of one, or of all) of a blob each sliver is here.
    pub(crate) fn held_of(
        &self,
        blob: &BlobId,
        stripe: Option<u32>,
    ) -> Result<BTreeMap<(Axis, u16), u32>, MemberError> {
        let Some(Entry::Live { metadata, .. }) = self.entry(blob)? else { return Err(MemberError::NoBlob(*blob)) };
        let mut held = BTreeMap::new();
        for stripe in stripe.map_or(0..metadata.layout.stripes(), |stripe| stripe..stripe.saturating_add(1)) {
            for sliver in self.held_slivers(blob, stripe)? {
                *held.entry(sliver).or_default() += 1;
            }
        }
        Ok(held)
    }

    /// Axis and index of the slivers of a stripe that are here.
    pub fn held_slivers(&self, blob: &BlobId, stripe: u32) -> Result<Vec<(Axis, u16)>, MemberError> {
        let view = self.store.view();
        let Some(upload) = view.holding(&blob.0)? else { return Ok(Vec::new()) };
        Ok(held(&view, upload, stripe)?)
    }
}

/// Axis and index of the slivers of an upload's stripe.
pub(crate) fn held(view: &impl View, upload: UploadNumber, stripe: u32) -> Result<Vec<(Axis, u16)>, StoreError> {
    let slivers = view.slivers_of_stripe(upload, stripe)?;
    Ok(slivers.into_iter().map(|(place, _)| (coded(place.axis), u16::from(place.index))).collect())
}

/// An axis as the wire tells it.
pub(crate) fn axis(wire: u32) -> Option<Axis> {
    match wire {
        0 => Some(Axis::Primary),
        1 => Some(Axis::Secondary),
        _ => None,
    }
}

/// An axis as the store calls it.
pub(crate) fn stored(axis: Axis) -> weft_store::Axis {
    match axis {
        Axis::Primary => weft_store::Axis::Primary,
        Axis::Secondary => weft_store::Axis::Secondary,
    }
}

/// An axis as the code calls it.
pub(crate) fn coded(axis: weft_store::Axis) -> Axis {
    match axis {
        weft_store::Axis::Primary => Axis::Primary,
        weft_store::Axis::Secondary => Axis::Secondary,
    }
}

/// The stored description of a stripe: its symbol size (4 bytes, big-endian), its hashes.
pub(crate) fn describe(symbol_size: u32, hashes: &StripeHashes) -> Bytes {
    [&symbol_size.to_be_bytes()[..], &hashes.encode()].concat().into()
}

pub(crate) fn read_description(bytes: &[u8]) -> Result<(u32, StripeHashes), MemberError> {
    let malformed = MemberError::Malformed { field: "stripe" };
    let Some((size, hashes)) = bytes.split_first_chunk::<4>() else { return Err(malformed) };
    let shards = hashes.len() / (2 * Hash::LENGTH);
    // How many hashes there are follows from n alone.
    let Ok(code) = Code::with_shards(shards as u16) else { return Err(malformed) };
    Ok((u32::from_be_bytes(*size), StripeHashes::decode(code, hashes)?))
}

/// Checks a sliver's place, length and hash.
pub(crate) fn check(
    code: Code,
    stripe: u32,
    hashes: &StripeHashes,
    symbol_size: u32,
    (axis, index, data): (Axis, u16, &[u8]),
) -> Result<(), MemberError> {
    let fits = index < code.shards() && data.len() == code.sliver_length(axis, symbol_size);
    if fits && hashes.matches(axis, index, data) {
        return Ok(());
    }
    Err(MemberError::WrongSliver { stripe, axis, index })
}

/// Gives each stripe of an upload in order, its index, symbol size and hashes, for as long as `each` wants more.
pub(crate) fn each_stripe(
    view: &impl View,
    upload: UploadNumber,
    mut each: impl FnMut(u32, u32, &StripeHashes) -> bool,
) -> Result<(), MemberError> {
    let mut after = None;
    loop {
        let page = view.stripes(upload, after, STRIPES_AT_ONCE)?;
        for (stripe, description) in &page {
            let (symbol_size, hashes) = read_description(description)?;
            if !each(*stripe, symbol_size, &hashes) {
                return Ok(());
            }
            after = Some(*stripe);
        }
        if page.len() < STRIPES_AT_ONCE {
            return Ok(());
        }
    }
}

/// The upload under which a blob is held here, where it counts: what a volume held before it was admitted again does
/// only once it is confirmed (R25).
pub(crate) fn counted(view: &impl View, blob: &BlobId) -> Result<Option<UploadNumber>, MemberError> {
    let Some(upload) = view.holding(&blob.0)? else { return Ok(None) };
    let counts = match records::candidates(view)? {
        Some(candidates) if upload < candidates.below => view.mark(&blob.0)? == Some(candidates.below.0),
        _ => true,
    };
    Ok(counts.then_some(upload))
}

/// Whether an upload's stripes are those of a blob; `None` when some are wanting.
pub(crate) fn are_of(view: &impl View, upload: UploadNumber, metadata: &Metadata) -> Result<Option<bool>, MemberError> {
    let (mut expected, mut roots, mut fit) = (metadata.layout.iter(), merkle::Builder::new(), true);
    each_stripe(view, upload, |stripe, symbol_size, hashes| {
        roots.push(hashes.root());
        fit &= expected.next().is_some_and(|its| (its.index, its.symbol_size) == (stripe, symbol_size));
        true
    })?;
    if roots.leaves().len() != metadata.layout.stripes() as usize {
        return Ok(None);
    }
    Ok(Some(fit && roots.root() == metadata.root))
}

/// Bytes of both slivers of one shard of all stripes.
pub(crate) fn bytes_of_a_shard(layout: &Layout) -> u64 {
    let bytes = |axis| layout.iter().map(|stripe| stripe.sliver_length(axis) as u64).sum::<u64>();
    Axis::BOTH.map(bytes).iter().sum()
}

/// Those of `shards` of which both slivers of all stripes are there.
pub(crate) fn whole(
    view: &impl View,
    upload: Option<UploadNumber>,
    layout: &Layout,
    shards: ShardSet,
) -> Result<ShardSet, StoreError> {
    if layout.is_inline() {
        return Ok(shards);
    }
    let Some(upload) = upload else { return Ok(ShardSet::EMPTY) };
    let mut whole = ShardSet::EMPTY;
    for shard in shards.iter() {
        // As stripes come in order, a gap is found soonest at the end.
        if is_whole(view, upload, layout, shard, layout.stripes() - 1)? {
            whole.insert(shard);
        }
    }
    Ok(whole)
}

/// Whether both slivers of a shard are there of all stripes: those from `first` on are looked at first.
fn is_whole(
    view: &impl View,
    upload: UploadNumber,
    layout: &Layout,
    shard: u8,
    first: u32,
) -> Result<bool, StoreError> {
    let stripes = layout.stripes();
    for stripe in (first..stripes).chain(0..first.min(stripes)) {
        for axis in Axis::BOTH {
            let index = layout.code().sliver_index(u16::from(shard), axis) as u8;
            if !view.has_sliver(&SliverKey { upload, stripe, axis: stored(axis), index })? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
