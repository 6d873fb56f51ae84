//! Members that cheat, each within what f bears: behind the back of a real process its slivers go, or are replaced, again
//! and again. And what a member really holds, whatever it says.

use weft_node::member::Member;
use weft_protocol::Entry;
use weft_redstuff::{Axis, BlobId, Code, Hash, Metadata, StripeHashes, merkle};
use weft_store::{Room, SliverKey, StoreError, Tx, UploadNumber, View};

/// Bytes before the hashes in the description of a stripe: its symbol size.
const SIZE_BYTES: usize = 4;

/// How a member cheats.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cheat {
    /// It keeps no sliver: what is rebuilt goes again.
    Forgets,
    /// It keeps other bytes, and hashes that fit them: what it serves and proves of these blobs is wrong.
    Lies,
}

impl Cheat {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forgets => "keeps nothing",
            Self::Lies => "keeps other bytes",
        }
    }

    /// Does it to everything that the member holds now. A store that takes no writes is left alone.
    pub(super) fn go_on(self, member: &Member) {
        let Ok(held) = member.store().view().holdings(None, usize::MAX) else { return };
        match self {
            Self::Forgets => {
                let _ = member.store().write_blocking(Room::Reserved, move |tx| {
                    held.iter().try_for_each(|(_, upload)| forget(tx, *upload))
                });
            }
            Self::Lies => {
                let Some(code) = member.code() else { return };
                for (blob, upload) in held {
                    // What was mended meanwhile is forged again.
                    let Ok(Some(Entry::Live { metadata, .. })) = member.entry(&BlobId(blob)) else { continue };
                    if hashes(member, &BlobId(blob), &metadata).is_ok() {
                        let _ = member.store().write_blocking(Room::Reserved, move |tx| forge(tx, code, upload));
                    }
                }
            }
        }
    }
}

fn forget(tx: &mut Tx<'_>, upload: UploadNumber) -> Result<(), StoreError> {
    for (place, _) in tx.slivers(upload, None, usize::MAX)? {
        tx.remove_sliver(&place)?;
    }
    Ok(())
}

/// Replaces every sliver, and its hash in its stripe's description.
fn forge(tx: &mut Tx<'_>, code: Code, upload: UploadNumber) -> Result<(), StoreError> {
    for (stripe, mut description) in tx.stripes(upload, None, usize::MAX)? {
        for (place, _) in tx.slivers_of_stripe(upload, stripe)? {
            let Some(mut sliver) = tx.sliver(&place)? else { continue };
            for byte in &mut sliver {
                *byte ^= 0x55;
            }
            let row = usize::from(place.index)
                + if place.axis == weft_store::Axis::Primary { 0 } else { usize::from(code.shards()) };
            let at = SIZE_BYTES + row * Hash::LENGTH;
            if let Some(hash) = description.get_mut(at..at + Hash::LENGTH) {
                hash.copy_from_slice(Hash::of(&sliver).as_bytes());
            }
            tx.put_sliver(&place, sliver)?;
        }
        tx.put_stripe(upload, stripe, description)?;
    }
    Ok(())
}

/// What a member lacks of these shards of a live blob, by what is on its volume; `None`: it has both slivers of all
/// stripes, as they were committed to.
pub(super) fn lack(member: &Member, blob: &BlobId, shards: impl IntoIterator<Item = u8>) -> Option<String> {
    let metadata = match member.entry(blob) {
        Ok(Some(Entry::Live { metadata, .. })) => metadata,
        Ok(Some(_)) => return Some(format!("takes blob {blob} for gone")),
        Ok(None) => return Some(format!("doesn't know blob {blob}")),
        Err(error) => return Some(format!("can't look up blob {blob}: {error}")),
    };
    if metadata.layout.is_inline() {
        return None;
    }
    let view = member.store().view();
    let hashes = match hashes(member, blob, &metadata) {
        Ok(hashes) => hashes,
        Err(why) => return Some(why),
    };
    let Ok(Some(upload)) = view.holding(&blob.0) else { return Some(format!("holds nothing of blob {blob}")) };
    for shard in shards {
        for (stripe, hashes) in (0..).zip(&hashes) {
            for axis in Axis::BOTH {
                let index = metadata.code().sliver_index(u16::from(shard), axis);
                let stored = match axis {
                    Axis::Primary => weft_store::Axis::Primary,
                    Axis::Secondary => weft_store::Axis::Secondary,
                };
                let sliver = view.sliver(&SliverKey { upload, stripe, axis: stored, index: index as u8 });
                if !sliver.is_ok_and(|sliver| sliver.is_some_and(|sliver| hashes.matches(axis, index, &sliver))) {
                    return Some(format!("lacks shard {shard} of blob {blob} ({}, stripe {stripe})", axis.name()));
                }
            }
        }
    }
    None
}

/// The hashes of all stripes, when they are the blob's.
fn hashes(member: &Member, blob: &BlobId, metadata: &Metadata) -> Result<Vec<StripeHashes>, String> {
    let of = |stripe| Some(member.stripe_hashes(blob, stripe).ok()??.1);
    let hashes: Option<Vec<StripeHashes>> = (0..metadata.layout.stripes()).map(of).collect();
    let hashes = hashes.ok_or_else(|| format!("lacks hashes of blob {blob}"))?;
    let roots: Vec<Hash> = hashes.iter().map(StripeHashes::root).collect();
    (merkle::root(&roots) == metadata.root).then_some(hashes).ok_or_else(|| format!("has wrong hashes of blob {blob}"))
}
