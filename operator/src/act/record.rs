//! The plan's changes of status, and its report, as the next status (R2, R24: written before anything is done).

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weft_crds::{
    Destruction, Encoding, Incarnation, MemberStatus, Rewound, Sealing, StorageCommitteeStatus, Successor, View,
    ViewMember,
};
use weft_planner::{Act, IncarnationRecord, MemberRecord, MemberState, Plan, Rewind, Timestamp, World};
use weft_protocol::{Declaration, FleetId, MemberId, Seal, ShardSet, SignedView, SigningKey};

use crate::{env::calendar, names};

/// What the record needs besides the plan.
#[derive(Debug)]
pub struct Recording<'a> {
    pub committee: &'a str,
    pub world: &'a World,
    pub term: u64,
    pub now: Timestamp,
    /// Signs proposed views; there is none before the fleet is minted, and no view either.
    pub key: Option<&'a SigningKey>,
    /// What a minted fleet is called.
    pub fleet: FleetId,
    /// What members are known to run well.
    pub image: Option<&'a str>,
}

/// Applies the plan's recorded changes to a status.
pub fn record(status: &mut StorageCommitteeStatus, plan: &Plan, with: &Recording<'_>) {
    if status.view.is_none() {
        // An adopted fleet has told its view.
        status.view = with.world.record.view.as_ref().map(|adopted| view(adopted, true));
    }
    for step in &plan.steps {
        match &step.act {
            Act::MintFleet => {
                status.fleet_id = Some(with.fleet.to_string());
            }
            Act::RecordCode(code) => {
                let encoding = Encoding { shards: code.shards(), fault_tolerance: code.fault_tolerance() };
                status.encoding = Some(encoding);
            }
            Act::ProposeView(view) => {
                if let Some(key) = with.key {
                    propose(status, &SignedView::sign(view.clone(), key), with);
                }
            }
            Act::ContinueView(view) => propose(status, view, with),
            Act::DeclareInSeal(declared) => declare(status, declared, with),
            Act::TakeEffect(seal) => {
                status.view = Some(view(&seal.successor, true));
                status.sealing = None;
            }
            Act::NoteRewind(rewind) => {
                status.rewound = Some(rewound(*rewind, with.now));
                // Another leader may have had the present term before the objects were set back (R4).
                status.term = Some(rewind.term);
            }
            Act::ConfirmRewind => status.rewound = None,
            // Their substance is in the plan's members, or isn't status at all.
            Act::DeclareLost { .. }
            | Act::DeclareFaulty { .. }
            | Act::Admit { .. }
            | Act::CreateClaim { .. }
            | Act::InheritClaim { .. }
            | Act::CreatePod { .. }
            | Act::DeletePod { .. }
            | Act::DestroyClaim { .. }
            | Act::CreateEpoch(_)
            | Act::ReplanEpoch(_)
            | Act::SetEpochPhase { .. }
            | Act::RefuseEpoch { .. } => {}
        }
    }
    if status.fleet_id.is_some() {
        status.image = with.image.map(str::to_owned);
    }
    status.members = plan.members.iter().map(|record| member(record, with)).collect();
    status.destroying = intents(&status.destroying, plan, with);
    if let Some(sealing) = &mut status.sealing {
        sealing.refused_shards = refused(with.world);
    }
}

/// What status says of a rewind.
pub fn rewound(Rewind { position: (epoch, revision), term }: Rewind, now: Timestamp) -> Rewound {
    Rewound { epoch, revision, term, since: Time(calendar(now)) }
}

/// Records a view: the first is in effect, any other waits until its predecessor is sealed.
fn propose(status: &mut StorageCommitteeStatus, proposed: &SignedView, with: &Recording<'_>) {
    let first = proposed.view.predecessor.is_none();
    if !first && let Some(sealed) = &with.world.record.view {
        // A continued successor takes the place of an own one; what is being sealed stays the same.
        let since = status.sealing.as_ref().map_or_else(|| Time(calendar(with.now)), |sealing| sealing.since.clone());
        status.sealing = Some(Sealing {
            view: view(sealed, true),
            since,
            refused_shards: 0,
            declared: Vec::new(),
            declaration: None,
        });
    }
    status.view = Some(view(proposed, first));
}

/// Raises the term, and records what is declared lost by it for the seal that is under way (R7).
fn declare(
    status: &mut StorageCommitteeStatus,
    declared: &[(MemberId, weft_protocol::Incarnation)],
    with: &Recording<'_>,
) {
    let (Some(sealed), Some(pending), Some(key)) = (&with.world.record.view, &with.world.record.pending, with.key)
    else {
        return;
    };
    let term = with.term + 1;
    status.term = Some(term);
    if let Some(sealing) = &mut status.sealing {
        let sign = || Declaration::sign(term, (&sealed.view, &pending.view.view), declared.to_vec(), key);
        sealing.declared = declared.iter().map(|(member, lost)| format!("{member}-{}", lost.number)).collect();
        sealing.declaration = (!declared.is_empty()).then(|| BASE64_STANDARD.encode(sign().encode()));
    }
}

/// A view as status keeps it.
pub fn view(signed: &SignedView, in_effect: bool) -> View {
    let view = &signed.view;
    let shards = |set: ShardSet| set.iter().collect();
    let members = view.seats.iter().map(|seat| ViewMember {
        id: seat.member.0,
        incarnation: seat.incarnation.number,
        volume_id: seat.incarnation.volume.to_string(),
        public_key: seat.key.to_string(),
        shards: shards(seat.shards),
    });
    View {
        epoch: view.epoch,
        revision: view.revision,
        term: view.term,
        hash: view.hash().to_string(),
        predecessor: view.predecessor.map(|id| id.hash.to_string()),
        in_effect,
        members: members.collect(),
        vacant: shards(view.vacant()),
        encoded: Some(BASE64_STANDARD.encode(view.encode())),
        signature: Some(hex::encode(signed.signature.0)),
    }
}

/// How many shards of the view that is being sealed are known to refuse it for the recorded successor.
fn refused(world: &World) -> u16 {
    let (Some(sealed), Some(pending)) = (&world.record.view, &world.record.pending) else { return 0 };
    // A refusal that doesn't count is another one's, or a lie: the planner says so where it matters.
    let refusals = world.heard.iter().filter_map(|heard| heard.inventory.refusal.as_ref());
    Seal::gather(&sealed.view, &pending.view.view, pending.declaration.as_ref(), refusals).0.len()
}

/// What a seal put into effect, for the session to keep.
pub fn seal_of(plan: &Plan) -> Option<&Seal> {
    plan.steps.iter().find_map(|step| match &step.act {
        Act::TakeEffect(seal) => Some(seal),
        _ => None,
    })
}

/// What is about to be deleted: planned now. What was recorded before keeps its time.
fn intents(recorded: &[Destruction], plan: &Plan, with: &Recording<'_>) -> Vec<Destruction> {
    let planned = plan.steps.iter().filter_map(|step| {
        let (kind, name, uid) = match &step.act {
            Act::DeletePod { member, incarnation, attempt, uid } => {
                ("Pod", names::member_pod(with.committee, member.0, *incarnation, *attempt), uid)
            }
            Act::DestroyClaim { member, incarnation, uid } => {
                ("PersistentVolumeClaim", claim(with, *member, *incarnation), uid)
            }
            _ => return None,
        };
        let before = recorded.iter().find(|intent| intent.uid == *uid && intent.term == with.term);
        Some(before.cloned().unwrap_or_else(|| Destruction {
            kind: kind.to_owned(),
            name,
            uid: uid.clone(),
            term: with.term,
            reason: step.act.name().to_owned(),
            since: Time(calendar(with.now)),
        }))
    });
    planned.collect()
}

/// The name of an incarnation's claim, which it may have inherited (R25).
fn claim(with: &Recording<'_>, member: MemberId, number: u32) -> String {
    let its = |claim: &&weft_planner::Claim| (claim.member, claim.incarnation) == (member, number);
    let origin = with.world.claims.iter().find(its).map_or(number, |claim| claim.origin);
    names::member_claim(with.committee, member.0, origin)
}

fn member(record: &MemberRecord, with: &Recording<'_>) -> MemberStatus {
    let MemberRecord { id, current, successor, shards, custody } = record;
    let pods = &with.world.pods;
    let exists =
        pods.iter().any(|pod| (pod.member, pod.incarnation, pod.attempt) == (*id, current.number, current.attempt));
    let pod = names::member_pod(with.committee, id.0, current.number, current.attempt);
    MemberStatus {
        id: id.0,
        current: incarnation(current),
        pod: exists.then_some(pod),
        claim: Some(claim(with, *id, current.number)),
        shards: shards.clone(),
        custody: custody.clone(),
        successor: successor.as_ref().map(|next| Successor { next: incarnation(next), inherits: next.inherits }),
    }
}

fn incarnation(record: &IncarnationRecord) -> Incarnation {
    let IncarnationRecord {
        number,
        inherits: _,
        attempt,
        state,
        reason,
        since,
        restarting,
        node,
        zone,
        claim_uid,
        volume_uid,
        volume,
        key,
    } = record.clone();
    Incarnation {
        number,
        attempt,
        state: self::state(state),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        since: time(since),
        restarting: restarting.and_then(time),
        zone,
        node,
        claim_uid,
        volume_uid,
        volume_id: volume.map(|volume| volume.to_string()),
        public_key: key.map(|key| key.to_string()),
    }
}

/// Times of status have whole seconds; rounded up, so that nothing is due before its time has passed.
fn time(at: Timestamp) -> Option<Time> {
    (at.0 > 0).then(|| Time(calendar(Timestamp(at.0 + (-at.0).rem_euclid(1000)))))
}

fn state(state: MemberState) -> weft_crds::MemberState {
    match state {
        MemberState::Pending => weft_crds::MemberState::Pending,
        MemberState::Starting => weft_crds::MemberState::Starting,
        MemberState::Serving => weft_crds::MemberState::Serving,
        MemberState::Unreachable => weft_crds::MemberState::Unreachable,
        MemberState::Lost => weft_crds::MemberState::Lost,
        MemberState::Faulty => weft_crds::MemberState::Faulty,
        MemberState::Draining => weft_crds::MemberState::Draining,
        MemberState::Leaving => weft_crds::MemberState::Leaving,
        MemberState::Returned => weft_crds::MemberState::Returned,
    }
}
