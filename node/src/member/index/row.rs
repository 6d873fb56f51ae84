//! A row of the index, as it is on the volume.

use weft_protocol::{Decoder, Encoder};

use crate::member::{
    MemberError,
    rows::{KIND, Kind, rank_bytes, read_rank},
};

/// What the index has of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// When it ends, of a live one (seconds since 1970).
    pub(super) expiry: Option<u64>,
}

/// Slivers and bytes that one shard has of a live blob.
type Weight = (u64, u64);

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        let weight: Option<Weight> = match self.kind {
            Kind::Live { slivers, bytes, position: _ } => Some((slivers, bytes)),
            Kind::Void { .. } | Kind::Deleted | Kind::Hidden { .. } => None,
        };
        let row = Encoder::new().u8(u8::from(self.kind.is_told())).fixed(&rank_bytes(self.kind.rank()));
        let row = row.option(weight.as_ref(), |to, (slivers, bytes)| to.u64(*slivers).u64(*bytes));
        row.option(self.expiry.as_ref(), |to, expiry| to.u64(*expiry)).finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MemberError> {
        let mut from = Decoder::new("row of the index", bytes);
        let (is_told, rank) = (from.u8()? == 1, read_rank(&from.fixed::<KIND>()?));
        let rank = rank.ok_or(MemberError::Malformed { field: "index" })?;
        let weight: Option<Weight> = from.option(|from| Ok((from.u64()?, from.u64()?)))?;
        let expiry = from.option(Decoder::u64)?;
        from.finish()?;
        let kind = match weight {
            _ if !is_told => Kind::Hidden { rank },
            Some((slivers, bytes)) => Kind::Live { slivers, bytes, position: rank.position },
            None if rank.deleted => Kind::Deleted,
            None => Kind::Void { position: rank.position },
        };
        Ok(Self { kind, expiry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_as_it_was_written() {
        let live = Kind::Live { slivers: 6, bytes: 1 << 40, position: (7, 2) };
        let kinds = [
            live,
            Kind::Void { position: (3, 4) },
            Kind::Deleted,
            Kind::Hidden { rank: Kind::Deleted.rank() },
            Kind::Hidden { rank: Kind::Void { position: (3, 4) }.rank() },
        ];
        for kind in kinds {
            for expiry in [None, Some(0), Some(1_900_000_000)] {
                let row = Row { kind, expiry };
                assert_eq!(Row::decode(&row.encode()).unwrap(), row);
            }
        }
        Row::decode(&[]).unwrap_err();
        Row::decode(&[1; 40]).unwrap_err();
    }
}
