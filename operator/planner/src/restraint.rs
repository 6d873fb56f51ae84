//! What keeps guesses from doing harm (DESIGN, "Restraint"). Proven losses are never held back.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::ShardSet;

use crate::{
    Act, MemberState, Timestamp,
    assign::Who,
    beyond,
    draft::{Draft, named},
    rollout,
};

/// The suspicion that an incarnation is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// Its member's place in the draft's list.
    pub(crate) at: usize,
    pub(crate) who: Who,
    pub(crate) shards: ShardSet,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
    /// By facts that can't change. Otherwise it is a guess, and may wait.
    pub(crate) proven: bool,
    /// What it is to be called: Lost, or Faulty.
    pub(crate) state: MemberState,
}

impl Suspect {
    /// The name of the act that would declare it.
    fn act(&self) -> &'static str {
        if self.state == MemberState::Faulty { "DeclareFaulty" } else { "DeclareLost" }
    }
}

/// Declares the proven losses, then as many guesses as the budget allows, the longest silent first.
pub(crate) fn convict(draft: &mut Draft<'_>, mut suspects: Vec<Suspect>) {
    if draft.watches_only() {
        for suspect in suspects {
            draft.withhold(suspect.act(), named("member", suspect.who), suspect.reason, "paused");
        }
        return;
    }
    suspects.sort_by_key(|suspect| (!suspect.proven, suspect.since, suspect.who));
    let Some(view) = draft.world.latest() else { return };
    let mut gone = draft.world.lacking(view, draft.now);
    let unheard = draft.world.unheard(view, draft.now);
    let f = view.code.fault_tolerance();
    let mut silent = BTreeSet::new();
    for suspect in suspects {
        let with = gone.union(suspect.shards);
        if !suspect.proven {
            let beyond = over_budget(with, unheard, f);
            let held = hold(draft, &suspect);
            if held.as_ref().is_some_and(|hold| hold.spec) {
                draft.stall(rollout::HALTED, rollout::halted(draft, suspect.who, &suspect.reason));
            }
            let may_be_real = suspect.state == MemberState::Lost && held.as_ref().is_none_or(|hold| hold.may_be_real);
            if may_be_real && (held.is_some() || beyond.is_some()) {
                silent.insert(suspect.who);
            }
            if let Some(by) = held.map(|hold| hold.by).or(beyond) {
                draft.withhold(suspect.act(), named("member", suspect.who), suspect.reason, by);
                continue;
            }
        }
        gone = with;
        declare(draft, &suspect);
    }
    if !silent.is_empty() {
        stall_beyond(draft, silent);
    }
}

/// Tells a person when so many are silent, and lost, that the view in effect can't be sealed any more (R7).
fn stall_beyond(draft: &mut Draft<'_>, mut silent: BTreeSet<Who>) {
    let Some(view) = draft.world.view() else { return };
    silent.extend(view.seats.iter().map(beyond::who).filter(|who| draft.is_lost(*who)));
    let gone = view.seats.iter().filter(|seat| silent.contains(&beyond::who(seat)));
    if beyond::exceeds(view, gone.map(|seat| seat.shards).collect()) {
        draft.stall(beyond::REASON, beyond::explain(view, &silent));
    }
}

/// Why a guess must wait that would leave `gone` missing. Where more than f shards are silent, giving some of them up gains
/// nothing: no view can be sealed before others are back, and then most of the silent ones may be.
fn over_budget(gone: ShardSet, unheard: ShardSet, f: u16) -> Option<String> {
    let silent = gone.union(unheard).len();
    if gone.len() > f {
        Some(format!("budget: {} shards would be missing, more than f = {f}", gone.len()))
    } else if silent > f {
        Some(format!("budget: {silent} shards are silent or missing, more than f = {f}: no view could be sealed (R5)"))
    } else {
        None
    }
}

/// What holds a guess back.
struct Hold {
    by: String,
    /// Whether the member may be gone for all that: then only a person can tell.
    may_be_real: bool,
    /// Whether it is the spec that a person has to put right.
    spec: bool,
}

fn declare(draft: &mut Draft<'_>, suspect: &Suspect) {
    let now = draft.now;
    let record = &mut draft.members[suspect.at].current;
    if record.state != suspect.state {
        record.state = suspect.state;
        record.since = now;
        record.reason.clone_from(&suspect.reason);
        let (member, incarnation) = suspect.who;
        let (act, reason) = if suspect.state == MemberState::Faulty {
            let reason = "accusers that own f + 1 shards agree that it lacks what it must hold (R29)".to_owned();
            (Act::DeclareFaulty { member, incarnation }, reason)
        } else if suspect.proven {
            (Act::DeclareLost { member, incarnation }, format!("its volume is lost ({})", suspect.reason))
        } else {
            let seconds = (now - suspect.since).as_secs();
            let reason = format!("it is given up ({}) after {seconds} s", suspect.reason);
            (Act::DeclareLost { member, incarnation }, reason)
        };
        draft.step(act, named("member", suspect.who), reason);
    }
}

/// What holds a guess back, if anything does.
fn hold(draft: &Draft<'_>, suspect: &Suspect) -> Option<Hold> {
    let world = draft.world;
    if let Some(pending) = &world.record.pending {
        let by = format!("R5: {} is being sealed", crate::draft::view_name(&pending.view.view));
        return Some(Hold { by, may_be_real: true, spec: false });
    }
    let view = world.view()?;
    let answering = view.seats.iter().filter_map(|seat| Some((seat, world.seat_answer(seat, draft.now)?)));
    let (mut heard, mut reaching) = (0, ShardSet::EMPTY);
    for (seat, answer) in answering {
        heard += 1;
        if seat.member != suspect.who.0 && answer.reachable.contains(&suspect.who.0) {
            reaching = reaching.union(seat.shards);
        }
    }
    if heard == 0 {
        let by = "no member answers: the silence may be the operator's own".to_owned();
        return Some(Hold { by, may_be_real: false, spec: false });
    }
    let silent = draft.members[suspect.at].current.state == MemberState::Unreachable
        && world.answer(suspect.who.0, suspect.who.1, draft.now).is_none();
    if silent && reaching.len() > view.code.fault_tolerance() {
        let by = "its peers reach it: only the operator doesn't".to_owned();
        return Some(Hold { by, may_be_real: false, spec: false });
    }
    let silent = world.answer(suspect.who.0, suspect.who.1, draft.now).is_none();
    if silent && suspect.state == MemberState::Lost && rollout::explains(draft, suspect.who) {
        let by = "rollout: it served until it was restarted with another spec, and nobody has served with that yet"
            .to_owned();
        return Some(Hold { by, may_be_real: false, spec: true });
    }
    let (silent, all) = silent_nodes(draft);
    (silent > 1 && silent * 3 > all).then(|| Hold {
        by: format!("{silent} of {all} nodes are silent together: more than one, and more than a third"),
        may_be_real: true,
        spec: false,
    })
}

/// How many of the nodes that seated members are on are silent: none of theirs answers; and how many there are.
fn silent_nodes(draft: &Draft<'_>) -> (usize, usize) {
    let mut answers: BTreeMap<&str, bool> = BTreeMap::new();
    let Some(view) = draft.world.view() else { return (0, 0) };
    for seat in &view.seats {
        let record = draft.incarnation((seat.member, seat.incarnation.number));
        let Some(node) = record.and_then(|record| record.node.as_deref()) else { continue };
        *answers.entry(node).or_default() |= draft.world.seat_answer(seat, draft.now).is_some();
    }
    (answers.values().filter(|answers| !**answers).count(), answers.len())
}
