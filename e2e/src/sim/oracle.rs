//! What must hold at every moment.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Once},
};

use weft_node::member::Member;
use weft_planner::Plan;
use weft_redstuff::{BlobId, Hash};
use weft_store::View as _;

use super::{
    env::{at, now},
    stage::{Stage, Who, host_of},
};

/// After a put, holders that lag are still fed, and rebuild what they lack.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(60);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notices panics, also those in tasks that nobody waits for.
pub(super) fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.with(|seen| seen.borrow_mut().get_or_insert_with(|| panic.to_string()).len());
            before(panic);
        }));
    });
    PANIC.with(|seen| seen.borrow_mut().take());
}

/// What was seen so far: terms and views only grow, and one number has one view (R2, R4).
#[derive(Debug, Default)]
pub(super) struct Watch {
    views: BTreeMap<(u64, u64), Hash>,
    seen: BTreeMap<Who, (u64, (u64, u64))>,
}

impl Watch {
    pub(super) fn look(&mut self, stage: &mut Stage) {
        if let Some(panic) = PANIC.with(|seen| seen.borrow_mut().take()) {
            stage.violation(format!("a panic: {panic}"));
        }
        let members: Vec<(Who, Arc<Member>)> = stage.members.iter().map(|(who, m)| (*who, m.clone())).collect();
        for (who, member) in members {
            let newest = member.newest();
            let position = newest.as_ref().map(|newest| newest.view.position()).unwrap_or_default();
            let (term, before) = *self.seen.entry(who).or_insert((member.term(), position));
            if member.term() < term {
                stage.violation(format!("{} falls from term {term} to {} (R4)", host_of(who), member.term()));
            }
            if position < before {
                stage.violation(format!("{} falls from view {before:?} to {position:?} (R5)", host_of(who)));
            }
            self.seen.insert(who, (member.term(), position));
            if let Some(newest) = newest {
                self.view(stage, position, newest.view.hash(), &host_of(who));
            }
        }
        if let Some((position, hash)) = stage.view().map(|view| (view.view.position(), view.view.hash())) {
            self.view(stage, position, hash, "the record");
        }
    }

    fn view(&mut self, stage: &mut Stage, position: (u64, u64), hash: Hash, of: &str) {
        if *self.views.entry(position).or_insert(hash) != hash {
            stage.violation(format!("{of} has another view {position:?} than others (R5)"));
        }
    }
}

/// What each member says of itself, for people.
pub(super) fn state(stage: &Stage) -> String {
    let line = |(who, member): (&Who, &Arc<Member>)| {
        let view = member.store().view();
        let missing = view.missing(None, 3).unwrap_or_default();
        let missing: Vec<String> =
            missing.iter().map(|(blob, shard)| format!("shard {shard} of {}", BlobId(*blob))).collect();
        let levels = member.levels().ok();
        let levels = levels.map(|l| (l.view, l.missing_slivers, l.blobs, l.tombstones, l.reachable, l.healthy));
        let (condition, counts, target) = (member.condition(), member.counts(), member.target());
        format!("{}: {condition:?}, counts {counts}, levels {levels:?}, {target:?}, missing {missing:?}", host_of(*who))
    };
    let members: Vec<String> = stage.members.iter().map(line).collect();
    let seats = stage
        .view()
        .map(|view| view.view.seats.iter().map(|s| (s.member.0, s.incarnation.number, s.shards)).collect::<Vec<_>>());
    format!("{}\nview {seats:?}\nepochs {:?}", members.join("\n"), stage.record.epochs)
}

/// Judges a plan.
pub(super) fn planned(stage: &mut Stage, planned: &Plan) {
    let reasons = planned.steps.iter().all(|step| !step.reason.is_empty() && !step.target.is_empty());
    if !reasons {
        stage.violation("a step of a plan has no reason".to_owned());
    }
    let Some(view) = stage.view() else { return };
    let f = view.view.code.fault_tolerance();
    if let Some(seat) = view.view.seats.iter().find(|seat| seat.shards.len() > f) {
        let wrong = format!("member {} has {} shards, more than f = {f} (R2)", seat.member, seat.shards.len());
        stage.violation(wrong);
    }
}

/// Judges that a volume is destroyed: what was stored a while ago must be whole without it (R23).
pub(super) fn destroyed(stage: &mut Stage, who: Who) {
    if !stage.volumes.contains_key(&who) {
        return;
    }
    let lacking: Vec<String> = old_blobs(stage).into_iter().filter_map(|blob| lacks(stage, blob)).collect();
    if let Some(lack) = lacking.first() {
        stage.violation(format!("the volume of {} is destroyed while {lack} (R23)", host_of(who)));
    }
}

fn old_blobs(stage: &Stage) -> Vec<BlobId> {
    let books = stage.books.borrow();
    let old = books.living().filter(|(_, account)| now() - at(account.stored) > YOUNG);
    old.map(|(id, _)| *id).collect()
}

/// A holder that runs and lacks something of a blob.
fn lacks(stage: &Stage, blob: BlobId) -> Option<String> {
    let seats = &stage.view()?.view.seats;
    seats.iter().find_map(|seat| {
        let who = (seat.member, seat.incarnation.number);
        let view = stage.members.get(&who)?.store().view();
        if view.entry(&blob.0).ok()?.is_none() {
            return Some(format!("{} doesn't know blob {blob}", host_of(who)));
        }
        let missing = seat.shards.iter().find(|shard| view.is_missing(&blob.0, *shard).unwrap_or(true))?;
        Some(format!("{} lacks shard {missing} of blob {blob}", host_of(who)))
    })
}
