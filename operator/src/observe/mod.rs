//! Observe: everything that a plan is made from. The API server is read live where a stale answer could do harm; the
//! members are asked by the order that was planned last, which is still what they should do.

mod adopt;
pub mod fleet;
pub mod floor;
pub mod inventory;
pub mod nodes;
mod objects;
pub mod record;
pub mod room;
mod seal;
#[cfg(test)]
mod testing;
pub mod wish;

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt;
use thiserror::Error;
use weft_crds::Epoch;
use weft_planner::{Gateway, Record, Timestamp, World};
use weft_protocol::{FleetId, SigningKey};

use crate::{
    act::{foundation, members::Which, secrets::Keys},
    api::{self, ApiError},
    context::Context,
    names,
    refusals::Refusals,
    session::Session,
    subject::Subject,
    traffic,
};

pub use nodes::{Facts, News, Stores};

#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Wish(#[from] wish::WishError),
    #[error(transparent)]
    Record(#[from] record::RecordError),
}

/// The cluster's objects, as they were read.
#[derive(Debug)]
pub struct Objects {
    pub pods: Vec<(weft_planner::Pod, Option<String>)>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub volumes: nodes::Volumes,
    pub epochs: Vec<Epoch>,
    pub gateway: Gateway,
}

/// What was observed.
#[derive(Debug)]
pub struct Observed {
    pub world: World,
    pub objects: Objects,
    pub addresses: fleet::Addresses,
    /// Of the committee's object.
    pub version: String,
}

impl Objects {
    /// The incarnation after which an incarnation's claim is named: itself, or one whose claim it inherited.
    pub fn origin(&self, which: Which) -> u32 {
        let its = |claim: &&PersistentVolumeClaim| {
            objects::which(*claim)
                .is_some_and(|(member, number)| (member.0, number) == (which.member, which.incarnation))
        };
        let named = self.claims.iter().find(its).and_then(|claim| names::origin(&claim.name_any()));
        named.unwrap_or(which.incarnation)
    }

    /// The incarnations that have a pod or a claim.
    pub fn incarnations(&self) -> Vec<Which> {
        let pods = self.pods.iter().map(|(pod, _)| (pod.member, pod.incarnation));
        let claims = self.claims.iter().filter_map(objects::which);
        pods.chain(claims).map(|(member, incarnation)| Which { member: member.0, incarnation }).collect()
    }
}

/// Reads the committee's objects.
pub async fn objects(
    subject: &Subject,
    stores: &Stores,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<Objects, ObserveError> {
    let selector = names::selector_text(&subject.name, names::MEMBER_COMPONENT);
    let pods: Vec<Pod> = subject.namespace.list(&selector).await?;
    let claims: Vec<PersistentVolumeClaim> = subject.namespace.list(&selector).await?;
    let volumes = nodes::volumes(&subject.namespace.client, stores, &claims, refusals, now).await?;
    let deployment: Option<Deployment> = subject.namespace.get(&names::gateway(&subject.name)).await?;
    let (ready, updated) = foundation::ready_gateways(deployment.as_ref());
    Ok(Objects {
        pods: pods.iter().filter_map(|pod| Some((objects::pod(pod)?, objects::address(pod)))).collect(),
        claims,
        volumes,
        epochs: epochs(subject).await?,
        gateway: Gateway { wanted: subject.spec.gateway.replicas, ready, updated },
    })
}

async fn epochs(subject: &Subject) -> Result<Vec<Epoch>, ObserveError> {
    let params = kube::api::ListParams::default().fields(&format!("spec.committee={}", subject.name));
    let listed = subject.namespace.api::<Epoch>().list(&params).await;
    Ok(listed.map_err(api::error::<Epoch>("list", &subject.name))?.items)
}

/// Makes the world of what was read, after asking the members.
pub async fn observe(
    subject: &Subject,
    session: &mut Session,
    context: &Context,
    objects: Objects,
    keys: Option<&Keys>,
) -> Result<Observed, ObserveError> {
    let record = record::record(subject, session.term.unwrap_or_default(), &objects.epochs)?;
    let addresses = fleet::addresses(&objects.pods);
    if let (Some(keys), Some(fleet)) = (keys, record.fleet) {
        let pods = objects.pods.iter().map(|(pod, _)| pod);
        let standing = standing(context, subject, session, pods, &record, (&keys.views, fleet))?;
        // What was planned for another view isn't wanted under this one, but for what is listed.
        let view = record.view.as_ref().map(|view| view.view.hash());
        let orders = session.orders_under(view);
        let silent = fleet::order(session, &standing, &addresses, &orders, || context.env.now()).await;
        session.unheard = silent > 0;
    }
    let world = world(subject, session, &objects, record, keys, context.env.now()).await?;
    Ok(Observed { world, objects, addresses, version: subject.version.clone() })
}

/// What all orders say by the record, the spec, and what members told last.
pub fn standing<'a, 'p>(
    context: &Context,
    subject: &Subject,
    session: &mut Session,
    pods: impl Iterator<Item = &'p weft_planner::Pod>,
    record: &'a Record,
    (key, fleet): (&'a SigningKey, FleetId),
) -> Result<fleet::Standing<'a>, wish::WishError> {
    let now = context.env.now();
    let present = traffic::presences(pods, &session.heard, now);
    let committee = (subject.namespace.name.as_str(), subject.name.as_str());
    let shares = context.traffic.shares(committee, wish::bandwidth(subject)?, &present);
    let view = record.view.as_ref().map(|view| &view.view);
    let floor = floor::advance(session, view, now, context.env.monotonic());
    let (challenges, scrub) = (wish::challenges(subject)?, wish::scrub(subject)?);
    let room = room::shares(record, session).map(|room| room.limit);
    Ok(fleet::Standing { fleet, record, key, shares, challenges, scrub, room, floor })
}

async fn world(
    subject: &Subject,
    session: &mut Session,
    objects: &Objects,
    mut record: Record,
    keys: Option<&Keys>,
    now: Timestamp,
) -> Result<World, ObserveError> {
    let claims: Vec<_> = objects.claims.iter().filter_map(|claim| objects::claim(claim, &objects.volumes)).collect();
    let pods: Vec<_> = objects.pods.iter().map(|(pod, _)| pod.clone()).collect();
    let heard: Vec<_> = session.heard.values().cloned().collect();
    if subject.spec.fleet_id.is_some() {
        adopt::members(&mut record, &claims, now);
    }
    if let Some(keys) = keys {
        adopt::view(&mut record, &heard, &keys.trust());
    }
    let incarnations =
        record.members.iter().flat_map(|member| std::iter::once(&member.current).chain(&member.successor));
    let named: BTreeSet<String> = incarnations
        .filter_map(|incarnation| incarnation.node.clone())
        .chain(pods.iter().filter_map(|pod| pod.node.clone()))
        .chain(claims.iter().filter_map(|claim| claim.volume.as_ref()).flat_map(|volume| volume.pinned_to.clone()))
        .collect();
    let zone_key = &subject.spec.placement.zone_key;
    let client = &subject.namespace.client;
    let nodes = nodes::nodes(client, &objects.volumes.nodes, zone_key, named, session, now).await?;
    Ok(World {
        committee: wish::committee(subject, keys.map(Keys::vouched))?,
        record,
        pods,
        claims,
        nodes,
        heard,
        missed: session.missed.clone(),
        wished: record::wished(&objects.epochs),
        gateway: objects.gateway,
    })
}
