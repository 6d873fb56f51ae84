//! What changed from one snapshot to the next, in plain words.

use weft_crds::{Epoch, EpochPhase, Incarnation, MemberStatus, StorageCommitteeStatus, View, committee_condition};

use super::observe::Snapshot;

/// The sentences, in the order in which they are told.
pub(crate) fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut told = Vec::new();
    members(before, after, &mut told);
    views(before.view(), after.view(), &mut told);
    if let (Some(before), Some(after)) = (before.status(), after.status()) {
        levels(before, after, &mut told);
    }
    for epoch in &after.epochs {
        let earlier = before.epochs.iter().find(|earlier| earlier.spec.number == epoch.spec.number);
        phases(earlier.map(AsRef::as_ref), epoch, &mut told);
    }
    ready(before, after, &mut told);
    told
}

fn members(before: &Snapshot, after: &Snapshot, told: &mut Vec<String>) {
    for member in after.members() {
        let earlier = before.members().iter().find(|earlier| earlier.id == member.id);
        let was = earlier.map(|earlier| (earlier.current.number, earlier.current.state));
        if was != Some((member.current.number, member.current.state)) {
            told.push(state(member));
        }
        let Some(next) = member.successor.as_ref().map(|successor| &successor.next) else { continue };
        let was = earlier.and_then(|earlier| earlier.successor.as_ref()).map(|successor| &successor.next);
        if was.map(|was| (was.number, was.state)) != Some((next.number, next.state)) {
            told.push(format!(
                "member {}: its replacement, incarnation {}, is {:?}",
                member.id, next.number, next.state
            ));
        }
    }
}

fn state(member: &MemberStatus) -> String {
    let Incarnation { number, state, reason, node, .. } = &member.current;
    let reason = reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let place = node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    format!("member {}, incarnation {number}{place}: {state:?}{reason}", member.id)
}

fn views(before: Option<&View>, after: Option<&View>, told: &mut Vec<String>) {
    let Some(after) = after else { return };
    if before.is_some_and(|before| before.hash == after.hash) {
        return;
    }
    let Some(before) = before else {
        told.push(format!(
            "view {}.{} is in effect: {} members hold the shards",
            after.epoch,
            after.revision,
            after.members.len()
        ));
        return;
    };
    let gained: Vec<String> = after.members.iter().filter_map(|member| gain(before, member)).collect();
    let gone = before
        .members
        .iter()
        .filter(|old| !after.members.iter().any(|new| (new.id, new.incarnation) == (old.id, old.incarnation)));
    let gone: Vec<String> = gone.map(|old| format!("{} (incarnation {})", old.id, old.incarnation)).collect();
    let without = if gone.is_empty() { String::new() } else { format!(" without {}", gone.join(", ")) };
    let how = if after.epoch == before.epoch { "custody" } else { "new owners" };
    told.push(format!("view {}.{} is in effect{without}; {how}: {}", after.epoch, after.revision, gained.join("; ")));
}

fn gain(before: &View, member: &weft_crds::ViewMember) -> Option<String> {
    let old = before.members.iter().find(|old| (old.id, old.incarnation) == (member.id, member.incarnation));
    let held = old.map_or(&[][..], |old| &old.shards);
    let new: Vec<String> = member.shards.iter().filter(|shard| !held.contains(shard)).map(u8::to_string).collect();
    let plural = if new.len() == 1 { "shard" } else { "shards" };
    (!new.is_empty()).then(|| format!("member {} takes {plural} {}", member.id, new.join(", ")))
}

fn levels(before: &StorageCommitteeStatus, after: &StorageCommitteeStatus, told: &mut Vec<String>) {
    let missing = |status: &StorageCommitteeStatus| status.missing.unwrap_or_default();
    match (missing(before).slivers, missing(after).slivers) {
        (0, now) if now > 0 => told.push(format!("{now} slivers are missing ({})", bytes(missing(after).bytes))),
        (was, 0) if was > 0 => told.push("no sliver is missing any more".to_owned()),
        _ => {}
    }
    if let (Some(was), Some(now)) = (before.margin, after.margin)
        && was.read != now.read
    {
        told.push(format!("read margin {} → {} shards, write margin {}", was.read, now.read, now.write));
    }
}

fn phases(before: Option<&Epoch>, after: &Epoch, told: &mut Vec<String>) {
    let phase = |epoch: &Epoch| epoch.status.as_ref().and_then(|status| status.phase);
    let (was, now) = (before.and_then(phase), phase(after));
    let Some(now) = now.filter(|_| was != now) else { return };
    let moves = after.status.as_ref().and_then(|status| status.moves).unwrap_or_default();
    let detail = match was {
        None => format!(
            ": {} (moves {} shards, the fewest possible are {})",
            after.spec.reason.as_deref().unwrap_or("no reason given"),
            moves.shards,
            moves.minimum
        ),
        Some(_) if now == EpochPhase::Retired && moves.shards > 0 => {
            format!(": {} were copied, {} rebuilt", bytes(moves.copied), bytes(moves.rebuilt))
        }
        Some(_) => String::new(),
    };
    told.push(format!("epoch {}: {now:?}{detail}", after.spec.number));
}

fn ready(before: &Snapshot, after: &Snapshot, told: &mut Vec<String>) {
    let (was, now) = (before.is(committee_condition::READY), after.is(committee_condition::READY));
    if was != now {
        told.push(if now { "the committee is Ready" } else { "the committee is not Ready" }.to_owned());
    }
}

/// A number of bytes as people read it.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_crds::{Margin, MemberState, Missing, StorageCommittee, ViewMember};

    use super::*;

    fn view(revision: u64, members: &[(u32, &[u8])]) -> View {
        let members = members.iter().map(|&(id, shards)| ViewMember {
            id,
            incarnation: 1,
            volume_id: String::new(),
            public_key: String::new(),
            shards: shards.to_vec(),
        });
        View {
            epoch: 1,
            revision,
            term: 1,
            hash: revision.to_string(),
            predecessor: None,
            in_effect: true,
            members: members.collect(),
            vacant: Vec::new(),
            encoded: None,
            signature: None,
        }
    }

    fn snapshot(status: StorageCommitteeStatus) -> Snapshot {
        let object = r#"{"apiVersion": "weft.dev/v1alpha1", "kind": "StorageCommittee", "metadata": {"name": "c"},
                         "spec": {"members": 4, "storage": {"size": "1Gi"}}}"#;
        let mut committee: StorageCommittee = serde_json::from_str(object).expect("a committee");
        committee.status = Some(status);
        Snapshot { committee: Some(Arc::new(committee)), ..Snapshot::default() }
    }

    #[test]
    fn a_retired_epoch_tells_what_it_moved() {
        let at = |phase| {
            let moves = weft_crds::Moves { shards: 4, minimum: 4, bytes: 4096, copied: 3072, rebuilt: 1024 };
            let spec = weft_crds::EpochSpec { committee: "c".to_owned(), number: 2, owners: None, reason: None };
            let mut epoch = Epoch::new("c-2", spec);
            epoch.status =
                Some(weft_crds::EpochStatus { phase: Some(phase), moves: Some(moves), ..Default::default() });
            epoch
        };
        let mut told = Vec::new();
        phases(Some(&at(EpochPhase::Committed)), &at(EpochPhase::Retired), &mut told);
        assert_eq!(told, ["epoch 2: Retired: 3.00 KiB were copied, 1.00 KiB rebuilt"]);
    }

    #[test]
    fn a_loss_is_told_member_by_member_and_shard_by_shard() {
        let member = |state| MemberStatus {
            id: 1,
            current: Incarnation { number: 1, state, ..Incarnation::default() },
            ..MemberStatus::default()
        };
        let before = snapshot(StorageCommitteeStatus {
            members: vec![member(MemberState::Unreachable)],
            view: Some(view(1, &[(0, &[0]), (1, &[1, 2])])),
            margin: Some(Margin { read: 18, write: 9 }),
            ..StorageCommitteeStatus::default()
        });
        let after = snapshot(StorageCommitteeStatus {
            members: vec![member(MemberState::Lost)],
            view: Some(view(2, &[(0, &[0, 1, 2])])),
            margin: Some(Margin { read: 10, write: 9 }),
            missing: Some(Missing { slivers: 3, bytes: 2048 }),
            ..StorageCommitteeStatus::default()
        });
        assert_eq!(
            changes(&before, &after),
            [
                "member 1, incarnation 1: Lost",
                "view 1.2 is in effect without 1 (incarnation 1); custody: member 0 takes shards 1, 2",
                "3 slivers are missing (2.00 KiB)",
                "read margin 18 → 10 shards, write margin 9",
            ]
        );
        assert_eq!(changes(&after, &after), Vec::<String>::new());
    }
}
