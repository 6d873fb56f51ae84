//! The operator's record and its acts, in memory.

use weft_protocol::{Declaration, FleetId, Seal, SignedView, SigningKey};

use super::Cluster;
use crate::{Act, Claim, EpochPhase, EpochPlan, EpochRecord, Pending, Plan, Record, Timestamp};

/// Writes what a plan records, as one compare-and-swap does. Gives the seal that put a view into effect, if one did.
///
/// # Panics
/// When a view breaks R2 or R5.
pub fn record(record: &mut Record, planned: &Plan, fleet: FleetId, key: &SigningKey, now: Timestamp) -> Option<Seal> {
    record.members.clone_from(&planned.members);
    let mut done = None;
    for step in planned.steps.iter().filter(|step| step.act.is_record()) {
        match &step.act {
            Act::MintFleet => record.fleet = Some(fleet),
            Act::RecordCode(code) => record.code = Some(*code),
            Act::ProposeView(view) => {
                let signed = SignedView::sign(view.clone(), key);
                view.check().expect("a view keeps R2");
                match &record.view {
                    None => record.view = Some(signed),
                    Some(before) => {
                        before.view.check_successor(&signed).expect("a view follows the one before");
                        assert!(record.pending.is_none(), "one view at a time");
                        record.pending = Some(Pending { view: signed, since: now, declaration: None });
                    }
                }
            }
            Act::ContinueView(view) => {
                record.pending = Some(Pending { view: view.clone(), since: now, declaration: None });
            }
            Act::DeclareInSeal(declared) => {
                record.term += 1;
                let (sealed, pending) = (record.view.as_ref(), record.pending.as_mut());
                let (sealed, pending) = sealed.zip(pending).expect("a view is being sealed");
                let views = (&sealed.view, &pending.view.view);
                let sign = || Declaration::sign(record.term, views, declared.clone(), key);
                pending.declaration = (!declared.is_empty()).then(sign);
            }
            Act::TakeEffect(seal) => {
                seal.check(&key.public()).expect("a seal is a proof");
                record.view = Some(seal.successor.clone());
                record.pending = None;
                done = Some(seal.clone());
            }
            Act::NoteRewind(rewind) => (record.rewound, record.term) = (Some(*rewind), rewind.term),
            Act::ConfirmRewind => record.rewound = None,
            Act::DeclareLost { .. } | Act::DeclareFaulty { .. } | Act::Admit { .. } => {}
            other => panic!("{other:?} is no record"),
        }
    }
    done
}

/// Does one step that isn't a record.
///
/// # Panics
/// When an epoch's phase would go back.
pub fn carry_out(act: &Act, cluster: &mut Cluster, record: &mut Record, now: Timestamp) {
    match act {
        Act::CreateClaim { member, incarnation } => cluster.create_claim(*member, *incarnation),
        Act::InheritClaim { from, incarnation, uid, .. } => {
            let used = |claim: &Claim| {
                cluster.pods.iter().any(|pod| (pod.member, pod.incarnation) == (claim.member, claim.incarnation))
            };
            for claim in cluster.claims.iter_mut().filter(|claim| claim.uid == *uid) {
                assert!(!used(claim) && claim.incarnation == *from, "a claim changes hands while a pod uses it");
                claim.incarnation = *incarnation;
            }
        }
        Act::CreatePod { member, incarnation, attempt, avoid, inputs } => {
            cluster.create_pod(*member, *incarnation, *attempt, avoid.clone(), inputs.clone());
        }
        Act::DeletePod { uid, .. } => {
            cluster.pods.iter_mut().filter(|pod| pod.uid == *uid).for_each(|pod| pod.terminating = true);
        }
        Act::DestroyClaim { uid, .. } => {
            cluster.claims.iter_mut().filter(|claim| claim.uid == *uid).for_each(|claim| claim.terminating = true);
        }
        Act::CreateEpoch(plan) | Act::ReplanEpoch(plan) => put_epoch(record, plan, now),
        Act::SetEpochPhase { number, phase } => {
            let epoch = record.epochs.iter_mut().find(|epoch| epoch.number == *number);
            let epoch = epoch.expect("phases are of epochs that exist");
            assert!(epoch.phase < *phase, "phases only go forward");
            (epoch.phase, epoch.since) = (*phase, now);
        }
        Act::RefuseEpoch { .. } => {}
        other => panic!("{other:?} is a record"),
    }
}

fn put_epoch(record: &mut Record, plan: &EpochPlan, now: Timestamp) {
    let epoch = EpochRecord {
        number: plan.number,
        phase: EpochPhase::Planned,
        owners: plan.owners.clone(),
        members: plan.members.clone(),
        since: now,
        chosen: plan.chosen,
    };
    record.epochs.retain(|epoch| epoch.number != plan.number);
    record.epochs.push(epoch);
    record.epochs.sort_by_key(|epoch| epoch.number);
}
