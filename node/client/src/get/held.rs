//! What a member says that it holds of a blob.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;
use weft_proto::v1::HeldRequest;
use weft_redstuff::{Axis, BlobId};

use crate::Holder;

/// For one member's answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A sliver that a member says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSliver {
    pub axis: Axis,
    pub index: u16,
    /// In how many of the asked stripes.
    pub stripes: u32,
}

/// Asks for one stripe, or for all.
pub(crate) async fn held(holder: &Holder, id: BlobId, stripe: Option<u32>) -> Result<Vec<HeldSliver>, Status> {
    let request = HeldRequest { blob: Bytes::copy_from_slice(id.as_bytes()), stripe };
    let reply = holder.call(ANSWER, holder.reads().get_held(request)).await?;
    let read = |sliver: weft_proto::v1::HeldSliver| {
        let axis = *Axis::BOTH.get(sliver.axis as usize)?;
        Some(HeldSliver { axis, index: u16::try_from(sliver.index).ok()?, stripes: sliver.stripes })
    };
    Ok(reply.slivers.into_iter().filter_map(read).collect())
}
