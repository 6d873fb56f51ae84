//! Where it plays: a local cluster whose workers can be taken away, or a cluster of the user's own.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::DemoError;
use crate::cluster::Cluster;
use crate::kubectl::Kubectl;
use crate::parts::Parts;

/// The Helm release.
const RELEASE: &str = "weft";

/// A cluster, and the ways to talk to it.
#[derive(Clone)]
pub struct Stage {
    place: Place,
    kubeconfig: PathBuf,
    client: Client,
    kubectl: Kubectl,
    helm: PathBuf,
    system: String,
}

impl fmt::Debug for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stage").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Whose cluster it is.
#[derive(Clone, Debug)]
pub enum Place {
    /// One of this machine's own.
    Local(Arc<Cluster>),
    /// The one that the kubeconfig's current context names.
    Current {
        /// The context.
        context: String,
    },
}

impl Stage {
    /// A local cluster. The operator gets a namespace of its own.
    pub async fn local(cluster: Cluster) -> Result<Self, DemoError> {
        let (kubeconfig, kubectl) = (cluster.kubeconfig(), cluster.kubectl().clone());
        let (client, _) = connect(&kubeconfig).await?;
        let helm = Parts::locate()?.path("helm")?;
        let place = Place::Local(Arc::new(cluster));
        Ok(Self { place, kubeconfig, client, kubectl, helm, system: "weft-system".to_owned() })
    }

    /// The cluster of `KUBECONFIG`. The operator lives in `namespace`, with what it looks after, and looks at nothing else.
    pub async fn current(namespace: &str) -> Result<Self, DemoError> {
        let kubeconfig = kubeconfig()?;
        let (client, context) = connect(&kubeconfig).await?;
        let parts = Parts::locate()?;
        let kubectl = Kubectl::new(&parts, &kubeconfig)?;
        let helm = parts.path("helm")?;
        Ok(Self { place: Place::Current { context }, kubeconfig, client, kubectl, helm, system: namespace.to_owned() })
    }

    /// Whose cluster it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The local cluster; `None` for the user's own.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.place {
            Place::Local(cluster) => Some(cluster),
            Place::Current { .. } => None,
        }
    }

    /// The kubeconfig's path.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of the API server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace of the operator.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let kubectl = self.kubectl.clone();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let run = move || kubectl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(tokio::task::spawn_blocking(run).await??)
    }

    /// Makes a namespace that lets in nothing but what the Pod Security Standard `restricted` does.
    pub async fn make_namespace(&self, name: &str) -> Result<(), DemoError> {
        let labels = "pod-security.kubernetes.io/enforce: restricted";
        self.apply(format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}"))
            .await
    }

    /// Applies manifests.
    pub async fn apply(&self, manifests: String) -> Result<(), DemoError> {
        let kubectl = self.kubectl.clone();
        Ok(tokio::task::spawn_blocking(move || kubectl.apply(&manifests)).await??)
    }

    /// Does something to the local cluster that takes its time.
    pub async fn with_cluster<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cluster) -> Result<T, crate::ClusterError> + Send + 'static,
    ) -> Result<T, DemoError> {
        let cluster = self.cluster().cloned();
        let cluster =
            cluster.ok_or_else(|| DemoError::Unfit("only a local cluster has machines to take away".to_owned()))?;
        Ok(tokio::task::spawn_blocking(move || work(&cluster)).await??)
    }

    /// Brings the image from a tar to all machines of a local cluster.
    pub async fn load_image(&self, tar: PathBuf) -> Result<(), DemoError> {
        self.with_cluster(move |cluster| cluster.load_image(&tar)).await
    }

    /// `helm upgrade --install` of the chart, and waits until the operator is there.
    pub async fn install(&self, image: &str, limit: Duration) -> Result<(), DemoError> {
        if self.cluster().is_some() {
            self.make_namespace(&self.system).await?;
        }
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let mut values = vec![format!("image.repository={repository}"), format!("image.tag={tag}")];
        if self.cluster().is_none() {
            values.push(format!("watchNamespaces={{{}}}", self.system));
        }
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/weft");
        let mut command = Command::new(&self.helm);
        command
            .args(["upgrade", "--install", RELEASE])
            .arg(chart)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", &self.system, "--create-namespace", "--wait"])
            .arg(format!("--timeout={}s", limit.as_secs()));
        for value in &values {
            command.args(["--set", value]);
        }
        run("helm upgrade --install weft charts/weft", command).await.map(drop)
    }

    /// `helm test`: what the chart asks of the operator that it installed. Gives what helm printed.
    pub async fn test_chart(&self, limit: Duration) -> Result<String, DemoError> {
        let mut command = Command::new(&self.helm);
        command.args(["test", RELEASE, "--namespace", &self.system, &format!("--timeout={}s", limit.as_secs())]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        run("helm test weft", command).await
    }

    /// Takes the operator away again. The definitions stay, as the chart has it.
    pub async fn uninstall(&self) -> Result<(), DemoError> {
        let mut command = Command::new(&self.helm);
        command.args(["uninstall", RELEASE, "--ignore-not-found", "--namespace", &self.system]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        run("helm uninstall weft", command).await.map(drop)
    }
}

/// Runs a command and returns its standard output.
pub(crate) async fn run(told: &str, mut command: Command) -> Result<String, DemoError> {
    let failed = |message: String| DemoError::Command { command: told.to_owned(), message };
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        return Err(failed(format!("{} {}", text(&output.stderr), text(&output.stdout)).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn connect(path: &Path) -> Result<(Client, String), DemoError> {
    let failed = |source| DemoError::Kubeconfig { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let context = kubeconfig.current_context.clone().unwrap_or_default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?;
    let client = Client::try_from(config).map_err(DemoError::api("make a client of the API server"))?;
    Ok((client, context))
}

/// The first file of `KUBECONFIG`, or the usual one.
fn kubeconfig() -> Result<PathBuf, DemoError> {
    let named = env::var_os("KUBECONFIG").and_then(|list| env::split_paths(&list).find(|path| path.is_file()));
    let usual = || env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.is_file());
    named
        .or_else(usual)
        .ok_or_else(|| DemoError::Unfit("CLUSTER=current needs a kubeconfig: set KUBECONFIG".to_owned()))
}
