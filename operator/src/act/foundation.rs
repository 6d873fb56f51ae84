//! What a committee has whatever its members do: Services, gateways and network policies.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use thiserror::Error;
use weft_planner::Timestamp;
use weft_protocol::FleetId;

use crate::{
    act::{
        budgets, gateway,
        policies::{self, Operators},
        secrets::Keys,
        services,
    },
    api::{ApiError, Object},
    names,
    refusals::{Refusals, Want},
    subject::Subject,
};

/// Annotation: a digest of what the operator last applied, so that a steady state writes nothing.
const APPLIED: &str = "weft.dev/applied";

#[derive(Debug, Error)]
pub enum FoundationError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("write {name} as JSON")]
    Json { name: String, source: serde_json::Error },
}

/// Makes Services, network policies, the gateways' Deployment and their disruption budget what they should be. One that is
/// refused keeps neither the others nor the fleet waiting. `operators` are those whom policies let in; silent: there are none.
pub async fn ensure(
    subject: &Subject,
    fleet: FleetId,
    keys: &Keys,
    operators: Option<&Operators>,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), FoundationError> {
    policies::keep(subject, operators, refusals, now).await?;
    let mut keeper = Keeper { subject, refusals, now };
    keeper.keep(services::members(subject), "members are found by it").await?;
    keeper.keep(services::gateway(subject), "gateways are reached by it").await?;
    keeper.keep(budgets::gateways(subject), "drains go by it").await?;
    // Another release of the operator may put the same wish otherwise, and no gateway restarts for that.
    let inputs = subject.gateway_inputs(fleet, keys.trust());
    keeper.keep_as(gateway::deployment(subject, fleet, keys.trust()), inputs, "gateways run by it").await
}

struct Keeper<'a> {
    subject: &'a Subject,
    refusals: &'a mut Refusals,
    now: Timestamp,
}

impl Keeper<'_> {
    /// Applies an object unless that is what was applied last.
    async fn keep<K: Object>(&mut self, wanted: K, reason: &str) -> Result<(), FoundationError> {
        let wrong = |source| FoundationError::Json { name: wanted.name_any(), source };
        let text = serde_json::to_string(&wanted).map_err(wrong)?;
        // Only compared with what this program wrote; another release's hasher costs one needless write.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.keep_as(wanted, format!("{:016x}", hasher.finish()), reason).await
    }

    /// Applies an object unless what was applied last had this digest.
    async fn keep_as<K: Object>(&mut self, mut wanted: K, digest: String, reason: &str) -> Result<(), FoundationError> {
        let (namespace, name) = (&self.subject.namespace, wanted.name_any());
        let stored: Option<K> = namespace.get(&name).await?;
        if stored.is_some_and(|stored| stored.annotations().get(APPLIED) == Some(&digest)) {
            return Ok(());
        }
        wanted.annotations_mut().insert(APPLIED.to_owned(), digest);
        let target = format!("{} {name}", K::kind(&()));
        let applied = namespace.apply(&wanted).await;
        self.refusals.note(Want::of_spec("Keep", &target, reason), applied, self.now)?;
        Ok(())
    }
}

/// How many gateways are ready, and how many of these, at the least, are as the Deployment says.
pub fn ready_gateways(deployment: Option<&Deployment>) -> (u32, u32) {
    let status = deployment.and_then(|deployment| deployment.status.clone()).unwrap_or_default();
    let [ready, all, updated] = [status.ready_replicas, status.replicas, status.updated_replicas]
        .map(|number| number.unwrap_or_default().max(0) as u32);
    let seen = status.observed_generation >= deployment.and_then(|deployment| deployment.metadata.generation);
    (ready, if seen { ready.saturating_sub(all.saturating_sub(updated)) } else { 0 })
}

/// Secrets, Services and pods are named after the committee: its own label says whose they are.
pub fn selector(subject: &Subject) -> String {
    names::selector_text(&subject.name, names::MEMBER_COMPONENT)
}
