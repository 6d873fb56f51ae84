mod found;
mod words;

use std::collections::BTreeMap;

use clap::Args;
use k8s_openapi::{
    api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use weft_crds::{StorageCommittee, names};
use weft_protocol::FleetId;

use self::{
    found::{Found, claim, found, named},
    words::{next, told},
};
use super::{Cluster, KubeOptions, recover::confirmed};
use crate::failure::{BoxError as Error, Outcome, block_on, say};

/// Take up the volumes and keys of a fleet whose namespace is gone, or its claims, or its keys
///
/// Volumes outlive the namespace of their committee, and the operator keeps a copy of its keys. This gives both back: a
/// claim for each volume, and the Secret with the keys. Whatever is there already stays as it is, so that it can be run again.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The committee that shall have them [default: the one that had]
    committee: Option<String>,
    #[command(flatten)]
    kube: KubeOptions,
    /// The operator's namespace, where the copy of the keys is
    #[arg(long, value_name = "NAMESPACE", default_value = "weft-system", help_heading = "Kubernetes")]
    operator_namespace: String,
    /// The fleet, as its volumes name it: kubectl get persistentvolumes --label-columns=weft.dev/fleet
    #[arg(long, value_name = "ID")]
    fleet: FleetId,
    /// A volume to leave alone; repeat it for several
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    except: Vec<String>,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// What is to become of a volume.
#[derive(Debug)]
struct Taking {
    found: Found,
    claim: PersistentVolumeClaim,
    /// The claim's UID; `None`: it has to be made.
    uid: Option<String>,
    /// Whether the volume is bound to something else that is gone.
    held: bool,
}

impl Taking {
    fn is_done(&self) -> bool {
        self.uid.is_some() && !self.held
    }
}

/// Where the keys are.
enum Keys {
    /// In their place.
    There,
    /// To be made of a copy.
    Restored(Box<Secret>),
}

impl Adopt {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            let to = Heir { cluster: self.kube.connect().await?, fleet: self.fleet };
            let volumes: Api<PersistentVolume> = Api::all(to.cluster.client.clone());
            let labelled = ListParams::default().labels(&format!("{}={}", names::FLEET, self.fleet));
            let found = found(volumes.list(&labelled).await?.items, &self.except)?;
            let committee = named(self.committee.as_deref(), &found, self.fleet)?;
            let existing = to.cluster.api::<StorageCommittee>().get_opt(&committee).await?;
            is_free(existing.as_ref(), self.fleet)?;
            let keys = to.keys(&committee, &self.operator_namespace).await?;
            let mut taking = Vec::new();
            for found in found {
                taking.push(to.taking(found, &committee).await?);
            }
            is_new_to_it(existing.as_ref(), &taking)?;
            say(format_args!("{}", told(&taking, &keys, &to.cluster.namespace, &committee).trim_end()));
            if matches!(keys, Keys::Restored(_)) || !taking.iter().all(Taking::is_done) {
                if !self.yes && !confirmed()? {
                    return Err("nothing was changed".into());
                }
                to.take(keys, taking.iter()).await?;
            }
            let next = next(existing.as_ref(), &taking, &to.cluster.namespace, &committee, self.fleet);
            say(format_args!("{}", next.trim_end()));
            Ok(())
        })
    }
}

/// A committee that has another fleet can't take this one up.
fn is_free(committee: Option<&StorageCommittee>, fleet: FleetId) -> Outcome {
    let Some(committee) = committee else { return Ok(()) };
    let status = committee.status.as_ref().and_then(|status| status.fleet_id.as_ref());
    let other = status.or(committee.spec.fleet_id.as_ref()).filter(|other| **other != fleet.to_string());
    other.map_or(Ok(()), |other| {
        let name = committee.name_any();
        Err(format!("committee {name} has fleet {other}: choose another name, kubectl weft adopt NAME").into())
    })
}

/// A committee that has recorded its fleet knows claims by their UIDs: to it, a claim that is made again is another one, and
/// what it held is lost.
fn is_new_to_it(committee: Option<&StorageCommittee>, taking: &[Taking]) -> Outcome {
    let knows =
        |committee: &&StorageCommittee| committee.status.as_ref().is_some_and(|status| status.fleet_id.is_some());
    let (Some(committee), Some(gone)) = (committee.filter(knows), taking.iter().find(|taking| !taking.is_done()))
    else {
        return Ok(());
    };
    let (name, claim, volume) = (committee.name_any(), gone.claim.name_any(), gone.found.volume.name_any());
    Err(format!(
        "committee {name} is there, and has noted that claim {claim} of volume {volume} is gone. Leave the volume out with \
         --except, if its member is replaced; or see that spec.deletionPolicy is Retain, delete the committee, and try again"
    )
    .into())
}

/// Who shall have a fleet.
struct Heir {
    cluster: Cluster,
    fleet: FleetId,
}

impl Heir {
    /// The fleet's keys: in their place, or the copy that the operator keeps.
    async fn keys(&self, committee: &str, home: &str) -> Result<Keys, Error> {
        let (name, copied) = (names::authority(committee), names::spare_keys(&self.fleet));
        let copy = Api::<Secret>::namespaced(self.cluster.client.clone(), home).get_opt(&copied).await?;
        if let Some(there) = self.cluster.api::<Secret>().get_opt(&name).await? {
            let theirs = there.annotations().get(names::FLEET).cloned().unwrap_or_default();
            if theirs != self.fleet.to_string() {
                return Err(
                    format!("Secret {name} has the keys of another fleet, {theirs:?}: choose another name").into()
                );
            }
            if copy.is_some_and(|copy| copy.data != there.data) {
                return Err(format!(
                    "Secret {name} isn't what Secret {home}/{copied} is a copy of: see which is right"
                )
                .into());
            }
            return Ok(Keys::There);
        }
        let copy = copy.ok_or_else(|| {
            format!(
                "there is no copy of the fleet's keys, Secret {home}/{copied}, and without them its data can't be read: name the \
                 operator's namespace, or restore Secret {name} in namespace {} from a backup, and try again",
                self.cluster.namespace
            )
        })?;
        Ok(Keys::Restored(Box::new(restored(&copy, committee, self.fleet))))
    }

    /// What it takes to give a volume to its claim here. Fails where somebody else has either.
    async fn taking(&self, found: Found, committee: &str) -> Result<Taking, Error> {
        let namespace = &self.cluster.namespace;
        let claim = claim(&found, committee, namespace, self.fleet);
        let (name, volume) = (claim.name_any(), found.volume.name_any());
        let there = self.cluster.api::<PersistentVolumeClaim>().get_opt(&name).await?;
        if let Some(there) = &there {
            let has = there.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
            if has != volume {
                return Err(format!("claim {name} is there, and has volume {has:?} instead of {volume}").into());
            }
            if there.metadata.deletion_timestamp.is_some() {
                return Err(format!("claim {name} is being deleted: try again when it is gone").into());
            }
        }
        let uid = there.as_ref().and_then(ResourceExt::uid);
        let held_by = found.volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()).unwrap_or_default();
        let is_ours = (held_by.namespace.as_ref(), held_by.name.as_ref()) == (Some(namespace), Some(&name));
        let right = is_ours && (held_by.uid.is_none() || held_by.uid == uid);
        if !right {
            self.is_let_go(&volume, &held_by).await?;
        }
        Ok(Taking { uid, held: !right, found, claim })
    }

    /// Fails while the claim lives that has a volume.
    async fn is_let_go(&self, volume: &str, by: &ObjectReference) -> Outcome {
        let (Some(namespace), Some(name)) = (&by.namespace, &by.name) else { return Ok(()) };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.cluster.client.clone(), namespace);
        match claims.get_opt(name).await? {
            Some(claim) if by.uid.is_none() || claim.uid() == by.uid => Err(format!(
                "claim {name} in namespace {namespace} has volume {volume}: what is in use can't be taken up"
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// Claims first: a committee that waits for its keys makes no claim of its own before it has them. That the keys will be
    /// taken is known before anything is let go of.
    async fn take(&self, keys: Keys, all: impl Iterator<Item = &Taking>) -> Outcome {
        let secrets = self.cluster.api::<Secret>();
        if let Keys::Restored(keys) = &keys {
            secrets.create(&PostParams { dry_run: true, ..PostParams::default() }, keys).await?;
        }
        for taking in all.filter(|taking| !taking.is_done()) {
            let (name, volume) = (taking.claim.name_any(), taking.found.volume.name_any());
            self.give(taking, &name, &volume).await.map_err(|error| {
                format!("give volume {volume} to claim {name}: {error}. What was done before stands: try again")
            })?;
            say(format_args!("claim {name} takes volume {volume}"));
        }
        if let Keys::Restored(keys) = keys {
            secrets.create(&PostParams::default(), &keys).await?;
            say(format_args!("Secret {} has the keys", keys.name_any()));
        }
        Ok(())
    }

    async fn give(&self, taking: &Taking, name: &str, volume: &str) -> Result<(), kube::Error> {
        if taking.held {
            // On the condition that nobody wrote in between. Nobody but the claim of that name may have it.
            let change = json!({
                "metadata": {"resourceVersion": taking.found.volume.resource_version()},
                "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": self.cluster.namespace, "name": name, "uid": taking.uid, "resourceVersion": null}},
            });
            let volumes: Api<PersistentVolume> = Api::all(self.cluster.client.clone());
            volumes.patch(volume, &PatchParams::default(), &Patch::Merge(change)).await?;
        }
        if taking.uid.is_none() {
            self.cluster.api::<PersistentVolumeClaim>().create(&PostParams::default(), &taking.claim).await?;
        }
        Ok(())
    }
}

/// The Secret with a committee's keys, made of a copy.
fn restored(copy: &Secret, committee: &str, fleet: FleetId) -> Secret {
    let term = copy.annotations().get(names::TERM).map(|term| (names::TERM.to_owned(), term.clone()));
    let annotations: BTreeMap<_, _> = [(names::FLEET.to_owned(), fleet.to_string())].into_iter().chain(term).collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(names::authority(committee)),
            labels: Some(names::labels(committee)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        data: copy.data.clone(),
        type_: copy.type_.clone(),
        ..Secret::default()
    }
}
