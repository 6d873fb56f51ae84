//! What must hold at every moment.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Once},
    time::Duration,
};

use weft_node::member::Member;
use weft_planner::{MemberOrder, MemberState, Plan};
use weft_protocol::{Entry, Seat, ShardSet, VolumeId};
use weft_redstuff::{Axis, BlobId, Hash, Layout};
use weft_store::View as _;

use super::{
    Bug, cheat,
    env::unix,
    ledger::{Account, Fate},
    stage::{Stage, Who, host_of},
};

/// After a put, holders that lag are still fed, and rebuild what they lack.
const YOUNG: Duration = Duration::from_secs(60);
/// The beginning of an epoch is noted so much later at most.
const NOTED: Duration = Duration::from_secs(1);
/// What is carried out was planned, from what members had said, so long ago at most.
const PLANNED: Duration = Duration::from_secs(10);

/// So long after its time a blob has expired everywhere, at rest: orders go out every 5 s.
const ENDING: Duration = Duration::from_secs(15);

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
    /// Of each volume. A number comes again where an incarnation is gone and no view names it.
    seen: BTreeMap<VolumeId, (u64, (u64, u64))>,
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
            let volume = member.identity().incarnation.volume;
            let (term, before) = *self.seen.entry(volume).or_insert((member.term(), position));
            if member.term() < term {
                stage.violation(format!("{} falls from term {term} to {} (R4)", host_of(who), member.term()));
            }
            if position < before {
                stage.violation(format!("{} falls from view {before:?} to {position:?} (R5)", host_of(who)));
            }
            self.seen.insert(volume, (member.term(), position));
            if let Some(newest) = newest {
                self.view(stage, position, newest.view.hash(), &host_of(who));
            }
        }
        let faulty = stage.record.members.iter().filter(|member| member.current.state == MemberState::Faulty);
        let faulty: Vec<Who> = faulty.map(|member| (member.id, member.current.number)).collect();
        let honest = |who: &&Who| !stage.cheaters.contains_key(*who) || stage.bug == Some(Bug::HiddenCheat);
        if let Some(who) = faulty.iter().find(honest) {
            stage.violation(format!("{} is called Faulty, and is honest (R29)", host_of(*who)));
        }
        if let Some((position, hash)) = stage.view().map(|view| (view.view.position(), view.view.hash())) {
            let now = stage.now;
            stage.epochs.entry(position.0).or_insert(now);
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
        let own = stage.view().and_then(|view| view.view.seat(who.0)).map_or(ShardSet::EMPTY, |seat| seat.shards);
        let lack = living(stage, Duration::ZERO).iter().find_map(|blob| cheat::lack(member, blob, own.iter()));
        let lack = lack.unwrap_or_else(|| "lacks nothing".to_owned());
        format!(
            "{}: {condition:?}, counts {counts}, levels {levels:?}, {target:?}, missing {missing:?}, {lack}",
            host_of(*who)
        )
    };
    let members: Vec<String> = stage.members.iter().map(line).collect();
    let seats = stage
        .view()
        .map(|view| view.view.seats.iter().map(|s| (s.member.0, s.incarnation.number, s.shards)).collect::<Vec<_>>());
    format!("{}\nview {seats:?}\nepochs {:?}", members.join("\n"), stage.record.epochs)
}

/// What each member knows of a blob, for people.
pub(super) fn known(stage: &Stage, blob: &BlobId) -> String {
    let line = |(who, member): (&Who, &Arc<Member>)| {
        let live = member.entry(blob).map(|entry| entry.map(|entry| entry.is_live()));
        let view = member.newest().map(|newest| newest.view.position());
        format!("{}: live {live:?}, view {view:?}, counts {}", host_of(*who), member.counts())
    };
    stage.members.iter().map(line).collect::<Vec<_>>().join("\n")
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

/// Judges that a volume is destroyed: no view may name it (R24), and what was stored a while ago must be whole without
/// it (R23).
pub(super) fn destroyed(stage: &mut Stage, who: Who) {
    if !stage.volumes.contains_key(&who) {
        return;
    }
    let is_its = |seat: &Seat| (seat.member, seat.incarnation.number) == who;
    if stage.view().is_some_and(|view| view.view.seats.iter().any(is_its)) {
        stage.violation(format!("the volume of {} is destroyed while the view names it (R24)", host_of(who)));
    } else if let Some(lack) = lack(stage, ShardSet::first(stage.committee.code.shards())) {
        stage.violation(format!("the volume of {} is destroyed while {lack} (R23)", host_of(who)));
    } else if let Some(blob) = keeps_lost(stage, who, &[]) {
        stage.violation(format!("the volume of {} is destroyed, with slivers of lost blob {blob} (R20)", host_of(who)));
    }
}

/// A blob of which too little is left and some of it is at this member, beside those that are listed.
fn keeps_lost(stage: &Stage, who: Who, listed: &[BlobId]) -> Option<BlobId> {
    let member = stage.members.get(&who).filter(|_| !stage.cheaters.contains_key(&who))?;
    let holds = |blob: &&BlobId| member.held_slivers(blob, 0).is_ok_and(|held| !held.is_empty());
    let books = stage.books.borrow();
    let known = |account: &Account| account.lost.is_some_and(|since| stage.now.saturating_sub(since) >= PLANNED);
    let lost = books.lost(unix(stage.now) + 1).filter(|(_, account)| account.fate == Fate::Stored && known(account));
    lost.map(|(blob, _)| blob).find(|blob| holds(blob) && !listed.contains(blob)).copied()
}

/// Whether a blob has slivers: it doesn't lie in the registry.
pub(super) fn is_coded(stage: &Stage, blob: &BlobId) -> bool {
    let inline = Layout::max_inline_length(stage.committee.code);
    stage.books.borrow().get(blob).is_some_and(|account| account.content.len() as u64 > inline)
}

/// Whether of every stripe of a blob there is enough, on the volumes of all honest members that run.
pub(super) fn is_decodable(stage: &Stage, blob: &BlobId) -> bool {
    let code = stage.committee.code;
    let honest =
        || stage.members.iter().filter(|(who, _)| !stage.cheaters.contains_key(*who)).map(|(_, member)| member);
    let stripes = honest().find_map(|member| match member.entry(blob) {
        Ok(Some(Entry::Live { metadata, .. })) => Some(metadata.layout.stripes()),
        _ => None,
    });
    (0..stripes.unwrap_or_default()).all(|stripe| {
        let held: BTreeSet<(Axis, u16)> =
            honest().flat_map(|member| member.held_slivers(blob, stripe).unwrap_or_default()).collect();
        let count = |axis| held.iter().filter(|(of, _)| *of == axis).count() as u16;
        code.is_decodable(count(Axis::Primary), count(Axis::Secondary))
    })
}

/// Judges orders to drop copies: what they are of must be whole at its holders, and `retainFor` have passed (R23).
pub(super) fn ordered(stage: &mut Stage, orders: &[MemberOrder]) {
    for order in orders {
        let (who, Some((view, shards))) = ((order.member, order.incarnation), order.retire) else { continue };
        // Under another view than the newest nothing is dropped.
        let newest = stage.view().is_some_and(|newest| newest.view.hash() == view);
        if !newest || !stage.dropped.insert((who, view, shards)) || !holds_any(stage, who, shards) {
            continue;
        }
        stage.trace.event(stage.now, "retire", format_args!("{} drops its copies", host_of(who)));
        let epoch = stage.view().map_or(0, |view| view.view.epoch);
        let age = stage.now.saturating_sub(stage.epochs.get(&epoch).copied().unwrap_or_default());
        if age + NOTED < stage.committee.retain_for {
            stage.violation(format!("{} is to drop its copies {age:?} after epoch {epoch} began (R23)", host_of(who)));
        } else if let Some(lack) = lack(stage, shards) {
            stage.violation(format!("{} is to drop its copies while {lack} (R23)", host_of(who)));
        } else if let Some(blob) = keeps_lost(stage, who, &order.listed) {
            stage.violation(format!("{} is to drop what it has of lost blob {blob} (R20)", host_of(who)));
        }
    }
}

/// Whether a member holds slivers of these shards.
fn holds_any(stage: &Stage, who: Who, shards: ShardSet) -> bool {
    let (Some(member), code) = (stage.members.get(&who), stage.committee.code) else { return false };
    let held = |blob: BlobId| member.held_slivers(&blob, 0).unwrap_or_default();
    let mut held =
        living(stage, YOUNG).into_iter().flat_map(held).map(|(axis, index)| code.shard_of(axis, index) as u8);
    held.any(|shard| shards.contains(shard))
}

/// Judges a fleet at rest: every holder really has everything, nobody takes for live what was deleted, and nobody has
/// anything of what has expired.
pub(super) fn at_rest(stage: &mut Stage) {
    let all = ShardSet::first(stage.committee.code.shards());
    let lacking = living(stage, Duration::ZERO).into_iter().find_map(|blob| lacks(stage, blob, all));
    if let Some(lack) = lacking {
        stage.violation(format!("a fleet at rest isn't whole: {lack}"));
    }
    listed(stage);
    let books = stage.books.clone();
    let ended = unix(stage.now.saturating_sub(ENDING));
    for blob in books.borrow().expired(ended) {
        if let Some(who) = stage.members.iter().find_map(|(who, member)| has_any(member, blob).then(|| host_of(*who))) {
            stage.violation(format!("{who} of a fleet at rest has something of blob {blob}, which has expired (R15)"));
            break;
        }
    }
    for blob in books.borrow().deleted() {
        let live = |member: &Arc<Member>| member.entry(blob).is_ok_and(|entry| entry.is_some_and(|e| e.is_live()));
        if let Some((who, _)) = stage.members.iter().find(|(_, m)| m.counts() && takes_writes(m) && live(m)) {
            let who = host_of(*who);
            stage.violation(format!("{who} of a fleet at rest takes blob {blob} for live, which was deleted (R13)"));
            break;
        }
    }
}

fn takes_writes(member: &Member) -> bool {
    member.store().health().read_only.is_none()
}

/// Whether a member's volume has an entry, slivers or work of a blob. A tombstone may outlive what it deleted. A volume that
/// takes no writes keeps what it has.
fn has_any(member: &Member, blob: &BlobId) -> bool {
    if !takes_writes(member) {
        return false;
    }
    let view = member.store().view();
    let live = member.entry(blob).map_or(true, |entry| entry.is_some_and(|entry| entry.is_live()));
    let held = view.holding(&blob.0).map_or(true, |holding| holding.is_some());
    live || held || view.missing_of(&blob.0).map_or(true, |missing| !missing.is_empty())
}

/// Judges what is listed: what is really lost, and nothing else (R20).
fn listed(stage: &mut Stage) {
    let listed = stage.last.as_ref().map(|plan| plan.unrecoverable.ids.clone()).unwrap_or_default();
    let books = stage.books.clone();
    let books = books.borrow();
    if let Some(blob) = listed.iter().find(|blob| books.get(blob).is_none_or(|account| account.lost.is_none())) {
        let enough = is_decodable(stage, blob);
        stage.violation(format!("blob {blob} is listed, and isn't lost (R20); enough of it is left: {enough}"));
    }
    // The last look was a moment ago.
    let mut lost = books.lost(unix(stage.now) + 1).filter(|(_, account)| account.fate == Fate::Stored);
    if let Some((blob, _)) = lost.find(|(blob, _)| !listed.contains(blob)) {
        stage.violation(format!("blob {blob} is lost, and isn't listed (R20)"));
    }
}

/// Blobs that must be there, stored so long ago.
pub(super) fn living(stage: &Stage, age: Duration) -> Vec<BlobId> {
    let books = stage.books.borrow();
    // The last look was a moment ago.
    let old = books.living(unix(stage.now) + 1).filter(|(_, account)| stage.now.saturating_sub(account.stored) >= age);
    old.map(|(id, _)| *id).collect()
}

/// What a blob, stored a while ago, lacks of these shards.
fn lack(stage: &Stage, shards: ShardSet) -> Option<String> {
    living(stage, YOUNG).into_iter().find_map(|blob| lacks(stage, blob, shards))
}

/// A holder that runs, is honest, and lacks something of these shards of a blob.
fn lacks(stage: &Stage, blob: BlobId, shards: ShardSet) -> Option<String> {
    let seats = &stage.view()?.view.seats;
    seats.iter().find_map(|seat| {
        let who = (seat.member, seat.incarnation.number);
        let member = stage.members.get(&who).filter(|_| !stage.cheaters.contains_key(&who))?;
        let own = seat.shards.intersection(shards);
        let missing = own.iter().find(|shard| member.store().view().is_missing(&blob.0, *shard).unwrap_or(true));
        let lack = missing.map(|shard| format!("has shard {shard} of blob {blob} on its work list"));
        lack.or_else(|| if own.is_empty() { None } else { cheat::lack(member, &blob, own.iter()) })
            .map(|lack| format!("{} {lack}", host_of(who)))
    })
}
