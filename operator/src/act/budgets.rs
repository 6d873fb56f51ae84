//! Disruption budgets: what `kubectl drain` and everything else that evicts goes by. One over the members' pods, one
//! over the gateways', by labels that no pod has both of: a pod under two budgets can't be evicted at all.
//!
//! The members' is a `minAvailable`. Kubernetes takes a `maxUnavailable` for a number of pods fewer than the owner's
//! `scale`, here `spec.members`; and there are more pods than members while somebody leaves or is replaced, so that a
//! `maxUnavailable` of 0 would let one go then and one of 1 two; and fewer once a member is drained, so that none could
//! ever go. `minAvailable` is compared with the ready pods as they are.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use weft_planner::Budget;

use crate::{
    api::{ApiError, Namespace},
    names,
    subject::Subject,
};

/// An unready member may be about to serve, or serve reads alone: it goes only while as many are ready as must be.
const MEMBERS_UNREADY: &str = "IfHealthyBudget";
/// An unready gateway serves nobody.
const GATEWAYS_UNREADY: &str = "AlwaysAllow";

/// What keeping the members' budget came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As it should be, before this round looked at anything or since.
    Done,
    /// Pods could be evicted until now, and can't from now on: what was observed may be over.
    Closed,
}

/// The gateways' budget: one at a time, also where there is but one. They have no state, and the Deployment makes another.
pub fn gateways(subject: &Subject) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(names::gateway(&subject.name)),
            namespace: Some(subject.namespace.name.clone()),
            labels: Some(names::labels(&subject.name)),
            owner_references: Some(vec![subject.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            min_available: None,
            selector: Some(names::selector(&subject.name, names::GATEWAY_COMPONENT)),
            unhealthy_pod_eviction_policy: Some(GATEWAYS_UNREADY.to_owned()),
        }),
        status: None,
    }
}

/// The members' budget as it is stored. It is read before the term is: a leader that finds its own term in the status
/// after that, and writes over what it read, writes over nothing of a later leader's.
pub async fn read(namespace: &Namespace, committee: &str) -> Result<Option<PodDisruptionBudget>, ApiError> {
    namespace.get(&names::member_budget(committee)).await
}

/// Makes the members' budget what the plan says, if it isn't. Each leader writes it once in any case, since it carries
/// the term, and whatever a former one has read is outdated by that.
pub async fn keep(
    subject: &Subject,
    stored: Option<&PodDisruptionBudget>,
    budget: &Budget,
    term: u64,
) -> Result<Kept, ApiError> {
    let wanted = members(subject, stored, budget, term);
    if stored == Some(&wanted) {
        return Ok(Kept::Done);
    }
    let made = match stored {
        Some(_) => subject.namespace.replace(&wanted).await.map(|_| true)?,
        None => subject.namespace.create(&wanted).await?,
    };
    // Another's that came first may say anything: the next round reads it.
    let closes = budget.evictable == 0 && (!made || stored.is_none_or(|stored| is_open(stored, budget)));
    Ok(if closes { Kept::Closed } else { Kept::Done })
}

/// The members' budget, made of the stored one: what others have noted on it stays, and so does its version.
fn members(subject: &Subject, stored: Option<&PodDisruptionBudget>, budget: &Budget, term: u64) -> PodDisruptionBudget {
    let mut wanted = stored.cloned().unwrap_or_default();
    let metadata = &mut wanted.metadata;
    metadata.name = Some(names::member_budget(&subject.name));
    metadata.namespace = Some(subject.namespace.name.clone());
    metadata.labels.get_or_insert_default().extend(names::labels(&subject.name));
    metadata.annotations.get_or_insert_default().insert(names::TERM.to_owned(), term.to_string());
    metadata.owner_references = Some(vec![subject.owner()]);
    wanted.spec = Some(PodDisruptionBudgetSpec {
        max_unavailable: None,
        min_available: Some(IntOrString::Int(budget.min_available as i32)),
        selector: Some(names::selector(&subject.name, names::MEMBER_COMPONENT)),
        unhealthy_pod_eviction_policy: Some(MEMBERS_UNREADY.to_owned()),
    });
    wanted
}

/// Whether what is stored lets any of the present pods go.
fn is_open(stored: &PodDisruptionBudget, budget: &Budget) -> bool {
    let least = stored.spec.as_ref().and_then(|spec| spec.min_available.clone());
    !matches!(least, Some(IntOrString::Int(least)) if i64::from(least) >= i64::from(budget.pods))
}
