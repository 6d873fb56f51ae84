//! Slivers that were acked and never certified (R11): the members make voids of their blobs, and then they go.
//!
//! What was acknowledged up to a view, everyone who is synced to it knows. So a blob that f + 1 shards' members lack has no
//! certificate up to that view which anybody was answered on, and they may say so before one turns up (R12). A put that
//! goes on has its acks renewed under the newest view (R8): its certificate beats the void, and slivers acked under a later
//! view than the void's outlive it. Who is slow is given the first hour of each view.

use weft_protocol::{Entry, Void};
use weft_redstuff::Hash;

use super::void;
use crate::member::{Late, Member, MemberError};

/// Asks once in each view about the blobs whose slivers this member has acked under earlier views only. `asked`: the view
/// in which it has; where too few answered, it asks again.
pub(super) async fn settle(member: &Member, asked: &mut Option<Hash>) -> Result<(), MemberError> {
    let Some(newest) = member.may_collect() else { return Ok(()) };
    let hash = newest.view.hash();
    let Some(sealed) = newest.view.predecessor.filter(|_| *asked != Some(hash)) else { return Ok(()) };
    let (mut after, mut waiting) = (None, 0);
    while let Some(page) = member.orphans(&sealed, after).await? {
        after = Some(page.last);
        if page.blobs.is_empty() {
            continue;
        }
        let opinions = void::ask_all(member, &newest, &sealed, &page.blobs).await?;
        let void = |(blob, opinion): (_, void::Opinion)| Void::new(sealed, blob, &newest.view, opinion.lacks).ok();
        let all = page.blobs.len();
        let voids: Vec<Entry> = page.blobs.into_iter().zip(opinions).filter_map(void).map(Entry::Void).collect();
        waiting += all - voids.len();
        let merged = member.merge(voids, Vec::new(), Late::Taken).await?;
        if merged.stored > 0 {
            tracing::info!(voids = merged.stored, "registry: uploads that were acked and never certified are void");
        }
    }
    if waiting == 0 {
        *asked = Some(hash);
    }
    Ok(())
}
