//! What readers ask a member.

use bytes::Bytes;
use weft_protocol::Entry;
use weft_redstuff::{Axis, BlobId, Code, StripeHashes, symbol};
use weft_store::{ReadTx, Room, SliverKey, StoreError, UploadNumber, View};

use super::{
    Member, MemberError,
    slivers::{coded, held, read_description, stored},
};

/// A sliver, by its axis and its index there.
type Sliver = (Axis, u16, Bytes);

/// Slivers of a stripe as they are found here.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) symbol_size: u32,
    pub(crate) hashes: StripeHashes,
    pub(crate) sound: Vec<Sliver>,
    /// Those whose bytes aren't the committed ones any more.
    pub(super) rotten: Vec<SliverKey>,
    /// Those that the disk doesn't give.
    pub(super) unread: Vec<(SliverKey, StoreError)>,
}

/// Symbols that are wanted: those where slivers of a stripe cross one of `axis`.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) blob: BlobId,
    pub(crate) stripe: u32,
    pub(crate) axis: Axis,
    pub(crate) index: u16,
    /// Indices of the slivers that cross it.
    pub(crate) helpers: Vec<u16>,
}

/// Reading of slivers, on one snapshot.
#[derive(Debug)]
pub(crate) struct Reading {
    view: ReadTx,
    rotten: Vec<(BlobId, SliverKey)>,
}

impl Reading {
    /// Those of the wanted slivers of a stripe that are here, checked against their hashes. `None` where nothing of the stripe
    /// is here.
    pub(crate) fn slivers(
        &mut self,
        blob: &BlobId,
        stripe: u32,
        wanted: impl FnOnce(&ReadTx, UploadNumber) -> Result<Vec<(Axis, u16)>, StoreError>,
    ) -> Result<Option<Found>, MemberError> {
        let Some(upload) = self.view.holding(&blob.0)? else { return Ok(None) };
        let Some(description) = self.view.stripe(upload, stripe)? else { return Ok(None) };
        let found = find(&self.view, (upload, stripe), &description, wanted(&self.view, upload)?)?;
        for place in &found.rotten {
            // It may be asked for more than once on one snapshot.
            if !self.rotten.contains(&(*blob, *place)) {
                self.rotten.push((*blob, *place));
            }
        }
        Ok(Some(found))
    }

    /// The symbols of the helpers in their order, empty where one isn't here.
    fn symbols(&mut self, code: Code, wanted: &Wanted) -> Vec<Bytes> {
        let Wanted { blob, stripe, axis, index, helpers } = wanted;
        let crossing = axis.crossing();
        let slivers = helpers.iter().map(|helper| (crossing, *helper)).collect();
        let Ok(Some(found)) = self.slivers(blob, *stripe, |_, _| Ok(slivers)) else { return Vec::new() };
        let symbol = |helper: &u16| {
            let (_, _, data) = found.sound.iter().find(|(_, found, _)| found == helper)?;
            symbol(code, crossing, data, found.symbol_size, *index).ok().map(Bytes::from)
        };
        helpers.iter().map(|helper| symbol(helper).unwrap_or_default()).collect()
    }
}

impl Member {
    /// Reads slivers off the threads that serve. Rotten ones are dropped, and their shards put on the work list.
    pub(crate) async fn reading<R: Send + 'static>(&self, read: impl FnOnce(&mut Reading) -> R + Send + 'static) -> R {
        let store = self.store.clone();
        let read = move || {
            let mut reading = Reading { view: store.view(), rotten: Vec::new() };
            (read(&mut reading), reading.rotten)
        };
        let (value, rotten) = weft_client::apart_unwinding(read).await;
        self.drop_all_rotten(rotten).await;
        value
    }

    /// [`Member::reading`] of little: at once, where the disk needn't be waited for. Two changes of thread would take as long as
    /// all the rest.
    async fn reading_little<R: Send + 'static>(&self, read: impl Fn(&mut Reading) -> R + Send + 'static) -> R {
        let mut reading = Reading { view: self.store.view().hurried(), rotten: Vec::new() };
        let value = read(&mut reading);
        let Reading { view, rotten } = reading;
        if view.would_wait() {
            drop((view, value));
            return self.reading(read).await;
        }
        drop(view);
        self.drop_all_rotten(rotten).await;
        value
    }

    async fn drop_all_rotten(&self, rotten: Vec<(BlobId, SliverKey)>) {
        for (blob, place) in rotten {
            let axis = coded(place.axis).name();
            tracing::warn!(%blob, stripe = place.stripe, axis, index = place.index, "a sliver is rotten; it will be mended");
            self.metrics.sliver_rotten();
            // A store that takes no writes any more still reads the others.
            if let Err(error) = self.drop_rotten(blob, place).await {
                tracing::warn!(%blob, %error, "a rotten sliver could not be dropped");
            }
        }
    }

    /// Of each that is wanted the symbols of its helpers, in their order; empty where one isn't here, none where nothing is.
    pub(crate) async fn symbols(&self, wanted: Vec<Option<Wanted>>) -> Vec<Vec<Bytes>> {
        let Some(code) = self.newest().map(|newest| newest.view.code) else { return Vec::new() };
        let symbols = move |reading: &mut Reading| {
            let of =
                |wanted: &Option<Wanted>| wanted.as_ref().map_or(Vec::new(), |wanted| reading.symbols(code, wanted));
            wanted.iter().map(of).collect()
        };
        self.reading(symbols).await
    }

    /// A sliver, checked against its hash. A rotten one is dropped, and its shard put on the work list.
    pub async fn read_sliver(
        &self,
        blob: &BlobId,
        stripe: u32,
        axis: Axis,
        index: u16,
    ) -> Result<Option<Bytes>, MemberError> {
        let found = self.read_slivers(blob, stripe, move |_, _| Ok(vec![(axis, index)])).await?;
        let Some(mut found) = found else { return Ok(None) };
        if let Some((_, error)) = found.unread.pop() {
            return Err(error.into());
        }
        Ok(found.sound.pop().map(|(_, _, data)| data))
    }

    /// Of a small blob, the hashes of its stripe, and those of its source rows that are here and can be read, checked as one sliver
    /// is.
    pub(crate) async fn source_rows(
        &self,
        blob: &BlobId,
        code: Code,
    ) -> Result<Option<(StripeHashes, Vec<Sliver>)>, MemberError> {
        let rows = code.source_rows();
        let wanted = move |view: &ReadTx, upload| {
            let mut held = held(view, upload, 0)?;
            held.retain(|(axis, index)| *axis == Axis::Primary && *index < rows);
            Ok(held)
        };
        let blob = *blob;
        let found = self.reading_little(move |reading| reading.slivers(&blob, 0, wanted)).await?;
        Ok(found.map(|found| (found.hashes, found.sound)))
    }

    /// [`Reading::slivers`] of one stripe.
    pub(super) async fn read_slivers(
        &self,
        blob: &BlobId,
        stripe: u32,
        wanted: impl FnOnce(&ReadTx, UploadNumber) -> Result<Vec<(Axis, u16)>, StoreError> + Send + 'static,
    ) -> Result<Option<Found>, MemberError> {
        let blob = *blob;
        self.reading(move |reading| reading.slivers(&blob, stripe, wanted)).await
    }

    /// Drops a sliver, and puts its shard on the work list.
    pub(super) async fn drop_rotten(&self, blob: BlobId, place: SliverKey) -> Result<(), MemberError> {
        let shards = self.must_hold();
        let Some(Entry::Live { metadata, .. }) = self.entry(&blob)? else { return Ok(()) };
        let shard = metadata.code().shard_of(coded(place.axis), u16::from(place.index)) as u8;
        let write = self.store.write(Room::Reserved, move |tx| {
            if tx.holding(&blob.0)? == Some(place.upload) && tx.remove_sliver(&place)? && shards.contains(shard) {
                tx.add_missing(&blob.0, shard)?;
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        self.notify();
        Ok(())
    }
}

fn find(
    view: &ReadTx,
    (upload, stripe): (UploadNumber, u32),
    description: &[u8],
    wanted: Vec<(Axis, u16)>,
) -> Result<Found, MemberError> {
    let (symbol_size, hashes) = read_description(description)?;
    let (sound, rotten, unread) = (Vec::with_capacity(wanted.len()), Vec::new(), Vec::new());
    let mut found = Found { symbol_size, hashes, sound, rotten, unread };
    let wanted: Vec<_> =
        wanted.into_iter().filter_map(|(axis, index)| Some((stored(axis), u8::try_from(index).ok()?))).collect();
    for ((axis, index), sliver) in wanted.iter().copied().zip(view.slivers_in((upload, stripe), &wanted)) {
        let place = SliverKey { upload, stripe, axis, index };
        let (axis, index) = (coded(axis), u16::from(index));
        match sliver {
            Ok(None) => {}
            Ok(Some(data)) if found.hashes.matches(axis, index, &data) => found.sound.push((axis, index, data.into())),
            Ok(Some(_)) | Err(StoreError::Corrupt { .. }) => found.rotten.push(place),
            Err(error) => found.unread.push((place, error)),
        }
    }
    Ok(found)
}
