//! Epoch objects: made, chosen owners for, and moved through their phases.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use serde_json::json;
use thiserror::Error;
use weft_crds::{Epoch, EpochMember, EpochSpec, EpochStatus, Moves, epoch_condition, epoch_name};
use weft_planner::{EpochPhase, EpochPlan};
use weft_protocol::MemberId;

use crate::{
    act::Means,
    api::ApiError,
    env::calendar,
    names,
    report::conditions::{self, Said},
};

/// How many epochs are kept as history.
const KEPT: usize = 10;

#[derive(Debug, Error)]
pub enum EpochError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("Epoch {name} is to change its phase, but doesn't exist")]
    Gone { name: String },
    #[error("write the status of Epoch {name} as JSON")]
    Json { name: String, source: serde_json::Error },
}

/// Makes an Epoch; one of that name without a status is taken over: it goes with its committee from now on, like those
/// that the operator makes.
pub async fn create(with: &Means<'_>, plan: &EpochPlan, reason: &str) -> Result<(), EpochError> {
    let subject = with.subject;
    let name = epoch_name(&subject.name, plan.number);
    let spec = EpochSpec {
        committee: subject.name.clone(),
        number: plan.number,
        owners: None,
        reason: Some(reason.chars().take(256).collect()),
    };
    let mut epoch = Epoch::new(&name, spec);
    epoch.metadata = ObjectMeta {
        namespace: Some(subject.namespace.name.clone()),
        labels: Some(names::labels(&subject.name)),
        owner_references: Some(vec![subject.owner()]),
        ..epoch.metadata
    };
    if !subject.namespace.create(&epoch).await? {
        adopt(with, &name).await?;
    }
    choose(with, plan).await?;
    forget(with).await
}

/// Gives an Epoch that a user made the label and the owner that the operator's own have, beside what it has.
async fn adopt(with: &Means<'_>, name: &str) -> Result<(), EpochError> {
    let subject = with.subject;
    let live: Option<Epoch> = subject.namespace.get(name).await?;
    let live = live.ok_or_else(|| EpochError::Gone { name: name.to_owned() })?;
    let mut owners = live.owner_references().to_vec();
    if !owners.iter().any(|owner| owner.uid == subject.uid) {
        owners = subject.added_to(owners);
    }
    let change = json!({"metadata": {
        "resourceVersion": live.resource_version(),
        "labels": {names::COMMITTEE: subject.name},
        "ownerReferences": owners,
    }});
    subject.namespace.merge::<Epoch>(name, &change).await?;
    Ok(())
}

/// Writes an Epoch's owners, and the phase that the plan says.
pub async fn choose(with: &Means<'_>, plan: &EpochPlan) -> Result<(), EpochError> {
    let name = epoch_name(&with.subject.name, plan.number);
    let stored: Option<Epoch> = with.subject.namespace.get(&name).await?;
    let stored = stored.ok_or_else(|| EpochError::Gone { name: name.clone() })?;
    let owners: Vec<u32> = plan.owners.iter().map(|owner| owner.0).collect();
    let mut status = stored.status.clone().unwrap_or_default();
    status.observed_generation = stored.metadata.generation;
    status.members = plan.members.iter().map(|(id, incarnation)| member(with, *id, *incarnation)).collect();
    let done = status.moves.unwrap_or_default();
    status.moves = Some(Moves { shards: plan.moves, minimum: plan.minimum, bytes: plan.bytes, ..done });
    let said = match &stored.spec.owners {
        Some(wished) if *wished != owners => {
            Said::no("OwnersNotTaken", "the operator has chosen the owners itself; see status.owners".to_owned())
        }
        _ => Said::yes("Chosen", "the owners fulfil the committee's rules".to_owned()),
    };
    status.owners = owners;
    let generation = stored.metadata.generation;
    conditions::set(&mut status.conditions, epoch_condition::ACCEPTED, &said, generation, calendar(with.now));
    enter(&mut status, plan.phase, with, generation);
    write(with, &name, &status).await
}

/// Says of an Epoch that a user asked for why it isn't taken up.
pub async fn refuse(with: &Means<'_>, number: u64, reason: &'static str, message: &str) -> Result<(), EpochError> {
    let name = epoch_name(&with.subject.name, number);
    let stored: Option<Epoch> = with.subject.namespace.get(&name).await?;
    let Some(stored) = stored else { return Ok(()) };
    let mut status = stored.status.clone().unwrap_or_default();
    let generation = stored.metadata.generation;
    status.observed_generation = generation;
    let said = Said::no(reason, message.to_owned());
    conditions::set(&mut status.conditions, epoch_condition::ACCEPTED, &said, generation, calendar(with.now));
    write(with, &name, &status).await
}

/// Moves an Epoch to a phase.
pub async fn set_phase(with: &Means<'_>, number: u64, phase: EpochPhase) -> Result<(), EpochError> {
    let name = epoch_name(&with.subject.name, number);
    let stored: Option<Epoch> = with.subject.namespace.get(&name).await?;
    let stored = stored.ok_or_else(|| EpochError::Gone { name: name.clone() })?;
    let mut status = stored.status.clone().unwrap_or_default();
    enter(&mut status, phase, with, stored.metadata.generation);
    write(with, &name, &status).await
}

fn enter(status: &mut EpochStatus, phase: EpochPhase, with: &Means<'_>, generation: Option<i64>) {
    let now = calendar(with.now);
    let mut say = |kind, said: &Said| conditions::set(&mut status.conditions, kind, said, generation, now);
    match phase {
        EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Superseded => {}
        EpochPhase::Sealing => {
            say(epoch_condition::SEALED, &Said::no("Sealing", "the view before it is being sealed".to_owned()));
        }
        EpochPhase::Committed | EpochPhase::Retired => {
            say(epoch_condition::SEALED, &Said::yes("Sealed", "the view before it is sealed".to_owned()));
            say(epoch_condition::COMMITTED, &Said::yes("Whole", "every new owner is synced and whole".to_owned()));
            status.committed_at.get_or_insert(Time(now));
        }
    }
    status.phase = Some(match phase {
        EpochPhase::Planned => weft_crds::EpochPhase::Planned,
        EpochPhase::Migrating => weft_crds::EpochPhase::Migrating,
        EpochPhase::Sealing => weft_crds::EpochPhase::Sealing,
        EpochPhase::Committed => weft_crds::EpochPhase::Committed,
        EpochPhase::Retired => weft_crds::EpochPhase::Retired,
        EpochPhase::Superseded => weft_crds::EpochPhase::Superseded,
    });
}

fn member(with: &Means<'_>, id: MemberId, incarnation: u32) -> EpochMember {
    let record = with.members.iter().find(|member| member.id == id);
    let incarnations = record.into_iter().flat_map(|member| std::iter::once(&member.current).chain(&member.successor));
    let key = incarnations.filter(|record| record.number == incarnation).find_map(|record| record.key);
    EpochMember { id: id.0, incarnation, public_key: key.map(|key| key.to_string()).unwrap_or_default() }
}

async fn write(with: &Means<'_>, name: &str, status: &EpochStatus) -> Result<(), EpochError> {
    let status = serde_json::to_value(status).map_err(|source| EpochError::Json { name: name.to_owned(), source })?;
    with.subject.namespace.merge_status::<Epoch>(name, &json!({ "status": status })).await?;
    Ok(())
}

/// Deletes the oldest Epochs whose move is over, beyond those that are kept.
async fn forget(with: &Means<'_>) -> Result<(), EpochError> {
    let over = |epoch: &&Epoch| {
        let phase = epoch.status.as_ref().and_then(|status| status.phase);
        matches!(phase, Some(weft_crds::EpochPhase::Retired | weft_crds::EpochPhase::Superseded))
    };
    let mut epochs: Vec<&Epoch> = with.objects.epochs.iter().filter(over).collect();
    epochs.sort_by_key(|epoch| std::cmp::Reverse(epoch.spec.number));
    for epoch in epochs.into_iter().skip(KEPT) {
        with.subject.namespace.delete_as_read(epoch).await?;
    }
    Ok(())
}
