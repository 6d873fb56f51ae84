//! Where each sliver of a blob is.

use std::sync::Arc;

use futures::future::join_all;
use weft_protocol::{MemberId, ShardSet, ViewId};
use weft_redstuff::{Axis, BlobId, Metadata};

use super::{
    GetError, Want,
    held::{HeldSliver, held},
};
use crate::{Client, Holder};

/// What one incarnation has of a blob.
#[derive(Debug, Clone)]
pub struct Holding {
    pub member: MemberId,
    pub incarnation: u32,
    /// The shards that the newest view gives it; none: it is no holder any more, or not yet.
    pub shards: ShardSet,
    /// What it says that it holds, or why it says nothing.
    pub slivers: Result<Vec<HeldSliver>, String>,
}

/// Where a blob's slivers are, as far as members answer.
#[derive(Debug, Clone)]
pub struct Placement {
    pub metadata: Metadata,
    /// The newest view.
    pub view: ViewId,
    pub holdings: Vec<Holding>,
}

impl Client {
    /// Asks everybody what they hold of a blob.
    pub async fn locate(&self, id: BlobId) -> Result<Placement, GetError> {
        let metadata = self.lookup(id, Want::Entry).await?.metadata;
        let current = self.fleet().refresh().await?;
        let ask = |holder: Arc<Holder>| async move {
            let slivers = held(&holder, id, None).await.map_err(|status| status.message().to_owned());
            let (member, incarnation, shards) = (holder.member(), holder.incarnation(), holder.shards());
            Holding { member, incarnation, shards, slivers }
        };
        let holdings = join_all(current.everybody().into_iter().map(ask)).await;
        Ok(Placement { metadata, view: current.view.id(), holdings })
    }
}

impl Placement {
    /// Whether a holding has a sliver of every stripe.
    pub fn is_whole(&self, holding: &Holding, axis: Axis, shard: u8) -> bool {
        let (code, stripes) = (self.metadata.code(), self.metadata.layout.stripes());
        let index = code.sliver_index(shard.into(), axis);
        let found = holding.slivers.iter().flatten().find(|held| (held.axis, held.index) == (axis, index));
        self.metadata.layout.is_inline() && holding.slivers.is_ok() || found.is_some_and(|held| held.stripes == stripes)
    }

    /// Shards whose present holder has both slivers of every stripe.
    pub fn held(&self) -> ShardSet {
        let pairs = self.holdings.iter().flat_map(|holding| holding.shards.iter().map(move |shard| (holding, shard)));
        let whole =
            |(holding, shard): &(&Holding, u8)| Axis::BOTH.iter().all(|axis| self.is_whole(holding, *axis, *shard));
        pairs.filter(whole).map(|(_, shard)| shard).collect()
    }

    /// How many shards may still go before the blob can't be read: held − k1.
    pub fn read_margin(&self) -> i32 {
        i32::from(self.held().len()) - i32::from(self.metadata.code().source_rows())
    }
}
