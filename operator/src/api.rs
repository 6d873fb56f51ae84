//! Calls of the API server, with what was being done in the error.

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, Status},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use thiserror::Error;

use crate::names;

/// A call of the API server that failed.
#[derive(Debug, Error)]
#[error("{verb} {kind} {name}")]
pub struct ApiError {
    pub verb: &'static str,
    pub kind: String,
    pub name: String,
    pub source: Cause,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum Cause {
    /// The API server has answered.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// It hasn't, or nothing that could be understood.
    #[error(transparent)]
    Failed(Box<kube::Error>),
}

impl From<kube::Error> for Cause {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Failed(Box::new(other)),
        }
    }
}

impl Cause {
    /// The HTTP status code of an answer.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            Self::Failed(_) => None,
        }
    }
}

impl ApiError {
    /// Whether someone else changed the object first.
    pub fn is_conflict(&self) -> bool {
        self.source.code() == Some(409)
    }

    /// Whether the API server won't have it, whatever else goes on: a quota, a policy, an object that it finds wrong.
    pub fn is_refusal(&self) -> bool {
        matches!(self.source, Cause::Refused(_)) && !self.is_conflict() && !self.is_namespace_ending()
    }

    /// Whether this operator may not, a quota or a policy is against it, or it is found wrong: never by chance.
    pub fn is_denied(&self) -> bool {
        matches!(self.source.code(), Some(400 | 403 | 422)) && !self.is_namespace_ending()
    }

    /// Whether the API server knows no such object, or no such kind.
    pub fn is_absent(&self) -> bool {
        self.source.code() == Some(404)
    }

    /// Whether the namespace is being deleted: nothing new is to be made in it, and everything in it goes.
    pub fn is_namespace_ending(&self) -> bool {
        let Cause::Refused(status) = &self.source else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error of a call that was made of the API server.
pub(crate) fn error<K: Resource<DynamicType = ()>>(
    verb: &'static str,
    name: &str,
) -> impl FnOnce(kube::Error) -> ApiError {
    let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
    move |source| ApiError { verb, kind, name, source: source.into() }
}

/// What every call here works on.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// One namespace of the cluster.
#[derive(Clone)]
pub struct Namespace {
    pub client: Client,
    pub name: String,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Namespace {
    pub fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Reads an object, live; `None` if there is none.
    pub async fn get<K: Object>(&self, name: &str) -> Result<Option<K>, ApiError> {
        self.api().get_opt(name).await.map_err(error::<K>("get", name))
    }

    /// Lists objects by labels, live.
    pub async fn list<K: Object>(&self, labels: &str) -> Result<Vec<K>, ApiError> {
        let params = kube::api::ListParams::default().labels(labels);
        Ok(self.api().list(&params).await.map_err(error::<K>("list", labels))?.items)
    }

    /// Makes an object; that it exists already is as good. Returns whether it was made now.
    pub async fn create<K: Object>(&self, object: &K) -> Result<bool, ApiError> {
        let name = object.name_any();
        match self.api().create(&PostParams::default(), object).await {
            Ok(_) => Ok(true),
            Err(source) if code(&source) == Some(409) => Ok(false),
            Err(source) => Err(error::<K>("create", &name)(source)),
        }
    }

    /// Puts an object in the place of what was read: of that very version, if it names one.
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, ApiError> {
        let name = object.name_any();
        self.api().replace(&name, &PostParams::default(), object).await.map_err(error::<K>("replace", &name))
    }

    /// Merges a change into an object.
    pub async fn merge<K: Object>(&self, name: &str, change: &serde_json::Value) -> Result<K, ApiError> {
        let params = PatchParams::default();
        self.api().patch(name, &params, &Patch::Merge(change)).await.map_err(error::<K>("patch", name))
    }

    /// Merges a change into an object's status. A `metadata.resourceVersion` in it makes it a compare-and-swap.
    pub async fn merge_status<K: Object>(&self, name: &str, change: &serde_json::Value) -> Result<K, ApiError> {
        let params = PatchParams::default();
        self.api()
            .patch_status(name, &params, &Patch::Merge(change))
            .await
            .map_err(error::<K>("patch the status of", name))
    }

    /// Makes an object as it is written down here, whoever changed it.
    pub async fn apply<K: Object>(&self, object: &K) -> Result<K, ApiError> {
        let name = object.name_any();
        let params = PatchParams::apply("weft-operator").force();
        self.api().patch(&name, &params, &Patch::Apply(object)).await.map_err(error::<K>("apply", &name))
    }

    /// Deletes an object as it was read: not a namesake, and not if it changed since. That it is gone is as good.
    pub async fn delete_as_read<K: Object>(&self, read: &K) -> Result<(), ApiError> {
        let name = read.name_any();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: read.meta().uid.clone(),
                resource_version: read.meta().resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(source) if code(&source) == Some(404) => Ok(()),
            Err(source) => Err(error::<K>("delete", &name)(source)),
        }
    }

    /// Marks the object of that name and UID with a term, which changes its resource version: a deletion that was
    /// decided on an earlier read fails from now on, and one that is decided on a later read finds the mark. That it
    /// is gone, or a namesake has come, is as good.
    pub async fn touch<K: Object>(&self, name: &str, uid: &str, term: u64) -> Result<(), ApiError> {
        loop {
            let live: Option<K> = self.get(name).await?;
            let Some(live) = live.filter(|live| live.uid().as_deref() == Some(uid)) else { return Ok(()) };
            let change = json!({"metadata": {
                "uid": uid,
                "resourceVersion": live.resource_version(),
                "annotations": {names::TOUCHED: term.to_string()},
            }});
            match self.merge::<K>(name, &change).await {
                Ok(_) => return Ok(()),
                Err(ApiError { source, .. }) if source.code() == Some(404) => return Ok(()),
                // It changed since it was read: it is read again.
                Err(error) if error.is_conflict() => {}
                Err(other) => return Err(other),
            }
        }
    }
}
