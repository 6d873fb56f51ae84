//! Committees at rest: nothing is to be done, and all of it is told. Until something happens to one, its members are asked
//! and nothing is read. That they answer otherwise than before, or that time has come for something, shows by planning again
//! of what was read last; a whole round then does what there is to do.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use weft_crds::StorageCommittee;
use weft_planner::{Budget, Plan, Timestamp, Truth, World};
use weft_protocol::{FleetId, SigningKey};

use crate::{
    act::{
        record::{self, Recording},
        volumes,
    },
    context::Context,
    observe::{self, Observed, Stores, fleet, nodes},
    reconcile::{Next, ReconcileError, proven_image, reconcile},
    report::{self, Findings},
    session::Session,
    subject::Subject,
};

/// How long members aren't asked: health must still be noticed.
pub const ASK: Duration = Duration::from_secs(15);
/// With many committees that is longer, so much for each: what asking costs doesn't grow without end.
const EACH: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_secs(60);
/// Where time alone may change something, it is looked at no sooner.
const SOONEST: Duration = Duration::from_millis(500);
/// How long nothing is read that no watch tells of: what they don't tell, and certificates that are to be renewed. Committees
/// that came to rest together aren't read together: up to so much more, each its own.
const READ: Duration = Duration::from_secs(300);
const SPREAD: Duration = Duration::from_secs(300);
/// A watch that has broken goes on within this time, and tells nothing of what went meanwhile.
const MENDED: Duration = Duration::from_secs(90);

/// What there was before a round read anything.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    /// By the clock that nobody sets.
    at: Duration,
    /// `None`: it was never reconciled, and nothing that happened to it was counted.
    stirs: Option<u64>,
    news: u64,
}

impl Began {
    pub fn now(context: &Context, namespace: &str, name: &str) -> Self {
        let (at, stirs) = (context.env.monotonic(), context.stirs(namespace, name));
        Self { at, stirs, news: context.stores.news.count() }
    }
}

/// A committee as a whole round has found it.
#[derive(Debug)]
pub struct Quiet {
    /// Of the committee's object.
    version: String,
    began: Began,
    cluster: Cluster,
    /// Without Nodes and what members say: these are put in at each question.
    world: World,
    budget: Budget,
    addresses: fleet::Addresses,
    fleet: FleetId,
    /// Signs orders.
    key: SigningKey,
    /// By the clock that nobody sets.
    asked: Duration,
    wake_at: Option<Timestamp>,
}

/// What stands for the cluster's own objects that a plan was made by.
#[derive(Debug, PartialEq, Eq)]
struct Cluster {
    nodes: u64,
    /// The versions of the committee's volumes.
    volumes: BTreeMap<String, Option<String>>,
}

impl Cluster {
    /// As a round has read it.
    fn of(volumes: &nodes::Volumes, world: &World) -> Self {
        let version = |name: &str| volumes.by_name.get(name).and_then(ResourceExt::resource_version);
        Self { nodes: nodes::digest(&volumes.nodes), volumes: versions(world, version) }
    }

    /// As the stores have it by now.
    fn now(stores: &Stores, world: &World) -> Self {
        let version = |name: &str| stores.volumes.get(&ObjectRef::new(name))?.resource_version();
        Self { nodes: stores.nodes_digest(), volumes: versions(world, version) }
    }
}

/// The versions of the volumes that a committee's claims name.
fn versions(world: &World, version: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Option<String>> {
    let names = world.claims.iter().filter_map(|claim| Some(claim.volume.as_ref()?.name.clone()));
    names.map(|name| (name.clone(), version(&name))).collect()
}

/// A committee's own place between 0 and 1.
fn share(uid: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    (hasher.finish() % 100) as f64 / 100.0
}

/// Looks after a committee, as the watches know it: asks its members if it is at rest, and else, or if that shows something,
/// reconciles it.
pub async fn look_after(context: &Context, object: &StorageCommittee) -> Result<Next, ReconcileError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    if let Some(session) = context.known(&namespace, &name, object.metadata.uid.as_deref().unwrap_or_default()) {
        let mut session = session.lock().await;
        if let Some(mut quiet) = session.quiet.take()
            && let Some(pause) = Box::pin(quiet.goes_on(context, object, &mut session)).await
        {
            session.quiet = Some(quiet);
            return Ok(Next::After(pause));
        }
    }
    reconcile(context, &namespace, &name).await
}

impl Quiet {
    /// What a round has found that began so, if it leaves the committee at rest.
    pub fn begin(
        context: &Context,
        began: Began,
        (subject, session): (&Subject, &Session),
        observed: Observed,
        plan: Plan,
        (key, fleet): (SigningKey, FleetId),
    ) -> Option<Self> {
        let Observed { mut world, objects, addresses, version } = observed;
        let now = context.env.now();
        // What watches would tell is counted, and what they don't tell isn't waited for.
        let is_told = began.stirs.is_some() && context.was_told(began.at, MENDED);
        let is_waited_for = volumes::growing(subject, &objects.claims).is_some() || !session.gone_nodes.is_empty();
        // The plan is of a status that isn't any more.
        let is_outdated = version != subject.version;
        let findings = Findings { subject, session, world: &world, plan: &plan, growing: None };
        if !is_told || is_waited_for || is_outdated || !is_settled(&findings, now) {
            return None;
        }
        let cluster = Cluster::of(&objects.volumes, &world);
        world.nodes.clear();
        world.heard.clear();
        world.missed.clear();
        session.hang_up();
        let Plan { budget, wake_at, .. } = plan;
        let asked = context.env.monotonic();
        Some(Self { version, began, cluster, world, budget, addresses, fleet, key, asked, wake_at })
    }

    /// How long it may be left alone, if it is still at rest.
    async fn goes_on(
        &mut self,
        context: &Context,
        object: &StorageCommittee,
        session: &mut Session,
    ) -> Option<Duration> {
        let subject = Subject::new(context.client.clone(), object.clone(), &context.image).ok()?;
        let (Subject { name, namespace, .. }, time) = (&subject, context.env.monotonic());
        let spread = SPREAD.mul_f64(share(&subject.uid));
        let is_known = self.version == subject.version
            && self.began.stirs == context.stirs(&namespace.name, name)
            && time.saturating_sub(self.began.at) < READ + spread;
        if !is_known {
            return None;
        }
        let news = context.stores.news.count();
        if news != self.began.news {
            if self.cluster != Cluster::now(&context.stores, &self.world) {
                return None;
            }
            self.began.news = news;
        }
        let pause = (EACH * context.count() as u32).clamp(ASK, SELDOM);
        let until = |wake_at: Option<Timestamp>| wake_at.map_or(Duration::MAX, |at| at - context.env.now());
        let left = pause.saturating_sub(time.saturating_sub(self.asked)).min(until(self.wake_at));
        if !left.is_zero() {
            return Some(left);
        }
        let plan = self.ask(context, &subject, session).await?;
        session.hang_up();
        (self.asked, self.wake_at) = (context.env.monotonic(), plan.wake_at);
        Some(pause.min(until(self.wake_at)).max(SOONEST))
    }

    /// Asks all members, and plans by what they say: the plan, if it says nothing that isn't done and told.
    async fn ask(&self, context: &Context, subject: &Subject, session: &mut Session) -> Option<Plan> {
        let Self { world, addresses, key, fleet, .. } = self;
        let pods = world.pods.iter();
        let standing = observe::standing(context, subject, session, pods, &world.record, (key, *fleet)).ok()?;
        let orders = session.orders.clone();
        let silent = fleet::order(session, &standing, addresses, &orders, || context.env.now()).await;
        session.unheard = silent > 0;
        let (now, zone_key) = (context.env.now(), &subject.spec.placement.zone_key);
        let world = World {
            nodes: nodes::present(&context.stores.nodes.state(), zone_key),
            heard: session.heard.values().cloned().collect(),
            missed: session.missed.clone(),
            ..world.clone()
        };
        let plan = weft_planner::plan(&world, now);
        let findings = Findings { subject, session, world: &world, plan: &plan, growing: None };
        (plan.budget == self.budget && is_settled(&findings, now)).then_some(plan)
    }
}

/// Whether all is well, nothing is to be done or ordered, and nothing to be told.
fn is_settled(findings: &Findings<'_>, now: Timestamp) -> bool {
    let Findings { subject, session, world, plan, growing: _ } = *findings;
    let (ready, progressing) = (plan.conditions.ready.status, plan.conditions.progressing.status);
    let is_done = plan.steps.is_empty() && plan.orders == session.orders && session.refusals.are_of_sight();
    if (ready, progressing) != (Truth::True, Truth::False) || !is_done || session.unheard {
        return false;
    }
    let Some(Ok(fleet)) = subject.status.fleet_id.as_deref().map(str::parse) else { return false };
    // No view is signed where no step is to be taken.
    let (term, key) = (session.term.unwrap_or_default(), None);
    let image = proven_image(subject, plan);
    let recording = Recording { committee: &subject.name, world, term, now, key, fleet, image };
    let mut status = subject.status.clone();
    record::record(&mut status, plan, &recording);
    report::fill(&mut status, findings, now);
    status == subject.status
}
