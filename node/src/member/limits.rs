//! What orders say of how a member goes on by itself: recorded, so that it holds for the next process, whether an operator is
//! there or not.

use weft_protocol::Encoder;
use weft_store::{Tx, View};

use super::{MemberError, records};

const LIMITS: &str = "limits";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// 0: it reads nothing again.
    pub(super) scrub_period_seconds: u64,
    /// What a shard may have of all blobs; 0: no limit.
    pub(super) shard_bytes: u64,
}

impl Limits {
    /// Whether they are others, or so far from those that it's worth a write.
    pub(super) fn differs(&self, recorded: &Self) -> bool {
        let (now, before) = (self.shard_bytes, recorded.shard_bytes);
        self.scrub_period_seconds != recorded.scrub_period_seconds
            || (now == 0) != (before == 0)
            || now.abs_diff(before) > before / 32
    }
}

pub(super) fn limits(from: &impl View) -> Result<Limits, MemberError> {
    let limits =
        records::load(from, LIMITS, |from| Ok(Limits { scrub_period_seconds: from.u64()?, shard_bytes: from.u64()? }))?;
    Ok(limits.unwrap_or_default())
}

pub(super) fn put_limits(to: &mut Tx<'_>, limits: &Limits) {
    to.put_state(LIMITS, Encoder::new().u64(limits.scrub_period_seconds).u64(limits.shard_bytes).finish());
}
