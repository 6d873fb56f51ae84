//! The orders that lists can be in.

use std::cmp::Reverse;

use bytes::{BufMut, Bytes, BytesMut};
use weft_redstuff::{BlobId, Metadata};

use crate::time;

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Blobs' IDs.
    #[default]
    Id,
    /// When they were made ([`time::created`]), the newest first, and those last that don't say; then IDs.
    Newest,
}

/// A blob's place in a list, whose places ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    created: Reverse<u64>,
    id: BlobId,
}

impl Place {
    /// The place of a blob that was made at `created` (milliseconds since 1970), newest first.
    pub const fn new(created: u64, id: BlobId) -> Self {
        Self { created: Reverse(created), id }
    }

    /// When the blob was made, where places are by that.
    pub const fn created(&self) -> u64 {
        self.created.0
    }

    pub const fn id(&self) -> BlobId {
        self.id
    }
}

impl Order {
    pub fn place(self, id: BlobId, metadata: &Metadata) -> Place {
        match self {
            Self::Id => Place::new(0, id),
            Self::Newest => Place::new(time::created(&metadata.labels).unwrap_or_default(), id),
        }
    }

    /// The order as members are asked for it.
    pub const fn wire(self) -> u32 {
        match self {
            Self::Id => 0,
            Self::Newest => 1,
        }
    }

    /// Reads [`Order::wire`]; `None` where it isn't known.
    pub const fn read(order: u32) -> Option<Self> {
        match order {
            0 => Some(Self::Id),
            1 => Some(Self::Newest),
            _ => None,
        }
    }

    /// A place as members are asked for what comes after it: in the order of IDs as they were before there were others.
    pub fn encode(self, place: &Place) -> Bytes {
        let mut bytes = BytesMut::with_capacity(8 + BlobId::LENGTH);
        if self == Self::Newest {
            bytes.put_u64(place.created());
        }
        bytes.put_slice(place.id.as_bytes());
        bytes.freeze()
    }

    /// Reads [`Order::encode`].
    pub fn decode(self, bytes: &[u8]) -> Option<Place> {
        let (created, id) = match self {
            Self::Id => (0, bytes),
            Self::Newest => {
                let (created, id) = bytes.split_first_chunk()?;
                (u64::from_be_bytes(*created), id)
            }
        };
        Some(Place::new(created, BlobId::from_slice(id)?))
    }

    /// A place as people and programs pass it on: an ID, and before it, newest first, the time and a dot.
    pub fn text(self, place: &Place) -> String {
        match self {
            Self::Id => place.id.to_string(),
            Self::Newest => format!("{}.{}", place.created(), place.id),
        }
    }

    /// Reads [`Order::text`].
    pub fn parse(self, text: &str) -> Option<Place> {
        let (created, id) = match self {
            Self::Id => ("0", text),
            Self::Newest => text.split_once('.')?,
        };
        Some(Place::new(created.parse().ok()?, id.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let id = BlobId([7; 32]);
        for (order, created) in [(Order::Id, 0), (Order::Newest, 0), (Order::Newest, 1_801_396_800_001)] {
            let place = Place::new(created, id);
            assert_eq!(order.decode(&order.encode(&place)), Some(place));
            assert_eq!(order.parse(&order.text(&place)), Some(place));
            assert_eq!(Order::read(order.wire()), Some(order));
        }
        assert_eq!(&Order::Id.encode(&Place::new(0, id))[..], id.as_bytes(), "as members of before read it");
        assert_eq!(Order::read(2), None);
        for malformed in ["", "7", "1.7", &format!("x.{id}"), &format!("-1.{id}"), &id.to_string()] {
            assert_eq!(Order::Newest.parse(malformed), None, "{malformed}");
        }
        assert_eq!(Order::Newest.decode(id.as_bytes()), None);
        assert!(Place::new(2, id) < Place::new(1, BlobId([0; 32])), "the newest first");
    }
}
