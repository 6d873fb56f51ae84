//! When a loss was noticed, taken over and made good.

use std::time::Duration;

use weft_crds::{EpochPhase, MemberState, committee_condition};

use super::observe::Snapshot;

/// A member's incarnation.
pub type Who = (u32, u32);

/// What came about after a loss, each with the time since then.
#[derive(Clone, Debug, Default)]
pub struct Milestones {
    pub(super) victims: Vec<Who>,
    /// The read margin before.
    pub(super) margin: i32,
    /// Whether less than the full margin was seen.
    pub(super) sagged: bool,
    /// The first victim was called Unreachable, or lost at once.
    pub noticed: Option<Duration>,
    /// All victims were called lost.
    pub lost: Option<Duration>,
    /// A view without them was in effect.
    pub custody: Option<Duration>,
    /// Nothing was missing any more, and the margin was what it had been.
    pub whole: Option<Duration>,
    /// All replacements owned their shards.
    pub committed: Option<Duration>,
    /// That epoch was retired.
    pub retired: Option<Duration>,
    /// Ready again.
    pub ready: Option<Duration>,
    /// The lowest read margin that was reported.
    pub lowest_margin: i32,
    /// The most slivers that were reported missing.
    pub most_missing: u64,
}

impl Milestones {
    /// Begins before the loss of `victims`.
    pub fn before(snapshot: &Snapshot, victims: Vec<Who>) -> Self {
        let status = snapshot.status();
        let margin = status.and_then(|status| status.margin).map_or(0, |margin| margin.read);
        Self { victims, margin, lowest_margin: margin, ..Self::default() }
    }

    /// Takes note of a snapshot, `elapsed` after the loss.
    pub fn observe(&mut self, snapshot: &Snapshot, elapsed: Duration) {
        let states: Vec<Option<MemberState>> = self.victims.iter().map(|who| state(snapshot, *who)).collect();
        // An incarnation that isn't told of any more has been replaced.
        let lost = |state: &Option<MemberState>| state.is_none_or(|state| state == MemberState::Lost);
        let silent = |state: &Option<MemberState>| lost(state) || *state == Some(MemberState::Unreachable);
        reach(&mut self.noticed, elapsed, states.iter().any(silent));
        reach(&mut self.lost, elapsed, states.iter().all(lost));
        let excluded = snapshot.view().is_some_and(|view| {
            view.members.iter().all(|member| !self.victims.contains(&(member.id, member.incarnation)))
        });
        reach(&mut self.custody, elapsed, self.lost.is_some() && excluded);
        self.levels(snapshot, elapsed);
        self.epochs(snapshot, elapsed);
        let ready = self.committed.is_some() && snapshot.is(committee_condition::READY);
        reach(&mut self.ready, elapsed, ready);
    }

    fn levels(&mut self, snapshot: &Snapshot, elapsed: Duration) {
        let Some(status) = snapshot.status() else { return };
        let margin = status.margin.map_or(self.margin, |margin| margin.read);
        let missing = status.missing.unwrap_or_default().slivers;
        self.lowest_margin = self.lowest_margin.min(margin);
        self.most_missing = self.most_missing.max(missing);
        self.sagged |= margin < self.margin || missing > 0;
        let whole = self.custody.is_some() && self.sagged && margin >= self.margin && missing == 0;
        reach(&mut self.whole, elapsed, whole);
    }

    /// Replacements may become owners one after another, each with an epoch of its own: the last one counts.
    fn epochs(&mut self, snapshot: &Snapshot, elapsed: Duration) {
        let replaced = |(id, incarnation): &Who| {
            let newer = |member: &weft_crds::ViewMember| member.id == *id && member.incarnation > *incarnation;
            snapshot.view().is_some_and(|view| view.members.iter().any(newer))
        };
        let mut phases = snapshot.epochs.iter().filter_map(|epoch| epoch.status.as_ref()?.phase);
        let newest = phases.rfind(|phase| *phase != EpochPhase::Superseded);
        let owned = !self.victims.is_empty() && self.victims.iter().all(replaced);
        let committed = owned && matches!(newest, Some(EpochPhase::Committed | EpochPhase::Retired));
        let retired = owned && newest == Some(EpochPhase::Retired);
        reach(&mut self.committed, elapsed, committed);
        reach(&mut self.retired, elapsed, retired);
    }
}

fn reach(milestone: &mut Option<Duration>, elapsed: Duration, holds: bool) {
    if holds {
        milestone.get_or_insert(elapsed);
    }
}

fn state(snapshot: &Snapshot, (id, incarnation): Who) -> Option<MemberState> {
    let member = snapshot.members().iter().find(|member| member.id == id)?;
    (member.incarnation == incarnation).then_some(member.state)
}
