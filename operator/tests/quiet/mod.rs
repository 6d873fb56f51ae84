//! Committees at rest: their members are asked, nothing is read, and whatever happens is seen all the same.

use std::{error::Error, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use weft_crds::StorageCommittee;
use weft_operator::{
    act::term::TermError,
    quiet::{ASK, look_after},
    reconcile::{Next, ReconcileError},
};

use crate::{
    Bench, Outcome,
    members::Fleet,
    story::{COMMITTEE, SPEC, Story, position, serves},
    watches::Alive,
    wire::Watching,
};

/// Longer than a committee at rest is left unread.
const LONG: Duration = Duration::from_secs(660);

/// For a watch to tell; what is looked at by time takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What looking after a committee once came to.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// Nobody was asked, and nothing read.
    Away,
    /// All members were asked, and nothing read.
    Asked,
    /// A whole round.
    Read,
}

/// Looks after the committee as its watch would have it looked after: with the object as it is.
async fn look(story: &Story) -> Result<(Looked, Next), Box<dyn Error>> {
    let object = story.bench.committee(COMMITTEE).await?;
    let (calls, orders) = (story.wire.calls(), story.fleet.orders());
    let next = look_after(story.operator(), &object).await?;
    let looked = match (story.wire.calls() - calls, story.fleet.orders() - orders) {
        (0, 0) => Looked::Away,
        (0, 7) => Looked::Asked,
        (0, asked) => return Err(format!("{asked} of 7 were asked").into()),
        _ => Looked::Read,
    };
    Ok((looked, next))
}

/// A fleet that has come to rest, and whose members were asked just now.
async fn at_rest(bench: &Bench, namespace: &str) -> Result<Story, Box<dyn Error>> {
    let mut story = Story::begin(bench, namespace, None).await?;
    story.is_born().await?;
    rests(&story).await?;
    Ok(story)
}

async fn rests(story: &Story) -> Outcome {
    for _ in 0..20 {
        story.fleet.advance(ASK);
        story.kubernetes().await?;
        if look(story).await?.0 == Looked::Asked {
            return Ok(());
        }
    }
    Err("it never comes to rest".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committee_at_rest_is_asked_and_not_read() -> Outcome {
    let bench = Bench::shared("a-committee-at-rest-is-asked-and").await?;
    let story = at_rest(&bench, "asked-and-not-read").await?;
    let (hung_up, changes) = (story.fleet.hung_up(), story.wire.changes());
    assert_eq!(look(&story).await?.0, Looked::Away, "its members were asked just now");
    for asked in 1..=10 {
        story.fleet.advance(ASK);
        assert_eq!(look(&story).await?, (Looked::Asked, Next::After(ASK)));
        assert_eq!(story.fleet.hung_up() - hung_up, asked, "connections end with the question");
    }
    story.fleet.advance(LONG);
    assert_eq!(look(&story).await?.0, Looked::Read, "what no watch tells is read at last");
    story.fleet.advance(ASK);
    assert_eq!(look(&story).await?.0, Looked::Asked);
    assert_eq!(story.wire.changes(), changes, "nothing was written in all that time");
    Ok(())
}

type Change = fn(&Fleet);

/// After each of these the next look is a whole round.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_committee_at_rest_it_is_read() -> Outcome {
    let bench = Bench::shared("whatever-happens-to-a-committee-at-rest").await?;
    let story = at_rest(&bench, "whatever-happens").await?;
    let (operator, fleet) = (story.operator(), &story.fleet);

    operator.stir("whatever-happens", COMMITTEE);
    assert_eq!(look(&story).await?.0, Looked::Read, "a watch told of something of its own");
    rests(&story).await?;
    operator.stir("another", COMMITTEE);
    assert_eq!(look(&story).await?.0, Looked::Away, "what is another's is no news");
    operator.stir_all();
    assert_eq!(look(&story).await?.0, Looked::Read, "a watch broke");

    rests(&story).await?;
    let note = Patch::Merge(json!({"metadata": {"annotations": {"example.com/note": "a person's"}}}));
    story.bench.api::<StorageCommittee>().patch(COMMITTEE, &PatchParams::default(), &note).await?;
    assert_eq!(look(&story).await?.0, Looked::Read, "the object is another version");

    let changes: [(&str, Change, Change); 2] = [
        ("one is silent", |fleet| fleet.hide((3, 1)), |fleet| fleet.wake((3, 1))),
        ("one lacks slivers", |fleet| fleet.take_slivers((3, 1)), |fleet| fleet.give_slivers((3, 1))),
    ];
    for (what, begin, end) in changes {
        rests(&story).await?;
        begin(fleet);
        fleet.advance(ASK);
        assert_eq!(look(&story).await?.0, Looked::Read, "{what}");
        fleet.advance(Duration::from_secs(2));
        assert_eq!(look(&story).await?.0, Looked::Read, "{what}, and it isn't at rest");
        end(fleet);
    }
    rests(&story).await?;
    let namesake = story.bench.committee(COMMITTEE).await?;
    story.bench.api::<StorageCommittee>().delete(COMMITTEE, &DeleteParams::default()).await?;
    let calls = story.wire.calls();
    operator.stir("whatever-happens", COMMITTEE);
    assert_eq!(look_after(operator, &namesake).await?, Next::Change, "it is gone");
    assert!(story.wire.calls() > calls);
    assert_eq!(operator.stirs("whatever-happens", COMMITTEE), None, "and forgotten");
    Ok(())
}

/// Nodes are no committee's own: what they are like by now is compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_changes_has_committees_at_rest_read_once() -> Outcome {
    let bench = Bench::start().await?;
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "one"}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    let story = at_rest(&bench, "a-node-changes").await?;
    let change = async |change: serde_json::Value| -> Outcome {
        nodes.patch("one", &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    };
    let stores = &story.operator().stores;
    let told = async |holds: fn(&[Arc<Node>]) -> bool| {
        let told = async {
            while !holds(&stores.nodes.state()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await
    };
    let zoned = |nodes: &[Arc<Node>]| nodes.iter().any(|node| node.labels().contains_key("zone"));

    change(json!({"spec": {"unschedulable": true}})).await?;
    told(|nodes| nodes[0].spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))).await?;
    assert_eq!(look(&story).await?.0, Looked::Read, "it was cordoned");
    rests(&story).await?;
    nodes.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "two"}}))?).await?;
    told(|nodes| nodes.len() == 2).await?;
    assert_eq!(look(&story).await?.0, Looked::Read, "there is another");
    rests(&story).await?;
    // There and back: when it is looked at, it is what it was.
    let news = stores.news.count();
    change(json!({"metadata": {"labels": {"zone": "a"}}})).await?;
    told(zoned).await?;
    change(json!({"metadata": {"labels": {"zone": null}}})).await?;
    told(|nodes| !nodes.iter().any(|node| node.labels().contains_key("zone"))).await?;
    assert!(stores.news.count() > news);
    assert_eq!(look(&story).await?.0, Looked::Away);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_tell_of_what_befalls_a_committee_at_rest() -> Outcome {
    let bench = Bench::shared("watches-tell-of-what-befalls-a-committee").await?;
    let alive = Alive::begin(&bench, Watching::Whole, "watches-tell").await?;
    let (fleet, bench) = (alive.story.fleet.clone(), &alive.story.bench);
    alive.until("begun", |status| serves(status, 7) && position(status) == Some((1, 0))).await?;
    // At rest connections end, whether or not anybody looks.
    let hung_up = fleet.hung_up();
    alive.until("at rest", |_| fleet.hung_up() > hung_up).await?;
    let hung_up = fleet.hung_up();
    bench.api::<Pod>().delete("demo-3-1-1", &DeleteParams::default()).await?;
    // Its member answers all the same, and nothing is read for minutes: nobody but a watch can tell.
    let made =
        kube::runtime::wait::await_condition(bench.api::<Pod>(), "demo-3-1-2", |pod: Option<&Pod>| pod.is_some());
    tokio::time::timeout(PATIENCE, made).await??;
    assert_eq!(fleet.hung_up(), hung_up, "no question went before it");
    Ok(())
}

/// Whoever has raised the term since is what members go by, and a committee at rest finds out when it asks (R4).
#[tokio::test(flavor = "multi_thread")]
async fn r4_a_former_leader_of_a_committee_at_rest_is_fenced_when_it_asks() -> Outcome {
    let bench = Bench::shared("a-former-leader-of-a-committee-at").await?;
    let mut story = at_rest(&bench, "a-former-leader").await?;
    let object = story.bench.committee(COMMITTEE).await?;
    let former = story.replace_operator().await?;
    // The new one's orders carry its term, and the former one still has the object of its own.
    story.rests("under another leader", |status| serves(status, 7)).await?;
    story.fleet.advance(ASK);
    let fenced = look_after(&former, &object).await;
    assert!(matches!(fenced, Err(ReconcileError::Term(TermError::Fenced { .. }))), "{fenced:?}");
    Ok(())
}

/// What is known of a committee says nothing of another that has its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_of_a_committee_at_rest_is_read() -> Outcome {
    let bench = Bench::shared("a-namesake-of-a-committee-at-rest").await?;
    let story = at_rest(&bench, "a-namesake").await?;
    story.bench.api::<StorageCommittee>().delete(COMMITTEE, &DeleteParams::default()).await?;
    story.bench.apply(COMMITTEE, SPEC).await?;
    let calls = story.wire.calls();
    let namesake = story.bench.committee(COMMITTEE).await?;
    // Data was kept of the first: the other one stands still.
    look_after(story.operator(), &namesake).await.expect_err("keys and claims are another committee's");
    assert!(story.wire.calls() > calls);
    Ok(())
}
