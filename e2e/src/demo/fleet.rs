//! One committee in a namespace of its own.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::corpus::Scale;
use super::observe::{Observer, node_of};
use super::stage::Stage;
use super::story::Story;
use super::{DemoError, diagnose};

/// API.md's minimal committee, but for three times that are far too long to wait for.
const COMMITTEE: &str = "
apiVersion: weft.dev/v1alpha1
kind: StorageCommittee
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  members: MEMBERS
  storage: STORAGE
  repair: {unreachableAfter: 30s}
  epochs: {settle: 10s, retainFor: 20s}
";

/// A committee, its stage and what is seen of it.
#[derive(Debug)]
pub struct Fleet {
    stage: Stage,
    namespace: String,
    name: String,
    story: Story,
    observer: Observer,
}

impl Fleet {
    /// Makes the namespace, and applies the committee.
    pub async fn create(stage: &Stage, namespace: &str, scale: Scale, story: &Story) -> Result<Self, DemoError> {
        let name = "demo".to_owned();
        let mut manifest = COMMITTEE.replace("MEMBERS", &scale.members.to_string()).replace("STORAGE", scale.storage);
        manifest = manifest.replace("NAMESPACE", namespace).replace("NAME", &name);
        if let Some(image) = scale.image {
            manifest = format!("{manifest}  image: {image}\n");
        }
        if stage.cluster().is_none() {
            // Nobody wants the volumes of a demonstration to outlive it on a cluster that stays.
            manifest.push_str("  deletionPolicy: Delete\n");
        }
        stage.make_namespace(namespace).await?;
        stage.apply(manifest).await?;
        let observer = Observer::begin(stage.client(), namespace, &name, story);
        Ok(Self { stage: stage.clone(), namespace: namespace.to_owned(), name, story: story.clone(), observer })
    }

    /// The cluster.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The committee's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is told.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// What is seen.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The committee's pods.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.stage.client().clone(), &self.namespace)
    }

    /// `kubectl wait --for=condition=Ready`, as a user would.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), DemoError> {
        let (object, limit) = (format!("storagecommittee/{}", self.name), format!("--timeout={}s", limit.as_secs()));
        let arguments = ["--namespace", &self.namespace, "wait", "--for=condition=Ready", &object, &limit];
        self.stage.kubectl(&arguments).await.map(drop)
    }

    /// The Nodes that the operator's pods are on.
    pub async fn operator_nodes(&self) -> Result<Vec<String>, DemoError> {
        let api = Api::<Pod>::namespaced(self.stage.client().clone(), self.stage.system());
        let selected = ListParams::default().labels("app.kubernetes.io/component=operator");
        let pods = api.list(&selected).await.map_err(DemoError::api("list the operator's pods"))?;
        Ok(pods.iter().filter_map(node_of).map(str::to_owned).collect())
    }

    /// Deletes the namespace with all that is in it.
    pub async fn delete(&self) -> Result<(), DemoError> {
        delete_namespace(&self.stage, &self.namespace).await
    }

    /// What a person would look at when something didn't come about, on standard error.
    pub async fn dump(&self) {
        diagnose::dump(&self.stage, &self.namespace, &self.name).await;
    }
}

/// Deletes a namespace, if it is there.
pub async fn delete_namespace(stage: &Stage, name: &str) -> Result<(), DemoError> {
    let api = Api::<Namespace>::all(stage.client().clone());
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(DemoError::api(format!("delete the namespace {name}"))(error)),
    }
}
