//! Budgets of repair: what a member may spend, and all together on one machine.

use crate::{
    Bench, Outcome,
    story::{COMMITTEE, LIMIT, SPEC, Story, position, serves},
};

const NAMESPACE: &str = "members-at-work";

/// What members are allowed, in bytes a second.
const ALONE: u64 = 100 << 20;

impl Story {
    /// Goes on until each of these is allowed so much.
    async fn are_allowed(&mut self, members: &[(u8, u8)], wanted: u64) -> Outcome {
        let told = |story: &Self| -> Vec<Option<u64>> {
            members.iter().map(|who| story.fleet.told(*who).map(|told| told.bandwidth)).collect()
        };
        for _ in 0..LIMIT {
            if told(self).iter().all(|told| *told == Some(wanted)) {
                return Ok(());
            }
            self.round().await?;
        }
        Err(format!("{members:?} are allowed {:?} and not {wanted}", told(self)).into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_at_work_on_one_machine_share_what_one_may_spend() -> Outcome {
    let bench = Bench::start().await?;
    let mut story = Story::begin(&bench, NAMESPACE, None).await?;
    story.runs_on(4, 4).await?;
    story.bench.apply(COMMITTEE, &format!("{SPEC}, repair: {{maxBandwidthPerMember: 100Mi}}")).await?;
    story.rests("begun", |status| serves(status, 7) && position(status) == Some((1, 0))).await?;
    let machines = story.machines.as_ref().ok_or("no machines")?;
    let (machine, elsewhere) = (machines.of(0).await?, machines.of(1).await?);
    let (together, apart) = (machines.on(&machine).await?, machines.on(&elsewhere).await?);
    assert_eq!((together.len(), machine == elsewhere), (2, false));
    story.are_allowed(&[together.as_slice(), &apart].concat(), ALONE).await?;

    story.fleet.take_slivers(together[0]);
    // Who has nothing to do yet may have in a moment.
    story.are_allowed(&together[1..], ALONE / 2).await?;
    assert_eq!(story.fleet.told(together[0]).map(|told| told.bandwidth), Some(ALONE));
    story.fleet.take_slivers(together[1]);
    story.are_allowed(&together, ALONE / 2).await?;
    story.are_allowed(&apart, ALONE).await?;
    for who in &together {
        story.fleet.give_slivers(*who);
    }
    story.are_allowed(&together, ALONE).await
}
