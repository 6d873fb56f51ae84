//! What must hold of every plan, by the truth about the volumes, and not by what members were heard to say.

use std::collections::BTreeSet;

use weft_planner::{ANSWER_HOLDS, Act, EpochPhase, MemberState, Plan, Pod, PodPhase, Step, World};
use weft_protocol::{MemberId, Seat, ShardSet, View};
use weft_redstuff::BlobId;

use crate::model::Model;

type Who = (MemberId, u32);

/// What is wrong with a plan.
pub(crate) fn wrong(model: &Model, planned: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in &planned.steps {
        if step.reason.is_empty() || step.target.is_empty() {
            wrong.push(format!("{} has no reason, or no target", step.act.name()));
        }
    }
    let Some(view) = model.record.view.as_ref().map(|signed| &signed.view) else { return wrong };
    let look = Look { model, planned, view };
    wrong.extend(look.guesses());
    wrong.extend(look.moves());
    wrong.extend(look.destroyed());
    wrong.extend(look.retired());
    wrong.extend(look.forgotten());
    wrong.extend(look.evictions());
    wrong
}

/// Shards of the view in effect whose holder's pod runs: in truth, or as far as an operator can know that heard of it
/// lately.
pub(crate) fn served(model: &Model) -> ShardSet {
    let lately = |who: &Who| model.heard.get(who).is_some_and(|heard| model.now - heard.at <= ANSWER_HOLDS);
    let runs = |who: &Who| {
        let mut pods = model.cluster.pods.iter().filter(|pod| (pod.member, pod.incarnation) == *who);
        let up = pods.any(|pod| pod.phase == PodPhase::Running && pod.ready && !pod.terminating);
        up && (model.cluster.runs_on(who.0, who.1).is_some() || lately(who))
    };
    let seats = model.record.view.iter().flat_map(|signed| &signed.view.seats);
    seats.filter(|seat| runs(&who(seat))).map(|seat| seat.shards).collect()
}

/// The same world, with everything that has no order in another one.
pub(crate) fn shuffled(mut world: World, mut seed: u64) -> World {
    shuffle(&mut world.pods, &mut seed);
    shuffle(&mut world.claims, &mut seed);
    shuffle(&mut world.nodes, &mut seed);
    shuffle(&mut world.heard, &mut seed);
    shuffle(&mut world.wished, &mut seed);
    world
}

fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for at in 1..items.len() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, (*seed >> 33) as usize % (at + 1));
    }
}

struct Look<'m> {
    model: &'m Model,
    planned: &'m Plan,
    view: &'m View,
}

fn who(seat: &Seat) -> Who {
    (seat.member, seat.incarnation.number)
}

impl Look<'_> {
    fn is_lost(&self, who: Who) -> bool {
        let record = self.planned.members.iter().find(|member| member.id == who.0 && member.current.number == who.1);
        let lost = |state| matches!(state, MemberState::Lost | MemberState::Faulty | MemberState::Returned);
        record.is_none_or(|member| lost(member.current.state))
    }

    fn leaves(&self, who: Who) -> bool {
        let record = self.planned.members.iter().find(|member| member.id == who.0 && member.current.number == who.1);
        record.is_some_and(|member| member.current.state == MemberState::Draining)
    }

    /// Whether a volume has everything of a shard.
    fn has(&self, who: Who, shard: u8) -> bool {
        self.model.volumes.get(&who).is_some_and(|process| process.held.get(&shard) == Some(&0))
    }

    /// Of what is given up by guesses, everything may be there: never more than f shards in all.
    fn guesses(&self) -> Option<String> {
        let declared = &self.model.committee.declared_lost;
        let seats = self.view.seats.iter().filter(|seat| !declared.contains(&who(seat)));
        let guessed = seats.filter(|seat| self.is_lost(who(seat)) && self.model.may_return(who(seat)));
        let shards: u16 = guessed.map(|seat| seat.shards.len()).sum();
        (shards > self.view.code.fault_tolerance()).then(|| format!("{shards} shards are given up by guesses"))
    }

    /// R6, and that nothing moves for nothing.
    fn moves(&self) -> Vec<String> {
        let proposed = self.planned.steps.iter().find_map(|step| match &step.act {
            Act::ProposeView(next) if next.predecessor.is_some() => Some(next),
            _ => None,
        });
        let Some(next) = proposed else { return Vec::new() };
        let mut wrong = Vec::new();
        let f = self.view.code.fault_tolerance();
        let there: ShardSet = self.view.moved_to(next).iter().filter(|shard| self.is_held(*shard)).collect();
        let lacking: ShardSet = (0..self.view.code.shards() as u8).filter(|shard| !self.is_whole(*shard)).collect();
        let touched = there.union(lacking).len();
        if !there.is_empty() && touched > f {
            wrong.push(format!("R6: {touched} shards move or lack something, more than f = {f}"));
        }
        let chosen = self.model.record.epochs.iter().any(|epoch| epoch.number == next.epoch && epoch.chosen);
        for shard in there.iter().filter(|_| !chosen) {
            let (Some(from), Some(to)) = (self.view.holder(shard), next.holder(shard)) else {
                wrong.push(format!("shard {shard} is taken from member {:?}", self.view.holder(shard)));
                continue;
            };
            let old = |of: Who| self.view.seats.iter().find(|seat| who(seat) == of).map_or(0, |seat| seat.shards.len());
            // Who leaves may have more than can move at once, and gives it away in several epochs.
            let stays = next.seats.iter().any(|seat| who(seat) == who(from)) && !self.leaves(who(from));
            if next.revision > 0 || (stays && old(who(from)) < old(who(to)) + 2) {
                wrong.push(format!("shard {shard} moves from {} to {} for nothing", from.member, to.member));
            }
        }
        wrong
    }

    fn is_held(&self, shard: u8) -> bool {
        self.view.holder(shard).is_some_and(|seat| !self.is_lost(who(seat)))
    }

    fn is_whole(&self, shard: u8) -> bool {
        self.view.holder(shard).is_some_and(|seat| self.has(who(seat), shard))
    }

    /// Which of some shards only this volume has whole, of all that holders and it have.
    fn only_at(&self, of: Who, shards: impl Iterator<Item = u8>) -> Vec<u8> {
        let elsewhere =
            |shard| self.view.holder(shard).is_some_and(|seat| who(seat) != of && self.has(who(seat), shard));
        shards.filter(|shard| self.has(of, *shard) && !elsewhere(*shard)).collect()
    }

    /// No claim goes, and no process that serves, on which a blob's margin depends (R23, R24).
    fn destroyed(&self) -> Vec<String> {
        let views = self.model.record.pending.iter().map(|pending| &pending.view.view).chain([self.view]);
        let seated: Vec<Who> = views.flat_map(|view| view.seats.iter().map(who)).collect();
        let mut wrong = Vec::new();
        let tries = |step: &&Step| {
            let pods = &self.model.cluster.pods;
            let restarts =
                |uid: &str| pods.iter().any(|pod| pod.uid == uid && self.is_outdated(pod) && !pod.terminating);
            matches!(&step.act, Act::DeletePod { member, incarnation, uid, .. }
                if seated.contains(&(*member, *incarnation)) && restarts(uid))
        };
        if self.planned.steps.iter().filter(tries).count() > 1 {
            wrong.push("more than one member restarts with another spec".to_owned());
        }
        for step in &self.planned.steps {
            match &step.act {
                Act::DestroyClaim { member, incarnation, .. } => {
                    let of = (*member, *incarnation);
                    let only = self.only_at(of, 0..self.view.code.shards() as u8);
                    if seated.contains(&of) || !only.is_empty() {
                        wrong.push(format!("claim {member}-{incarnation} goes, which alone has {only:?}"));
                    }
                    // Nothing can heal what is invalid (R19).
                    if self.has_of_lost(of, ShardSet::first(self.view.code.shards()), &self.planned.invalid.ids) {
                        wrong.push(format!("claim {member}-{incarnation} goes, which has slivers of lost blobs (R20)"));
                    }
                }
                Act::DeletePod { member, incarnation, uid, .. } => {
                    let pod = self.model.cluster.pods.iter().find(|pod| pod.uid == *uid);
                    let runs = pod.filter(|pod| pod.phase == PodPhase::Running && !pod.terminating);
                    let serves = runs.filter(|_| seated.contains(&(*member, *incarnation)));
                    if serves.is_some_and(|pod| pod.ready && !self.may_restart(pod)) {
                        wrong.push(format!("pod {member}-{incarnation} goes, which serves"));
                    }
                }
                _ => {}
            }
        }
        wrong
    }

    fn is_outdated(&self, pod: &Pod) -> bool {
        pod.inputs.as_ref().is_some_and(|inputs| *inputs != self.model.committee.inputs)
    }

    /// Whether a pod that serves may go: it is made of an earlier spec, everything else is served and whole, and nothing else
    /// is done.
    fn may_restart(&self, pod: &Pod) -> bool {
        let all = ShardSet::first(self.view.code.shards());
        let (mut served, mut its) = (served(self.model), ShardSet::EMPTY);
        for seat in &self.view.seats {
            if who(seat) == (pod.member, pod.incarnation) {
                its = seat.shards;
            } else if self.model.missed.contains_key(&who(seat)) {
                served = served.difference(seat.shards);
            }
        }
        self.is_outdated(pod)
            && self.planned.steps.len() == 1
            && self.model.record.pending.is_none()
            && all.difference(its).iter().all(|shard| served.contains(shard) && self.is_whole(shard))
    }

    /// No copy is dropped that its new owner hasn't (R23).
    fn retired(&self) -> Vec<String> {
        let orders = self.planned.orders.iter().filter_map(|order| {
            let (view, shards) = order.retire?;
            (view == self.view.hash()).then_some(((order.member, order.incarnation), shards))
        });
        let only = orders.map(|(of, shards)| (of, self.only_at(of, shards.iter())));
        let only = only.filter(|(_, only)| !only.is_empty());
        let whole = only.map(|(of, only)| format!("{of:?} drops {only:?}, which it alone has"));
        let lost = self.planned.orders.iter().filter(|order| {
            let drops = order.retire.map(|(_, shards)| shards).unwrap_or_default();
            self.has_of_lost((order.member, order.incarnation), drops, &order.listed)
        });
        whole
            .chain(lost.map(|order| format!("member {} drops what it has of lost blobs (R20)", order.member)))
            .collect()
    }

    /// Whether a volume has slivers of these shards of blobs of which too few are left, but for those that are listed.
    fn has_of_lost(&self, of: Who, shards: ShardSet, listed: &[BlobId]) -> bool {
        let keeps = self.model.volumes.get(&of).into_iter().flat_map(|process| &process.keeps);
        let mut kept = keeps.filter(|(_, kept)| !kept.intersection(shards).is_empty()).map(|(blob, _)| blob);
        kept.any(|blob| self.model.lost_blobs.contains(blob) && !listed.contains(blob))
    }

    /// What may be evicted is what the budget's number of pods comes to; and where that is anything, nothing else goes
    /// on, nothing that is served lacks anything, and n − f shards are served whichever pods are away.
    fn evictions(&self) -> Vec<String> {
        let (budget, record) = (&self.planned.budget, &self.model.record);
        let alive: Vec<_> = self.model.cluster.pods.iter().filter(|pod| pod.is_alive()).collect();
        let ready = alive.iter().filter(|pod| pod.ready).count() as u32;
        let mut wrong = Vec::new();
        if budget.evictable != ready.saturating_sub(budget.min_available) || budget.evictable > 1 {
            wrong.push(format!("{} of {ready} ready pods may be evicted: {budget:?}", budget.evictable));
        }
        if budget.evictable == 0 {
            return wrong;
        }
        let open =
            record.epochs.iter().any(|epoch| epoch.number > self.view.epoch && epoch.phase < EpochPhase::Committed);
        if !self.planned.steps.is_empty() || record.pending.is_some() || open {
            wrong.push(format!("a pod may be evicted while {:?} is done", self.planned.steps));
        }
        let served = served(self.model);
        wrong.extend(
            served
                .iter()
                .filter(|shard| !self.is_whole(*shard))
                .map(|shard| format!("a pod may be evicted while shard {shard} lacks something")),
        );
        let may_serve = |seat: &&Seat| {
            let mut pods = alive.iter().filter(|pod| (pod.member, pod.incarnation) == who(seat));
            pods.any(|pod| !pod.ready || seat.shards.difference(served).is_empty())
        };
        let mut loads: Vec<u16> = self.view.seats.iter().filter(may_serve).map(|seat| seat.shards.len()).collect();
        loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
        let away = (alive.len() as u32).saturating_sub(budget.min_available) as usize;
        let left: u16 = loads.iter().skip(away).sum();
        let quorum = self.view.code.shards() - self.view.code.fault_tolerance();
        if left < quorum {
            wrong
                .push(format!("{away} pods may be away, and then {left} shards are served, of {quorum} that it takes"));
        }
        wrong
    }

    /// No member leaves the record while a view seats it.
    fn forgotten(&self) -> Vec<String> {
        let known: BTreeSet<MemberId> = self.planned.members.iter().map(|member| member.id).collect();
        let gone = self.view.seats.iter().filter(|seat| !known.contains(&seat.member));
        gone.map(|seat| format!("member {} is forgotten, and has a seat", seat.member)).collect()
    }
}

/// A plan of a fleet at rest with a mistake in it; what is found.
fn planted(mistake: impl FnOnce(&Model, &View, &mut Plan)) -> String {
    let model = Model::rested(7, 8, 4);
    let mut planned = model.last.clone().expect("it ran");
    assert_eq!(wrong(&model, &planned), [""; 0]);
    mistake(&model, &model.record.view.as_ref().expect("a view").view, &mut planned);
    wrong(&model, &planned).concat()
}

fn add(planned: &mut Plan, act: Act) {
    planned.steps.push(Step { act, target: "it".to_owned(), reason: "a mistake".to_owned() });
}

/// The next revision, or epoch, with this many shards of each of these members at member 6.
fn taken(view: &View, (epoch, revision): (u64, u64), from: &[usize], each: usize) -> View {
    let mut seats = view.seats.clone();
    for at in from {
        for shard in view.seats[*at].shards.iter().take(each) {
            seats[*at].shards = seats[*at].shards.difference([shard].into_iter().collect());
            seats[6].shards.insert(shard);
        }
    }
    seats.retain(|seat| !seat.shards.is_empty());
    View { epoch, revision, predecessor: Some(view.id()), seats, ..view.clone() }
}

#[test]
fn planted_mistakes_are_found() {
    let claim = planted(|model, _, planned| {
        let uid = model.cluster.claims[0].uid.clone();
        add(planned, Act::DestroyClaim { member: MemberId(0), incarnation: 1, uid });
    });
    assert!(claim.contains("claim 0-1 goes, which alone has [0"), "{claim}");
    let pod = planted(|model, _, planned| {
        let uid = model.cluster.pods.iter().find(|pod| pod.member.0 == 4).map(|pod| pod.uid.clone()).expect("a pod");
        add(planned, Act::DeletePod { member: MemberId(4), incarnation: 1, attempt: 1, uid });
    });
    assert!(pod.contains("pod 4-1 goes, which serves"), "{pod}");
    let copy = planted(|_, view, planned| {
        planned.orders[2].retire = Some((view.hash(), view.seats[2].shards));
    });
    assert!(copy.contains("drops") && copy.contains("which it alone has"), "{copy}");
    let forgotten = planted(|_, _, planned| drop(planned.members.remove(5)));
    assert!(forgotten.contains("member 5 is forgotten"), "{forgotten}");
    let guesses = planted(|_, _, planned| {
        planned.members.iter_mut().take(3).for_each(|member| member.current.state = MemberState::Lost);
    });
    assert!(guesses.contains("12 shards are given up by guesses"), "{guesses}");
    let idle = planted(|_, view, planned| add(planned, Act::ProposeView(taken(view, (2, 0), &[1], 1))));
    assert!(idle.contains("moves from 1 to 6 for nothing"), "{idle}");
    let custody = planted(|_, view, planned| add(planned, Act::ProposeView(taken(view, (1, 1), &[1], 4))));
    assert!(custody.contains("for nothing"), "{custody}");
    let much = planted(|_, view, planned| add(planned, Act::ProposeView(taken(view, (2, 0), &[0, 1, 2], 4))));
    assert!(much.contains("R6: 12 shards move"), "{much}");
    let open = planted(|_, _, planned| planned.budget.min_available = 5);
    assert!(open.contains("1 of 7 ready pods may be evicted"), "{open}");
    let busy = planted(|_, view, planned| add(planned, Act::ProposeView(taken(view, (2, 0), &[1], 0))));
    assert!(busy.contains("a pod may be evicted while"), "{busy}");
    let silent = planted(|_, _, planned| {
        add(planned, Act::ConfirmRewind);
        planned.steps[0].reason.clear();
    });
    assert!(silent.contains("has no reason"), "{silent}");
}
