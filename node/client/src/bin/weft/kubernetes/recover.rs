use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    io::{BufRead as _, IsTerminal, Write as _},
    str::FromStr,
};

use clap::Args;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use weft_crds::{
    MemberState, StorageCommittee, StorageCommitteeStatus,
    names::{CONFIRM_REWIND, DECLARE_LOST},
};

use super::Committee;
use crate::failure::{BoxError as Error, Outcome, block_on, say};

const REWOUND: &str = "ControlPlaneRewound";

/// Say what only a person can know, so that a committee that waits for it goes on
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Recover {
    #[command(flatten)]
    of: Committee,
    /// The volume of MEMBER-INCARNATION is destroyed for good; repeat it for several
    #[arg(long, value_name = "MEMBER-INCARNATION", value_delimiter = ',', group = "what")]
    declare_lost: Vec<Who>,
    /// Claims, members and spec are as they should be after the control plane was set back
    #[arg(long, group = "what")]
    confirm_rewind: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// An incarnation, as `member-incarnation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    member: u32,
    incarnation: u32,
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok();
        let parts =
            text.split_once('-').and_then(|(member, incarnation)| Some((number(member)?, number(incarnation)?)));
        let (member, incarnation) = parts.ok_or("expected a member and its incarnation, like 3-1")?;
        Ok(Self { member, incarnation })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.member, self.incarnation)
    }
}

impl Recover {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            let cluster = self.of.kube.connect().await?;
            let committee = cluster.committee(self.of.committee.as_deref()).await?;
            let (key, value, question) =
                if self.confirm_rewind { rewind(&committee)? } else { lost(&committee, &self.declare_lost)? };
            say(format_args!("{question}"));
            if !self.yes && !confirmed()? {
                return Err("nothing was changed".into());
            }
            let name = committee.metadata.name.clone().unwrap_or_default();
            // On the condition that nobody wrote in between: what was shown is what is confirmed.
            let version = &committee.metadata.resource_version;
            let change = json!({"metadata": {"resourceVersion": version, "annotations": {key: value}}});
            let patch = Patch::Merge(change);
            cluster.api::<StorageCommittee>().patch(&name, &PatchParams::default(), &patch).await?;
            say(format_args!("{name} is annotated with {key}={value}"));
            Ok(())
        })
    }
}

/// Asks at the terminal.
pub(super) fn confirmed() -> Result<bool, Error> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err("there is no terminal to ask at: say --yes".into());
    }
    write!(std::io::stdout(), "Type yes to go on: ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

type Change = (&'static str, String, String);

/// The annotation that declares incarnations lost, together with those declared before, and what is to be confirmed.
fn lost(committee: &StorageCommittee, named: &[Who]) -> Result<Change, Error> {
    let status = committee.status.clone().unwrap_or_default();
    let known = known(&status);
    for who in named {
        if !known.contains(who) {
            let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(format!("no view or record names incarnation {who}; those known are {known}").into());
        }
        let serves =
            status.members.iter().find(|member| (member.id, member.current.number) == (who.member, who.incarnation));
        if serves.is_some_and(|member| member.current.state == MemberState::Serving) {
            return Err(format!("{who} serves: it isn't lost. To be rid of it, drain or replace it").into());
        }
    }
    let mut question =
        "These volumes will be taken for destroyed. What only they hold is given up, and if one of them is \
                        only away and comes back, it counts for nothing:\n"
            .to_owned();
    for who in named {
        let member = status.members.iter().find(|member| member.id == who.member);
        let state = member.map_or_else(|| "unknown".to_owned(), |member| format!("{:?}", member.current.state));
        let name = committee.metadata.name.as_deref().unwrap_or_default();
        let _ = writeln!(question, "  {who}  {state}  claim {name}-{who}");
    }
    let before = committee.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DECLARE_LOST));
    let before = before.into_iter().flat_map(|text| text.split(',')).filter_map(|who| who.trim().parse().ok());
    let all: BTreeSet<Who> = before.chain(named.iter().copied()).collect();
    let value = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok((DECLARE_LOST, value, question.trim_end().to_owned()))
}

/// Incarnations that the status tells of.
fn known(status: &StorageCommitteeStatus) -> BTreeSet<Who> {
    let views = status.view.iter().chain(status.sealing.iter().map(|sealing| &sealing.view));
    let seated = views.flat_map(|view| &view.members).map(|member| (member.id, member.incarnation));
    let members = status
        .members
        .iter()
        .flat_map(|member| member.incarnations().map(|incarnation| (member.id, incarnation.number)));
    seated.chain(members).map(|(member, incarnation)| Who { member, incarnation }).collect()
}

/// The annotation that confirms a rewind: the one that the committee's condition names, and no later one.
fn rewind(committee: &StorageCommittee) -> Result<Change, Error> {
    let status = committee.status.clone().unwrap_or_default();
    let waits = status
        .conditions
        .iter()
        .find(|said| said.status == "True" && (said.reason == REWOUND || said.type_ == REWOUND));
    let waits = waits.ok_or("the committee doesn't wait for a rewind to be confirmed")?;
    // The condition says how to confirm by hand, with the rewind's name.
    let marker = format!("{CONFIRM_REWIND}=");
    let named = waits.message.split_once(&marker).map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default());
    let name = named.ok_or("the committee's condition doesn't say which rewind it waits for")?;
    let question =
        format!("{}\nThe operator will go on from there, and destroy again what is spare by then.", waits.message);
    Ok((CONFIRM_REWIND, name.to_owned(), question))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::testing::committee;

    fn who(text: &str) -> Who {
        text.parse().unwrap()
    }

    #[test]
    fn incarnations_are_written_as_in_names() {
        assert_eq!(who("3-1"), Who { member: 3, incarnation: 1 });
        for wrong in ["", "3", "3-", "-1", "3-1-1", "a-1"] {
            assert!(wrong.parse::<Who>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_lost_are_declared_with_those_before() {
        let mut committee = committee();
        let (key, value, question) = lost(&committee, &[who("5-1"), who("3-1")]).unwrap();
        assert_eq!((key, value.as_str()), (DECLARE_LOST, "3-1,5-1"));
        assert!(question.contains("5-1  Unreachable  claim demo-5-1"), "{question}");
        committee.metadata.annotations = Some([(DECLARE_LOST.to_owned(), value)].into());
        assert_eq!(lost(&committee, &[who("3-2")]).unwrap().1, "3-1,3-2,5-1");
    }

    #[test]
    fn who_serves_or_is_unknown_is_not_declared_lost() {
        let refused = |named| lost(&committee(), &[who(named)]).unwrap_err().to_string();
        assert!(refused("0-1").contains("it isn't lost"));
        assert!(refused("5-2").contains("those known are 0-1, 1-1, 2-1, 3-1, 3-2, 4-1, 5-1, 6-1"));
    }

    #[test]
    fn a_rewind_is_confirmed_only_where_there_was_one() {
        let mut committee = committee();
        assert!(rewind(&committee).is_err());
        let stalled = committee.status.as_mut().unwrap().conditions.iter_mut().find(|said| said.type_ == "Stalled");
        let stalled = stalled.unwrap();
        (stalled.status, stalled.reason) = ("True".to_owned(), REWOUND.to_owned());
        assert!(rewind(&committee).unwrap_err().to_string().contains("which rewind"));
        let status = committee.status.as_mut().unwrap();
        let stalled = status.conditions.iter_mut().find(|said| said.type_ == "Stalled").unwrap();
        stalled.message = "look, then: kubectl annotate weft.dev/confirm-rewind=4.0.7 please".to_owned();
        assert_eq!(rewind(&committee).unwrap().1, "4.0.7");
    }
}
