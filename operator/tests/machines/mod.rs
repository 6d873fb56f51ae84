//! Machines for a story: scheduler, provisioner, kubelets and the controllers behind them, as far as their work shows in
//! objects. Volumes are local: each is on the machine that its pod was made for, and goes with it.

use std::{collections::BTreeSet, error::Error};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{Bench, Outcome, members};

/// Claims that pods use aren't let go.
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The class of claims that name none: its volumes can grow.
pub(crate) async fn make_class(client: &Client) -> Outcome {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.com/none", "allowVolumeExpansion": true,
    }))?;
    Api::all(client.clone()).create(&PostParams::default(), &class).await?;
    Ok(())
}

pub(crate) struct Machines {
    bench: Bench,
    names: Vec<String>,
    off: BTreeSet<String>,
    /// Nothing new finds room.
    pub(crate) full: bool,
    /// No image of this name is to be had.
    pub(crate) unknown: Option<String>,
}

impl Machines {
    /// So many machines, each in a zone of its own but that the last zones wrap around after `zones`.
    pub(crate) async fn make(bench: &Bench, count: usize, zones: usize) -> Result<Self, Box<dyn Error>> {
        let names: Vec<String> = (0..count).map(|number| format!("{}-machine-{number}", bench.namespace)).collect();
        for (number, name) in names.iter().enumerate() {
            let labels = json!({"kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": format!("zone-{}", number % zones)});
            let node: Node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
            nodes(bench).create(&PostParams::default(), &node).await?;
            say(bench, name, "True").await?;
        }
        let bench = bench.beside(&bench.namespace);
        Ok(Self { bench, names, off: BTreeSet::new(), full: false, unknown: None })
    }

    /// The machine of a member's newest pod.
    pub(crate) async fn of(&self, member: u32) -> Result<String, Box<dyn Error>> {
        let pods = self.pods().await?;
        let theirs = pods.iter().filter(|pod| number(*pod, "weft.dev/member") == Some(member));
        let newest = theirs.max_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
        newest.and_then(node_of).ok_or_else(|| format!("member {member} is nowhere").into())
    }

    /// Members and incarnations on a machine.
    pub(crate) async fn on(&self, machine: &str) -> Result<Vec<(u8, u8)>, Box<dyn Error>> {
        let pods = self.pods().await?;
        Ok(pods.iter().filter(|pod| node_of(pod).as_deref() == Some(machine)).filter_map(who).collect())
    }

    /// A machine's kubelet is heard no more. Whether its pods are, is the fleet's.
    pub(crate) async fn cut(&mut self, machine: &str) -> Outcome {
        self.off.insert(machine.to_owned());
        say(&self.bench, machine, "Unknown").await
    }

    /// It is heard again.
    pub(crate) async fn mend(&mut self, machine: &str) -> Outcome {
        self.off.remove(machine);
        say(&self.bench, machine, "True").await
    }

    /// Its Node is deleted, and with it, by Kubernetes, its pods.
    pub(crate) async fn delete(&mut self, machine: &str) -> Outcome {
        self.names.retain(|name| name != machine);
        nodes(&self.bench).delete(machine, &DeleteParams::default()).await?;
        for pod in self.pods().await?.iter().filter(|pod| node_of(pod).as_deref() == Some(machine)) {
            self.remove(pod).await?;
        }
        Ok(())
    }

    async fn pods(&self) -> Result<Vec<Pod>, Box<dyn Error>> {
        self.bench.list().await
    }

    async fn remove(&self, pod: &Pod) -> Outcome {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.bench.api::<Pod>().delete(&pod.name_any(), &at_once).await?;
        Ok(())
    }

    /// One turn: what is new is scheduled, provisioned and started, and what ends, ends.
    pub(crate) async fn play(&self) -> Outcome {
        run_gateways(&self.bench).await?;
        for pod in self.pods().await? {
            match node_of(&pod) {
                None if pod.metadata.deletion_timestamp.is_none() => self.schedule(&pod).await?,
                Some(machine) if !self.off.contains(&machine) => self.tend(&pod).await?,
                _ => {}
            }
        }
        self.tend_claims().await
    }

    /// Where its volume is; else the emptiest machine that it doesn't keep off.
    async fn schedule(&self, pod: &Pod) -> Outcome {
        let claims = self.bench.api::<PersistentVolumeClaim>();
        let Some(claim) =
            claims.get_opt(&claim_of(pod)?).await?.filter(|claim| claim.metadata.deletion_timestamp.is_none())
        else {
            return self.wait(pod).await;
        };
        let machine = match claim.annotations().get("example.com/machine") {
            Some(machine) if self.off.contains(machine) || !self.names.contains(machine) => {
                return self.wait(pod).await;
            }
            Some(machine) => machine.clone(),
            None if self.full => return self.wait(pod).await,
            None => {
                let machine = self.emptiest(pod).await?;
                provision(&self.bench, &claim, &machine).await?;
                machine
            }
        };
        let name = pod.name_any();
        let binding: k8s_openapi::api::core::v1::Binding = serde_json::from_value(json!({
            "metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": machine},
        }))?;
        let pods = self.bench.api::<Pod>();
        let _: Value = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        Ok(())
    }

    async fn wait(&self, pod: &Pod) -> Outcome {
        let waits = json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no machine is left"}]}});
        let name = pod.name_any();
        self.bench.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(waits)).await?;
        Ok(())
    }

    async fn emptiest(&self, pod: &Pod) -> Result<String, Box<dyn Error>> {
        let avoided = serde_json::to_string(&pod.spec.as_ref().and_then(|spec| spec.affinity.clone()))?;
        let pods = self.pods().await?;
        let load = |name: &&String| pods.iter().filter(|pod| node_of(pod).as_ref() == Some(*name)).count();
        let open =
            self.names.iter().filter(|name| !self.off.contains(*name) && !avoided.contains(&format!("{name:?}")));
        open.min_by_key(load).cloned().ok_or_else(|| "no machine is left".into())
    }

    /// What its kubelet does for a pod.
    async fn tend(&self, pod: &Pod) -> Outcome {
        if pod.metadata.deletion_timestamp.is_some() {
            return self.remove(pod).await;
        }
        let Some((member, incarnation)) = who(pod) else { return Ok(()) };
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        if conditions.into_iter().flatten().any(|said| said.type_ == "Ready" && said.status == "True") {
            return Ok(());
        }
        let name = pod.name_any();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        if let Some(lacks) = containers.into_iter().find(|one| one.image.is_some() && one.image == self.unknown) {
            let waits = json!({"status": {"containerStatuses": [{"name": lacks.name, "image": lacks.image, "imageID": "",
                "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}]}});
            self.bench.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(waits)).await?;
            return Ok(());
        }
        let ip = members::address(u32::from(member), u32::from(incarnation));
        let runs = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
            {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]}});
        self.bench.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(runs)).await?;
        Ok(())
    }

    /// Claims grow as they ask to, and those that go do so once no pod uses them.
    async fn tend_claims(&self) -> Outcome {
        let (claims, pods) = (self.bench.api::<PersistentVolumeClaim>(), self.pods().await?);
        for claim in self.bench.list::<PersistentVolumeClaim>().await? {
            let name = claim.name_any();
            let used = pods.iter().any(|pod| claim_of(pod).is_ok_and(|used| used == name));
            if claim.metadata.deletion_timestamp.is_some() && !used {
                let finalizers: Vec<_> = claim.finalizers().iter().filter(|name| *name != PROTECTION).collect();
                if finalizers.len() < claim.finalizers().len() {
                    let left = json!({"metadata": {"uid": claim.uid(), "finalizers": finalizers}});
                    claims.patch(&name, &PatchParams::default(), &Patch::Merge(left)).await?;
                }
            } else if let Some(grown) = grown(&claim) {
                claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(grown)).await?;
            }
        }
        Ok(())
    }
}

fn nodes(bench: &Bench) -> Api<Node> {
    Api::all(bench.client.clone())
}

/// What Kubernetes says of a machine.
async fn say(bench: &Bench, machine: &str, ready: &str) -> Outcome {
    let now = jiff::Timestamp::now().to_string();
    let said = json!({"status": {"conditions": [
        {"type": "Ready", "status": ready, "reason": "Said", "lastTransitionTime": now, "lastHeartbeatTime": now}]}});
    nodes(bench).patch_status(machine, &PatchParams::default(), &Patch::Strategic(said)).await?;
    Ok(())
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

fn claim_of(pod: &Pod) -> Result<String, Box<dyn Error>> {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = volumes.find_map(|volume| volume.persistent_volume_claim.as_ref()).ok_or("a pod without a claim")?;
    Ok(claim.claim_name.clone())
}

fn number<K: ResourceExt>(object: &K, label: &str) -> Option<u32> {
    object.labels().get(label)?.parse().ok()
}

fn who(pod: &Pod) -> Option<(u8, u8)> {
    Some((number(pod, "weft.dev/member")? as u8, number(pod, "weft.dev/incarnation")? as u8))
}

/// Gateways run as their Deployment says.
async fn run_gateways(bench: &Bench) -> Outcome {
    for deployment in bench.list::<Deployment>().await? {
        let (wanted, seen) = (deployment.spec.replicas, deployment.metadata.generation);
        if deployment.status.as_ref().and_then(|status| status.observed_generation) != seen {
            let runs = json!({"status": {"observedGeneration": seen, "replicas": wanted, "updatedReplicas": wanted,
                "readyReplicas": wanted, "availableReplicas": wanted}});
            let deployments = bench.api::<Deployment>();
            deployments.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(runs)).await?;
        }
    }
    Ok(())
}

/// Makes a volume on a machine, and binds it.
async fn provision(bench: &Bench, claim: &PersistentVolumeClaim, machine: &str) -> Outcome {
    let (name, spec) = (claim.name_any(), claim.spec.clone().unwrap_or_default());
    let asked = asked(claim).ok_or("a claim of no size")?;
    let here = json!([{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [machine]}]}]);
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": format!("pv-{}", claim.uid().ok_or("no UID")?)},
        "spec": {
            "capacity": {"storage": asked}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/nowhere"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": here}},
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": spec.storage_class_name,
            "claimRef": {"namespace": bench.namespace, "name": name, "uid": claim.uid()},
        },
    }))?;
    let volume = Api::all(bench.client.clone()).create(&PostParams::default(), &volume).await?;
    let claims = bench.api::<PersistentVolumeClaim>();
    let bound = json!({"metadata": {"annotations": {"example.com/machine": machine}},
        "spec": {"volumeName": volume.name_any()}});
    claims.patch(&name, &PatchParams::default(), &Patch::Merge(bound)).await?;
    let has = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": asked}}});
    claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(has)).await?;
    Ok(())
}

fn asked(claim: &PersistentVolumeClaim) -> Option<Value> {
    let asked = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?;
    Some(json!(asked))
}

/// The status of a bound claim whose volume is as large as asked, where it isn't yet.
fn grown(claim: &PersistentVolumeClaim) -> Option<Value> {
    let (asked, has) = (asked(claim)?, claim.status.as_ref()?.capacity.as_ref()?.get("storage")?);
    (json!(has) != asked).then(|| json!({"status": {"capacity": {"storage": asked}}}))
}
