//! The operator dies at its writes, before they are done and after, is refused, isn't answered, or reads what is old; and
//! where the fleet ends, and how often each object was made and deleted, is as if nothing had happened.
//!
//! What an operator leaves behind changes by what it writes and by what it orders members. Between two writes it only
//! reads, orders, and forgets; so deaths before and after each write are deaths everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    num::ParseIntError,
    ops::Range,
};

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;
use weft_crds::{Epoch, EpochPhase, MemberState, MemberStatus, StorageCommittee};
use weft_e2e::Scenario;
use weft_operator::{api::Object, quiet::ASK};

use crate::{
    Bench, Outcome, spare_keys,
    stage::take_away,
    story::{COMMITTEE, LIMIT, ROUND, Story, has_mended_two, position, serves},
    wire::{Trouble, Written},
};

/// Stories that are told at once.
const TOGETHER: usize = 4;

/// How many writes are disturbed, evenly over the story, where `WEFT_CRASHES` says no other number; `all` is each of them in
/// every way, and `48..118` each of these.
const SAMPLE: usize = 12;

/// Each of these at each write.
const TROUBLES: [Trouble; 8] = [
    Trouble::DiesBefore,
    Trouble::DiesAfter,
    Trouble::Refused(409),
    Trouble::Refused(410),
    Trouble::Refused(429),
    Trouble::Refused(500),
    Trouble::Unanswered,
    Trouble::Stale,
];

/// What must be the same.
#[derive(Debug, Default, PartialEq)]
struct End {
    view: Option<(u64, u64, bool)>,
    /// Member, incarnation, shards.
    seats: Vec<(u32, u32, Vec<u8>)>,
    members: Vec<MemberEnd>,
    epochs: BTreeMap<String, (Option<EpochPhase>, Vec<u32>)>,
    objects: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, PartialEq)]
struct MemberEnd {
    id: u32,
    incarnation: u32,
    attempt: u32,
    state: MemberState,
    shards: Vec<u8>,
    custody: Vec<u8>,
}

impl From<&MemberStatus> for MemberEnd {
    fn from(member: &MemberStatus) -> Self {
        let MemberStatus { id, current, shards, custody, .. } = member;
        let (shards, custody) = (shards.clone(), custody.clone());
        Self { id: *id, incarnation: current.number, attempt: current.attempt, state: current.state, shards, custody }
    }
}

impl Story {
    /// A fleet begins, loses a member, restarts with another spec, is scaled down, and its committee is deleted.
    pub(crate) async fn life(mut self) -> Result<Life, Box<dyn Error>> {
        let mut ends = Vec::new();
        self.is_born().await?;
        ends.push(self.end().await?);

        take_away(&self.bench, 2).await?;
        self.rests("mended", has_mended_two).await?;
        ends.push(self.end().await?);

        self.change(json!({"template": {"resources": {"requests": {"cpu": "110m"}}}})).await?;
        self.rests("restarted", |status| {
            serves(status, 7) && status.members.iter().all(|member| member.current.attempt == 2)
        })
        .await?;
        ends.push(self.end().await?);

        self.change(json!({"members": 6})).await?;
        self.rests("six", |status| {
            serves(status, 6) && position(status).is_some_and(|(epoch, _)| epoch == 3) && status.destroying.is_empty()
        })
        .await?;
        ends.push(self.end().await?);

        let committees = self.bench.api::<StorageCommittee>();
        committees.delete(COMMITTEE, &DeleteParams::default()).await?;
        for round in 0.. {
            self.round().await?;
            if committees.get_opt(COMMITTEE).await?.is_none() {
                break;
            }
            assert!(round < LIMIT, "the committee never goes");
        }
        ends.push(self.end().await?);
        Ok(Life { ends, written: self.wire.written(), writes: self.wire.writes() })
    }

    async fn end(&self) -> Result<End, Box<dyn Error>> {
        let bench = &self.bench;
        let status = bench.api::<StorageCommittee>().get_opt(COMMITTEE).await?;
        let status = status.and_then(|committee| committee.status).unwrap_or_default();
        let mut objects = BTreeMap::new();
        objects.insert("pods".to_owned(), names::<Pod>(bench).await?);
        objects.insert("claims".to_owned(), names::<PersistentVolumeClaim>(bench).await?);
        objects.insert("secrets".to_owned(), names::<Secret>(bench).await?);
        objects.insert("services".to_owned(), names::<Service>(bench).await?);
        objects.insert("deployments".to_owned(), names::<Deployment>(bench).await?);
        objects.insert("budgets".to_owned(), names::<PodDisruptionBudget>(bench).await?);
        objects.insert("policies".to_owned(), names::<NetworkPolicy>(bench).await?);
        objects.insert("copies of the keys".to_owned(), copies(bench).await?);
        let epochs = bench.list::<Epoch>().await?.into_iter();
        let seats = status.view.iter().flat_map(|view| &view.members);
        Ok(End {
            view: status.view.as_ref().map(|view| (view.epoch, view.revision, view.in_effect)),
            seats: seats.map(|seat| (seat.id, seat.incarnation, seat.shards.clone())).collect(),
            members: status.members.iter().map(MemberEnd::from).collect(),
            epochs: epochs
                .map(|epoch| {
                    let (name, status) = (epoch.name_any(), epoch.status.unwrap_or_default());
                    (name, (status.phase, status.owners))
                })
                .collect(),
            objects,
        })
    }
}

/// What a story came to: where each of its chapters ended, what was made and deleted, and how many writes that took.
pub(crate) struct Life {
    ends: Vec<End>,
    written: BTreeMap<Written, usize>,
    writes: usize,
}

/// What the copy of the fleet's keys is like.
async fn copies(bench: &Bench) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let Some(keys) = bench.api::<Secret>().get_opt("demo-ca").await? else { return Ok(BTreeSet::new()) };
    let copy = spare_keys(bench, &keys.annotations()["weft.dev/fleet"]).await?;
    let like = |copy: Secret| if copy.data == keys.data { "the same" } else { "others" }.to_owned();
    Ok(copy.map(like).into_iter().collect())
}

async fn names<K: Object>(bench: &Bench) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let all = bench.list::<K>().await?;
    Ok(all.iter().filter(|object| object.meta().deletion_timestamp.is_none()).map(K::name_any).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_ends_the_same_whatever_befalls_the_operator_at_its_writes() -> Outcome {
    let scenario = Scenario::begins("a_fleet_ends_the_same_whatever_befalls_the_operator_at_its_writes", &[4, 15, 20]);
    let bench = Bench::shared("a-fleet-ends-the-same-whatever-befalls").await?;
    let undisturbed = Story::begin(&bench, "undisturbed", None).await?.life().await?;
    let writes = undisturbed.writes;
    println!("{writes} writes, {} objects made or deleted", undisturbed.written.len());
    let troubles = troubles(std::env::var("WEFT_CRASHES").ok().as_deref(), writes)?;
    let tell = async |(write, trouble): (usize, Trouble)| -> Outcome {
        let wrong = |what: String| format!("{trouble:?} at write {write}: {what}");
        let namespace = format!("{trouble:?}-{write}").to_lowercase().replace(['(', ')'], "");
        let story = Story::begin(&bench, &namespace, Some((write, trouble))).await?;
        let wire = story.wire.clone();
        let life = story.life().await.map_err(|error| wrong(error.to_string()))?;
        if !wire.was_disturbed() {
            return Err(wrong(format!("there were only {} writes", life.writes)).into());
        }
        for (chapter, (end, wanted)) in life.ends.iter().zip(&undisturbed.ends).enumerate() {
            if end != wanted {
                return Err(wrong(format!("chapter {chapter} ends with {end:#?}, not {wanted:#?}")).into());
            }
        }
        let different: Vec<_> = life
            .written
            .iter()
            .filter(|(what, times)| undisturbed.written.get(*what) != Some(*times))
            .chain(undisturbed.written.iter().filter(|(what, _)| !life.written.contains_key(*what)))
            .collect();
        if different.is_empty() {
            Ok(())
        } else {
            Err(wrong(format!("made or deleted otherwise: {different:?}")).into())
        }
    };
    let told: Vec<Outcome> = stream::iter(troubles).map(tell).buffer_unordered(TOGETHER).collect().await;
    let wrong: Vec<String> = told.into_iter().filter_map(|told| Some(told.err()?.to_string())).collect();
    if !wrong.is_empty() {
        return Err(format!("{} of the lives ended otherwise: {}", wrong.len(), wrong.join("; ")).into());
    }
    scenario.ends();
    Ok(())
}

/// Which trouble befalls which write: some of all, so many as are wanted, `all`, or all of some writes, as `48..118`.
fn troubles(wanted: Option<&str>, writes: usize) -> Result<Vec<(usize, Trouble)>, ParseIntError> {
    let every = |of: Range<usize>| of.flat_map(|write| TROUBLES.map(|trouble| (write, trouble))).collect();
    if wanted == Some("all") {
        return Ok(every(0..writes));
    }
    if let Some((first, end)) = wanted.and_then(|wanted| wanted.split_once("..")) {
        return Ok(every(first.parse()?..end.parse::<usize>()?.min(writes)));
    }
    let sample = wanted.map_or(Ok(SAMPLE), str::parse)?;
    let place = |turn| (2 * turn + 1) * writes / (2 * sample);
    Ok((0..sample).map(|turn| (place(turn), TROUBLES[turn % TROUBLES.len()])).collect())
}

/// With everything that an operator may look after by time: certificates, floors, epochs' moves, its own intents.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_at_rest_is_written_nothing_of_for_ten_minutes() -> Outcome {
    let scenario = Scenario::begins("a_fleet_at_rest_is_written_nothing_of_for_ten_minutes", &[2]);
    let bench = Bench::shared("a-fleet-at-rest-is-written-nothing").await?;
    let mut story = Story::begin(&bench, "quiet", None).await?;
    story.is_born().await?;
    let told = story.wire.events();
    let (before, version) = (story.wire.writes(), version_of(&story.bench).await?);
    for _ in 0..=(600 / (ASK + ROUND).as_secs()) {
        story.fleet.advance(ASK);
        story.round().await?;
    }
    assert_eq!((story.wire.writes(), version_of(&story.bench).await?), (before, version));
    assert_eq!(story.wire.events(), told);
    scenario.ends();
    Ok(())
}

async fn version_of(bench: &Bench) -> Result<Option<String>, Box<dyn Error>> {
    Ok(bench.committee(COMMITTEE).await?.resource_version())
}
