//! etcd and kube-apiserver alone, on loopback.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::audit::{self, AuditLog};
use crate::kubeconfig::kubeconfig;
use crate::kubectl::Kubectl;
use crate::parts::{Parts, PartsError, cache};
use crate::pki::{Authority, Credentials, PkiError};
use crate::port::Port;
use crate::process::{Bound, began};
use crate::wait::{Timeout, wait_until};

/// Generous: other tests may have the processors.
const START: Duration = Duration::from_secs(120);

/// A Kubernetes API with nothing behind it: no controllers, no nodes. Objects can be written, read and watched, with
/// validation, defaulting, RBAC and admission as in any cluster; nothing acts on them.
///
/// It ends with this value, or with this process.
#[derive(Debug)]
pub struct ApiServer {
    kubectl: Kubectl,
    kubeconfig: PathBuf,
    parts: Parts,
    authority: Authority,
    /// Whose calls are written down.
    audited: Option<String>,
    /// Of etcd's clients, of its peers, and the API's own.
    ports: [Port; 3],
    // In the order in which they are to end; none only while they are stopped.
    running: Option<(Bound, Bound)>,
    folder: Folder,
}

/// What the API's etcd held at one time.
#[derive(Debug)]
pub struct Snapshot(PathBuf);

/// Why no API server came up.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// The binaries.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Its folder.
    #[error("make {}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No free ports.
    #[error("choose free ports on loopback")]
    Ports(#[source] io::Error),
    /// A program could not be started.
    #[error("start {name}")]
    Start {
        /// The program.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program didn't get ready; its last words.
    #[error("{source}; last words of {name}:\n{words}")]
    NotReady {
        /// The program.
        name: &'static str,
        /// What it printed last.
        words: String,
        /// What was waited for.
        source: Timeout,
    },
}

impl ApiServer {
    /// Starts both and waits until the API answers and the namespace `default` exists (about 4 s).
    pub fn start() -> Result<Self, ApiServerError> {
        Self::launch(None)
    }

    /// The same, and the API server writes down what a user calls for, but no bodies.
    pub fn audited(user: &str) -> Result<Self, ApiServerError> {
        Self::launch(Some(user))
    }

    /// What is written down.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.folder.0.join("audit.log"))
    }

    /// Makes a kubeconfig for a user; what they may do is for RBAC to say.
    pub fn kubeconfig_of(&self, user: &str) -> Result<PathBuf, ApiServerError> {
        let credentials = self.authority.client(user, None)?;
        write_kubeconfig(
            self.folder.0.join(format!("{user}.kubeconfig")),
            self.ports[2].number(),
            &self.authority,
            &credentials,
        )
    }

    /// The path of a kubeconfig for an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl for an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn launch(audited: Option<&str>) -> Result<Self, ApiServerError> {
        let parts = Parts::locate()?;
        let folder = Folder::create()?;
        let path = folder.0.as_path();
        let hold = || Port::hold().map_err(ApiServerError::Ports);
        let ports = [hold()?, hold()?, hold()?];

        let authority = Authority::create(path)?;
        authority.server("apiserver", &["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
        let admin = authority.client("admin", Some("system:masters"))?;
        let file = write_kubeconfig(path.join("kubeconfig"), ports[2].number(), &authority, &admin)?;
        if let Some(user) = audited {
            let (file, policy) = (audit_policy(path), audit::policy(json!({"users": [user]})));
            fs::write(&file, policy).map_err(|source| ApiServerError::Folder { path: file, source })?;
        }

        let kubectl = Kubectl::new(&parts, &file)?;
        let audited = audited.map(str::to_owned);
        let mut server = Self { kubectl, kubeconfig: file, parts, authority, audited, ports, running: None, folder };
        server.run()?;
        Ok(server)
    }

    /// Starts some of Kubernetes' controllers, by their names; they end with what is returned.
    pub fn controllers(&self, names: &str) -> Result<Beside, ApiServerError> {
        let name = "kube-controller-manager";
        let arguments = [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--controllers={names}"),
            "--leader-elect=false".to_owned(),
            // Nobody asks it anything.
            "--secure-port=0".to_owned(),
        ];
        self.start_beside(name, &self.parts.path(name)?, &self.kubeconfig, &arguments)
    }

    /// Starts a program, which finds the API by the environment's `KUBECONFIG`. `name` is that of its log. It ends with what
    /// is returned.
    pub fn start_beside(
        &self,
        name: &'static str,
        program: &Path,
        kubeconfig: &Path,
        arguments: &[String],
    ) -> Result<Beside, ApiServerError> {
        let log = self.folder.0.join(format!("{name}.log"));
        let started = Bound::start_knowing(&[("KUBECONFIG", kubeconfig.as_os_str())], program, arguments, &log);
        started.map(Beside).map_err(|source| ApiServerError::Start { name, source })
    }

    /// Stops everything, and copies what etcd holds (about 8 s).
    pub fn snapshot(&mut self) -> Result<Snapshot, ApiServerError> {
        self.running = None;
        let copy = self.folder.0.join("snapshot");
        copy_folder(&self.data(), &copy).map_err(|source| ApiServerError::Folder { path: copy.clone(), source })?;
        self.run()?;
        Ok(Snapshot(copy))
    }

    /// Sets everything back to what it was when the snapshot was taken, as a restored etcd does (about 8 s).
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), ApiServerError> {
        self.running = None;
        let data = self.data();
        let failed = |source| ApiServerError::Folder { path: data.clone(), source };
        fs::remove_dir_all(&data).map_err(failed)?;
        copy_folder(&snapshot.0, &data).map_err(failed)?;
        self.run()
    }

    fn data(&self) -> PathBuf {
        self.folder.0.join("etcd")
    }

    /// Starts both programs and waits until the API serves.
    fn run(&mut self) -> Result<(), ApiServerError> {
        let (path, [clients, peers, secure]) = (self.folder.0.as_path(), self.ports.each_ref().map(Port::number));
        let start = |name, arguments: &[String]| {
            let log = path.join(format!("{name}.log"));
            let program = self.parts.path(name)?;
            Bound::start(&program, arguments, &log).map_err(|source| ApiServerError::Start { name, source })
        };
        let etcd = start("etcd", &etcd_arguments(path, clients, peers))?;
        let mut arguments = server_arguments(path, clients, secure);
        if self.audited.is_some() {
            arguments.extend(audit::arguments(&audit_policy(path), &path.join("audit.log")));
        }
        let mut server = start("kube-apiserver", &arguments)?;
        let kubectl = &self.kubectl;
        wait_until("the API", START, || match server.ended() {
            // kubectl costs much more than the question whether anybody listens.
            Ok(None) => TcpStream::connect(("127.0.0.1", secure))
                .map_err(|error| error.to_string())
                .and_then(|_| kubectl.run(&["get", "--raw", "/readyz"]).map_err(|error| error.to_string()))
                .map(Some),
            ended => Err(format!("kube-apiserver ended: {ended:?}")),
        })
        .and_then(|_| {
            wait_until("the namespace default", START, || {
                kubectl.run(&["get", "namespace", "default"]).map(Some).map_err(|error| error.to_string())
            })
        })
        .map_err(|source| ApiServerError::NotReady {
            name: "kube-apiserver",
            words: server.last_words(),
            source,
        })?;
        self.running = Some((server, etcd));
        Ok(())
    }
}

/// A program that runs beside an API server, until this is dropped.
#[derive(Debug)]
pub struct Beside(Bound);

impl Beside {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.ended()
    }

    /// The last lines that it printed.
    pub fn last_words(&self) -> String {
        self.0.last_words()
    }
}

fn write_kubeconfig(
    path: PathBuf,
    port: u16,
    authority: &Authority,
    user: &Credentials,
) -> Result<PathBuf, ApiServerError> {
    let text = kubeconfig("weft-api", &format!("https://127.0.0.1:{port}"), authority, user);
    match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(ApiServerError::Folder { path, source }),
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), &copy)?;
        }
    }
    Ok(())
}

fn etcd_arguments(folder: &Path, clients: u16, peers: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{clients}"),
        format!("--advertise-client-urls=http://127.0.0.1:{clients}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
        // Nothing here is to outlive a crash.
        "--unsafe-no-fsync".to_owned(),
        // Ten thousand pods, and all that was written of them in the minutes between two compactions.
        format!("--quota-backend-bytes={}", 8_u64 << 30),
        "--log-level=warn".to_owned(),
    ]
}

fn server_arguments(folder: &Path, etcd: u16, secure: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={secure}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // No controller makes the namespaces' default service accounts, without which pods would be refused.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]
}

fn audit_policy(folder: &Path) -> PathBuf {
    folder.join("audit-policy.json")
}

/// A folder of its own, named after its process, so that what a killed process left can be told and removed.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, ApiServerError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let all = cache()?.join("api-servers");
        sweep(&all);
        let pid = process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = all.join(format!("{pid}-{}-{number}", began(pid).unwrap_or_default()));
        fs::create_dir_all(&path).map_err(|source| ApiServerError::Folder { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now is swept by the next one.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders of processes that are gone. What fails is tried again next time.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let mut numbers = name.to_str().into_iter().flat_map(|name| name.split('-')).map(str::parse::<u64>);
        if let (Some(Ok(pid)), Some(Ok(beginning))) = (numbers.next(), numbers.next())
            && u32::try_from(pid).ok().and_then(began) != Some(beginning)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
