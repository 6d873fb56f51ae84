//! Turns a draft into the plan: orders, numbers and conditions.

use weft_protocol::ShardSet;

use crate::{
    Act, Condition, Conditions, EpochPhase, MemberOrder, MemberRecord, MemberState, Plan, PodPhase, Truth,
    assign::Who,
    beyond,
    budget::budget,
    draft::{Draft, shards},
    epochs, listed,
    measure::{Measure, measure},
    rewind, rollout,
};

/// The reason of Ready when all that isn't as the spec says waits for a maintenance window: others may run yet than it names.
pub const AWAITING_MAINTENANCE: &str = "AwaitingMaintenance";

const LACKING: [&str; 2] = ["lacks something or doesn't answer", "lack something or don't answer"];

pub(crate) fn conclude(mut draft: Draft<'_>) -> Plan {
    let measured = draft.world.view().map(|view| measure(&draft, view));
    let orders = orders(&draft);
    let conditions = conditions(&draft, measured);
    let epoch = epochs::pointer(&draft);
    let budget = budget(&draft);
    if measured.is_some() && budget.evictable == 0 {
        draft.withhold("AllowEviction", "a member's pod", "a Node may be drained", budget.reason.as_str());
    }
    let Measure { margin, survives, missing, answering: _, gone: _ } = measured.unwrap_or_default();
    let Draft { members, mut steps, withheld, wake_at, unrecoverable, invalid, .. } = draft;
    // What is recorded comes before what is made: a view, a loss, a number is known before anyone acts on it.
    steps.sort_by_key(|step| !step.act.is_record());
    Plan {
        steps,
        withheld,
        members,
        orders,
        epoch,
        margin,
        survives,
        missing,
        unrecoverable,
        invalid,
        budget,
        conditions,
        wake_at,
    }
}

/// One order for every incarnation that has a process, old ones too: so they learn that they are fenced.
fn orders(draft: &Draft<'_>) -> Vec<MemberOrder> {
    let world = draft.world;
    let running = world.pods.iter().filter(|pod| pod.phase == PodPhase::Running && !pod.terminating);
    let mut whos: Vec<Who> = running.map(|pod| (pod.member, pod.incarnation)).collect();
    whos.sort_unstable();
    whos.dedup();
    let mut targets = epochs::targets(draft);
    targets.extend(beyond::spares(draft));
    let listed = listed::all(&draft.unrecoverable, &draft.invalid);
    let all = ShardSet::first(draft.code.shards());
    let proposes = |act: &Act| match act {
        Act::ProposeView(view) => view.predecessor.is_some(),
        Act::ContinueView(_) => true,
        _ => false,
    };
    let sealing = world.record.pending.is_some() || draft.steps.iter().any(|step| proposes(&step.act));
    let retires = world.view().filter(|view| {
        world.record.pending.is_none()
            && !draft.changes_view()
            && !draft.watches_only()
            && draft.rewound.is_none()
            && world.epoch(view.epoch).is_some_and(|epoch| epoch.phase == EpochPhase::Retired)
            && world.is_whole(view, draft.now)
    });
    let order = |who: Who| {
        let seat =
            |view: &weft_protocol::View| view.seat(who.0).filter(|seat| seat.incarnation.number == who.1).cloned();
        let target = targets.get(&who).copied();
        let retire = retires.and_then(|view| {
            let needed = seat(view)?.shards.union(target.map(|target| target.1).unwrap_or_default());
            Some((view.hash(), all.difference(needed)))
        });
        let seal = sealing && world.view().and_then(seat).is_some();
        MemberOrder { member: who.0, incarnation: who.1, seal, target, retire, listed: listed.clone() }
    };
    whos.into_iter().map(order).collect()
}

fn condition(status: bool, reason: &'static str, message: impl Into<String>) -> Condition {
    Condition { status: if status { Truth::True } else { Truth::False }, reason, message: message.into() }
}

fn unknown(message: &str) -> Condition {
    Condition { status: Truth::Unknown, reason: "NotObserved", message: message.to_owned() }
}

fn conditions(draft: &Draft<'_>, measured: Option<Measure>) -> Conditions {
    let stalled = match draft.stalled.clone().or_else(|| no_assignment(draft)) {
        Some((reason, message)) => condition(true, reason, message),
        None => condition(false, "NotStalled", ""),
    };
    let busy = draft.steps.first().map(ToString::to_string);
    let rewound = match draft.rewound {
        Some(rewind) => condition(true, "FleetAhead", rewind::message(draft, rewind)),
        None => condition(false, "InStep", ""),
    };
    let Some(measure) = measured else {
        let starting = "the fleet has no view yet";
        return Conditions {
            available: condition(false, "Starting", starting),
            ready: condition(false, "Starting", starting),
            progressing: condition(stalled.status == Truth::False, "Starting", busy.unwrap_or_else(|| starting.into())),
            degraded: condition(false, "Starting", starting),
            stalled,
            rewound,
        };
    };
    let heard = measure.answering > 0;
    let unfinished = unfinished(draft, &measure);
    let progressing = match (&busy, &unfinished) {
        (None, _) if draft.world.committee.paused => condition(false, "Paused", "spec.paused: nothing is changed"),
        (Some(step), _) => condition(true, "Acting", step.clone()),
        (None, Some((_, message))) if stalled.status == Truth::False => condition(true, "Working", message.clone()),
        (None, _) => condition(false, "Idle", ""),
    };
    // Nothing works at what can't be mended: it waits for a person, or for a volume.
    let unrecoverable = listed::message(draft).map(|message| ("Unrecoverable", message));
    let ready = match unrecoverable.clone().or(unfinished) {
        None => match rollout::awaiting(draft) {
            Some(message) => condition(true, AWAITING_MAINTENANCE, message),
            None => condition(true, "Fulfilled", format!("{} members serve with full margins", draft.members.len())),
        },
        Some((reason, message)) => condition(false, reason, message),
    };
    Conditions {
        available: available(draft, &measure),
        ready: if heard { ready } else { unknown("no member answers the operator") },
        progressing,
        degraded: match (heard, measure.gone.len(), unrecoverable) {
            (false, _, _) => unknown("no member answers the operator"),
            (true, _, Some((reason, message))) => condition(true, reason, message),
            (true, 0, None) => condition(false, "FullMargin", ""),
            (true, gone, None) => condition(true, "BelowFullMargin", shards(gone, LACKING)),
        },
        stalled,
        rewound,
    }
}

fn available(draft: &Draft<'_>, measure: &Measure) -> Condition {
    let gateway = draft.world.gateway;
    if measure.answering == 0 {
        return unknown("no member answers the operator");
    }
    if measure.margin.write < 0 {
        let wanting = measure.margin.write.unsigned_abs() as u16;
        return condition(false, "NoQuorum", shards(wanting, ["is wanting for writes", "are wanting for writes"]));
    }
    if gateway.wanted > 0 && gateway.ready == 0 {
        return condition(false, "NoGateway", "no gateway is ready");
    }
    condition(true, "Serving", "")
}

/// What only a person can change: a number of members that can't share the shards. The definition refuses most such specs
/// where the code is recorded; but it knows no drains with it, and a fleet that is adopted brings its code along.
fn no_assignment(draft: &Draft<'_>) -> Option<(&'static str, String)> {
    let (committee, n, f) =
        (&draft.world.committee, u32::from(draft.code.shards()), u32::from(draft.code.fault_tolerance()));
    let drained = committee.drain.iter().filter(|id| draft.is_wanted(**id)).count() as u32;
    let owners = committee.members - drained;
    let members = committee.members;
    let but = if drained > 0 { format!(", {drained} of them drained") } else { String::new() };
    if owners > n {
        let told = format!(
            "spec.members is {members}{but}, and the fleet's code has n = {n} shards, for good: more members than that \
             can't own any. Set spec.members to {n} at the most"
        );
        return Some(("MoreMembersThanShards", told));
    }
    let least = n.div_ceil(f);
    (owners < least).then(|| {
        let told = format!(
            "spec.members is {members}{but}, and the fleet's code has n = {n} shards, of which one member may own f = {f} \
             at the most, for good: {least} members are the fewest that can own them all. Set spec.members to \
             {} at the least, or drain fewer",
            least + drained
        );
        ("FewerMembersThanItTakes", told)
    })
}

/// What keeps the committee from being as its spec says, the gravest first.
fn unfinished(draft: &Draft<'_>, measure: &Measure) -> Option<(&'static str, String)> {
    let (committee, record) = (&draft.world.committee, &draft.world.record);
    let view = draft.world.view()?;
    let drained =
        |member: &MemberRecord| committee.drain.contains(&member.id) && member.current.state == MemberState::Leaving;
    let unwell = draft.members.iter().filter(|member| !drained(member)).find(|member| {
        member.id.0 >= committee.members || member.current.state != MemberState::Serving || member.successor.is_some()
    });
    let custody = draft.in_custody();
    let epoch = draft.world.epoch(view.epoch);
    let (current, target) = epochs::pointer(draft);
    if !measure.gone.is_empty() {
        Some(("NotWhole", shards(measure.gone.len(), LACKING)))
    } else if let Some(told) = no_assignment(draft) {
        Some(told)
    } else if let Some(member) = unwell {
        // Of one that serves, its successor is waited for.
        let (who, record) = match &member.successor {
            Some(successor) if member.current.state == MemberState::Serving => ("the successor of member", successor),
            _ => ("member", &member.current),
        };
        let told = format!("{who} {} is {:?} {}", member.id, record.state, record.reason);
        Some(("MembersNotServing", told.trim_end().to_owned()))
    } else if record.pending.is_some() || draft.changes_view() {
        Some(("Sealing", "a view is being sealed".to_owned()))
    } else if custody > 0 {
        Some(("InCustody", shards(custody, ["is with a custodian", "are with custodians"])))
    } else if current != target {
        Some(("Migrating", format!("epoch {target} is under way")))
    } else if !epoch.is_some_and(|epoch| matches!(epoch.phase, EpochPhase::Committed | EpochPhase::Retired)) {
        Some(("Committing", format!("epoch {current} isn't committed")))
    } else if let Some(told) = rollout::remaining(draft) {
        Some(("RollingOut", told))
    } else if draft.world.gateway.updated < draft.world.gateway.wanted {
        let (updated, wanted) = (draft.world.gateway.updated, draft.world.gateway.wanted);
        Some(("GatewaysNotReady", format!("{updated} of {wanted} gateways are ready as the spec says")))
    } else {
        None
    }
}
