//! Giving room back: slivers that are still held move out of segments of which most isn't.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::StoreError;
use crate::base::Base;
use crate::counters::footprint;
use crate::extents::{Extents, SegmentUse};
use crate::log::{self, Change, Log};
use crate::rows::{Rows, scan_prefix};
use crate::tables::Table;
use crate::view::misshapen;

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) segment: u32,
    /// Where the next frame to look at begins.
    pub(crate) at: u64,
    /// Where the last one ends.
    pub(crate) until: u64,
}

/// Moves what is held of the next frames, up to `budget` bytes. False when there is more to do.
///
/// A sliver that can't be read stays where it is, and its segment with it: until it is deleted, or put again.
pub(crate) fn advance(
    base: &mut Base<'_>,
    log: &mut Log,
    victim: &mut Victim,
    budget: &mut u64,
) -> Result<bool, StoreError> {
    let Some(segment) = base.segments().get(victim.segment).cloned() else { return Ok(true) };
    while victim.at < victim.until {
        if *budget == 0 {
            return Ok(false);
        }
        let Ok(Some((header, changes))) = segment.frame_after(base.segments().key(), victim.at) else { break };
        if header.end() > victim.until {
            break;
        }
        for change in log::changes(&changes) {
            if let Ok(Change::Put(Table::Extents, key, row)) = change {
                let moved = move_held(base, log, victim.segment, key, row)?;
                *budget = budget.saturating_sub(moved);
            }
        }
        *budget = budget.saturating_sub(u64::from(header.changes));
        victim.at = header.end();
    }
    Ok(true)
}

/// Moves what is still held of a row that a frame wrote. Returns how many bytes.
fn move_held(base: &mut Base<'_>, log: &mut Log, segment: u32, key: &[u8], written: &[u8]) -> Result<u64, StoreError> {
    let Ok(written) = Extents::decode(written) else { return Ok(0) };
    if written.places().all(|place| place.segment != segment) {
        return Ok(0);
    }
    // A row that can't be read keeps its slivers where they are.
    let Ok(Some(row)) = base.get(Table::Extents, key) else { return Ok(0) };
    let Ok(mut held) = Extents::decode(&row) else { return Ok(0) };
    let mut moved = 0;
    for place in held.places_mut().filter(|place| place.segment == segment) {
        if written.places().any(|old| old == *place)
            && let Ok(bytes) = base.read(*place)
        {
            *place = base.place_moved(log, bytes.into())?;
            moved += u64::from(place.length);
        }
    }
    if moved > 0 {
        base.put_moved(key, &held.encode(), segment, moved)?;
    }
    Ok(moved)
}

/// Compares what segments are used for with what rows name.
pub(crate) fn audit(rows: &dyn Rows) -> Result<(), StoreError> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut named = BTreeMap::<u32, u64>::new();
    rows.scan(Table::Extents, all, &mut |_, row| {
        for place in Extents::decode(row)?.places().filter(|place| place.length > 0) {
            *named.entry(place.segment).or_default() += u64::from(place.length);
        }
        Ok(true)
    })?;
    let damaged = |what: String| StoreError::Corrupt { table: Table::Segments, what };
    let held: u64 = named.values().sum();
    if held != rows.counters().segment_bytes {
        return Err(damaged(format!("{held} bytes are held, and {} are counted", rows.counters().segment_bytes)));
    }
    rows.scan(Table::Segments, all, &mut |key, row| {
        let number = u32::from_be_bytes(key.try_into().map_err(|_| misshapen(Table::Segments))?);
        let (held, used) = (named.remove(&number).unwrap_or_default(), SegmentUse::decode(row)?);
        if used.live == held {
            return Ok(true);
        }
        Err(damaged(format!("{held} bytes of segment {number} are held, and {} are counted", used.live)))
    })?;
    match named.first_key_value() {
        Some((number, bytes)) => Err(damaged(format!("{bytes} bytes are held of segment {number}, which isn't there"))),
        None => Ok(()),
    }
}

/// Removes chunks of uploads that format 1 stored and that are released, up to `budget` bytes. True when none are left.
pub(crate) fn sweep(base: &mut Base<'_>, budget: &mut u64) -> Result<bool, StoreError> {
    while let Some(upload) = first(&*base, Table::Trash)? {
        let mut chunks = Vec::new();
        scan_prefix(&*base, Table::Chunks, &upload, None, &mut |key, chunk| {
            *budget = budget.saturating_sub(footprint(key.len(), chunk.len()));
            chunks.push(key.to_vec());
            Ok(*budget > 0)
        })?;
        for key in &chunks {
            base.make(Change::Remove(Table::Chunks, key))?;
        }
        if *budget == 0 {
            return Ok(false);
        }
        base.make(Change::Remove(Table::Trash, &upload))?;
    }
    Ok(true)
}

fn first(rows: &dyn Rows, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
    let mut first = None;
    rows.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, _| {
        first = Some(key.to_vec());
        Ok(false)
    })?;
    Ok(first)
}
