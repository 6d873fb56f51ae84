//! The chart grants what the operator needs and no more: with its roles a fleet lives its life; and whichever right is taken
//! away, that is told.

use std::{collections::BTreeSet, error::Error, fmt, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding},
};
use kube::{Api, api::PostParams};
use serde::Deserialize;
use serde_json::json;

use crate::{Bench, HOME, Outcome, machines, make_namespace, story::Story};

const CHART: &str = include_str!("../../../charts/weft/templates/rbac.yaml");

/// Stories that are told at once.
const TOGETHER: usize = 4;

/// How many rights are taken away, evenly over all, where `WEFT_RIGHTS` says no other number; `all` is each of them.
const SAMPLE: usize = 8;

/// Between looks at whether a right is granted, and for how long.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// What no reconciliation calls for, and why it is granted.
const ELSEWHERE: [(&str, &str); 12] = [
    ("get nodes", "what no watch has told yet, or any more: scenario 7"),
    ("get persistentvolumes", "the same"),
    ("patch epochs", "a user's Epoch is made the committee's own, in operator/tests/epochs"),
    ("delete epochs", "history beyond the last ten"),
    ("patch pods", "what a later leader revokes (R24), in operator/tests/revoking"),
    ("patch persistentvolumeclaims", "the same, and policies and sizes, in operator/tests/paths"),
    ("patch /secrets at home", "the term of another leader, in operator/tests/copies"),
    ("delete /secrets at home", "where deletionPolicy is Delete, in operator/tests/copies"),
    ("certificaterequests", "where an issuer signs, in operator/tests/issuer"),
    ("delete networkpolicies", "where there shall be none, in operator/tests/policies"),
    ("leases", "the leader's election, in operator/tests/lease"),
    ("finalizers", "owner references that block deletion, where a cluster checks them"),
];

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) verb: String,
    /// In the operator's own namespace; else in the committee's, or in none.
    pub(crate) at_home: bool,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_home = if self.at_home { " at home" } else { "" };
        write!(f, "{} {}/{}{at_home}", self.verb, self.group, self.resource)
    }
}

/// The rights of the operator's roles in the chart: cluster, committees and leader.
fn granted() -> Result<BTreeSet<Right>, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Role {
        #[serde(default)]
        rules: Vec<PolicyRule>,
    }
    let mut rights = BTreeSet::new();
    for part in CHART.split("\n---\n").filter(|part| part.contains("\nrules:")) {
        if !["-cluster\n", "-committees\n", "-leader\n"].iter().any(|name| part.contains(name)) {
            continue;
        }
        let at_home = part.contains("-leader\n");
        let (_, rules) = part.split_once("\nrules:").ok_or("no rules")?;
        let rules: Vec<&str> = rules.lines().filter(|line| !line.contains("{{")).collect();
        let role: Role = serde_yaml::from_str(&format!("rules:{}", rules.join("\n")))?;
        for rule in role.rules {
            for (group, resource) in product(&rule.api_groups.unwrap_or_default(), &rule.resources.unwrap_or_default())
            {
                let right = |verb: &String| Right {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    at_home,
                };
                rights.extend(rule.verbs.iter().map(right));
            }
        }
    }
    Ok(rights)
}

fn product(groups: &[String], resources: &[String]) -> Vec<(String, String)> {
    groups.iter().flat_map(|group| resources.iter().map(move |resource| (group.clone(), resource.clone()))).collect()
}

/// A fleet in a namespace whose operator is a user of the same name, and has these rights and no others: as where the chart is
/// told which namespaces to look after.
async fn begin(bench: &Bench, name: &str, rights: &BTreeSet<Right>) -> Result<Story, Box<dyn Error>> {
    make_namespace(&bench.client, name).await?;
    let of_the_cluster = |right: &Right| ["nodes", "persistentvolumes"].contains(&right.resource.as_str());
    let cluster: Vec<&Right> = rights.iter().filter(|right| of_the_cluster(right)).collect();
    let home: Vec<&Right> = rights.iter().filter(|right| right.at_home).collect();
    let committee = rights.iter().filter(|right| !right.at_home && !of_the_cluster(right)).collect();
    for (place, rights) in [(None, cluster), (Some(HOME), home), (Some(name), committee)] {
        grant(bench, name, place, &rights).await?;
    }
    let mut story = Story::begin_as(bench, name, None, Some(name)).await?;
    story.runs_on(8, 8).await?;
    Ok(story)
}

/// Gives a user rights, in a namespace or everywhere, and waits until the API server grants them.
async fn grant(bench: &Bench, user: &str, namespace: Option<&str>, rights: &[&Right]) -> Outcome {
    let rule =
        |right: &&Right| json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]});
    let name = format!("{user}-in-{}", namespace.unwrap_or("all"));
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": name}, "rules": rights.iter().map(rule).collect::<Vec<_>>(),
    }))?;
    Api::all(bench.client.clone()).create(&PostParams::default(), &role).await?;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let params = PostParams::default();
    match namespace {
        None => {
            let binding: ClusterRoleBinding = serde_json::from_value(binding)?;
            Api::all(bench.client.clone()).create(&params, &binding).await?;
        }
        Some(namespace) => {
            let binding: RoleBinding = serde_json::from_value(binding)?;
            Api::namespaced(bench.client.clone(), namespace).create(&params, &binding).await?;
        }
    }
    let Some(right) = rights.first() else { return Ok(()) };
    let (group, resource) = (&right.group, right.resource.split('/').collect::<Vec<_>>());
    let review: SubjectAccessReview = serde_json::from_value(
        json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource[0], "subresource": resource.get(1), "verb": right.verb}}}),
    )?;
    let granted = async {
        loop {
            let review = Api::all(bench.client.clone()).create(&params, &review).await?;
            if review.status.is_some_and(|status| status.allowed) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, granted).await?
}

/// An operator that may see neither Nodes nor volumes loses nobody for it.
async fn blind(bench: &Bench, granted: &BTreeSet<Right>) -> Outcome {
    let seen = |right: &&Right| !["nodes", "persistentvolumes"].contains(&right.resource.as_str());
    let rights = granted.iter().filter(seen).cloned().collect();
    let story = begin(bench, "blind", &rights).await?;
    let wire = story.wire.clone();
    story.life().await?;
    assert!(!wire.forbidden().is_empty(), "it sees them");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_grants_what_the_operator_needs_and_no_more() -> Outcome {
    let bench = Bench::start().await?;
    machines::make_class(&bench.client).await?;
    let granted = granted()?;
    let story = begin(&bench, "whole", &granted).await?;
    let wire = story.wire.clone();
    story.life().await?;
    let used: BTreeSet<Right> = wire.called();
    assert!(used.is_subset(&granted), "not granted, and called for: {:?}", used.difference(&granted));
    assert_eq!(wire.forbidden(), BTreeSet::new(), "what is granted is forbidden");
    let elsewhere = |right: &&Right| {
        // Watches, which this story has none of, begin with a list.
        matches!(right.verb.as_str(), "list" | "watch")
            || right.resource == "events"
            || ELSEWHERE.iter().any(|(what, _)| {
                [format!("{} {}", right.verb, right.resource), right.to_string()].iter().any(|told| told.contains(what))
            })
    };
    blind(&bench, &granted).await?;
    let spare: Vec<_> = granted.difference(&used).filter(|right| !elsewhere(right)).collect();
    assert!(spare.is_empty(), "granted, and never called for: {spare:#?}");

    // Without its own object, or its status, an operator has no place to tell anything but its log.
    let mute = |right: &Right| right.resource == "storagecommittees" || right.resource.contains('/');
    let told = |right: &&Right| !elsewhere(right) && !mute(right) && used.contains(right);
    let needed: Vec<&Right> = granted.iter().filter(told).collect();
    let sample = match std::env::var("WEFT_RIGHTS").as_deref() {
        Ok("all") => needed.len(),
        wanted => wanted.map_or(Ok(SAMPLE), str::parse)?,
    };
    let chosen: Vec<&Right> = (0..sample).map(|turn| needed[(2 * turn + 1) * needed.len() / (2 * sample)]).collect();
    let without = async |(turn, right): (usize, &Right)| -> Outcome {
        let name = format!("without-{turn}");
        let rest: BTreeSet<Right> = granted.iter().filter(|other| *other != right).cloned().collect();
        let mut story = begin(&bench, &name, &rest).await?;
        let words = format!("cannot {} resource {:?} in API group {:?}", right.verb, right.resource, right.group);
        story.until_told = Some(words.clone());
        match story.life().await {
            Err(error) if error.to_string().contains(&words) => Ok(()),
            Err(error) => Err(format!("without {right}: {error}").into()),
            Ok(_) => Err(format!("without {right} nothing is told").into()),
        }
    };
    stream::iter(chosen.into_iter().enumerate())
        .map(without)
        .buffer_unordered(TOGETHER)
        .try_collect::<Vec<()>>()
        .await?;
    println!("{} rights, {sample} of {} taken away", granted.len(), needed.len());
    Ok(())
}
