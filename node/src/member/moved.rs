//! What came to this member of each shard that an epoch gives it, and how. Counted in the commit that stores the
//! slivers, so that a crash loses or doubles nothing.

use std::collections::BTreeMap;

use weft_proto::v1;
use weft_store::Tx;

use super::{MemberError, Target, records};

/// Epochs that are remembered: the newest, and the one before it, which the operator may not have recorded whole yet.
const KEPT: u64 = 2;

/// How a sliver came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Whole, from one that held it.
    Copied,
    /// From the symbols of the slivers that cross it.
    Rebuilt,
}

/// Bytes of slivers that came of one shard for one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) epoch: u64,
    pub(crate) shard: u8,
    pub(crate) copied: u64,
    pub(crate) rebuilt: u64,
}

impl Moved {
    pub(crate) fn wire(&self) -> v1::Moved {
        let Self { epoch, shard, copied, rebuilt } = *self;
        v1::Moved { epoch, shard: shard.into(), copied_bytes: copied, rebuilt_bytes: rebuilt }
    }
}

/// Begins to count for a target, or goes on: the epoch may be planned again, and a new leader orders it anew.
pub(super) fn expect(tx: &mut Tx<'_>, target: &Target) -> Result<(), MemberError> {
    let before = records::moved(tx)?;
    let mut rows = before.clone();
    rows.retain(|row| {
        let gained = row.epoch != target.epoch || target.shards.contains(row.shard);
        gained && row.epoch + KEPT > target.epoch
    });
    for shard in target.shards.iter() {
        if !rows.iter().any(|row| (row.epoch, row.shard) == (target.epoch, shard)) {
            rows.push(Moved { epoch: target.epoch, shard, copied: 0, rebuilt: 0 });
        }
    }
    if rows != before {
        records::put_moved(tx, &rows);
    }
    Ok(())
}

/// Counts bytes of slivers, by shard, for the latest epoch that gave each shard to this member; shards that came
/// otherwise, as custody does, are no epoch's.
pub(super) fn count(tx: &mut Tx<'_>, way: Way, came: &BTreeMap<u8, u64>) -> Result<(), MemberError> {
    let mut rows = records::moved(tx)?;
    let mut changed = false;
    for (shard, bytes) in came {
        let its = rows.iter_mut().filter(|row| row.shard == *shard);
        let Some(row) = its.max_by_key(|row| row.epoch) else { continue };
        match way {
            Way::Copied => row.copied += bytes,
            Way::Rebuilt => row.rebuilt += bytes,
        }
        changed = true;
    }
    if changed {
        records::put_moved(tx, &rows);
    }
    Ok(())
}
