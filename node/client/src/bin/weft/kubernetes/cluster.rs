//! A namespace behind a kubeconfig's context, and the committees in it.

use clap::Args;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::KubeConfigOptions,
    core::{NamespaceResourceScope, Resource},
};
use weft_crds::{Epoch, StorageCommittee};

use crate::failure::BoxError as Error;

/// Which namespace of which cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubeOptions {
    /// The kubeconfig's context
    #[arg(long, help_heading = "Kubernetes")]
    context: Option<String>,
    /// The committee's namespace [default: the context's]
    #[arg(long, short, help_heading = "Kubernetes")]
    namespace: Option<String>,
}

/// A connection to a namespace.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl KubeOptions {
    pub(crate) fn of(context: Option<String>, namespace: Option<String>) -> Self {
        Self { context, namespace }
    }

    /// Connects as the kubeconfig says, or, in a pod, as its service account may.
    pub(crate) async fn connect(&self) -> Result<Cluster, Error> {
        // One provider of cryptography for the process; a second one to be set changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = match &self.context {
            Some(_) => {
                let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
                Config::from_kubeconfig(&options).await?
            }
            None => Config::infer().await.map_err(|error| format!("there is no usable kubeconfig: {error}"))?,
        };
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Cluster { client: Client::try_from(config)?, namespace })
    }
}

impl Cluster {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The committee of that name, or the only one.
    pub(crate) async fn committee(&self, name: Option<&str>) -> Result<StorageCommittee, Error> {
        let committees = self.api::<StorageCommittee>();
        if let Some(name) = name {
            let found = committees.get_opt(name).await?;
            return found.ok_or_else(|| format!("no StorageCommittee {name} in namespace {}", self.namespace).into());
        }
        let mut found = committees.list(&ListParams::default()).await?.items;
        match (found.pop(), found.is_empty()) {
            (Some(committee), true) => Ok(committee),
            (None, _) => Err(format!("no StorageCommittee in namespace {}", self.namespace).into()),
            (Some(last), false) => {
                found.push(last);
                let names: Vec<_> = found.into_iter().filter_map(|committee| committee.metadata.name).collect();
                Err(format!("choose one of the committees {}", names.join(", ")).into())
            }
        }
    }

    /// A committee's Epochs, by their numbers.
    pub(crate) async fn epochs(&self, committee: &str) -> Result<Vec<Epoch>, Error> {
        let of = ListParams::default().fields(&format!("spec.committee={committee}"));
        let mut epochs = self.api::<Epoch>().list(&of).await?.items;
        epochs.sort_by_key(|epoch| epoch.spec.number);
        Ok(epochs)
    }
}
