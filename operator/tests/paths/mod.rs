//! Any path through the spec (RELIABILITY 14): every field that the definition knows is changed and changed back, alone and
//! on top of all others. What the API server lets in is carried out, or told, and never takes the fleet down; and where the
//! spec comes back to what it was, so does the fleet.

mod portrait;
mod schema;

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use weft_crds::{MemberState, StorageCommitteeStatus};
use weft_e2e::Scenario;

use portrait::{Portrait, differences, portrait};
use schema::{Change, changes};

use crate::{
    Bench, Outcome, machines,
    stage::said,
    story::{COMMITTEE, LIMIT, Story, is_ready},
};

/// Fleets that walk at once.
const TOGETHER: usize = 4;

/// Rounds without a change after which a fleet rests: one that waits for something may be about to go on.
const READY: usize = 2;
const WAITING: usize = 8;

/// So much more time passes with each round in which it only waits.
const SKIPPED: Duration = Duration::from_secs(10);

/// Where each fleet begins. Its image is named: a silent spec keeps to what last ran well.
const BASE: &str = ", image: 'example.com/weft:1', epochs: {settle: 10s, retainFor: 0s}";

/// Never changed once a fleet has begun.
const FROZEN: [&str; 3] = ["encoding.faultTolerance", "encoding.shards", "fleetId"];

/// Nothing would come of the others with these: a pause, a drain of one where the others make the members few, a time at
/// which members restart, and hours for which changes are collected.
const APART: [&str; 6] = [
    "drain[]",
    "epochs.settle",
    "maintenanceWindows[].days[]",
    "maintenanceWindows[].duration",
    "maintenanceWindows[].start",
    "paused",
];

/// Rounds between changes that don't wait for one another.
const HASTE: usize = 3;

/// What is never taken back.
const ONE_WAY: [&str; 1] = ["storage.size"];

/// Nothing of these is to be seen while all is well, and what tries them.
const UNSEEN: [(&str, &str); 12] = [
    ("epochs.interval", "epochs in operator/tests/epochs"),
    ("epochs.retainFor", "scaling in the planner's tests"),
    ("epochs.settle", "settling in the planner's tests"),
    ("repair.unreachableAfter", "silence in the planner's tests"),
    ("maintenanceWindows[].days[]", "maintenance in the planner's tests, and in operator/tests/scenarios"),
    ("maintenanceWindows[].duration", "the same"),
    ("maintenanceWindows[].start", "the same"),
    ("placement.spread", "pods that are made later"),
    ("replace[].incarnation", "replacements in the planner's tests: who is replaced looks the same"),
    ("replace[].member", "the same"),
    ("storage.storageClassName", "claims that are made later"),
    ("upgrade", "scenario 22"),
];

/// What came of a change.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// The API server refused it, in these words.
    Refused(String),
    /// The fleet is as it was told to be.
    Fulfilled,
    /// It isn't, and the status says why.
    Told(String),
}

/// A fleet on its way.
struct Walk {
    story: Story,
    /// Where it began: the spec, and what the fleet was made of.
    base: Value,
    begun: Portrait,
}

impl Walk {
    async fn begin(bench: &Bench, namespace: &str) -> Result<Self, Box<dyn Error>> {
        let mut story = Story::begin(bench, namespace, None).await?;
        story.runs_on(4, 4).await?;
        story.bench.apply(COMMITTEE, BASE).await?;
        let mut walk = Self { story, base: Value::Null, begun: Portrait::new() };
        let status = walk.rests().await?;
        if !is_ready(&status) {
            return Err(wrong("the fleet never begins", &status).into());
        }
        walk.stays_here(&status).await?;
        Ok(walk)
    }

    /// What the fleet is now is where it comes back to.
    async fn stays_here(&mut self, status: &StorageCommitteeStatus) -> Outcome {
        self.base = self.spec().await?;
        self.begun = portrait(&self.story, status).await?;
        Ok(())
    }

    /// Goes on until nothing changes any more.
    async fn rests(&mut self) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let (mut quiet, mut told) = (0, StorageCommitteeStatus::default());
        for _ in 0..LIMIT {
            let before = self.story.wire.changes();
            told = self.story.round().await?;
            let generation = self.story.bench.committee(COMMITTEE).await?.metadata.generation;
            let changed = self.story.wire.changes() != before || told.observed_generation != generation;
            quiet = if changed { 0 } else { quiet + 1 };
            if !changed && !is_ready(&told) {
                self.story.fleet.advance(SKIPPED);
            }
            if quiet == if is_ready(&told) { READY } else { WAITING } {
                return Ok(told);
            }
        }
        Err(wrong("it never rests", &told).into())
    }

    async fn spec(&self) -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::to_value(&self.story.bench.committee(COMMITTEE).await?.spec)?)
    }

    /// `None`: the API server has it. Else its words.
    async fn change(&self, spec: &Value) -> Result<Option<String>, Box<dyn Error>> {
        match self.story.change(spec.clone()).await {
            Ok(()) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message)),
            Err(other) => Err(other.into()),
        }
    }

    /// Makes a change, and waits for what comes of it.
    async fn goes(&mut self, change: &Change) -> Result<(Fate, StorageCommitteeStatus), Box<dyn Error>> {
        if let Some(words) = self.change(&change.spec).await? {
            return Ok((Fate::Refused(words), StorageCommitteeStatus::default()));
        }
        let status = self.rests().await?;
        if is_ready(&status) {
            return Ok((Fate::Fulfilled, status));
        }
        let (_, reason, message) = said(&status, "Ready").ok_or("nothing is said")?;
        let up =
            |state: MemberState| matches!(state, MemberState::Serving | MemberState::Draining | MemberState::Leaving);
        let serving = status.members.iter().filter(|member| up(member.current.state)).count();
        let stalled = said(&status, "Stalled").is_some_and(|(status, ..)| status == "True");
        let silent = !stalled && status.plan.iter().all(|act| act.withheld_by.is_none());
        if silent || message.is_empty() || serving + 1 < status.members.len() {
            return Err(wrong("the fleet is down, or nobody says why", &status).into());
        }
        Ok((Fate::Told(format!("{reason}: {message}")), status))
    }

    /// Takes every change back at once.
    async fn comes_back(&mut self) -> Outcome {
        let now = self.spec().await?;
        if let Some(words) = self.change(&back(&now, &self.base)).await? {
            return Err(format!("there is no way back: {words}").into());
        }
        let status = self.rests().await?;
        if !is_ready(&status) {
            return Err(wrong("the fleet isn't well again", &status).into());
        }
        let different = differences(&self.begun, &portrait(&self.story, &status).await?);
        if different.is_empty() { Ok(()) } else { Err(format!("it isn't what it was: {different:#?}").into()) }
    }

    async fn there_and_back(&mut self, change: &Change) -> Result<Outing, Box<dyn Error>> {
        let (fate, status) = self.goes(change).await?;
        if matches!(fate, Fate::Refused(_)) {
            return Ok(Outing { change: change.clone(), fate, seen: false });
        }
        let seen = portrait(&self.story, &status).await? != self.begun;
        if ONE_WAY.contains(&change.field.as_str()) {
            self.stays_here(&status).await?;
        } else {
            self.comes_back().await?;
        }
        Ok(Outing { change: change.clone(), fate, seen })
    }
}

/// A change, what came of it, and whether anything of it was to be seen.
#[derive(Debug)]
struct Outing {
    change: Change,
    fate: Fate,
    seen: bool,
}

impl fmt::Display for Outing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = if self.seen { "seen" } else { "unseen" };
        write!(f, "{} as {}: {seen}, {:?}", self.change.field, self.change.spec, self.fate)
    }
}

fn is_unseen(field: &str) -> bool {
    UNSEEN.iter().any(|(name, _)| *name == field)
}

fn wrong(what: &str, status: &StorageCommitteeStatus) -> String {
    format!("{what}: {}", serde_yaml::to_string(status).unwrap_or_default())
}

/// The patch that makes a spec what it was.
fn back(now: &Value, base: &Value) -> Value {
    let (Value::Object(now), Value::Object(base)) = (now, base) else { return base.clone() };
    let gone = now.keys().filter(|name| !base.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let kept =
        base.iter().map(|(name, value)| (name.clone(), back(&now.get(name).cloned().unwrap_or_default(), value)));
    Value::Object(gone.chain(kept).collect())
}

/// The fields that the definition knows, and what each may become.
async fn known(bench: &Bench) -> Result<BTreeMap<String, Vec<Change>>, Box<dyn Error>> {
    let definitions = weft_crds::definitions()?;
    let definition = definitions.iter().find(|definition| definition.plural == "storagecommittees");
    let definition = definition.ok_or("no definition")?;
    let schema = &definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    bench.apply("sample", BASE).await?;
    let base = serde_json::to_value(&bench.committee("sample").await?.spec)?;
    let mut fields: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for change in changes(schema, &base) {
        fields.entry(change.field.clone()).or_default().push(change);
    }
    Ok(fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_spec_is_changed_and_changed_back() -> Outcome {
    let scenario = Scenario::begins("every_field_of_the_spec_is_changed_and_changed_back", &[21]);
    let bench = Bench::start().await?;
    machines::make_class(&bench.client).await?;
    let known: Vec<(String, Vec<Change>)> = known(&bench).await?.into_iter().collect();
    let all = std::env::var("WEFT_PATHS").is_ok_and(|wanted| wanted == "all");
    let walk = async |turn: usize| -> Result<Vec<Outing>, Box<dyn Error>> {
        let mut walk = Walk::begin(&bench, &format!("walk-{turn}")).await?;
        let mut outings: Vec<Outing> = Vec::new();
        for (_, changes) in known.iter().skip(turn).step_by(TOGETHER) {
            for change in changes {
                let outing = walk.there_and_back(change).await;
                let outing = outing.map_err(|error| format!("{} as {}: {error}", change.field, change.spec))?;
                println!("{outing}");
                let enough = !all && (outing.seen || outing.fate == Fate::Fulfilled && is_unseen(&change.field));
                outings.push(outing);
                if enough {
                    break;
                }
            }
        }
        Ok(outings)
    };
    let outings: Vec<Vec<Outing>> =
        stream::iter(0..TOGETHER).map(walk).buffer_unordered(TOGETHER).try_collect().await?;
    let mut outings: Vec<Outing> = outings.into_iter().flatten().collect();
    // By their names, whichever walk ended first: a class of storage is for claims that are made later (a replacement's, say),
    // and theirs for good.
    outings.sort_by(|a, b| a.change.field.cmp(&b.change.field));
    let mut fields: BTreeMap<&str, Vec<&Outing>> = BTreeMap::new();
    for outing in &outings {
        fields.entry(&outing.change.field).or_default().push(outing);
    }
    for (field, outings) in &fields {
        let refused = outings.iter().filter(|outing| matches!(outing.fate, Fate::Refused(_))).count();
        if FROZEN.contains(field) {
            assert_eq!(refused, outings.len(), "{field} is frozen: {outings:#?}");
            continue;
        }
        assert!(refused < outings.len(), "nothing that {field} may be was tried: {outings:#?}");
        assert!(
            is_unseen(field) || outings.iter().any(|outing| outing.seen),
            "nothing of {field} is to be seen: {outings:#?}"
        );
    }
    println!("{} changes of {} fields", outings.len(), fields.len());
    all_the_way(&bench, &outings).await?;
    scenario.ends();
    Ok(())
}

/// Every field is changed on top of those before it, each before what the last one asked for is done; and then all are
/// changed back at once.
async fn all_the_way(bench: &Bench, outings: &[Outing]) -> Outcome {
    let mut walk = Walk::begin(bench, "all-the-way").await?;
    let mut changed = 0;
    for Outing { change, fate, .. } in outings {
        let field = change.field.as_str();
        if *fate != Fate::Fulfilled || APART.contains(&field) || ONE_WAY.contains(&field) {
            continue;
        }
        let refused = walk.change(&change.spec).await?;
        changed += usize::from(refused.is_none());
        for _ in 0..HASTE {
            walk.story.round().await?;
        }
    }
    let status = walk.rests().await?;
    if !is_ready(&status) {
        return Err(wrong(&format!("it isn't well with {changed} changes"), &status).into());
    }
    walk.comes_back().await.map_err(|error| format!("after {changed} changes: {error}"))?;
    println!("{changed} changes, one on top of the other, and back");
    Ok(())
}
