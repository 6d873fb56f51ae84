use clap::Args;
use weft_crds::PlannedAct;

use super::{Committee, Output, columns, table};
use crate::failure::{Outcome, block_on};

/// Show what the operator would do now and why, and what it withholds
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    of: Committee,
    #[command(flatten)]
    output: Output,
}

impl Plan {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            let cluster = self.of.kube.connect().await?;
            let committee = cluster.committee(self.of.committee.as_deref()).await?;
            let plan = committee.status.unwrap_or_default().plan;
            self.output.print(&plan, || render(&plan, committee.spec.paused))
        })
    }
}

fn render(plan: &[PlannedAct], paused: bool) -> String {
    let mut text = String::new();
    if paused {
        text.push_str("The committee is paused: the operator only watches.\n\n");
    }
    if plan.is_empty() {
        return text + "Nothing is to be done.\n";
    }
    let (withheld, next): (Vec<_>, Vec<_>) = plan.iter().partition(|act| act.withheld_by.is_some());
    if !next.is_empty() {
        let mut now = table(&["NEXT", "TARGET", "REASON"]);
        for PlannedAct { act, target, reason, withheld_by: _ } in next {
            now.add_row([act, target, reason]);
        }
        text += &columns(now);
    }
    if !withheld.is_empty() {
        let mut waits = table(&["WITHHELD", "TARGET", "REASON", "BY"]);
        for PlannedAct { act, target, reason, withheld_by } in withheld {
            waits.add_row([act, target, reason, withheld_by.as_deref().unwrap_or_default()]);
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        text = text + gap + &columns(waits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::testing::committee;

    #[test]
    fn steps_come_before_what_is_withheld() {
        let committee = committee();
        let plan = committee.status.unwrap_or_default().plan;
        insta::assert_snapshot!(render(&plan, false));
        assert_eq!(
            render(&[], true),
            "The committee is paused: the operator only watches.\n\nNothing is to be done.\n"
        );
    }
}
