//! One reconciliation: observe → plan → act → report.

mod error;

use std::time::Duration;

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, policy::v1::PodDisruptionBudget};
use weft_crds::StorageCommittee;
use weft_planner::{AWAITING_MAINTENANCE, Act, MemberOrder, Plan, Timestamp, Truth};
use weft_protocol::FleetId;

use crate::{
    act::{
        self, ActError, Means,
        budgets::{self, Kept},
        foundation,
        members::Which,
        record::{self, Recording},
        secrets::{self, Keys},
        spare_keys, term, volumes,
    },
    api::{ApiError, Namespace},
    certs::{CertError, Role},
    context::Context,
    env::calendar,
    names,
    observe::{self, ObserveError, Observed, fleet},
    quiet::{self, Began, Quiet},
    refusals::{Refusals, Want},
    report::{self, Findings, ReportError},
    session::{Channels, Session},
    subject::Subject,
};

use error::waits_for;
pub use error::{ReconcileError, chain};

/// While something changes, or someone is unheard.
const SOON: Duration = Duration::from_secs(2);
/// After steps were taken: their effect shows at once.
const NEXT: Duration = Duration::from_millis(500);
/// When what is to be done was refused.
const AGAIN: Duration = Duration::from_secs(5);
/// The operator's own leaf is renewed daily.
const LEAF_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    After(Duration),
    /// When something happens to it: it is gone.
    Change,
}

/// Reconciles the committee of that name.
pub async fn reconcile(context: &Context, namespace: &str, name: &str) -> Result<Next, ReconcileError> {
    let began = Began::now(context, namespace, name);
    let namespace = Namespace { client: context.client.clone(), name: namespace.to_owned() };
    let budget = budgets::read(&namespace, name).await;
    // Read live: a plan made of an older status would lose its compare-and-swap anyway.
    let Some(object) = namespace.get::<StorageCommittee>(name).await? else {
        context.forget(&namespace.name, name);
        return Ok(Next::Change);
    };
    let mut subject = Subject::new(context.client.clone(), object, &context.image)?;
    if subject.deleting {
        context.traffic.forget(&namespace.name, name);
        // No finalizer holds it: what it owns goes with it, and claims and keys stay or go by their owners.
        return Ok(Next::Change);
    }
    let session = context.session(&subject);
    let mut session = session.lock().await;
    session.quiet = None;
    // Boxed: whoever awaits a reconciliation would be as large as all of its steps.
    let result = Box::pin(proceed(context, &mut subject, &mut session, began, budget)).await;
    if let Err(error) = &result
        && let Some(reason) = waits_for(error)
    {
        let message = chain(error);
        let now = context.env.now();
        report::stall(&mut subject, &mut session, &context.telemetry, reason, message, now).await?;
    }
    result
}

async fn proceed(
    context: &Context,
    subject: &mut Subject,
    session: &mut Session,
    began: Began,
    budget: Result<Option<PodDisruptionBudget>, ApiError>,
) -> Result<Next, ReconcileError> {
    let budget = budget?;
    let term = term::hold(subject, session, context.env.now()).await?;
    session.refusals.begin();
    let objects = observe::objects(subject, &context.stores, &mut session.refusals, context.env.now()).await?;
    let keys = prepare(context, subject, session, &objects).await?;
    let observed = observe::observe(subject, session, context, objects, keys.as_ref()).await?;
    let now = context.env.now();
    if term::overtake(subject, session, now).await? {
        return Ok(Next::After(NEXT));
    }
    let plan = weft_planner::plan(&observed.world, now);
    if keys.is_some() && is_closed(subject, session, budget.as_ref(), &plan, now).await? {
        return Ok(Next::After(NEXT));
    }
    let fleet = write(context, subject, session, &observed, &plan, keys.as_ref(), now).await?;
    match report::moves::write(subject, session, &observed.objects.epochs, now).await {
        // A figure is worth no delay.
        Err(ReportError::Api(error)) => {
            let want = Want::to_see("Tell", "what epochs have moved", "people may ask");
            session.refusals.note::<()>(want, Err(error), now)?;
        }
        other => other?,
    }
    report::measure(&context.telemetry, subject, &plan);
    if let (Some(keys), Some(fleet)) = (&keys, fleet) {
        order(context, subject, session, &observed, &plan, (keys, fleet)).await?;
        let objects = &observed.objects;
        if plan.steps.iter().any(|step| matches!(step.act, Act::CreatePod { .. })) {
            // A pod that finds its Secret is scheduled once.
            let (wanted, others) = (incarnations(subject), objects.incarnations());
            secrets::ensure(subject, fleet, &wanted, &others, context.env.as_ref(), &mut session.refusals).await?;
        }
        let members = &plan.members;
        let means = Means { subject, fleet, keys, term, now, objects, members };
        carry_out(context, &means, &plan, &mut session.refusals).await;
    }
    session.refusals.end();
    let next = next(&plan, session, now);
    if let (Some(keys), Some(fleet)) = (keys, fleet) {
        let quiet = Quiet::begin(context, began, (&*subject, &*session), observed, plan, (keys.views, fleet));
        session.quiet = quiet.map(Box::new);
    }
    Ok(next)
}

/// Lets as many members be evicted as the plan says. True: until now some could be, of whom the plan may not know.
/// Nothing of it is done, not even recorded.
async fn is_closed(
    subject: &Subject,
    session: &mut Session,
    stored: Option<&PodDisruptionBudget>,
    plan: &Plan,
    now: Timestamp,
) -> Result<bool, ApiError> {
    let kept = budgets::keep(subject, stored, &plan.budget, session.term.unwrap_or_default()).await;
    // A quota or a policy that is against it keeps no loss from being mended.
    let target = format!("PodDisruptionBudget {}", names::member_budget(&subject.name));
    let kept = session.refusals.note(Want::of_spec("Keep", &target, "drains go by it"), kept, now)?;
    Ok(kept == Some(Kept::Closed) && plan.epoch.0 > 0)
}

/// Makes what a committee has whatever its members do, and gives its keys; `None` before its fleet is minted.
async fn prepare(
    context: &Context,
    subject: &Subject,
    session: &mut Session,
    objects: &observe::Objects,
) -> Result<Option<Keys>, ReconcileError> {
    let Some(fleet) = subject.status.fleet_id.as_deref() else { return Ok(None) };
    let fleet: FleetId = fleet.parse().map_err(ReconcileError::Fleet)?;
    let (refusals, now) = (&mut session.refusals, context.env.now());
    let (wanted, others) = (incarnations(subject), objects.incarnations());
    let keys = secrets::ensure(subject, fleet, &wanted, &others, context.env.as_ref(), refusals).await?;
    spare_keys::keep(subject, &context.home, fleet, &keys.stored, refusals, now).await?;
    if !subject.spec.paused {
        foundation::ensure(subject, fleet, &keys, context.operators.as_ref(), refusals, now).await?;
    }
    volumes::keep(subject, objects, refusals, now).await?;
    connect(context, subject, session, fleet, &keys)?;
    Ok(Some(keys))
}

/// The incarnations that run, or will, as recorded.
fn incarnations(subject: &Subject) -> Vec<Which> {
    let members = subject.status.members.iter().flat_map(|member| {
        member.incarnations().map(|incarnation| Which { member: member.id, incarnation: incarnation.number })
    });
    members.collect()
}

/// Keeps channels to the members, under a leaf of the operator's own.
fn connect(
    context: &Context,
    subject: &Subject,
    session: &mut Session,
    fleet: FleetId,
    keys: &Keys,
) -> Result<(), CertError> {
    let now = context.env.now();
    let trusted = keys.trusted.as_str();
    let good = |channels: &Channels| channels.trusted == trusted && now - channels.since < LEAF_AGE;
    if let Some(channels) = session.channels.as_ref().filter(|channels| good(channels)) {
        context.connected.note(&subject.uid, &channels.connector);
        return Ok(());
    }
    let leaf = keys.authority.issue(fleet, Role::Operator, &[], calendar(now))?;
    let connector = context.env.connector(trusted, &leaf);
    context.connected.note(&subject.uid, &connector);
    session.channels = Some(Channels { connector, trusted: trusted.to_owned(), since: now });
    Ok(())
}

/// Records the plan's changes and reports its findings, in one compare-and-swap. Gives the fleet as recorded.
async fn write(
    context: &Context,
    subject: &mut Subject,
    session: &mut Session,
    observed: &Observed,
    plan: &Plan,
    keys: Option<&Keys>,
    now: Timestamp,
) -> Result<Option<FleetId>, ReconcileError> {
    let recording = Recording {
        committee: &subject.name,
        world: &observed.world,
        term: session.term.unwrap_or_default(),
        now,
        key: keys.map(|keys| &keys.views),
        fleet: fleet(context, subject, plan, &observed.objects.claims).await?,
        image: proven_image(subject, plan),
    };
    let mut status = subject.status.clone();
    let listed_before = (status.unrecoverable.is_some(), status.invalid.is_some());
    record::record(&mut status, plan, &recording);
    let growing = volumes::growing(subject, &observed.objects.claims);
    let findings = Findings { subject, session, world: &observed.world, plan, growing: growing.as_deref() };
    report::fill(&mut status, &findings, now);
    report::write(subject, &status, session, &context.telemetry, now).await?;
    session.term = status.term;
    if let Some(seal) = record::seal_of(plan) {
        session.seal = Some(seal.clone());
    }
    context.events.recorded(subject, plan).await;
    if !listed_before.0 && subject.status.unrecoverable.is_some() {
        context.events.unrecoverable(subject, plan).await;
    }
    if !listed_before.1 && subject.status.invalid.is_some() {
        context.events.invalid(subject, plan).await;
    }
    subject.status.fleet_id.as_deref().map(str::parse).transpose().map_err(ReconcileError::Fleet)
}

/// The image to record: the one that everybody runs, so that a spec which is silent again goes back to what last worked,
/// also in the middle of a change. Before anybody does, what a silent spec begins with.
pub(crate) fn proven_image<'s>(subject: &'s Subject, plan: &Plan) -> Option<&'s str> {
    let ready = &plan.conditions.ready;
    let is_proven = ready.status == Truth::True && ready.reason != AWAITING_MAINTENANCE;
    let begins = subject.status.image.is_none() && subject.spec.image.is_none();
    if is_proven || begins { Some(subject.image()) } else { subject.status.image.as_deref() }
}

/// The fleet's name: recorded, adopted, or new. Keys of another fleet in the way are for a person to decide on, before
/// a name is recorded for good.
async fn fleet(
    context: &Context,
    subject: &Subject,
    plan: &Plan,
    claims: &[PersistentVolumeClaim],
) -> Result<FleetId, ReconcileError> {
    let named = subject.status.fleet_id.as_deref().or(subject.spec.fleet_id.as_deref());
    let named: Option<FleetId> = named.map(str::parse).transpose().map_err(ReconcileError::Fleet)?;
    if plan.steps.iter().any(|step| matches!(step.act, Act::MintFleet)) {
        secrets::clear_way(subject, &context.home, named, claims).await?;
    }
    let mut drawn = [0; 16];
    context.env.fill(&mut drawn).map_err(ReconcileError::Random)?;
    Ok(named.unwrap_or(FleetId(drawn)))
}

/// Sends the orders again if the plan changed them, or the record that they rest on.
async fn order(
    context: &Context,
    subject: &Subject,
    session: &mut Session,
    observed: &Observed,
    plan: &Plan,
    (keys, fleet): (&Keys, FleetId),
) -> Result<(), ReconcileError> {
    let term = session.term.unwrap_or_default();
    let record = observe::record::record(subject, term, &observed.objects.epochs)?;
    let view = record.view.as_ref().map(|view| view.view.hash());
    let sent: &[MemberOrder] = if session.orders_for == view { &session.orders } else { &[] };
    let changed = sent != plan.orders
        || record.view != observed.world.record.view
        || record.pending != observed.world.record.pending;
    session.orders.clone_from(&plan.orders);
    session.orders_for = view;
    if changed {
        let (pods, key) = (observed.objects.pods.iter().map(|(pod, _)| pod), &keys.views);
        let standing = observe::standing(context, subject, session, pods, &record, (key, fleet));
        let standing = standing.map_err(ObserveError::from)?;
        fleet::order(session, &standing, &observed.addresses, &plan.orders, || context.env.now()).await;
    }
    Ok(())
}

async fn carry_out(context: &Context, means: &Means<'_>, plan: &Plan, refusals: &mut Refusals) {
    for step in plan.steps.iter().filter(|step| !step.act.is_record()) {
        match act::carry_out(step, means).await {
            Ok(()) => {
                tracing::info!(committee = means.subject.name, step = %step, "done");
                context.events.tell(means.subject, step).await;
            }
            Err(error) if error.call().is_some_and(ApiError::is_refusal) => {
                refusals.refuse(step.into(), chain(&error), means.now);
            }
            Err(ActError::Api(error)) if error.is_namespace_ending() => {
                tracing::debug!(committee = means.subject.name, step = %step, "the namespace ends");
                return;
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(committee = means.subject.name, step = %step, error, "a step failed");
            }
        }
    }
}

fn next(plan: &Plan, session: &Session, now: Timestamp) -> Next {
    let settled = plan.conditions.ready.status == Truth::True
        && plan.conditions.progressing.status == Truth::False
        && !session.unheard;
    let pace = match (plan.steps.is_empty(), settled) {
        (false, _) if session.refusals.hold_all_of(plan) => AGAIN,
        (false, _) => NEXT,
        (true, false) => SOON,
        (true, true) if session.refusals.stand() => AGAIN,
        (true, true) => quiet::ASK,
    };
    let wake = plan.wake_at.map_or(pace, |at| (at - now).max(NEXT));
    Next::After(pace.min(wake))
}
