//! Typed reads, the same on a snapshot and inside a write.

use crate::extents::Extents;
use crate::keys::missing_key;
use crate::rows::{Rows, scan_prefix};
use crate::tables::Table;
use crate::{Axis, SliverKey, StoreError, Totals, Upload, UploadNumber};

/// Rows in the order of their keys.
pub type Page<K, V> = Vec<(K, V)>;

/// Reads. Inside a write they see the effects of the closures that were committed or grouped before it, and its own.
///
/// Errors of all of them: [`StoreError::Read`] when the disk refuses, [`StoreError::Corrupt`] when what it returned isn't
/// what was written. Pages are asked for with `after` (exclusive) and `limit` (rows), and come in the order of their keys.
pub trait View: Rows {
    /// The node's record of that name.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Table::State, name.as_bytes())
    }

    /// A page of the node's records whose names begin with `prefix`.
    fn states(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page<String, Vec<u8>>, StoreError> {
        page(self, Table::State, prefix.as_bytes(), after.map(str::as_bytes), limit, |key, value| {
            Some((String::from_utf8(key.to_vec()).ok()?, value.to_vec()))
        })
    }

    /// A row of the node's index.
    fn index_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Table::Index, key)
    }

    /// A page of the rows of the node's index whose keys begin with `prefix`.
    fn index_rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<Vec<u8>, Vec<u8>>, StoreError> {
        page(self, Table::Index, prefix, after, limit, |key, row| Some((key.to_vec(), row.to_vec())))
    }

    /// The registry entry of a blob.
    fn entry(&self, blob: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Table::Entries, blob)
    }

    /// A page of the registry.
    fn entries(&self, after: Option<&[u8; 32]>, limit: usize) -> Result<Page<[u8; 32], Vec<u8>>, StoreError> {
        page(self, Table::Entries, &[], after.map(<[u8; 32]>::as_slice), limit, |key, value| {
            Some((key.try_into().ok()?, value.to_vec()))
        })
    }

    /// An open upload session.
    fn upload(&self, session: &[u8; 16]) -> Result<Option<Upload>, StoreError> {
        let row = self.get(Table::Uploads, session)?;
        row.map(|row| Upload::decode(&row).ok_or_else(|| misshapen(Table::Uploads))).transpose()
    }

    /// A page of the open upload sessions.
    fn uploads(&self, after: Option<&[u8; 16]>, limit: usize) -> Result<Page<[u8; 16], Upload>, StoreError> {
        page(self, Table::Uploads, &[], after.map(<[u8; 16]>::as_slice), limit, |key, value| {
            Some((key.try_into().ok()?, Upload::decode(value)?))
        })
    }

    /// The description of a stripe, as it was put.
    fn stripe(&self, upload: UploadNumber, stripe: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Table::Stripes, &upload.stripe_key(stripe))
    }

    /// A page of the stripes of an upload.
    fn stripes(
        &self,
        upload: UploadNumber,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Page<u32, Vec<u8>>, StoreError> {
        let after = after.map(|stripe| upload.stripe_key(stripe));
        page(self, Table::Stripes, &upload.key(), after.as_ref().map(<[u8; 12]>::as_slice), limit, |key, value| {
            Some((u32::from_be_bytes(key.get(8..)?.try_into().ok()?), value.to_vec()))
        })
    }

    /// A sliver, whole. Its bytes are unverified: compare them with the hash that the stripe gives.
    fn sliver(&self, place: &SliverKey) -> Result<Option<Vec<u8>>, StoreError> {
        sliver(self, &self.extents(place.upload, place.stripe)?, place)
    }

    /// Slivers of one stripe, each as [`View::sliver`] gives it. Where they lie is looked up once.
    fn slivers_in(
        &self,
        (upload, stripe): (UploadNumber, u32),
        wanted: &[(Axis, u8)],
    ) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let extents = self.extents(upload, stripe);
        let read = |&(axis, index): &(Axis, u8)| {
            let place = SliverKey { upload, stripe, axis, index };
            sliver(self, extents.as_ref().map_err(Clone::clone)?, &place)
        };
        wanted.iter().map(read).collect()
    }

    /// Length of a sliver, bytes; none when it isn't there. Reads nothing of the sliver itself.
    fn sliver_length(&self, place: &SliverKey) -> Result<Option<u32>, StoreError> {
        match self.extents(place.upload, place.stripe)?.get(place.axis, place.index) {
            Some(held) => Ok(Some(held.length)),
            None => self.old_sliver_length(place),
        }
    }

    /// Whether a sliver is there. Reads nothing of the sliver itself.
    fn has_sliver(&self, place: &SliverKey) -> Result<bool, StoreError> {
        Ok(self.sliver_length(place)?.is_some())
    }

    /// A page of the slivers of an upload, and their lengths; within a stripe primaries come first.
    fn slivers(
        &self,
        upload: UploadNumber,
        after: Option<&SliverKey>,
        limit: usize,
    ) -> Result<Page<SliverKey, u32>, StoreError> {
        let stripe_before = after.and_then(|after| after.stripe.checked_sub(1)).map(|stripe| upload.stripe_key(stripe));
        let is_next = |place: &SliverKey| after.is_none_or(|after| place > after);
        slivers(self, &upload.key(), stripe_before.as_ref().map(<[u8; 12]>::as_slice), &is_next, limit)
    }

    /// The slivers of one stripe, and their lengths.
    fn slivers_of_stripe(&self, upload: UploadNumber, stripe: u32) -> Result<Page<SliverKey, u32>, StoreError> {
        slivers(self, &upload.stripe_key(stripe), None, &|_| true, usize::MAX)
    }

    /// Where the slivers lie that are held of a stripe.
    #[doc(hidden)]
    fn extents(&self, upload: UploadNumber, stripe: u32) -> Result<Extents, StoreError> {
        let row = self.get(Table::Extents, &upload.stripe_key(stripe))?;
        row.map_or(Ok(Extents::default()), |row| Extents::decode(&row))
    }

    /// A sliver that format 1 stored.
    #[doc(hidden)]
    fn old_sliver(&self, place: &SliverKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(length) = self.old_sliver_length(place)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(length as usize);
        scan_prefix(self, Table::Chunks, &place.key(), None, &mut |_, chunk| {
            bytes.extend_from_slice(chunk);
            Ok(true)
        })?;
        if bytes.len() == length as usize {
            Ok(Some(bytes))
        } else {
            Err(StoreError::Corrupt {
                table: Table::Chunks,
                what: format!("a sliver of {length} bytes has {}", bytes.len()),
            })
        }
    }

    /// Length of a sliver that format 1 stored.
    #[doc(hidden)]
    fn old_sliver_length(&self, place: &SliverKey) -> Result<Option<u32>, StoreError> {
        let row = self.get(Table::Slivers, &place.key())?;
        row.map(|row| Ok(u32::from_be_bytes(row[..].try_into().map_err(|_| misshapen(Table::Slivers))?))).transpose()
    }

    /// The upload under which a blob's slivers are stored.
    fn holding(&self, blob: &[u8; 32]) -> Result<Option<UploadNumber>, StoreError> {
        let row = self.get(Table::Holdings, blob)?;
        row.map(|row| UploadNumber::from_key(&row).ok_or_else(|| misshapen(Table::Holdings))).transpose()
    }

    /// The mark that was put on what is held of a blob.
    fn mark(&self, blob: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        let row = self.get(Table::Holdings, blob)?;
        Ok(row.and_then(|row| Some(u64::from_be_bytes(row.get(8..16)?.try_into().ok()?))))
    }

    /// A page of the holdings.
    fn holdings(&self, after: Option<&[u8; 32]>, limit: usize) -> Result<Page<[u8; 32], UploadNumber>, StoreError> {
        page(self, Table::Holdings, &[], after.map(<[u8; 32]>::as_slice), limit, |key, value| {
            Some((key.try_into().ok()?, UploadNumber::from_key(value)?))
        })
    }

    /// Whether that shard of the blob is on the list of what is missing.
    fn is_missing(&self, blob: &[u8; 32], shard: u8) -> Result<bool, StoreError> {
        self.has(Table::Missing, &missing_key(blob, shard))
    }

    /// The shards of a blob that are missing, ascending.
    fn missing_of(&self, blob: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
        page(self, Table::Missing, blob, None, usize::MAX, |key, _| key.last().copied())
    }

    /// A page of what is missing: blob and shard.
    fn missing(&self, after: Option<(&[u8; 32], u8)>, limit: usize) -> Result<Page<[u8; 32], u8>, StoreError> {
        let after = after.map(|(blob, shard)| missing_key(blob, shard));
        page(self, Table::Missing, &[], after.as_ref().map(<[u8; 33]>::as_slice), limit, missing_row)
    }

    /// The same, of the blobs of one slot ([`crate::slot_of`]).
    fn missing_in(
        &self,
        slot: u8,
        after: Option<(&[u8; 32], u8)>,
        limit: usize,
    ) -> Result<Page<[u8; 32], u8>, StoreError> {
        let after = after.map(|(blob, shard)| missing_key(blob, shard));
        page(self, Table::Missing, &[slot], after.as_ref().map(<[u8; 33]>::as_slice), limit, missing_row)
    }

    /// Whether any blob misses that shard.
    fn lacks(&self, shard: u8) -> Result<bool, StoreError> {
        Ok(!page(self, Table::MissingCounts, &[shard], None, 1, |_, value| count(value))?.is_empty())
    }

    /// How many blobs of a slot miss that shard.
    fn missing_in_slot(&self, shard: u8, slot: u8) -> Result<u64, StoreError> {
        let row = self.get(Table::MissingCounts, &[shard, slot])?;
        row.map_or(Ok(0), |row| count(&row).ok_or_else(|| misshapen(Table::MissingCounts)))
    }

    /// Shards and slots of which something is missing, and of how many blobs.
    fn missing_counts(&self) -> Result<Page<(u8, u8), u64>, StoreError> {
        page(self, Table::MissingCounts, &[], None, usize::MAX, |key, value| match key {
            [shard, slot] => Some(((*shard, *slot), count(value)?)),
            _ => None,
        })
    }

    /// The running totals.
    fn totals(&self) -> Totals {
        self.counters().totals
    }

    /// Number of the newest commit that this view contains.
    fn sequence(&self) -> u64 {
        self.counters().sequence
    }
}

impl<R: Rows> View for R {}

/// A sliver by where the slivers of its stripe lie.
fn sliver<V: View + ?Sized>(view: &V, extents: &Extents, place: &SliverKey) -> Result<Option<Vec<u8>>, StoreError> {
    match extents.get(place.axis, place.index) {
        Some(held) => view.read(held).map(Some),
        None => view.old_sliver(place),
    }
}

/// A page of slivers in both formats, in the order of their keys. `after` is a key of [`Table::Extents`].
fn slivers<R: Rows + ?Sized>(
    rows: &R,
    prefix: &[u8],
    after: Option<&[u8]>,
    is_next: &dyn Fn(&SliverKey) -> bool,
    limit: usize,
) -> Result<Page<SliverKey, u32>, StoreError> {
    let mut found = Vec::new();
    scan_prefix(rows, Table::Extents, prefix, after, &mut |key, row| {
        let (upload, stripe) = UploadNumber::and_stripe(key).ok_or_else(|| misshapen(Table::Extents))?;
        found.extend(Extents::decode(row)?.slivers(upload, stripe).filter(|(place, _)| is_next(place)));
        Ok(found.len() < limit)
    })?;
    // Keys of format 1 begin with the same bytes.
    let mut old = Vec::new();
    scan_prefix(rows, Table::Slivers, prefix, after, &mut |key, length| {
        let (place, length) = sliver_row(key, length).ok_or_else(|| misshapen(Table::Slivers))?;
        if is_next(&place) {
            old.push((place, length));
        }
        Ok(old.len() < limit)
    })?;
    if !old.is_empty() {
        found.append(&mut old);
        found.sort_unstable_by_key(|(place, _)| *place);
    }
    found.truncate(limit);
    Ok(found)
}

fn sliver_row(key: &[u8], value: &[u8]) -> Option<(SliverKey, u32)> {
    Some((SliverKey::from_key(key)?, u32::from_be_bytes(value.try_into().ok()?)))
}

fn missing_row(key: &[u8], _: &[u8]) -> Option<([u8; 32], u8)> {
    let (blob, shard) = key.split_first_chunk::<32>()?;
    Some((*blob, *shard.first()?))
}

fn count(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

pub(crate) fn misshapen(table: Table) -> StoreError {
    StoreError::Corrupt { table, what: "a row has a wrong shape".into() }
}

fn page<R: Rows + ?Sized, T>(
    rows: &R,
    table: Table,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    decode: impl Fn(&[u8], &[u8]) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    scan_prefix(rows, table, prefix, after, &mut |key, value| {
        found.push(decode(key, value).ok_or_else(|| misshapen(table))?);
        Ok(found.len() < limit)
    })?;
    Ok(found)
}
