//! One commit as it lies in a segment: a header, the bytes of slivers, and the changes to rows.
//!
//! ```text
//! magic 4 | segment 4 | offset 4 | payload length 4 | changes length 4 | payload CRC-32 4 | sequence 8 | tag of changes 8 | tag 8
//! payload | changes | zeros up to a multiple of 16
//! ```
//!
//! Tags are BLAKE3 under the volume's own key, of the header before the tag and of the changes, so that no bytes which somebody
//! puts pass for a frame. Numbers are big-endian.

use bytes::Bytes;

use crate::StoreError;
use crate::extents::Place;
use crate::tables::Table;
use crate::view::misshapen;

/// Bytes of a header.
pub(crate) const HEADER: usize = 48;

/// Frames begin at multiples of it.
pub(crate) const ALIGN: u32 = 16;

const MAGIC: [u8; 4] = *b"WfF2";
const TAG: usize = 8;

/// The secret of a volume's tags.
pub(crate) type Key = [u8; 32];

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) payload: u32,
    pub(crate) changes: u32,
    pub(crate) crc: u32,
    /// Number of the commit.
    pub(crate) sequence: u64,
    changes_tag: [u8; TAG],
}

impl Header {
    /// Whether bytes begin as a header does.
    pub(crate) fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads a header; none where there is none that was written so.
    pub(crate) fn decode(bytes: &[u8; HEADER], key: &Key) -> Option<Self> {
        let (told, tagged) = bytes.split_last_chunk::<TAG>()?;
        (Self::begins(bytes) && *tagged == tag(key, told)).then_some(())?;
        let number = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        Some(Self {
            segment: number(4)?,
            offset: number(8)?,
            payload: number(12)?,
            changes: number(16)?,
            crc: number(20)?,
            sequence: u64::from_be_bytes(bytes[24..32].try_into().ok()?),
            changes_tag: bytes[32..40].try_into().ok()?,
        })
    }

    fn encode(&self, key: &Key) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        for (at, number) in [self.segment, self.offset, self.payload, self.changes, self.crc].into_iter().enumerate() {
            bytes[4 + 4 * at..8 + 4 * at].copy_from_slice(&number.to_be_bytes());
        }
        bytes[24..32].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.changes_tag);
        let tag = tag(key, &bytes[..HEADER - TAG]);
        bytes[HEADER - TAG..].copy_from_slice(&tag);
        bytes
    }

    /// Whether changes are those that were written with it.
    pub(crate) fn has(&self, changes: &[u8], key: &Key) -> bool {
        self.changes_tag == tag(key, changes)
    }

    /// Whether a payload is.
    pub(crate) fn has_payload(&self, payload: &[u8]) -> bool {
        crc32fast::hash(payload) == self.crc
    }

    /// Where the payload begins.
    pub(crate) fn payload_at(&self) -> u64 {
        u64::from(self.offset) + HEADER as u64
    }

    /// Where the changes begin.
    pub(crate) fn changes_at(&self) -> u64 {
        self.payload_at() + u64::from(self.payload)
    }

    /// Where the next frame begins.
    pub(crate) fn end(&self) -> u64 {
        (self.changes_at() + u64::from(self.changes)).next_multiple_of(u64::from(ALIGN))
    }
}

fn tag(key: &Key, bytes: &[u8]) -> [u8; TAG] {
    let mut tag = [0; TAG];
    tag.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..TAG]);
    tag
}

/// A change to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Put(Table, &'a [u8], &'a [u8]),
    Remove(Table, &'a [u8]),
    RemovePrefix(Table, &'a [u8]),
}

impl Change<'_> {
    fn encode(self, into: &mut Vec<u8>) {
        let (kind, table, key, row) = match self {
            Change::Put(table, key, row) => (0, table, key, row),
            Change::Remove(table, key) => (1, table, key, &[][..]),
            Change::RemovePrefix(table, key) => (2, table, key, &[][..]),
        };
        into.extend_from_slice(&[kind, table as u8]);
        into.extend_from_slice(&(key.len() as u32).to_be_bytes());
        into.extend_from_slice(&(row.len() as u32).to_be_bytes());
        into.extend_from_slice(key);
        into.extend_from_slice(row);
    }
}

/// The changes of a frame, in the order in which they were made.
pub(crate) fn changes(mut bytes: &[u8]) -> impl Iterator<Item = Result<Change<'_>, StoreError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let change = next(&mut bytes);
        if change.is_none() {
            bytes = &[];
        }
        Some(change.ok_or_else(|| misshapen(Table::Meta)))
    })
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<Change<'a>> {
    let (head, rest) = bytes.split_first_chunk::<10>()?;
    let [kind, table, lengths @ ..] = head;
    let table = Table::ALL.into_iter().find(|known| *known as u8 == *table)?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*lengths.first_chunk()?) as usize)?;
    let (row, rest) = rest.split_at_checked(u32::from_be_bytes(*lengths.last_chunk()?) as usize)?;
    *bytes = rest;
    Some(match kind {
        0 => Change::Put(table, key, row),
        1 => Change::Remove(table, key),
        2 => Change::RemovePrefix(table, key),
        _ => return None,
    })
}

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Draft {
    segment: u32,
    offset: u32,
    pieces: Vec<Bytes>,
    /// Offsets of the pieces in the segment.
    starts: Vec<u32>,
    payload: u32,
    changes: Vec<u8>,
}

impl Draft {
    /// Begins a frame at a place.
    pub(crate) fn at(segment: u32, offset: u32) -> Self {
        Self { segment, offset, pieces: Vec::new(), starts: Vec::new(), payload: 0, changes: Vec::new() }
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// Bytes of slivers in it.
    pub(crate) fn payload(&self) -> u32 {
        self.payload
    }

    /// Where it ends, as filled so far.
    pub(crate) fn end(&self) -> u64 {
        let bytes = HEADER as u64 + u64::from(self.payload) + self.changes.len() as u64;
        (u64::from(self.offset) + bytes).next_multiple_of(u64::from(ALIGN))
    }

    /// Notes a change.
    pub(crate) fn note(&mut self, change: Change<'_>) {
        change.encode(&mut self.changes);
    }

    /// Gives bytes their place. `None` when the frame would be larger than a frame can be.
    pub(crate) fn place(&mut self, piece: Bytes) -> Option<Place> {
        let length = piece.len() as u32;
        let offset = self.offset.checked_add(HEADER as u32)?.checked_add(self.payload)?;
        offset.checked_add(length)?;
        self.payload += length;
        self.pieces.push(piece);
        self.starts.push(offset);
        Some(Place { segment: self.segment, offset, length })
    }

    /// Bytes that were placed here.
    pub(crate) fn read(&self, place: Place) -> Option<&Bytes> {
        if place.segment != self.segment {
            return None;
        }
        // Pieces of no bytes begin where the next one does.
        let at = self.starts.partition_point(|start| *start < place.offset);
        let here = self.starts[at..].iter().take_while(|start| **start == place.offset).count();
        self.pieces[at..at + here].iter().find(|piece| piece.len() == place.length as usize)
    }

    /// The frame: its header and what is written, in order.
    pub(crate) fn finish(self, key: &Key, sequence: u64) -> (Header, Vec<Bytes>) {
        let Self { segment, offset, pieces, payload, changes, .. } = self;
        let mut crc = crc32fast::Hasher::new();
        for piece in &pieces {
            crc.update(piece);
        }
        let (length, changes_tag) = (changes.len() as u32, tag(key, &changes));
        let header = Header { segment, offset, payload, changes: length, crc: crc.finalize(), sequence, changes_tag };
        let encoded = header.encode(key);
        let padding = (header.end() - header.changes_at() - u64::from(length)) as usize;
        let mut written = Vec::with_capacity(pieces.len() + 2);
        written.push(Bytes::copy_from_slice(&encoded));
        written.extend(pieces);
        let mut changes = changes;
        changes.resize(changes.len() + padding, 0);
        written.push(changes.into());
        (header, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let mut draft = Draft::at(3, 64);
        draft.place(Bytes::from_static(b"")).unwrap();
        draft.place(Bytes::from_static(b"a sliver")).unwrap();
        draft.note(Change::Put(Table::State, b"term", b"7"));
        draft.note(Change::Remove(Table::Entries, &[9; 32]));
        draft.note(Change::RemovePrefix(Table::Stripes, &[0, 1]));
        draft
    }

    #[test]
    fn a_frame_comes_back_as_it_was_and_flipped_bits_are_seen() {
        let key = [5; 32];
        let (header, written) = draft().finish(&key, 12);
        let bytes = written.concat();
        assert_eq!(bytes.len() as u64, header.end() - u64::from(header.offset));
        assert_eq!(bytes.len() % ALIGN as usize, 0);
        let at = |from: u64| (from - u64::from(header.offset)) as usize;
        let head: &[u8; HEADER] = bytes.first_chunk().unwrap();
        assert_eq!(Header::decode(head, &key), Some(header));
        assert_eq!(Header::decode(head, &[6; 32]), None, "under another volume's key");
        let noted = &bytes[at(header.changes_at())..][..header.changes as usize];
        assert!(header.has(noted, &key));
        assert!(header.has_payload(&bytes[at(header.payload_at())..at(header.changes_at())]));
        let changes: Vec<_> = changes(noted).map(Result::unwrap).collect();
        assert_eq!(changes[0], Change::Put(Table::State, b"term", b"7"));
        assert_eq!(
            changes[1..],
            [Change::Remove(Table::Entries, &[9; 32]), Change::RemovePrefix(Table::Stripes, &[0, 1])]
        );
        assert_eq!(&bytes[at(header.payload_at())..][..8], b"a sliver");

        for bit in 0..8 * bytes.len() {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let read = Header::decode(rotten.first_chunk().unwrap(), &key);
            let noted = &rotten[at(header.changes_at())..][..header.changes as usize];
            let payload = &rotten[at(header.payload_at())..at(header.changes_at())];
            let holds = read.is_some_and(|read| read.has(noted, &key) && read.has_payload(payload));
            let padding = bit / 8 >= at(header.changes_at()) + header.changes as usize;
            assert_eq!(holds, padding, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_off_is_no_change() {
        let (header, written) = draft().finish(&[5; 32], 12);
        let noted = &written.last().unwrap()[..header.changes as usize];
        for end in 1..noted.len() {
            let whole = changes(&noted[..end]).flatten().count();
            assert!(whole < 3);
        }
    }

    #[test]
    fn bytes_are_read_from_a_frame_that_isn_t_written_yet() {
        let mut draft = draft();
        let empty = draft.place(Bytes::new()).unwrap();
        let other = draft.place(Bytes::from_static(b"other")).unwrap();
        assert_eq!(draft.read(other).map(|piece| &piece[..]), Some(&b"other"[..]));
        assert_eq!(draft.read(empty).map(Bytes::len), Some(0));
        assert_eq!(draft.read(Place { segment: 4, ..other }), None);
    }
}
