//! Act: carries out the plan's steps, each by itself; one that fails is planned again.

pub mod budgets;
pub mod destroy;
pub mod epochs;
pub mod foundation;
pub mod gateway;
pub mod inherit;
pub mod issuer;
mod leaves;
pub mod members;
pub mod policies;
pub mod record;
pub mod secrets;
pub mod services;
pub mod shape;
pub mod spare_keys;
pub mod term;
mod trust;
pub mod volumes;

use thiserror::Error;
use weft_planner::{Act, MemberRecord, Step, Timestamp};
use weft_protocol::{FleetId, MemberId};

use crate::{
    act::{members::Which, secrets::Keys},
    api::ApiError,
    observe::Objects,
    subject::Subject,
};

#[derive(Debug, Error)]
pub enum ActError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Epoch(#[from] epochs::EpochError),
    #[error(transparent)]
    Destroy(#[from] destroy::DestroyError),
}

impl ActError {
    /// The call of the API server that failed, if it was one.
    pub fn call(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error)
            | Self::Epoch(epochs::EpochError::Api(error))
            | Self::Destroy(destroy::DestroyError::Api(error)) => Some(error),
            Self::Epoch(_) | Self::Destroy(_) => None,
        }
    }
}

/// What steps are carried out with.
#[derive(Debug)]
pub struct Means<'a> {
    pub subject: &'a Subject,
    pub fleet: FleetId,
    pub keys: &'a Keys,
    pub term: u64,
    pub now: Timestamp,
    pub objects: &'a Objects,
    /// The members as recorded, for the keys of those in new epochs.
    pub members: &'a [MemberRecord],
}

/// Carries out one step. Those that are changes of status were done with the record.
pub async fn carry_out(step: &Step, with: &Means<'_>) -> Result<(), ActError> {
    let Means { subject, fleet, .. } = with;
    let which = |member: MemberId, incarnation| Which { member: member.0, incarnation };
    match &step.act {
        Act::CreateClaim { member, incarnation } => {
            subject.namespace.create(&members::claim(subject, *fleet, which(*member, *incarnation))).await?;
        }
        Act::InheritClaim { member, from, incarnation, uid } => {
            inherit::claim(with, which(*member, *from), *incarnation, uid).await?;
        }
        Act::CreatePod { member, incarnation, attempt, avoid, inputs } => {
            let which = which(*member, *incarnation);
            let origin = with.objects.origin(which);
            let placed = members::Placed { which, origin, attempt: *attempt, avoid, inputs };
            let pod = members::pod(subject, *fleet, with.keys.trust(), placed);
            subject.namespace.create(&pod).await?;
        }
        Act::DeletePod { member, incarnation, attempt, uid } => {
            destroy::pod(with, which(*member, *incarnation), *attempt, uid).await?;
        }
        Act::DestroyClaim { member, incarnation, uid } => {
            destroy::claim(with, which(*member, *incarnation), uid).await?;
        }
        Act::CreateEpoch(plan) => epochs::create(with, plan, &step.reason).await?,
        Act::ReplanEpoch(plan) => epochs::choose(with, plan).await?,
        Act::RefuseEpoch { number, reason, message } => epochs::refuse(with, *number, reason, message).await?,
        Act::SetEpochPhase { number, phase } => epochs::set_phase(with, *number, *phase).await?,
        Act::MintFleet
        | Act::RecordCode(_)
        | Act::DeclareLost { .. }
        | Act::DeclareFaulty { .. }
        | Act::Admit { .. }
        | Act::ProposeView(_)
        | Act::ContinueView(_)
        | Act::DeclareInSeal(_)
        | Act::TakeEffect(_)
        | Act::NoteRewind(_)
        | Act::ConfirmRewind => {}
    }
    Ok(())
}
