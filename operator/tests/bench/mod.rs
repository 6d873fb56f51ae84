//! API servers for tests, their own or shared, and operators on them.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions, wait::await_condition},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use weft_crds::StorageCommittee;
use weft_e2e::{ApiServer, Snapshot};
use weft_operator::{
    act::policies::Operators,
    api::Object,
    context::Context,
    controller,
    env::{Env, SystemEnv},
    telemetry::Telemetry,
};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

pub(crate) const NAMESPACE: &str = "default";

const ESTABLISHED: Duration = Duration::from_secs(60);

/// The operator's own.
pub(crate) const HOME: &str = "weft-system";

/// An API server with Weft's definitions.
pub(crate) struct Bench {
    pub(crate) server: Arc<ApiServer>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Member and incarnation whose pods never start.
    pub(crate) held_back: Option<(u32, u32)>,
}

impl Bench {
    /// One of its own, for what a test does to all of it.
    pub(crate) async fn start() -> Result<Self, Box<dyn Error>> {
        let server = Arc::new(prepared().await?);
        let client = Client::try_from(config(&server).await?)?;
        Ok(Self { server, client, namespace: NAMESPACE.to_owned(), held_back: None })
    }

    /// A namespace on the one that tests share: it ends with the last of those that use it at a time.
    pub(crate) async fn shared(namespace: &str) -> Result<Self, Box<dyn Error>> {
        static SERVER: Mutex<Weak<ApiServer>> = Mutex::const_new(Weak::new());
        let mut shared = SERVER.lock().await;
        let server = match shared.upgrade() {
            Some(server) => server,
            None => Arc::new(prepared().await?),
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let client = Client::try_from(config(&server).await?)?;
        make_namespace(&client, namespace).await?;
        Ok(Self { server, client, namespace: namespace.to_owned(), held_back: None })
    }

    /// The same API server, for a story in another namespace.
    pub(crate) fn beside(&self, namespace: &str) -> Self {
        let (server, client) = (self.server.clone(), self.client.clone());
        Self { server, client, namespace: namespace.to_owned(), held_back: None }
    }

    /// What the API server holds, which is this story's alone.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Box<dyn Error>> {
        let server = Arc::get_mut(&mut self.server).ok_or("others use the API server")?;
        Ok(tokio::task::block_in_place(|| server.snapshot())?)
    }

    /// Sets the API server back.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Outcome {
        let server = Arc::get_mut(&mut self.server).ok_or("others use the API server")?;
        Ok(tokio::task::block_in_place(|| server.restore(snapshot))?)
    }

    /// An operator as it begins to lead.
    pub(crate) fn operator(&self) -> Context {
        self.operator_with(Arc::new(SystemEnv))
    }

    pub(crate) fn operator_with(&self, env: Arc<dyn Env>) -> Context {
        operator(self.client.clone(), env)
    }

    pub(crate) async fn apply(&self, name: &str, more: &str) -> Outcome {
        self.apply_sized(name, 7, more).await
    }

    pub(crate) async fn apply_sized(&self, name: &str, members: u32, more: &str) -> Outcome {
        let manifest = format!(
            "{{apiVersion: weft.dev/v1alpha1, kind: StorageCommittee, metadata: {{name: {name}}}, \
             spec: {{members: {members}, storage: {{size: 1Gi}}{more}}}}}"
        );
        apply(&self.api::<StorageCommittee>(), name, &serde_yaml::from_str(&manifest)?).await
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn committee(&self, name: &str) -> Result<StorageCommittee, Box<dyn Error>> {
        Ok(self.api::<StorageCommittee>().get(name).await?)
    }

    pub(crate) async fn list<K: Object>(&self) -> Result<Vec<K>, Box<dyn Error>> {
        Ok(self.api::<K>().list(&ListParams::default()).await?.items)
    }

    pub(crate) async fn count<K: Object>(&self) -> Result<usize, Box<dyn Error>> {
        Ok(self.api::<K>().list(&ListParams::default().labels("weft.dev/committee")).await?.items.len())
    }
}

/// An API server with Weft's definitions, and the operator's namespace.
async fn prepared() -> Result<ApiServer, Box<dyn Error>> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let server = tokio::task::spawn_blocking(ApiServer::start).await??;
    let client = Client::try_from(config(&server).await?)?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in weft_crds::definitions()? {
        let name = format!("{}.weft.dev", definition.plural);
        apply(&crds, &name, &definition.object).await?;
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED, established).await??;
    }
    make_namespace(&client, HOME).await?;
    Ok(server)
}

/// As kubectl does it.
async fn apply<K>(api: &Api<K>, name: &str, manifest: &Value) -> Outcome
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(manifest)).await?;
    Ok(())
}

pub(crate) async fn make_namespace(client: &Client, name: &str) -> Outcome {
    let mut wanted = Namespace::default();
    wanted.metadata.name = Some(name.to_owned());
    Api::all(client.clone()).create(&PostParams::default(), &wanted).await?;
    Ok(())
}

/// How an administrator reaches an API server.
pub(crate) async fn config(server: &ApiServer) -> Result<Config, Box<dyn Error>> {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig())?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// An operator as it begins to lead.
pub(crate) fn operator(client: Client, env: Arc<dyn Env>) -> Context {
    operator_of(client, env, "example.com/weft:1")
}

/// One that comes with this image.
pub(crate) fn operator_of(client: Client, env: Arc<dyn Env>, image: &str) -> Context {
    let (stores, _) = controller::stores(&client);
    let labels = [("app.kubernetes.io/component".to_owned(), "operator".to_owned())].into();
    let operators = Operators { namespace: HOME.to_owned(), labels };
    Context::new(client, env, stores, Telemetry::new(), ("test", HOME), image.to_owned(), Some(operators))
}
