//! Expiry (R15): what the time floor has reached goes, and doesn't come back.
//!
//! The floor is the tombstone of all that it ends. So it is recorded in the very commit in which something goes by it,
//! and otherwise when it is the first, or much later than what is recorded: a fleet at rest writes nothing. What was
//! refused by a floor that is then forgotten is the others', who tell this member the floor again before anything else.

use weft_protocol::{Decoder, Encoder, Entry, TimeFloor};
use weft_redstuff::{BlobId, Metadata};
use weft_store::{Room, Tx, View};

use super::{
    Member, MemberError,
    index::{self, Changes},
    records,
};

/// A floor so much later than the recorded one is recorded (seconds).
const RECORD_AFTER: u64 = 3600;

/// Blobs that go in one commit.
const BATCH: usize = 256;

/// Begins the names of the records of when blobs expire whose slivers were acked, while their certificates haven't come.
const ACKED: &str = "acked/";

impl Member {
    /// The latest time floor that is known here.
    pub fn time_floor(&self) -> Option<TimeFloor> {
        self.floor.known()
    }

    /// Whether a blob has expired by it.
    pub(crate) fn has_expired(&self, metadata: &Metadata) -> bool {
        self.floor.has_reached(metadata.expiry)
    }

    /// Takes a time floor that an order or a peer brings, where it is later than the one that is known, and the operator's.
    pub(crate) async fn heed(&self, told: &[u8]) -> Result<(), MemberError> {
        if told.is_empty() {
            return Ok(());
        }
        let told = TimeFloor::decode(told)?;
        if self.time_floor().is_some_and(|known| known.seconds >= told.seconds) {
            return Ok(());
        }
        let known = self.known();
        let views = known.views.values().map(|view| &**view);
        records::by_operators_keys(&known.fence, views, |key| told.verify(self.identity.fleet, key))?;
        let recorded = records::floor(&self.store.view())?;
        if recorded.is_none_or(|recorded| told.seconds >= recorded.seconds.saturating_add(RECORD_AFTER)) {
            self.record(told.clone()).await;
        }
        let seconds = told.seconds;
        self.floor.raise(told);
        if !index::due(&self.store.view(), seconds, 1)?.is_empty() {
            self.notify();
        }
        Ok(())
    }

    /// Where the store takes no writes any more the floor still holds for reads, and nothing is acked by it.
    async fn record(&self, floor: TimeFloor) {
        let write = self.store.write(Room::Reserved, move |tx| records::raise_floor(tx, &floor)).await;
        if let Err(error) = write {
            tracing::debug!(%error, "the time floor can't be recorded");
        }
    }

    /// Drops what the time floor has reached: some of it, and then there is more to do.
    pub(crate) async fn expire(&self) -> Result<(), MemberError> {
        let Some(floor) = self.time_floor() else { return Ok(()) };
        let view = self.store.view();
        if index::due(&view, floor.seconds, 1)?.is_empty() {
            return Ok(());
        }
        let due = index::due(&view, floor.seconds, BATCH)?;
        let all = due.len();
        let write = self.write_registry(move |tx, changes| {
            records::raise_floor(tx, &floor)?;
            let mut gone = 0;
            for (expiry, blob) in &due {
                gone += u64::from(expire(tx, changes, blob, &floor)?);
                index::settle_expiry(tx, blob, *expiry)?;
            }
            Ok::<_, MemberError>(gone)
        });
        let gone = write.await?.value;
        self.metrics.blobs_expired(gone);
        tracing::debug!(gone, "blobs have expired");
        if all == BATCH {
            self.notify();
        }
        Ok(())
    }
}

/// Returns whether a live blob went.
fn expire(tx: &mut Tx<'_>, changes: &mut Changes, blob: &BlobId, floor: &TimeFloor) -> Result<bool, MemberError> {
    let acked = acked_expiry(tx, blob)?.is_some_and(|expiry| floor.has_reached(expiry));
    let entry = tx.entry(&blob.0)?.map(|entry| Entry::decode(&entry)).transpose()?;
    let live = match &entry {
        Some(Entry::Live { metadata, .. }) => metadata.expiry.is_some_and(|expiry| floor.has_reached(expiry)),
        Some(Entry::Deleted(_) | Entry::Void(_)) | None => false,
    };
    if live {
        changes.remove(tx, *blob)?;
        tx.remove_entry(&blob.0)?;
        tx.remove_missing_of(&blob.0)?;
    }
    if live || acked {
        tx.release_blob(&blob.0)?;
        settle_acked(tx, blob)?;
        if entry.is_none() {
            records::put_noted(tx, blob, None);
        }
    }
    Ok(live)
}

/// Notes when a blob expires whose slivers are acked: should its certificate never come, they still go in time (R11).
pub(super) fn expect_certificate(tx: &mut Tx<'_>, blob: BlobId, expiry: u64) {
    tx.put_state(&acked_name(&blob), Encoder::new().u64(expiry).finish());
    index::expires(tx, &blob, expiry);
}

/// A blob that was acked here has an entry now, or is gone. Gives when it was to end.
pub(super) fn settle_acked(tx: &mut Tx<'_>, blob: &BlobId) -> Result<Option<u64>, MemberError> {
    let expiry = acked_expiry(tx, blob)?;
    if expiry.is_some() {
        tx.remove_state(&acked_name(blob));
    }
    Ok(expiry)
}

/// When acked blobs expire whose certificates haven't come.
pub(super) fn acked_expiries(from: &impl View) -> Result<Vec<(BlobId, u64)>, MemberError> {
    let read = |(name, bytes): (String, Vec<u8>)| {
        let blob = name.strip_prefix(ACKED).and_then(|blob| blob.parse().ok());
        Ok((blob.ok_or(MemberError::Malformed { field: "acked" })?, read_expiry(&bytes)?))
    };
    from.states(ACKED, None, usize::MAX)?.into_iter().map(read).collect()
}

fn acked_expiry(from: &impl View, blob: &BlobId) -> Result<Option<u64>, MemberError> {
    from.state(&acked_name(blob))?.map(|bytes| read_expiry(&bytes)).transpose()
}

fn read_expiry(bytes: &[u8]) -> Result<u64, MemberError> {
    let mut from = Decoder::new("expiry of an acked blob", bytes);
    let expiry = from.u64()?;
    from.finish()?;
    Ok(expiry)
}

fn acked_name(blob: &BlobId) -> String {
    format!("{ACKED}{blob}")
}
