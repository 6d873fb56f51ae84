//! The log: every commit, once, in the order in which they were made.
//!
//! A commit is one [frame](frame) at the end of the newest segment of the log, and one fsync. What it changes in rows is made in the
//! database too, in memory: the database is made durable now and then ([`Log::is_due`]), and what the log has after that is read
//! again when the volume is opened ([`recover`]). The slivers stay where they were written; rows of
//! [`Table::Extents`](crate::Table::Extents) say where. What is still held of a segment of which most isn't moves to segments beside the
//! log ([`crate::compact`]).

mod frame;
mod recover;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

pub(crate) use frame::{Change, Draft, Header, changes};
pub(crate) use recover::{LOG_KEY, Sizes, holds_segments, recover};
pub(crate) use segment::{Id, Segment, Segments, Volume};

use crate::extents::SegmentUse;
use crate::tables::Table;
use crate::view::misshapen;
use crate::{DiskFile, StoreError};

/// Zeros that are written ahead of small frames: an fsync of bytes over others costs half of one that makes the file longer.
const AHEAD: u64 = 1 << 20;

/// Changes of rows after which the database is made durable. Each may take a page of the database that isn't used again before,
/// and is made again by an open.
const MOST_ROWS: u64 = 8192;

/// Bytes of changes, and of frames, after which it is: what an open has to read again.
const MOST_CHANGES: u64 = 8 << 20;
const MOST_BYTES: u64 = 256 << 20;

/// Where the log ends whose changes the database has: a row of [`Table::Meta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

impl End {
    pub(crate) const KEY: &'static [u8] = b"log";

    /// That of a new volume.
    pub(crate) const START: Self = Self { segment: 1, offset: 0 };

    pub(crate) fn encode(self) -> Vec<u8> {
        [&self.segment.to_be_bytes()[..], &self.offset.to_be_bytes()].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        let numbers = || {
            let (segment, offset) = row.split_first_chunk::<4>()?;
            let offset = u64::from_be_bytes(offset.try_into().ok()?);
            Some(Self { segment: u32::from_be_bytes(*segment), offset })
        };
        numbers().ok_or_else(|| misshapen(Table::Meta))
    }
}

/// A segment that is written to.
#[derive(Debug)]
struct Tail {
    segment: Arc<Segment>,
    /// Where the next frame begins.
    end: u64,
}

/// What came since the database was durable.
#[derive(Clone, Copy, Debug, Default)]
struct Unsettled {
    rows: u64,
    changes: u64,
    bytes: u64,
}

/// The end of the log, and what is known of all segments. Its writer's alone.
#[derive(Debug)]
pub(crate) struct Log {
    volume: Arc<Volume>,
    segments: Arc<Segments>,
    uses: BTreeMap<u32, SegmentUse>,
    tail: Tail,
    /// Where slivers are moved to; none before the first is.
    moved: Option<Tail>,
    /// Number of the next segment. It only grows while a process runs: a file that is removed late has none that is used again.
    next: u32,
    sizes: Sizes,
    /// Segments of the log that are full, with their lengths, which no frame has said yet.
    closed: Vec<(u32, u64)>,
    unsettled: Unsettled,
    /// Segments without use; they go when the database knows it durably.
    dropped: Vec<u32>,
    /// Segments of which something is held that can't be moved.
    stuck: BTreeSet<u32>,
}

impl Log {
    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    pub(crate) fn closed(&self) -> &[(u32, u64)] {
        &self.closed
    }

    /// A frame to be filled, at the end of the log; in a new segment where the last one is full.
    pub(crate) fn draft(&mut self) -> Result<Draft, StoreError> {
        if self.tail.end >= self.sizes.segment_bytes {
            self.closed.push((self.tail.segment.id().number, self.tail.end));
            self.tail = self.follow(false)?;
        }
        Ok(Draft::at(self.tail.segment.id().number, self.tail.end as u32))
    }

    /// The same for slivers that are moved.
    pub(crate) fn moved_draft(&mut self) -> Result<Draft, StoreError> {
        let tail = match self.moved.take() {
            Some(tail) if tail.end < self.sizes.segment_bytes => tail,
            _ => self.follow(true)?,
        };
        let draft = Draft::at(tail.segment.id().number, tail.end as u32);
        self.moved = Some(tail);
        Ok(draft)
    }

    fn follow(&mut self, moved: bool) -> Result<Tail, StoreError> {
        let id = Id { number: self.next, moved };
        self.next += 1;
        let segment = Arc::new(Segment::new(&self.volume, id, 0));
        segment.create().map_err(|error| self.fail("making a segment", &error))?;
        Arc::make_mut(&mut self.segments).add(segment.clone());
        Ok(Tail { segment, end: 0 })
    }

    /// Writes a frame of moved slivers, durably.
    pub(crate) fn append_moved(&mut self, draft: Draft, sequence: u64) -> Result<(), StoreError> {
        let (header, written) = draft.finish(self.segments.key(), sequence);
        let Some(tail) = &mut self.moved else { return Ok(()) };
        let done = tail.segment.file().and_then(|file| {
            file.write_pieces(u64::from(header.offset), &written)?;
            file.sync()
        });
        tail.end = header.end();
        tail.segment.set_length(tail.end);
        done.map_err(|error| self.fail("moving slivers", &error))
    }

    /// Writes the frame of a commit, durably. `rows`: how many it changes.
    pub(crate) fn append(&mut self, draft: Draft, sequence: u64, rows: u64) -> Result<End, StoreError> {
        let (header, written) = draft.finish(self.segments.key(), sequence);
        let done = self.tail.segment.file().and_then(|file| {
            file.write_pieces(u64::from(header.offset), &written)?;
            self.write_ahead(file, &header)?;
            file.sync()
        });
        done.map_err(|error| self.fail("writing the log", &error))?;
        self.closed.clear();
        self.unsettled.rows += rows;
        self.unsettled.changes += u64::from(header.changes);
        self.unsettled.bytes += header.end() - u64::from(header.offset);
        self.tail.end = header.end();
        let segment = &self.tail.segment;
        segment.set_length(segment.length().max(self.tail.end));
        Ok(End { segment: segment.id().number, offset: self.tail.end })
    }

    /// Writes zeros where the next small frames will be.
    fn write_ahead(&self, file: &dyn DiskFile, header: &Header) -> io::Result<()> {
        let (end, ahead) = (header.end(), (header.end() + AHEAD).min(self.sizes.segment_bytes));
        let small = end - u64::from(header.offset) < AHEAD / 4;
        let roomy = || self.volume.disk.space().is_ok_and(|space| space.free >= self.sizes.short_bytes);
        if !small || end <= self.tail.segment.length() || ahead <= end || !roomy() {
            return Ok(());
        }
        file.write(end, &vec![0; (ahead - end) as usize])?;
        self.tail.segment.set_length(ahead);
        Ok(())
    }

    fn fail(&self, step: &str, error: &io::Error) -> StoreError {
        StoreError::ReadOnly { reason: self.volume.poison.set(step, error) }
    }

    /// Takes note of what a commit changed of the use of segments.
    pub(crate) fn used(&mut self, uses: BTreeMap<u32, Option<SegmentUse>>) {
        for (number, used) in uses {
            match used {
                Some(used) => {
                    self.uses.insert(number, used);
                }
                None if self.uses.remove(&number).is_some() => {
                    self.stuck.remove(&number);
                    self.dropped.push(number);
                }
                None => {}
            }
        }
    }

    /// Whether the database should be made durable: so that an open has little to make again, or that room comes back.
    pub(crate) fn is_due(&self) -> bool {
        let Unsettled { rows, changes, bytes } = self.unsettled;
        let most = self.sizes.segment_bytes;
        !self.dropped.is_empty()
            || rows >= MOST_ROWS
            || changes >= MOST_CHANGES.min(most)
            || bytes >= MOST_BYTES.min(4 * most)
    }

    /// Whether nothing came since the database was durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.bytes == 0
    }

    /// Takes note that the database is durable: segments without use go.
    pub(crate) fn settled(&mut self) {
        self.unsettled = Unsettled::default();
        for number in std::mem::take(&mut self.dropped) {
            if let Some(segment) = Arc::make_mut(&mut self.segments).remove(number) {
                segment.doom();
            }
        }
    }

    /// The segment to empty next: the one of which the least share is held, where that is little enough, and what is held fits
    /// beside it. One of which nothing is held just goes.
    pub(crate) fn wasteful(&self, free: u64) -> Option<(u32, SegmentUse)> {
        let tails = [Some(&self.tail), self.moved.as_ref()];
        let is_written_to = |number: u32| tails.iter().flatten().any(|tail| tail.segment.id().number == number);
        let mut sealed = self.uses.iter().filter(|(number, used)| used.full > 0 && !is_written_to(**number));
        if let Some((number, used)) = sealed.clone().find(|(_, used)| used.live == 0) {
            return Some((*number, *used));
        }
        let share = |used: &SegmentUse| u128::from(used.live) * 1000 / u128::from(used.full);
        let (number, used) =
            sealed.by_ref().filter(|(number, _)| !self.stuck.contains(number)).min_by_key(|(_, used)| share(used))?;
        let most = if free < self.sizes.short_bytes { 950 } else { 750 };
        let fits = free >= used.live + self.sizes.short_bytes / 4;
        (share(used) <= most && fits).then_some((*number, *used))
    }

    /// Leaves a segment alone until nothing of it is held: something of it can't be moved.
    pub(crate) fn leave(&mut self, number: u32) {
        self.stuck.insert(number);
    }
}
