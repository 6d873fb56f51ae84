//! What the facts say of one incarnation (DESIGN, "Loss by facts").

use std::time::Duration;

use weft_protocol::MemberId;

use crate::{Ailment, Claim, ClaimPhase, IncarnationRecord, Inventory, MemberState, Pod, PodPhase, Timestamp, World};

/// How long a Node that a volume is pinned to must be away before the volume counts as lost: Nodes are deleted and
/// made again when they are renamed, repaired or registered anew.
pub const NODE_GONE_AFTER: Duration = Duration::from_secs(60);

/// What is known of an incarnation now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Finding<'w> {
    /// Its process answers and serves.
    Answers(&'w Inventory),
    /// It answers, but what it stands on goes away and nothing brings it back.
    Doomed(&'static str),
    /// It answers, and cannot do its work; it may yet.
    Ailing { reason: &'static str, since: Timestamp },
    /// It doesn't answer.
    Silent { reason: String, since: Timestamp },
    /// Its volume is gone, or isn't the one that it had. Proven.
    Gone(&'static str),
}

/// What was found, and when time alone may change it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Examined<'w> {
    pub(crate) finding: Finding<'w>,
    pub(crate) wake_at: Option<Timestamp>,
}

/// Weighs the facts about an incarnation against what is remembered of it.
pub(crate) fn examine<'w>(
    world: &'w World,
    member: MemberId,
    record: &IncarnationRecord,
    now: Timestamp,
) -> Examined<'w> {
    let at_once = |finding| Examined { finding, wake_at: None };
    let answer = world.answer(member, record.number, now);
    let claim = world.claim_of(member, record);
    if let Some(reason) = claim_gone(record, claim) {
        return at_once(Finding::Gone(reason));
    }
    if claim.is_some_and(|claim| claim.terminating) {
        let reason = "ClaimTerminating";
        return at_once(if answer.is_some() { Finding::Doomed(reason) } else { Finding::Gone(reason) });
    }
    if let Some(inventory) = answer {
        return at_once(of_answer(inventory, member, record, now));
    }
    let silent =
        Finding::Silent { reason: why_silent(world, member, record), since: silent_since(world, member, record, now) };
    match claim.and_then(|claim| node_gone(world, claim, now)) {
        Some(Ok(reason)) => at_once(Finding::Gone(reason)),
        Some(Err(at)) => Examined { finding: silent, wake_at: Some(at) },
        None => at_once(silent),
    }
}

/// The claim or its volume is gone, or a namesake stands in for it.
fn claim_gone(record: &IncarnationRecord, claim: Option<&Claim>) -> Option<&'static str> {
    let Some(claim) = claim else { return record.claim_uid.as_ref().map(|_| "ClaimGone") };
    if record.claim_uid.as_ref().is_some_and(|uid| *uid != claim.uid) {
        return Some("ClaimReplaced");
    }
    if claim.phase == ClaimPhase::Lost {
        return Some("VolumeGone");
    }
    let volume = claim.volume.as_ref()?;
    // A volume that was never seen may be too new to be seen.
    let known = record.volume_uid.as_ref()?;
    if !volume.exists {
        return Some("VolumeGone");
    }
    (!volume.uid.is_empty() && *known != volume.uid).then_some("VolumeReplaced")
}

fn of_answer<'w>(
    inventory: &'w Inventory,
    member: MemberId,
    record: &IncarnationRecord,
    now: Timestamp,
) -> Finding<'w> {
    let other_volume = record.volume.is_some_and(|volume| volume != inventory.incarnation.volume);
    let other_key = record.key.is_some_and(|key| key != inventory.key);
    if inventory.member == member && inventory.incarnation.number == record.number && (other_volume || other_key) {
        return Finding::Gone("VolumeEmpty");
    }
    let ailing = |reason: &'static str| {
        let known = matches!(record.state, MemberState::Unreachable) && record.reason == reason;
        Finding::Ailing { reason, since: if known { record.since } else { now } }
    };
    match inventory.ailment {
        None if (inventory.member, inventory.incarnation.number) != (member, record.number) => ailing("ForeignVolume"),
        None => Finding::Answers(inventory),
        Some(Ailment::Rewound) => Finding::Gone("Rewound"),
        Some(Ailment::ForeignVolume) if record.volume.is_some() => Finding::Gone("ForeignVolume"),
        Some(Ailment::ForeignVolume) => ailing("ForeignVolume"),
        Some(Ailment::ReadOnly) => ailing("ReadOnly"),
        Some(Ailment::WaitingForPeers) => ailing("WaitingForPeers"),
    }
}

/// Whether the volume is pinned to Nodes that are all gone for good: `Ok` with the reason, or `Err` with the time
/// when it will be known.
fn node_gone(world: &World, claim: &Claim, now: Timestamp) -> Option<Result<&'static str, Timestamp>> {
    let volume = claim.volume.as_ref().filter(|volume| !volume.pinned_to.is_empty())?;
    let mut known_at = Timestamp(i64::MIN);
    let mut reason = "NodeOutOfService";
    for name in &volume.pinned_to {
        let node = world.node(name)?;
        match node.gone_since {
            Some(since) => {
                known_at = known_at.max(since + NODE_GONE_AFTER);
                reason = "NodeGone";
            }
            None if node.out_of_service => {}
            None => return None,
        }
    }
    Some(if now >= known_at { Ok(reason) } else { Err(known_at) })
}

/// Since when its silence is evident: by the first call that failed, or as recorded, where this operator's ears are
/// younger than the silence. Not since its last answer: nobody may have asked it since.
fn silent_since(world: &World, member: MemberId, record: &IncarnationRecord, now: Timestamp) -> Timestamp {
    let missed = world.missed.get(&(member, record.number)).copied();
    let recorded = (record.state == MemberState::Unreachable && !is_ailment(&record.reason)).then_some(record.since);
    let known = missed.into_iter().chain(recorded);
    let answered = world.heard(member, record.number).map_or(Timestamp(0), |heard| heard.at);
    known.min().unwrap_or(now).max(answered)
}

/// Whether a member said this itself: then it wasn't silent.
fn is_ailment(reason: &str) -> bool {
    matches!(reason, "ForeignVolume" | "ReadOnly" | "WaitingForPeers")
}

fn why_silent(world: &World, member: MemberId, record: &IncarnationRecord) -> String {
    let newest = world.pods_of(member, record.number).max_by_key(|pod| pod.attempt);
    let Some(pod) = newest else { return "PodMissing".to_owned() };
    if pod.terminating {
        return "PodTerminating".to_owned();
    }
    let node = pod.node.as_deref().and_then(|name| world.node(name));
    if node.is_some_and(|node| node.gone_since.is_some()) {
        return "NodeGone".to_owned();
    }
    if node.is_some_and(|node| node.unready_since.is_some()) {
        return "NodeNotReady".to_owned();
    }
    waiting(pod)
}

fn waiting(pod: &Pod) -> String {
    match (&pod.waiting, pod.phase) {
        (Some(reason), _) => reason.clone(),
        (None, PodPhase::Pending) => "PodPending".to_owned(),
        (None, PodPhase::Ended) => "PodEnded".to_owned(),
        (None, PodPhase::Running | PodPhase::Unknown) => "NoAnswer".to_owned(),
    }
}
