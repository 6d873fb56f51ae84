//! A committee as it was read at the beginning of a reconciliation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use thiserror::Error;
use weft_crds::{
    DeletionPolicy, MemberTemplate, Resources, StorageCommittee, StorageCommitteeSpec, StorageCommitteeStatus, Tracing,
    Upgrade,
};
use weft_protocol::{FleetId, PublicKey};
use weft_redstuff::Hash;

use crate::{api::Namespace, names};

#[derive(Debug, Error)]
#[error("committee {name} has no {field}: it was never stored")]
pub struct SubjectError {
    name: String,
    field: &'static str,
}

/// What a reconciliation is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub namespace: Namespace,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// What a write of status is conditional on.
    pub version: String,
    pub deleting: bool,
    pub spec: StorageCommitteeSpec,
    pub status: StorageCommitteeStatus,
    /// The image that this operator comes with.
    pub offered: String,
    object: StorageCommittee,
}

impl Subject {
    /// `offered` is the image that this operator comes with.
    pub fn new(client: Client, object: StorageCommittee, offered: &str) -> Result<Self, SubjectError> {
        let name = object.name_any();
        let missing = |field| SubjectError { name: name.clone(), field };
        Ok(Self {
            namespace: Namespace { client, name: object.namespace().ok_or_else(|| missing("namespace"))? },
            uid: object.uid().ok_or_else(|| missing("UID"))?,
            version: object.resource_version().ok_or_else(|| missing("resource version"))?,
            generation: object.metadata.generation.unwrap_or_default(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
            offered: offered.to_owned(),
            name,
            object,
        })
    }

    /// The same committee after a write of its status.
    pub fn written(&mut self, object: StorageCommittee) {
        if let Some(version) = object.resource_version() {
            self.version = version;
        }
        self.status = object.status.clone().unwrap_or_default();
        self.object = object;
    }

    /// The view whose rewind a person has confirmed (R26).
    pub fn confirmed_rewind(&self) -> Option<String> {
        self.object.annotations().get(names::CONFIRM_REWIND).cloned()
    }

    /// A reference that makes the committee the owner of something.
    pub fn owner(&self) -> OwnerReference {
        self.object.controller_owner_ref(&()).expect("an object with name and UID can own")
    }

    /// Who shall own an object that keeps data, by the policy: nobody, so that it outlives the committee, or the committee
    /// as well as whoever does by now. `None`: its owners are those already.
    pub fn owners_of_data(&self, of: &ObjectMeta) -> Option<Vec<OwnerReference>> {
        let owners = of.owner_references.clone().unwrap_or_default();
        let (ours, others): (Vec<_>, Vec<_>) = owners.into_iter().partition(|owner| owner.uid == self.uid);
        match self.spec.deletion_policy {
            DeletionPolicy::Retain => (!ours.is_empty()).then_some(others),
            DeletionPolicy::Delete => ours.is_empty().then(|| self.added_to(others)),
        }
    }

    /// Owners, and the committee: as their controller, if they have none.
    pub fn added_to(&self, mut owners: Vec<OwnerReference>) -> Vec<OwnerReference> {
        let controller = (!owners.iter().any(|owner| owner.controller == Some(true))).then_some(true);
        owners.push(OwnerReference { controller, ..self.owner() });
        owners
    }

    /// Whether what becomes of data may be changed now: a pause holds up what lets it go, and nothing that keeps it.
    pub fn may_settle_data(&self) -> bool {
        !self.spec.paused || self.spec.deletion_policy == DeletionPolicy::Retain
    }

    /// A person's word, set on the object.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.object.annotations().get(name).map(String::as_str)
    }

    /// For events.
    pub fn reference(&self) -> k8s_openapi::api::core::v1::ObjectReference {
        self.object.object_ref(&())
    }

    /// The image that members and gateways shall run: the spec's, the recorded one, or what this operator comes with.
    pub fn image(&self) -> &str {
        let recorded = self.status.image.as_deref();
        match (&self.spec.image, self.spec.upgrade) {
            (Some(image), _) => image,
            (None, Upgrade::Automatic) => &self.offered,
            (None, Upgrade::Manual) => recorded.unwrap_or(&self.offered),
        }
    }

    /// What this operator comes with, where members run another image that nobody has chosen: one recorded earlier.
    pub fn upgrade(&self) -> Option<&str> {
        let chosen = self.spec.image.is_some();
        (!chosen && self.image() != self.offered).then_some(&self.offered)
    }

    /// Stands for what the spec says of members' pods, by what a person has said and not by what becomes of it: pods made
    /// by another release of the operator are as good.
    pub fn inputs(&self) -> String {
        inputs(self.image(), self.spec.template.as_ref(), self.spec.tracing.as_ref())
    }

    /// The same of gateways' pods, with whose they are.
    pub fn gateway_inputs(&self, fleet: FleetId, trust: PublicKey) -> String {
        let StorageCommitteeSpec { gateway, placement, tracing, .. } = &self.spec;
        let mut said = json!({
            "owner": self.uid,
            "fleet": fleet.to_string(),
            "trust": trust.to_string(),
            "image": self.image(),
            "replicas": gateway.replicas,
            "access": gateway.access,
            "tlsSecretName": gateway.tls_secret_name,
            "zoneKey": placement.zone_key,
        });
        add(&mut said, tracing.as_ref());
        digest(said)
    }
}

/// Each part of it is named here: a field that a later release adds changes nothing for those who don't set it.
fn inputs(image: &str, template: Option<&MemberTemplate>, tracing: Option<&Tracing>) -> String {
    let MemberTemplate { resources, tolerations } = template.cloned().unwrap_or_default();
    let Resources { requests, limits } = resources.unwrap_or_default();
    let mut said = json!({"image": image, "requests": requests, "limits": limits, "tolerations": tolerations});
    add(&mut said, tracing);
    digest(said)
}

/// Says what earlier releases didn't know of, where it is set.
fn add(said: &mut serde_json::Value, tracing: Option<&Tracing>) {
    if let Some(Tracing { endpoint, sampling_rate_per_million }) = tracing {
        said["tracing"] = json!({"endpoint": endpoint, "samplingRatePerMillion": sampling_rate_per_million});
    }
}

/// Sixteen digits, whatever the order of names: two are only told apart, by whoever trusts what is digested.
fn digest(mut said: serde_json::Value) -> String {
    said.sort_all_objects();
    let mut digits = Hash::of(said.to_string().as_bytes()).to_string();
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of these restarts every member of every fleet.
    #[test]
    fn what_is_said_of_members_keeps_its_digest() {
        let template: MemberTemplate = serde_json::from_value(json!({
            "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
            "tolerations": [{"key": "storage", "operator": "Exists"}],
        }))
        .expect("a template");
        let silent = inputs("example.com/weft:1", None, None);
        assert_eq!(silent, "fc3f0f650036ee25");
        assert_eq!(inputs("example.com/weft:1", Some(&MemberTemplate::default()), None), silent);
        assert_eq!(inputs("example.com/weft:2", Some(&template), None), "39afdf0304ddf244");
        let mut tracing = Tracing { endpoint: "http://collector:4317".to_owned(), sampling_rate_per_million: None };
        let all = inputs("example.com/weft:1", None, Some(&tracing));
        tracing.sampling_rate_per_million = Some(100);
        let some = inputs("example.com/weft:1", None, Some(&tracing));
        assert_ne!(all, silent);
        assert_ne!(all, some);
    }
}
