//! Events: what a person would want to read of a committee's life.

use std::sync::{Mutex, PoisonError};

use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use weft_planner::{Act, Agreed, EpochPhase, Plan, Step};

use crate::subject::Subject;

/// Events after which what was published before is forgotten: the recorder keeps each for minutes, in case it is told again.
const REMEMBERED: usize = 512;

/// Publishes events of committees.
pub struct Events {
    client: Client,
    reporter: Reporter,
    recorder: Mutex<(Recorder, usize)>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Events").finish()
    }
}

impl Events {
    /// `instance` is the operator's pod.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "weft-operator".to_owned(), instance: Some(instance.to_owned()) };
        let recorder = Mutex::new((Recorder::new(client.clone(), reporter.clone()), 0));
        Self { client, reporter, recorder }
    }

    fn recorder(&self) -> Recorder {
        let mut kept = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1 == REMEMBERED {
            *kept = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        kept.1 += 1;
        kept.0.clone()
    }

    /// Tells of a plan's recorded changes, once they are recorded.
    pub async fn recorded(&self, subject: &Subject, plan: &Plan) {
        for step in plan.steps.iter().filter(|step| step.act.is_record()) {
            self.tell(subject, step).await;
        }
    }

    /// Tells of a step that was carried out, if it is worth it. An event that can't be published holds nothing up.
    pub async fn tell(&self, subject: &Subject, step: &Step) {
        let Some(worth) = worth(step) else { return };
        // Events that differ in nothing but their note would be counted as one.
        let action = format!("{} {}", step.act.name(), step.target);
        self.publish(subject, worth, &action, &format!("{}: {}", step.target, step.reason)).await;
    }

    /// Tells that blobs have turned out to be unrecoverable, when none were before (R20).
    pub async fn unrecoverable(&self, subject: &Subject, plan: &Plan) {
        let message = &plan.conditions.degraded.message;
        self.publish(subject, (EventType::Warning, "Unrecoverable"), "ListUnrecoverable", message).await;
    }

    /// Tells that writers have turned out to have lied, when none had before (R19).
    pub async fn invalid(&self, subject: &Subject, plan: &Plan) {
        let Agreed { blobs, ids } = &plan.invalid;
        let first = ids.first().map(ToString::to_string).unwrap_or_default();
        let note = format!(
            "the gateway that stored blob {first} lied, or is broken: its slivers contradict each other, so that nobody reads \
             it (R19); {blobs} in all, see status.invalid. weft rm ID ends that"
        );
        self.publish(subject, (EventType::Warning, "Invalid"), "ListInvalid", &note).await;
    }

    async fn publish(&self, subject: &Subject, (type_, reason): (EventType, &'static str), action: &str, note: &str) {
        let [action, note] = [(action, 128), (note, 1000)].map(|(text, most)| text.chars().take(most).collect());
        let event = Event { type_, reason: reason.to_owned(), note: Some(note), action, secondary: None };
        if let Err(error) = self.recorder().publish(&event, &subject.reference()).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(committee = subject.name, reason, error, "an event is lost");
        }
    }
}

fn worth(step: &Step) -> Option<(EventType, &'static str)> {
    Some(match &step.act {
        Act::MintFleet => (EventType::Normal, "FleetCreated"),
        Act::DeclareLost { .. } => (EventType::Warning, "MemberLost"),
        Act::DeclareFaulty { .. } => (EventType::Warning, "MemberFaulty"),
        Act::Admit { incarnation: 1, .. } => (EventType::Normal, "MemberAdmitted"),
        Act::Admit { .. } => (EventType::Normal, "ReplacementAdmitted"),
        Act::ProposeView(view) if view.predecessor.is_some() && view.revision > 0 => {
            (EventType::Normal, "CustodyAssigned")
        }
        Act::ProposeView(_) => (EventType::Normal, "ViewProposed"),
        Act::ContinueView(_) => (EventType::Normal, "ViewContinued"),
        Act::DeclareInSeal(_) => (EventType::Warning, "DeclaredLost"),
        Act::TakeEffect(_) => (EventType::Normal, "ViewInEffect"),
        Act::NoteRewind(_) => (EventType::Warning, "ControlPlaneRewound"),
        Act::ConfirmRewind => (EventType::Normal, "RewindConfirmed"),
        Act::CreateEpoch(_) => (EventType::Normal, "EpochCreated"),
        Act::SetEpochPhase { phase: EpochPhase::Committed, .. } => (EventType::Normal, "EpochCommitted"),
        Act::SetEpochPhase { phase: EpochPhase::Retired, .. } => (EventType::Normal, "EpochRetired"),
        Act::SetEpochPhase { phase: EpochPhase::Superseded, .. } => (EventType::Normal, "EpochSuperseded"),
        Act::RefuseEpoch { .. } => (EventType::Warning, "EpochRefused"),
        Act::DestroyClaim { .. } => (EventType::Normal, "ClaimDestroyed"),
        Act::RecordCode(_)
        | Act::CreateClaim { .. }
        | Act::InheritClaim { .. }
        | Act::CreatePod { .. }
        | Act::DeletePod { .. }
        | Act::ReplanEpoch(_)
        | Act::SetEpochPhase { .. } => return None,
    })
}
