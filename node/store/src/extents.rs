//! Where slivers lie: the rows of [`Table::Extents`].

use crate::tables::Table;
use crate::view::misshapen;
use crate::{Axis, SliverKey, StoreError, UploadNumber};

/// Where bytes lie on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment; [`Place::PENDING`] in a write that isn't placed yet.
    pub(crate) segment: u32,
    /// Offset in the segment, bytes; in a pending write the number of the piece.
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) length: u32,
}

impl Place {
    /// No segment: the bytes are still with the write that brings them.
    pub(crate) const PENDING: u32 = 0;

    pub(crate) fn pending(piece: usize, length: u32) -> Self {
        Self { segment: Self::PENDING, offset: piece as u32, length }
    }

    pub(crate) fn is_pending(self) -> bool {
        self.segment == Self::PENDING
    }
}

/// The slivers that are held of one stripe, in the order of axis and index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(Vec<(Axis, u8, Place)>);

/// Axis, index, segment, offset, length.
const ENTRY: usize = 14;

impl Extents {
    pub(crate) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        let entries = row.chunks(ENTRY).map(|entry| {
            let entry: &[u8; ENTRY] = entry.try_into().ok()?;
            let number = |at: usize| Some(u32::from_be_bytes(entry[at..at + 4].try_into().ok()?));
            let place = Place { segment: number(2)?, offset: number(6)?, length: number(10)? };
            Some((Axis::from_byte(entry[0])?, entry[1], place))
        });
        entries.collect::<Option<_>>().map(Self).ok_or_else(|| misshapen(Table::Extents))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.0.len() * ENTRY);
        for (axis, index, place) in &self.0 {
            row.extend_from_slice(&[axis.byte(), *index]);
            for number in [place.segment, place.offset, place.length] {
                row.extend_from_slice(&number.to_be_bytes());
            }
        }
        row
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, axis: Axis, index: u8) -> Option<Place> {
        self.find(axis, index).ok().map(|at| self.0[at].2)
    }

    /// Sets a sliver's place.
    pub(crate) fn set(&mut self, axis: Axis, index: u8, place: Place) {
        match self.find(axis, index) {
            Ok(at) => self.0[at].2 = place,
            Err(at) => self.0.insert(at, (axis, index, place)),
        }
    }

    pub(crate) fn remove(&mut self, axis: Axis, index: u8) -> Option<Place> {
        self.find(axis, index).ok().map(|at| self.0.remove(at).2)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.0.iter().map(|(_, _, place)| *place)
    }

    pub(crate) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.0.iter_mut().map(|(_, _, place)| place)
    }

    /// The slivers by their keys, with their lengths.
    pub(crate) fn slivers(&self, upload: UploadNumber, stripe: u32) -> impl Iterator<Item = (SliverKey, u32)> {
        let sliver = move |(axis, index, place): &(Axis, u8, Place)| {
            (SliverKey { upload, stripe, axis: *axis, index: *index }, place.length)
        };
        self.0.iter().map(sliver)
    }

    fn find(&self, axis: Axis, index: u8) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(axis, index), |(axis, index, _)| (*axis, *index))
    }
}

/// What a segment is used for: the rows of [`Table::Segments`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentUse {
    /// Bytes of slivers that are still held.
    pub(crate) live: u64,
    /// What would be held if nothing had been let go that can be: of a file of the log its length, since changes are made in the
    /// database by then, and 0 while it is written to; of one that slivers were moved to, their bytes.
    pub(crate) full: u64,
    /// Bytes of frames; 0 while the log goes on in it.
    pub(crate) length: u64,
    /// Slivers were moved here; it isn't of the log.
    pub(crate) moved: bool,
}

impl SegmentUse {
    pub(crate) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        let fields = || {
            let (moved, numbers) = row.split_first()?;
            let number = |at: usize| Some(u64::from_be_bytes(numbers.get(at..at + 8)?.try_into().ok()?));
            (numbers.len() == 24).then_some(())?;
            Some(Self { live: number(0)?, full: number(8)?, length: number(16)?, moved: *moved != 0 })
        };
        fields().ok_or_else(|| misshapen(Table::Segments))
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let numbers = [self.live, self.full, self.length].map(u64::to_be_bytes);
        [&[u8::from(self.moved)][..], &numbers.concat()].concat()
    }
}
