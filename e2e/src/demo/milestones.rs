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
    (member.current.number == incarnation).then_some(member.current.state)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_crds::{Epoch, EpochStatus, Incarnation, MemberStatus, StorageCommittee};

    use super::*;

    /// A committee of which members 1 and 2 have these incarnations and states, and whose view names `seats`.
    fn snapshot(margin: i32, members: [(u32, MemberState); 2], seats: &[Who], epochs: &[EpochPhase]) -> Snapshot {
        let members = members.into_iter().zip(1..).map(|((incarnation, state), id)| MemberStatus {
            id,
            current: Incarnation { number: incarnation, state, ..Incarnation::default() },
            ..MemberStatus::default()
        });
        let seats: Vec<_> = (seats.iter())
            .map(|(id, incarnation)| {
                serde_json::json!({"id": id, "incarnation": incarnation, "volumeId": "", "publicKey": "", "shards": []})
            })
            .collect();
        let mut committee: StorageCommittee = serde_json::from_value(serde_json::json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "StorageCommittee", "metadata": {"name": "c"},
            "spec": {"members": 4, "storage": {"size": "1Gi"}},
            "status": {
                "margin": {"read": margin, "write": 0},
                "view": {"epoch": 1, "revision": 0, "term": 1, "hash": "", "inEffect": true, "members": seats},
            },
        }))
        .expect("a committee");
        if let Some(status) = &mut committee.status {
            status.members = members.collect();
        }
        let epochs = epochs.iter().zip(1..).map(|(phase, number)| {
            let mut epoch = Epoch::new(
                "c-1",
                weft_crds::EpochSpec { committee: "c".to_owned(), number, owners: None, reason: None },
            );
            epoch.status = Some(EpochStatus { phase: Some(*phase), ..EpochStatus::default() });
            Arc::new(epoch)
        });
        Snapshot { committee: Some(Arc::new(committee)), epochs: epochs.collect(), pods: Vec::new() }
    }

    #[test]
    fn a_loss_is_made_good_when_the_last_replacement_owns_its_shards() {
        use EpochPhase::{Committed, Retired};
        use MemberState::{Lost, Serving, Unreachable};
        let at = Duration::from_secs;
        let whole = snapshot(18, [(1, Serving), (1, Serving)], &[(1, 1), (2, 1)], &[Retired]);
        let mut noted = Milestones::before(&whole, vec![(1, 1), (2, 1)]);
        noted.observe(&whole, at(1));
        assert_eq!((noted.noticed, noted.whole, noted.committed), (None, None, None));
        noted.observe(&snapshot(10, [(1, Unreachable), (1, Serving)], &[(1, 1), (2, 1)], &[Retired]), at(2));
        noted.observe(&snapshot(10, [(1, Lost), (1, Lost)], &[(1, 1), (2, 1)], &[Retired]), at(3));
        noted.observe(&snapshot(10, [(1, Lost), (1, Lost)], &[], &[Retired]), at(4));
        assert_eq!((noted.noticed, noted.lost, noted.custody), (Some(at(2)), Some(at(3)), Some(at(4))));
        noted.observe(&snapshot(18, [(1, Lost), (1, Lost)], &[], &[Retired]), at(5));
        noted.observe(&snapshot(18, [(2, Serving), (1, Lost)], &[(1, 2)], &[Retired, Retired]), at(6));
        assert_eq!((noted.whole, noted.committed), (Some(at(5)), None));
        let both = [(2, Serving), (2, Serving)];
        noted.observe(&snapshot(18, both, &[(1, 2), (2, 2)], &[Retired, Retired, Committed]), at(7));
        noted.observe(&snapshot(18, both, &[(1, 2), (2, 2)], &[Retired, Retired, Retired]), at(8));
        assert_eq!((noted.committed, noted.retired), (Some(at(7)), Some(at(8))));
        assert_eq!(noted.lowest_margin, 10);
    }
}
