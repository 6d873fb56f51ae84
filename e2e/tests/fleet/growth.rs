//! Volumes grow while members use them and clients read and write, also where what lets them grow was away meanwhile. Those
//! that may not are told of, and replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use weft_crds::{MemberState, MemberStatus, QuantityText, committee_condition};
use weft_e2e::demo::{Meter, Run, Scale, Snapshot};
use weft_e2e::{Cluster, wait_until};

use crate::load::under_load;
use crate::scenarios::or_dump;
use crate::settle::{LIMIT, kubectl, member, only_members_claims, patch, settled};
use crate::theatre::{Outcome, Theatre};

const GROWING: Scale = Scale { storage: "{size: 1Gi, storageClassName: growing}", ..Scale::SMALL };
const GIB: u64 = 1 << 30;
const REPLACED: [u32; 2] = [2, 4];
/// How the API server calls a claim that may not grow.
const FORBIDDEN: &str = "must support resize";

pub(crate) fn online(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        theatre.stage()?.with_cluster(Cluster::offer_growth).await?;
        let run = theatre.run("growth", GROWING).await?;
        under_load(&run, Box::pin(grow(&run))).await?;
        or_dump(&run, only_members_claims(&run)).await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

async fn grow(run: &Run) -> Outcome {
    let before = Seen::now(run).await?;
    assert!(before.claims.values().all(|bytes| *bytes == GIB), "{before:?}");
    let second = by_itself(run, &before).await?;
    let third = after_a_pause(run, &second).await?;
    where_it_may(run, &third).await
}

/// What is asked for comes about, and Ready is false from the beginning until it has.
async fn by_itself(run: &Run, before: &Seen) -> Result<Seen, Box<dyn Error>> {
    let grows = |now: &Snapshot| {
        said(now, committee_condition::READY, "False").is_some_and(|(reason, _)| reason == "VolumesGrow")
    };
    let told = run.fleet.observer().wait("volumes that grow", LIMIT, grows);
    ask(run, 2).await?;
    let (_, now) = tokio::try_join!(async { Ok::<_, Box<dyn Error>>(told.await?) }, grown(run, 2, before))?;
    Ok(now)
}

/// It is asked for while nobody is there to do it, and comes about once somebody is.
async fn after_a_pause(run: &Run, before: &Seen) -> Result<Seen, Box<dyn Error>> {
    let stage = run.fleet.stage();
    stage.with_cluster(Cluster::stop_resizer).await?;
    ask(run, 3).await?;
    let all_wait = |now: &Snapshot| {
        said(now, committee_condition::READY, "False").is_some_and(|(reason, message)| {
            reason == "VolumesGrow" && message.contains(" of 3Gi") && message.ends_with("; and 6 more")
        })
    };
    run.fleet.observer().wait("all claims asking for more", LIMIT, all_wait).await?;
    let meanwhile = Seen::now(run).await?;
    assert_eq!((&meanwhile.claims, &meanwhile.sizes), (&before.claims, &before.sizes));
    stage.with_cluster(Cluster::start_resizer).await?;
    grown(run, 3, before).await
}

/// A class whose volumes may not grow: that is told in the API server's words, and keeps nobody from having a new claim.
async fn where_it_may(run: &Run, before: &Seen) -> Outcome {
    let old = volumes(run, &REPLACED).await?;
    allow(run, false).await?;
    refuses(run, before).await?;
    ask(run, 4).await?;
    let refused = |now: &Snapshot| {
        said(now, committee_condition::STALLED, "True").is_some_and(|(reason, message)| {
            reason == "Refused" && message.starts_with("GrowClaim ") && message.contains(FORBIDDEN)
        })
    };
    let now = run.fleet.observer().wait("a refusal", LIMIT, refused).await?;
    assert!(now.members().iter().all(|member| member.current.state == MemberState::Serving), "{:?}", now.members());

    let wanted = REPLACED.map(|id| format!(r#"{{"member": {id}, "incarnation": 1}}"#)).join(", ");
    patch(run, &format!(r#"{{"spec": {{"replace": [{wanted}]}}}}"#)).await?;
    let anew = |member: &MemberStatus| {
        let serves = member.current.state == MemberState::Serving && !member.shards.is_empty();
        serves && member.current.number == 2 && member.successor.is_none()
    };
    let replaced = |now: &Snapshot| REPLACED.iter().all(|id| member(now, *id).is_some_and(anew));
    let now = run.fleet.observer().wait("members on new claims", LIMIT, |now| replaced(now) && refused(now)).await?;
    let meanwhile = Seen::now(run).await?;
    for one in now.members() {
        let expected = if REPLACED.contains(&one.id) { 4 * GIB } else { 3 * GIB };
        let claim = one.claim.as_deref().ok_or("a claim")?;
        assert_eq!(meanwhile.claims.get(claim), Some(&expected), "{claim}");
    }

    allow(run, true).await?;
    // The new ones have their size, and no pod restarts any more.
    let sized = |(id, bytes): (&u32, &u64)| (*id, if REPLACED.contains(id) { 0 } else { *bytes });
    let kept = Seen { pods: meanwhile.pods, sizes: before.sizes.iter().map(sized).collect(), ..before.clone() };
    grown(run, 4, &kept).await?;
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    for volume in old {
        kubectl(run, &["wait", "--for=delete", &format!("pv/{volume}"), &limit]).await?;
    }
    Ok(())
}

/// The names of some members' volumes.
async fn volumes(run: &Run, members: &[u32]) -> Result<Vec<String>, Box<dyn Error>> {
    let snapshot = run.fleet.observer().now();
    let api = Api::<PersistentVolumeClaim>::namespaced(run.fleet.stage().client().clone(), run.fleet.namespace());
    let mut volumes = Vec::new();
    for id in members {
        let claim = member(&snapshot, *id).and_then(|member| member.claim.as_deref()).ok_or("a claim")?;
        volumes.push(api.get(claim).await?.spec.and_then(|spec| spec.volume_name).ok_or("a volume")?);
    }
    Ok(volumes)
}

/// Waits until every claim has so many GiB, and its member says so; and nobody was restarted for it since `before`.
async fn grown(run: &Run, gib: u64, before: &Seen) -> Result<Seen, Box<dyn Error>> {
    let wanted = |now: &Snapshot| {
        now.committee.as_ref().is_some_and(|committee| committee.spec.storage.size.as_str() == format!("{gib}Gi"))
    };
    settled(run, &format!("volumes of {gib} GiB"), wanted).await?;
    let now = Seen::now(run).await?;
    assert_eq!(now.members, before.members, "members");
    assert_eq!(now.pods, before.pods, "no pod was made anew, and no container");
    let of_members = now.claims.iter().filter(|(claim, _)| now.used.contains(*claim));
    let too_small: Vec<_> = of_members.filter(|(_, bytes)| **bytes != gib * GIB).collect();
    assert!(too_small.is_empty(), "{too_small:?}");
    for (id, bytes) in &now.sizes {
        let was = before.sizes.get(id).copied().unwrap_or_default();
        // A filesystem keeps a few hundredths for its own.
        let more = bytes - was;
        assert!(more > GIB * 9 / 10 && *bytes > gib * GIB * 9 / 10, "member {id} had {was} bytes, and has {bytes}");
    }
    println!("grown to {gib} GiB: {:?}", now.sizes);
    Ok(now)
}

/// What there is of a fleet's volumes at one moment.
#[derive(Clone, Debug)]
struct Seen {
    /// Of every claim, what it has: bytes.
    claims: BTreeMap<String, u64>,
    /// The members' own claims.
    used: BTreeSet<String>,
    /// What members say of the size of their volumes' filesystems: bytes.
    sizes: BTreeMap<u32, u64>,
    /// The UIDs of members' pods, and how often their containers began anew.
    pods: BTreeSet<(String, i32)>,
    members: usize,
}

impl Seen {
    async fn now(run: &Run) -> Result<Self, Box<dyn Error>> {
        let snapshot = run.fleet.observer().now();
        let meter = Meter::begin(&run.fleet).await?;
        let members = snapshot.members().iter();
        // Not those of replaced incarnations, which end by and by.
        let named = |pod: &&Pod| members.clone().any(|member| member.pod.as_deref() == pod.metadata.name.as_deref());
        let pods = snapshot.component("member").filter(named);
        let size =
            |member: &MemberStatus| meter.of(member.pod.as_deref().unwrap_or_default(), "weft_store_capacity_bytes");
        Ok(Self {
            claims: claims(run).await?,
            used: members.clone().filter_map(|member| member.claim.clone()).collect(),
            sizes: members.clone().map(|member| (member.id, size(member))).collect(),
            pods: pods.map(|pod| (pod.uid().unwrap_or_default(), restarts(pod))).collect(),
            members: snapshot.members().len(),
        })
    }
}

async fn claims(run: &Run) -> Result<BTreeMap<String, u64>, kube::Error> {
    let api = Api::<PersistentVolumeClaim>::namespaced(run.fleet.stage().client().clone(), run.fleet.namespace());
    let listed = api.list(&ListParams::default()).await?;
    let has = |claim: &PersistentVolumeClaim| {
        let quantity = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
        QuantityText::new(quantity.0.clone()).bytes().ok()
    };
    Ok(listed.iter().map(|claim| (claim.name_any(), has(claim).unwrap_or_default())).collect())
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

/// A condition's reason and message, where it has that status.
fn said<'s>(snapshot: &'s Snapshot, kind: &str, status: &str) -> Option<(&'s str, &'s str)> {
    let conditions = &snapshot.status()?.conditions;
    let found = conditions.iter().find(|found| found.type_ == kind && found.status == status)?;
    Some((&found.reason, &found.message))
}

async fn ask(run: &Run, gib: u64) -> Outcome {
    patch(run, &format!(r#"{{"spec": {{"storage": {{"size": "{gib}Gi"}}}}}}"#)).await
}

/// Says whether claims of the class may grow.
async fn allow(run: &Run, grow: bool) -> Outcome {
    let change = format!(r#"{{"allowVolumeExpansion": {grow}}}"#);
    kubectl(run, &["patch", "storageclass", "growing", "--type=merge", "-p", &change]).await
}

/// Waits until the API server has taken note of it: it looks at a copy of its own when a claim is to grow.
async fn refuses(run: &Run, seen: &Seen) -> Outcome {
    let namespace = run.fleet.namespace().to_owned();
    let claim = seen.used.first().ok_or("a claim")?.clone();
    let more = r#"{"spec": {"resources": {"requests": {"storage": "100Gi"}}}}"#;
    let tried = move |cluster: &Cluster| {
        let patch = ["--namespace", &namespace, "patch", "pvc", &claim, "--dry-run=server", "--type=merge", "-p", more];
        wait_until("the API server to refuse growth", LIMIT, || match cluster.kubectl().run(&patch) {
            Err(error) if error.to_string().contains(FORBIDDEN) => Ok(Some(())),
            Err(error) => Err(error.to_string()),
            Ok(_) => Ok(None),
        })?;
        Ok(())
    };
    Ok(run.fleet.stage().with_cluster(tried).await?)
}
