//! What goes behind a member's back.

use weft_node::member::Member;
use weft_redstuff::BlobId;
use weft_store::{Room, StoreError, View as _};

/// Removes slivers from a member's store, as a hand on its volume might: nothing tells the member.
pub(crate) async fn delete_slivers(member: &Member, blobs: &[BlobId]) {
    let blobs = blobs.to_vec();
    let write = member.store().write(Room::Reserved, move |tx| {
        for blob in &blobs {
            let Some(upload) = tx.holding(&blob.0)? else { continue };
            for (place, _) in tx.slivers(upload, None, usize::MAX)? {
                tx.remove_sliver(&place)?;
            }
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("the store takes it");
}

/// Removes what a member holds of a blob, and puts it on its work list: as if the put had passed it by.
pub(crate) async fn lose(member: &Member, blob: BlobId) {
    let shards = member.must_hold();
    let write = member.store().write(Room::Reserved, move |tx| {
        if let Some(upload) = tx.holding(&blob.0)? {
            for (place, _) in tx.slivers(upload, None, usize::MAX)? {
                tx.remove_sliver(&place)?;
            }
        }
        for shard in shards.iter() {
            tx.add_missing(&blob.0, shard)?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("the store takes it");
}
