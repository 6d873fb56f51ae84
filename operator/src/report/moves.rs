//! What epochs have moved so far, in their status: what members count, summed over the shards that each of them gains.

use kube::ResourceExt;
use serde_json::json;
use weft_crds::{Epoch, EpochPhase, EpochStatus, Moves};
use weft_planner::Timestamp;
use weft_protocol::MemberId;

use crate::{
    report::{PACE, ReportError},
    session::Session,
    subject::Subject,
};

/// Writes what has come since, no more often than numbers that only run are, but before an epoch is retired. What an
/// epoch has moved never goes back: while a member is silent, what is recorded stands.
pub async fn write(
    subject: &Subject,
    session: &mut Session,
    epochs: &[Epoch],
    now: Timestamp,
) -> Result<(), ReportError> {
    for epoch in epochs {
        let Some(status) = &epoch.status else { continue };
        let (paced, ended) = match status.phase {
            Some(EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Sealing) => (true, false),
            Some(EpochPhase::Committed) => (false, false),
            // Whatever comes of its shards from now on mends them.
            Some(EpochPhase::Retired | EpochPhase::Superseded) | None => (false, true),
        };
        if ended || paced && session.told_moves.is_some_and(|at| now - at < PACE) {
            continue;
        }
        let recorded = status.moves.unwrap_or_default();
        let told = grown(recorded, session, epoch.spec.number, status);
        if told == recorded {
            continue;
        }
        let change = json!({
            "metadata": {"resourceVersion": epoch.resource_version()},
            "status": {"moves": {"copied": told.copied, "rebuilt": told.rebuilt}},
        });
        subject.namespace.merge_status::<Epoch>(&epoch.name_any(), &change).await?;
        session.told_moves = Some(now);
    }
    Ok(())
}

/// What is recorded, or more where the owners tell of more. An owner's word is for the shards that are its own.
fn grown(recorded: Moves, session: &Session, number: u64, status: &EpochStatus) -> Moves {
    let owned = |shard: u32, member: u32| status.owners.get(shard as usize) == Some(&member);
    let told = status.members.iter().flat_map(|owner| {
        let rows = session.moved.get(&(MemberId(owner.id), owner.incarnation)).into_iter().flatten();
        rows.filter(move |row| row.epoch == number && owned(row.shard, owner.id))
    });
    let (copied, rebuilt) = told.fold((0_u64, 0_u64), |(copied, rebuilt), row| {
        (copied.saturating_add(row.copied), rebuilt.saturating_add(row.rebuilt))
    });
    // A member may say anything; the API server takes no larger numbers.
    let [copied, rebuilt] = [copied, rebuilt].map(|bytes| bytes.min(i64::MAX as u64));
    Moves { copied: recorded.copied.max(copied), rebuilt: recorded.rebuilt.max(rebuilt), ..recorded }
}

#[cfg(test)]
mod tests {
    use weft_crds::EpochMember;

    use super::*;
    use crate::session::Moved;

    fn owner(id: u32, incarnation: u32) -> EpochMember {
        EpochMember { id, incarnation, public_key: String::new() }
    }

    #[test]
    fn an_owners_shards_count_and_nothing_goes_back() {
        let owners = vec![0, 0, 1, 1];
        let status = EpochStatus { owners, members: vec![owner(0, 1), owner(1, 2)], ..EpochStatus::default() };
        let row = |epoch, shard, copied, rebuilt| Moved { epoch, shard, copied, rebuilt };
        let mut session = Session::default();
        // Of another epoch, another owner's shard, no shard at all, an incarnation that owns nothing.
        session.moved.insert((MemberId(0), 1), vec![row(7, 0, 10, 1), row(6, 1, 100, 0), row(7, 2, 100, 0)]);
        session.moved.insert((MemberId(1), 2), vec![row(7, 3, 20, 2), row(7, 9, 100, 0)]);
        session.moved.insert((MemberId(1), 1), vec![row(7, 3, 100, 0)]);
        let recorded = Moves { shards: 2, minimum: 2, bytes: 50, copied: 0, rebuilt: 5 };
        let told = grown(recorded, &session, 7, &status);
        assert_eq!(told, Moves { copied: 30, rebuilt: 5, ..recorded });
        session.moved.remove(&(MemberId(1), 2));
        assert_eq!(grown(told, &session, 7, &status), told);
    }
}
