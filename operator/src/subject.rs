//! A committee as it was read at the beginning of a reconciliation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Client, Resource, ResourceExt};
use thiserror::Error;
use weft_crds::{StorageCommittee, StorageCommitteeSpec, StorageCommitteeStatus};

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
    object: StorageCommittee,
}

impl Subject {
    pub fn new(client: Client, object: StorageCommittee) -> Result<Self, SubjectError> {
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

    /// A person's word, set on the object.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.object.annotations().get(name).map(String::as_str)
    }

    /// For events.
    pub fn reference(&self) -> k8s_openapi::api::core::v1::ObjectReference {
        self.object.object_ref(&())
    }

    /// The image that members and gateways run: the spec's, the recorded one, or `default`.
    pub fn image<'a>(&'a self, default: &'a str) -> &'a str {
        let recorded = self.status.image.as_deref();
        match (&self.spec.image, self.spec.upgrade) {
            (Some(image), _) => image,
            (None, weft_crds::Upgrade::Automatic) => default,
            (None, weft_crds::Upgrade::Manual) => recorded.unwrap_or(default),
        }
    }
}
