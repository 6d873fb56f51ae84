//! Report: the plan's findings in status, written only when they say something new.

pub mod conditions;
pub mod events;
pub mod moves;
mod patch;

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use thiserror::Error;
use weft_crds::{
    Accusation, EpochPointer, ListedBlobs, Margin, Missing, PlannedAct, StorageCommittee, StorageCommitteeStatus,
    Survives, committee_condition,
};
use weft_planner::{Agreed, Condition, Conditions, MemberState, Plan, Timestamp, Truth, World};
use weft_protocol::Statement;

use crate::{
    act::foundation,
    api::ApiError,
    env::calendar,
    observe::room::{self, Shard},
    refusals::Refusals,
    report::conditions::Said,
    session::Session,
    subject::Subject,
    telemetry::{Committee, Telemetry},
};

/// Numbers that only run are written no more often than this.
const PACE: Duration = Duration::from_secs(5);
/// How many steps and withheld steps status tells.
const STEPS: usize = 20;
/// How many listed blobs of one kind status names.
const LISTED: usize = 16;
/// How much of the room that there is for slivers may be used before that is told, and when it's enough again.
const ENOUGH: f64 = 0.95;
const ENOUGH_AGAIN: f64 = 0.9;
/// How many accusations status tells.
const ACCUSATIONS: usize = 16;

#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("write the status as JSON")]
    Json(#[from] serde_json::Error),
}

/// What is told by.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    pub subject: &'a Subject,
    pub session: &'a Session,
    pub world: &'a World,
    pub plan: &'a Plan,
    /// What claims wait for that grow: a sentence without its full stop.
    pub growing: Option<&'a str>,
}

/// Fills in what is told, beside what is recorded.
pub fn fill(status: &mut StorageCommitteeStatus, findings: &Findings<'_>, now: Timestamp) {
    let Findings { subject, session, world, plan, growing } = *findings;
    status.observed_generation = Some(subject.generation);
    status.epoch = Some(EpochPointer { current: plan.epoch.0, target: plan.epoch.1 });
    let pods: BTreeSet<_> = world.pods.iter().filter(|pod| !pod.terminating).map(|pod| pod.member).collect();
    status.replicas = Some(pods.len() as u32);
    status.selector = Some(foundation::selector(subject));
    status.margin = Some(Margin { read: plan.margin.read, write: plan.margin.write });
    status.survives = Some(Survives { members: plan.survives.members, zones: plan.survives.zones });
    status.missing = Some(Missing { slivers: plan.missing.slivers, bytes: plan.missing.bytes });
    status.unrecoverable = listed(&plan.unrecoverable);
    status.invalid = listed(&plan.invalid);
    status.storage_factor = status.encoding.map(|encoding| {
        let (n, f) = (f64::from(encoding.shards), f64::from(encoding.fault_tolerance));
        format!("{:.2}", n / (n - 2.0 * f) + n / (n - f))
    });
    status.plan = steps(plan, &session.refusals);
    status.accusations = accusations(world);
    let generation = Some(subject.generation);
    let told = hindered(plan, growing, &session.refusals, now);
    let capacity = capacity(status, room::shares(&world.record, session));
    for (kind, said) in [
        (committee_condition::AVAILABLE, told.available.into()),
        (committee_condition::READY, told.ready.into()),
        (committee_condition::PROGRESSING, told.progressing.into()),
        (committee_condition::DEGRADED, told.degraded.into()),
        (committee_condition::STALLED, told.stalled.into()),
        (committee_condition::CONTROL_PLANE_REWOUND, told.rewound.into()),
        (committee_condition::CAPACITY_FOR_REPAIR, capacity),
        (committee_condition::UPGRADE_AVAILABLE, upgrade(subject)),
    ] {
        conditions::set(&mut status.conditions, kind, &said, generation, calendar(now));
    }
}

/// Whether members could run what this operator comes with.
fn upgrade(subject: &Subject) -> Said {
    let (runs, chosen) = (subject.image(), subject.spec.image.is_some());
    match subject.upgrade() {
        Some(offered) => Said::yes(
            "NewerOperator",
            format!(
                "members run {runs}, and this operator comes with {offered}: they restart with it, one after another, once \
                 spec.image says so or spec.upgrade is Automatic"
            ),
        ),
        None if chosen => Said::no("Chosen", format!("spec.image is {runs}")),
        None => Said::no("UpToDate", format!("members run {runs}, which this operator comes with")),
    }
}

/// The plan's conditions, and what the API server or a volume holds up.
fn hindered(plan: &Plan, growing: Option<&str>, refusals: &Refusals, now: Timestamp) -> Conditions {
    let mut told = plan.conditions.clone();
    let mut not_ready = |reason, message: &str| {
        if told.ready.status == Truth::True {
            told.ready = Condition { status: Truth::False, reason, message: message.to_owned() };
        }
    };
    let refused = refusals.for_a_person(plan, now);
    if let Some(refused) = &refused {
        not_ready("Refused", refused);
    }
    if let Some(message) = growing {
        not_ready("VolumesGrow", message);
    }
    let Some(refused) = refused else { return told };
    if told.progressing.status == Truth::True && refusals.stop(plan) {
        told.progressing = Condition { status: Truth::False, reason: "Refused", message: refused.clone() };
    }
    if told.stalled.status == Truth::False {
        told.stalled = Condition { status: Truth::True, reason: "Refused", message: refused };
    }
    told
}

fn steps(plan: &Plan, refusals: &Refusals) -> Vec<PlannedAct> {
    let steps = plan.steps.iter().map(|step| PlannedAct {
        act: step.act.name().to_owned(),
        target: step.target.clone(),
        reason: step.reason.clone(),
        withheld_by: refusals.of(step.act.name(), &step.target).map(|refusal| refusal.by.clone()),
    });
    let refused = refusals.beside(plan).map(|(act, target, refusal)| PlannedAct {
        act: act.to_owned(),
        target: target.to_owned(),
        reason: refusal.reason.clone(),
        withheld_by: Some(refusal.by.clone()),
    });
    let withheld = plan.withheld.iter().map(|withheld| PlannedAct {
        act: withheld.act.to_owned(),
        target: withheld.target.clone(),
        reason: withheld.reason.clone(),
        withheld_by: Some(withheld.by.clone()),
    });
    steps.chain(refused).chain(withheld).take(STEPS).collect()
}

/// What a person has to know of blobs that can't be had back (R20), or never were what they should be (R19).
fn listed(agreed: &Agreed) -> Option<ListedBlobs> {
    let Agreed { blobs, ids } = agreed;
    let ids = ids.iter().take(LISTED).map(ToString::to_string).collect();
    (*blobs > 0).then_some(ListedBlobs { blobs: *blobs, ids })
}

/// The newest accusations, with what anyone can check them by.
fn accusations(world: &World) -> Vec<Accusation> {
    let told = weft_planner::accusations(world).into_iter().filter_map(|accusation| {
        let Statement::Accusation { accused, blob, began, fault, .. } = &accusation.statement.statement else {
            return None;
        };
        let signed = BASE64_STANDARD.encode(accusation.encode());
        let evidence = format!("{} by member {}: {signed}", fault.name(), accusation.accuser());
        Some(Accusation { member: accused.0, blob: blob.to_string(), round: *began, evidence })
    });
    let mut told: Vec<Accusation> = told.collect();
    told.sort_by_key(|accusation| std::cmp::Reverse(accusation.round));
    told.truncate(ACCUSATIONS);
    told
}

/// Whether what any member holds, or any zone, would fit on the others, and how far puts may go on. Once that was nearly used
/// up, it takes some room to say that there is some.
fn capacity(status: &StorageCommitteeStatus, room: Option<Shard>) -> Said {
    let Some(Shard { held, limit }) = room else {
        let few = "too few members have told their room, or some are of before members did";
        return Said::unknown("NotHeard", few.to_owned());
    };
    let before = status.conditions.iter().find(|condition| condition.type_ == committee_condition::CAPACITY_FOR_REPAIR);
    let scarce = before.is_some_and(|before| before.status == "False");
    // Puts stop at the limit.
    let enough = if scarce { ENOUGH_AGAIN } else { ENOUGH };
    if held as f64 <= limit as f64 * enough {
        let fits = "what any one member holds, or zone where one may go, would fit on the others";
        return Said::yes("RoomLeft", fits.to_owned());
    }
    // Always in the same words: free space changes with every breath of a disk.
    let hardly = "what a lost member holds, or a zone where one may go, would hardly fit on the others: before it doesn't, \
                  puts are refused (507); delete blobs, add members, or let storage.size grow";
    Said::no("NoRoom", hardly.to_owned())
}

/// Writes the status if it says something new, on the condition that nobody else wrote in between. What only runs,
/// counts and messages, waits for its pace.
pub async fn write(
    subject: &mut Subject,
    status: &StorageCommitteeStatus,
    session: &mut Session,
    telemetry: &Telemetry,
    now: Timestamp,
) -> Result<(), ReportError> {
    let (before, after) = (serde_json::to_value(&subject.status)?, serde_json::to_value(status)?);
    let Some(change) = patch::difference(&before, &after) else { return Ok(()) };
    let paced = session.written.is_some_and(|written| now - written < PACE);
    if paced && lasting(before) == lasting(after) {
        return Ok(());
    }
    let change = json!({"metadata": {"resourceVersion": subject.version}, "status": change});
    let written: StorageCommittee = subject.namespace.merge_status(&subject.name, &change).await?;
    subject.written(written);
    session.written = Some(now);
    telemetry.status_writes.inc();
    Ok(())
}

/// A status without what only runs.
fn lasting(mut status: Value) -> Value {
    if let Some(fields) = status.as_object_mut() {
        for running in ["plan", "missing", "margin", "replicas", "unrecoverable", "invalid"] {
            fields.remove(running);
        }
    }
    if let Some(sealing) = status.get_mut("sealing").and_then(Value::as_object_mut) {
        sealing.remove("refusedShards");
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("message");
        }
    }
    status
}

/// Says that the committee waits for a person, without touching anything else.
pub async fn stall(
    subject: &mut Subject,
    session: &mut Session,
    telemetry: &Telemetry,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Result<(), ReportError> {
    let mut status = subject.status.clone();
    let generation = Some(subject.generation);
    let mut set = |kind, said: &Said| {
        conditions::set(&mut status.conditions, kind, said, generation, calendar(now));
    };
    set(committee_condition::STALLED, &Said::yes(reason, message.clone()));
    set(committee_condition::READY, &Said::unknown(reason, message));
    write(subject, &status, session, telemetry, now).await
}

/// Shows a committee in the metrics.
pub fn measure(telemetry: &Telemetry, subject: &Subject, plan: &Plan) {
    let labels = Committee { namespace: subject.namespace.name.clone(), committee: subject.name.clone() };
    let serving = plan.members.iter().filter(|member| member.current.state == MemberState::Serving).count();
    telemetry.read_margin.get_or_create(&labels).set(i64::from(plan.margin.read));
    telemetry.write_margin.get_or_create(&labels).set(i64::from(plan.margin.write));
    telemetry.missing_slivers.get_or_create(&labels).set(plan.missing.slivers as i64);
    telemetry.missing_bytes.get_or_create(&labels).set(plan.missing.bytes as i64);
    telemetry.unrecoverable_blobs.get_or_create(&labels).set(plan.unrecoverable.blobs as i64);
    telemetry.invalid_blobs.get_or_create(&labels).set(plan.invalid.blobs as i64);
    telemetry.members_serving.get_or_create(&labels).set(serving as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_scarce_before_puts_stop_and_for_a_while_after() {
        let mut status = StorageCommitteeStatus::default();
        let mut told = |held| {
            let said = capacity(&status, Some(Shard { held, limit: 100 }));
            let now = calendar(Timestamp(0));
            conditions::set(&mut status.conditions, committee_condition::CAPACITY_FOR_REPAIR, &said, None, now);
            said.status
        };
        let all = [0, 95, 96, 94, 91, 90, 95].map(&mut told);
        let (yes, no) = (Truth::True, Truth::False);
        assert_eq!(all, [yes, yes, no, no, no, yes, yes]);
        assert_eq!(capacity(&status, None).status, Truth::Unknown);
    }
}
