//! What this leader remembers of a committee. Nothing here is authoritative: losing it costs a few seconds.

use std::{collections::BTreeMap, sync::Arc};

use weft_client::Connector;
use weft_planner::{FloorClock, Heard, MemberOrder, Timestamp};
use weft_protocol::{MemberId, Seal};
use weft_redstuff::Hash;

use crate::{quiet::Quiet, refusals::Refusals};

/// An incarnation: member and number.
pub type Incarnation = (MemberId, u32);

/// How much room a member's volume has, as it says, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What new slivers may take, what is given back when it is wanted included.
    pub free: u64,
    /// What its own shards still lack, and will take of that.
    pub lacks: u64,
    /// Of the slivers that one shard has of all blobs; `None`: it is of before members told.
    pub shard: Option<u64>,
}

impl Room {
    /// What new slivers may take when its own shards lack nothing any more.
    pub fn left(&self) -> u64 {
        self.free.saturating_sub(self.lacks)
    }
}

/// What came to a member of one shard, for the epoch that gave it the shard: bytes of slivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub epoch: u64,
    pub shard: u32,
    pub copied: u64,
    pub rebuilt: u64,
}

/// The channels to a committee's members.
#[derive(Clone, Debug)]
pub struct Channels {
    pub connector: Arc<dyn Connector>,
    /// Whom they trust, as PEM.
    pub trusted: String,
    /// When the operator's own leaf was issued; it is renewed daily.
    pub since: Timestamp,
}

/// One leader's memory of one committee.
#[derive(Debug, Default)]
pub struct Session {
    /// The term that this leader has raised in status; `None` until it has.
    pub term: Option<u64>,
    pub channels: Option<Channels>,
    pub heard: BTreeMap<Incarnation, Heard>,
    /// When the first call failed of those that are unanswered since the last answer.
    pub missed: BTreeMap<Incarnation, Timestamp>,
    /// The highest term of which a member has shown the operator's signed claim.
    pub claimed: u64,
    pub rooms: BTreeMap<Incarnation, Room>,
    pub moved: BTreeMap<Incarnation, Vec<Moved>>,
    /// The latest time floor that members have told, in seconds since 1970 (R15).
    pub told_floor: Option<u64>,
    /// This leader's, once enough members have told theirs.
    pub floor: Option<FloorClock>,
    /// The members' last answers didn't reach all who run.
    pub unheard: bool,
    /// What was planned last, and for which newest view.
    pub orders: Vec<MemberOrder>,
    pub orders_for: Option<Hash>,
    /// What put the newest view into effect.
    pub seal: Option<Seal>,
    /// Since when Nodes that something still names are known to be gone.
    pub gone_nodes: BTreeMap<String, Timestamp>,
    /// What the API server won't have.
    pub refusals: Refusals,
    /// When status was last written.
    pub written: Option<Timestamp>,
    /// When it was last written what an epoch has moved.
    pub told_moves: Option<Timestamp>,
    /// What the last round has found, where nothing was to be done.
    pub quiet: Option<Box<Quiet>>,
}

impl Session {
    /// Ends the connections to members: there may be thousands, and nothing is asked for a while.
    pub fn hang_up(&self) {
        if let Some(channels) = &self.channels {
            channels.connector.release();
        }
    }

    /// What was planned last, as far as it holds under this view.
    pub fn orders_under(&self, view: Option<Hash>) -> Vec<MemberOrder> {
        if self.orders_for == view {
            return self.orders.clone();
        }
        self.orders.iter().map(MemberOrder::under_another_view).collect()
    }
}
