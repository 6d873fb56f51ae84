//! Opening the log: what the database hasn't durably is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, Durability};

use super::{Change, Draft, End, Header, Id, Log, Segment, Segments, Tail, Unsettled, Volume, changes};
use crate::base::Tables;
use crate::counters::Counters;
use crate::engine::{begin, make_durable};
use crate::extents::{Extents, SegmentUse};
use crate::rows::{Rows, guarded};
use crate::tables::Table;
use crate::view::misshapen;
use crate::{Disk, DiskFile, StoreError};

/// The row of [`Table::Meta`] with the key of the tags.
pub(crate) const LOG_KEY: &[u8] = b"log key";

/// Frames that are made again in one transaction.
const BATCH: usize = 1000;

/// Bounds of the log's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Length from which on a segment is followed by another.
    pub(crate) segment_bytes: u64,
    /// Free space below which nothing is written ahead, and room is given back more eagerly.
    pub(crate) short_bytes: u64,
}

/// Whether a volume has segments.
pub(crate) fn holds_segments(disk: &dyn Disk) -> io::Result<bool> {
    Ok(disk.list()?.iter().any(|name| Id::of(name).is_some()))
}

/// Opens the log of a volume, and makes its database whole.
///
/// # Errors
///
/// [`StoreError::LogDamaged`] when a commit is missing or damaged that others came after; [`StoreError::ReadLog`].
pub(crate) fn recover(volume: Arc<Volume>, database: &Database, sizes: Sizes) -> Result<Log, StoreError> {
    let transaction = begin(database, Durability::None)?;
    let mut replay = Replay::begin(volume, &Tables::open(&transaction, None)?)?;
    guarded(Table::Meta, || transaction.abort())?;
    while replay.batch(database)? {}
    if let Some(last) = replay.last.take() {
        replay.write_again(database, last)?;
    }
    replay.finish(database, sizes)
}

/// A frame that was read whole.
struct Frame {
    header: Header,
    changes: Vec<u8>,
    /// None where it isn't what was written.
    payload: Option<Bytes>,
}

struct Replay {
    volume: Arc<Volume>,
    segments: Segments,
    /// The highest number that any segment has, if it is one of the volume's or not.
    highest: u32,
    end: End,
    /// Number of the last commit.
    sequence: u64,
    /// The last frame that was made again.
    last: Option<Frame>,
}

impl Replay {
    fn begin(volume: Arc<Volume>, tables: &Tables<'_>) -> Result<Self, StoreError> {
        let row = |key| tables.get(Table::Meta, key)?.ok_or_else(|| misshapen(Table::Meta));
        let end = End::decode(&row(End::KEY)?)?;
        let mut segments = Segments::new(row(LOG_KEY)?.try_into().map_err(|_| misshapen(Table::Meta))?);
        for (number, used) in uses(tables)? {
            segments.add(Arc::new(Segment::new(&volume, Id { number, moved: used.moved }, used.length)));
        }
        let names = volume.disk.list().map_err(|source| unread("the volume's directory", source))?;
        let ids: Vec<Id> = names.iter().filter_map(|name| Id::of(name)).collect();
        let highest = segments.ids().chain(ids.iter().copied()).map(|id| id.number).max().unwrap_or(end.segment);
        for id in ids.into_iter().filter(|id| !id.moved && id.number >= end.segment) {
            let segment = Segment::new(&volume, id, 0);
            segment.set_length(segment.file().and_then(DiskFile::len).map_err(|error| unread(&id.name(), error))?);
            segments.add(Arc::new(segment));
        }
        let length = segments.get(end.segment).map_or(0, |segment| segment.length());
        if length < end.offset {
            let what = format!("has {length} bytes, and had {} when the database was last written", end.offset);
            let segment = Id { number: end.segment, moved: false }.name();
            return Err(StoreError::LogDamaged { segment, what });
        }
        Ok(Self { volume, segments, highest, end, sequence: tables.counters.sequence, last: None })
    }

    /// Makes the next frames again. False when there are no more.
    fn batch(&mut self, database: &Database) -> Result<bool, StoreError> {
        let mut frame = self.next_frame()?;
        if frame.is_none() {
            return Ok(false);
        }
        let transaction = begin(database, Durability::None)?;
        let mut tables = Tables::open(&transaction, None)?;
        let mut frames = 0;
        while let Some(read) = frame {
            make(&mut tables, &read.changes)?;
            self.end = End { segment: read.header.segment, offset: read.header.end() };
            self.sequence = read.header.sequence;
            self.last = Some(read);
            frames += 1;
            if frames == BATCH {
                break;
            }
            frame = self.next_frame()?;
        }
        tables.seal(self.end)?;
        guarded(Table::Meta, || transaction.commit())?;
        Ok(true)
    }

    /// The frame of the next commit, or the last one's as an open wrote it again.
    fn next_frame(&self) -> Result<Option<Frame>, StoreError> {
        let here = self.segments.get(self.end.segment).map(|segment| (segment, self.end.offset));
        let following = self.segments.log_after(self.end.segment).map(|segment| (segment, 0));
        let mut rotten = None;
        for (segment, offset) in here.into_iter().chain(following) {
            let read = segment.frame(self.segments.key(), offset);
            let read = read.map_err(|source| unread(&segment.id().name(), source))?;
            let again = offset == 0 && self.last.is_some();
            let is_next =
                |header: &Header| header.sequence == self.sequence + 1 || (again && header.sequence == self.sequence);
            let Some((header, changes)) = read.filter(|(header, _)| is_next(header)) else { continue };
            let payload = match segment.payload(&header) {
                Ok(Some(payload)) => return Ok(Some(Frame { header, changes, payload: Some(payload.into()) })),
                Ok(None) => Ok(()),
                Err(source) => Err(unread(&segment.id().name(), source)),
            };
            rotten = rotten.or(Some((Frame { header, changes, payload: None }, payload)));
        }
        // Of the last commit a payload tells that it was torn; of one before it, that it rots.
        match (self.later()?, rotten) {
            (None, None | Some((_, Ok(())))) => Ok(None),
            // It may be whole, and be read another time.
            (None, Some((_, Err(error)))) => Err(error),
            (Some(_), Some((frame, _))) => Ok(Some(frame)),
            (Some(later), None) => {
                let what = format!("lacks commit {}, and {later} is there", self.sequence + 1);
                Err(StoreError::LogDamaged { segment: self.end_name(), what })
            }
        }
    }

    fn end_name(&self) -> String {
        Id { number: self.end.segment, moved: false }.name()
    }

    /// Number of a commit later than the next: since each is durable before the next is written, all before it had been.
    fn later(&self) -> Result<Option<u64>, StoreError> {
        let here = self.segments.get(self.end.segment).map(|segment| (segment, self.end.offset));
        let following = self.segments.log_after(self.end.segment).map(|segment| (segment, 0));
        for (segment, mut offset) in here.into_iter().chain(following) {
            loop {
                let found = segment.frame_after(self.segments.key(), offset);
                match found.map_err(|source| unread(&segment.id().name(), source))? {
                    Some((header, _)) if header.sequence > self.sequence + 1 => return Ok(Some(header.sequence)),
                    Some((header, _)) => offset = header.end(),
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// Writes the last frame again, as the first of a new segment, and makes the database durable with it.
    ///
    /// What an fsync failed to write may be read back from the kernel's memory as if it were on the disk. Since each frame is
    /// durable before the next is written, that can be the last one alone. It keeps its number: to whoever counts commits, nothing
    /// has happened.
    fn write_again(&mut self, database: &Database, last: Frame) -> Result<(), StoreError> {
        // Without its slivers it was taken since others had come after it: it is durable.
        let Frame { header, changes: made, payload: Some(payload) } = last else {
            return make_durable(database);
        };
        // What an open began that didn't end takes room, and no commit is in it.
        for id in self.segments.log_after(self.end.segment).map(|segment| segment.id()).collect::<Vec<_>>() {
            self.segments.remove(id.number);
            if self.volume.poison.reason().is_none()
                && let Err(error) = self.volume.disk.remove(&id.name())
            {
                self.volume.poison.set("opening the log", &error);
            }
        }
        let transaction = begin(database, Durability::Immediate)?;
        let mut tables = Tables::open(&transaction, None)?;
        self.highest += 1;
        let number = self.highest;
        let draft = copy(&mut tables, &header, &made, payload, number)?;
        let end = End { segment: number, offset: draft.end() };
        if self.volume.poison.reason().is_none()
            && let Err(error) = self.append(number, draft, header.sequence)
        {
            self.volume.poison.set("writing the last commit again", &error);
        }
        // Where it couldn't be written it is read where it was.
        if self.volume.poison.reason().is_some() {
            drop(tables);
            return guarded(Table::Meta, || transaction.abort());
        }
        tables.seal(end)?;
        guarded(Table::Meta, || transaction.commit())?;
        self.end = end;
        Ok(())
    }

    fn append(&mut self, number: u32, draft: Draft, sequence: u64) -> io::Result<()> {
        let segment = Segment::new(&self.volume, Id { number, moved: false }, draft.end());
        segment.create()?;
        let (_, written) = draft.finish(self.segments.key(), sequence);
        segment.file()?.write_pieces(0, &written)?;
        segment.file()?.sync()?;
        self.segments.add(Arc::new(segment));
        Ok(())
    }

    /// Takes away what no commit has, and gives the log to its writer.
    fn finish(mut self, database: &Database, sizes: Sizes) -> Result<Log, StoreError> {
        let transaction = begin(database, Durability::None)?;
        let uses = uses(&Tables::open(&transaction, None)?)?;
        guarded(Table::Meta, || transaction.abort())?;
        let Self { volume, end, .. } = self;
        let id = Id { number: end.segment, moved: false };
        let segment = self.segments.get(id.number).cloned().unwrap_or_else(|| Arc::new(Segment::new(&volume, id, 0)));
        if volume.poison.reason().is_none()
            && let Err(error) = clean(&*volume.disk, &segment, end.offset, &uses)
        {
            volume.poison.set("opening the log", &error);
        }
        for (number, used) in &uses {
            let id = Id { number: *number, moved: used.moved };
            // Made since the database was durable.
            if self.segments.get(*number).is_none_or(|segment| segment.id() != id) {
                self.segments.add(Arc::new(Segment::new(&volume, id, used.length)));
            }
        }
        let gone: Vec<u32> =
            self.segments.ids().map(|id| id.number).filter(|number| !uses.contains_key(number)).collect();
        for number in gone {
            self.segments.remove(number);
        }
        self.segments.add(segment.clone());
        Ok(Log {
            volume,
            segments: Arc::new(self.segments),
            uses,
            tail: Tail { segment, end: end.offset },
            moved: None,
            next: self.highest.max(id.number) + 1,
            sizes,
            closed: Vec::new(),
            unsettled: Unsettled::default(),
            dropped: Vec::new(),
            stuck: BTreeSet::new(),
        })
    }
}

/// Makes a frame's changes.
fn make(tables: &mut Tables<'_>, made: &[u8]) -> Result<(), StoreError> {
    for change in changes(made) {
        match change? {
            Change::Put(Table::Meta, Counters::KEY, row) => tables.counters = Counters::decode(row)?,
            change => drop(tables.make(change)?),
        }
    }
    Ok(())
}

/// A frame as it is in another segment, where the log goes on with it. The tables follow.
fn copy(
    tables: &mut Tables<'_>,
    header: &Header,
    made: &[u8],
    payload: Bytes,
    number: u32,
) -> Result<Draft, StoreError> {
    let mut draft = Draft::at(number, 0);
    let too_large = || StoreError::SliverTooLarge { bytes: u64::from(header.payload), most: u64::from(u32::MAX) };
    let copied = draft.place(payload).ok_or_else(too_large)?;
    let was = header.payload_at()..header.changes_at();
    let counters = tables.counters;
    let (mut rows, mut kept) = (BTreeSet::new(), None);
    for change in changes(made) {
        match change? {
            Change::Put(Table::Extents, key, row) => {
                let mut extents = Extents::decode(row)?;
                for place in extents.places_mut() {
                    let offset = u64::from(place.offset);
                    if place.segment == header.segment && was.contains(&offset) && place.length > 0 {
                        place.segment = number;
                        place.offset = copied.offset + (offset - was.start) as u32;
                    }
                }
                let row = extents.encode();
                draft.note(Change::Put(Table::Extents, key, &row));
                tables.make(Change::Put(Table::Extents, key, &row))?;
                rows.insert(key);
            }
            // Last of all.
            Change::Put(Table::Meta, Counters::KEY, row) => kept = Some(row),
            change => {
                draft.note(change);
                tables.make(change)?;
            }
        }
    }
    // What of it is held, by the rows as they are in the end.
    let mut held = 0;
    for key in rows {
        let Some(row) = tables.get(Table::Extents, key)? else { continue };
        let here = Extents::decode(&row)?
            .places()
            .filter(|place| place.segment == number)
            .map(|place| u64::from(place.length))
            .sum::<u64>();
        held += here;
    }
    let row = |segment: u32| segment.to_be_bytes();
    let used = tables.get(Table::Segments, &row(header.segment))?.map(|row| SegmentUse::decode(&row)).transpose()?;
    let used = used.unwrap_or_default();
    let closed = SegmentUse { live: used.live.saturating_sub(held), full: header.end(), length: header.end(), ..used };
    let begun = SegmentUse { live: held, ..SegmentUse::default() };
    for (segment, used) in [(header.segment, closed), (number, begun)] {
        draft.note(Change::Put(Table::Segments, &row(segment), &used.encode()));
        tables.make(Change::Put(Table::Segments, &row(segment), &used.encode()))?;
    }
    tables.counters = counters;
    draft.note(Change::Put(Table::Meta, Counters::KEY, kept.unwrap_or_default()));
    Ok(draft)
}

/// Cuts off what lies behind the last commit, and removes segments that no commit names.
fn clean(disk: &dyn Disk, tail: &Segment, end: u64, uses: &BTreeMap<u32, SegmentUse>) -> io::Result<()> {
    if !disk.exists(&tail.id().name())? {
        tail.create()?;
    } else if tail.file()?.len()? > end {
        // Durably: what is cut off may be the better part of a commit, and another of its number will follow.
        tail.file()?.set_len(end)?;
        tail.file()?.sync()?;
    }
    tail.set_length(end);
    let is_orphan = |id: Id| id.number != tail.id().number && !uses.contains_key(&id.number);
    let mut orphans = disk.list()?;
    orphans.retain(|name| Id::of(name).is_some_and(is_orphan));
    orphans.iter().try_for_each(|name| disk.remove(name))?;
    if orphans.is_empty() { Ok(()) } else { disk.sync_dir() }
}

fn uses(rows: &dyn Rows) -> Result<BTreeMap<u32, SegmentUse>, StoreError> {
    let mut uses = BTreeMap::new();
    rows.scan(Table::Segments, (Bound::Unbounded, Bound::Unbounded), &mut |key, row| {
        let number = u32::from_be_bytes(key.try_into().map_err(|_| misshapen(Table::Segments))?);
        uses.insert(number, SegmentUse::decode(row)?);
        Ok(true)
    })?;
    Ok(uses)
}

fn unread(file: &str, source: io::Error) -> StoreError {
    StoreError::ReadLog { file: file.to_owned(), source: Arc::new(source) }
}
