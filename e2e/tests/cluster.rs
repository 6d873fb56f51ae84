//! The local cluster itself: what the fleet's tests rely on. Needs root.

use std::error::Error;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{self, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs};

use serde_json::json;
use weft_e2e::{Cluster, ClusterError, Disks, Isolation, Options, Parts, RunId, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// A web server with a volume, and what is needed to find it. Its pod is told to stay on the first worker.
const WEB: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  nodeSelector: {topology.kubernetes.io/zone: zone-1}
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
    - name: web
      image: localhost/busybox:1
      command: [sh, -c, "[ -e /data/first ] || echo kept > /data/first; exec httpd -f -p 8080 -h /data"]
      readinessProbe: {httpGet: {path: /first, port: 8080}, periodSeconds: 1}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  nodeSelector: {topology.kubernetes.io/zone: zone-2}
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: localhost/busybox:1, command: [sleep, infinity]}]
"#;

/// The web server, by the name of its Service.
const SERVICE: &str = "web.default.svc.cluster.local";

type Outcome = Result<(), Box<dyn Error>>;

/// One cluster at a time: they would only wait for each other. Ends it even where the test fails.
struct Turn {
    name: String,
    _held: MutexGuard<'static, ()>,
}

impl Turn {
    fn take(purpose: &str) -> Result<Self, ClusterError> {
        static ONE: Mutex<()> = Mutex::new(());
        Ok(Self { name: RunId::cluster(purpose)?, _held: ONE.lock().unwrap_or_else(PoisonError::into_inner) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.name) {
            eprintln!("end the cluster {}: {error}", self.name);
        }
    }
}

#[test]
fn workers_are_taken_away_and_come_back() -> Outcome {
    let turn = Turn::take("workers")?;
    let options = Options { name: turn.name.clone(), workers: 2, node_monitor_grace: 12, disks: Disks::of_tests() };
    let cluster = Cluster::up(&options)?;
    cluster.kubectl().apply(WEB)?;
    wait(&cluster, "condition=Ready", "pod/web")?;
    wait(&cluster, "condition=Ready", "pod/client")?;

    wait_for_answer(&cluster)?;
    let counters = cluster.pod_counters(1, "default", "web")?.ok_or("no counters of a running pod")?;
    assert!(counters.received > 0 && counters.sent > 0, "{counters:?}");
    assert_eq!(cluster.pod_counters(2, "default", "web")?, None);
    reach_from_the_host(&cluster)?;

    cuts(&cluster)?;
    power(&cluster)?;
    volumes(&cluster)
}

/// A worker cut off from the others is still Ready, one cut off from the API server is not; both mend.
fn cuts(cluster: &Cluster) -> Outcome {
    cluster.isolate(1, Isolation::Workers)?;
    assert!(ask(cluster, SERVICE).is_err());
    cluster.reconnect(1)?;
    wait_for_answer(cluster)?;

    cluster.isolate(1, Isolation::ApiServer)?;
    wait(cluster, "condition=Ready=Unknown", "node/worker-1")?;
    // Its Service has given it up by now; it still answers whoever knows its address.
    let address = cluster.kubectl().run(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"])?;
    assert_eq!(ask(cluster, &format!("{address}:8080"))?, "kept");
    cluster.reconnect(1)?;
    wait(cluster, "condition=Ready", "node/worker-1")?;
    Ok(())
}

/// A power cut is noticed by silence alone; what was on the disk is there again afterwards.
fn power(cluster: &Cluster) -> Outcome {
    cluster.cut_power(1)?;
    wait(cluster, "condition=Ready=Unknown", "node/worker-1")?;
    cluster.restore(1)?;
    wait_for_answer(cluster)
}

/// Deleted volumes are gone for good, and no other worker's.
fn volumes(cluster: &Cluster) -> Outcome {
    let (mine, others) = (cluster.volumes(1)?, cluster.volumes(2)?);
    assert_eq!(mine.read_dir()?.count(), 1);
    assert!(!others.exists());
    cluster.cut_power(1)?;
    cluster.delete_volumes(1)?;
    cluster.kubectl().run(&["delete", "node", &cluster.node(1)?])?;
    assert!(!mine.exists());
    cluster.restore(1)?;
    Ok(())
}

#[test]
fn a_cluster_leaves_nothing_behind_twice_in_a_row() -> Outcome {
    let turn = Turn::take("clean")?;
    for disks in [Disks::OfHost, Disks::InMemory] {
        let options = Options { name: turn.name.clone(), workers: 1, disks, ..Options::default() };
        let cluster = Cluster::up(&options)?;
        cluster.kubectl().apply(WEB)?;
        wait(&cluster, "condition=Ready", "pod/web")?;
        assert_ne!(Cluster::leftovers(Some(&turn.name))?, []);
        Cluster::down(&turn.name)?;
        assert_eq!(Cluster::leftovers(Some(&turn.name))?, []);
    }
    Ok(())
}

#[test]
fn what_does_not_come_up_leaves_nothing_behind() -> Outcome {
    let turn = Turn::take("broken")?;
    // A cache of its own, where everything is as it should be but containerd.
    let cache = env::temp_dir().join(format!("weft-broken-{}", process::id()));
    let parts = Parts::locate()?;
    let bin = cache.join("weft/kubernetes").join(parts.version()).join("bin");
    fs::create_dir_all(&bin)?;
    for part in parts.bin().read_dir()? {
        let part = part?;
        let broken = part.file_name() == "containerd";
        symlink(if broken { "/bin/false".into() } else { part.path().canonicalize()? }, bin.join(part.file_name()))?;
    }

    let output = Command::new(env!("CARGO_BIN_EXE_weft-cluster"))
        .args(["--name", &turn.name, "up", "--workers", "1"])
        .env("XDG_CACHE_HOME", &cache)
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    assert!(told.contains("containerd ended"), "{told}");
    assert!(!cache.join("weft/cluster").join(&turn.name).exists());
    assert_eq!(Cluster::leftovers(Some(&turn.name))?, []);
    fs::remove_dir_all(cache)?;
    Ok(())
}

#[test]
fn a_run_ends_its_own_clusters_and_no_others() -> Outcome {
    let cache = env::temp_dir().join(format!("weft-runs-{}", process::id()));
    // Records as `up` writes them, of clusters with nothing to them.
    for (name, run) in [("mine", json!("0a1b2c3d")), ("theirs", json!("4e5f6a7b")), ("nobodys", json!(null))] {
        let options = json!({"name": name, "workers": 1, "node_monitor_grace": 40});
        let folder = cache.join("weft/cluster").join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("state.json"), json!({"number": 31, "options": options, "run": run}).to_string())?;
    }
    // And one of which nothing else is left than a folder with its name.
    fs::create_dir_all(cache.join("weft/cluster/fleet0a1b2c3d"))?;

    let output = Command::new(env!("CARGO_BIN_EXE_weft-cluster"))
        .args(["down", "--run", "0a1b2c3d"])
        .env("XDG_CACHE_HOME", &cache)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout)?, "ending the cluster fleet0a1b2c3d\nending the cluster mine\n");
    let mut left: Vec<_> = cache.join("weft/cluster").read_dir()?.flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["nobodys", "theirs"]);
    fs::remove_dir_all(cache)?;
    Ok(())
}

/// Waits until the client gets what the web server keeps. The way from a Ready pod to all machines' rules takes a moment.
fn wait_for_answer(cluster: &Cluster) -> Outcome {
    let answer = wait_until("an answer", LIMIT, || ask(cluster, SERVICE).map(Some).map_err(|error| error.to_string()))?;
    assert_eq!(answer, "kept");
    Ok(())
}

/// What the client gets from the web server, within seconds.
fn ask(cluster: &Cluster, server: &str) -> Result<String, Box<dyn Error>> {
    let fetch =
        format!("wget -qO- http://{server}/first & fetch=$!; (sleep 5; kill $fetch) >/dev/null 2>&1 & wait $fetch");
    let answer = cluster.kubectl().run(&["exec", "client", "--", "sh", "-c", &fetch])?;
    Ok(answer.trim().to_owned())
}

fn reach_from_the_host(cluster: &Cluster) -> Outcome {
    for (kind, path, port) in [("service", "{.spec.clusterIP}", 80), ("pod", "{.status.podIP}", 8080)] {
        let address = cluster.kubectl().run(&["get", kind, "web", "-o", &format!("jsonpath={path}")])?;
        TcpStream::connect_timeout(&format!("{address}:{port}").parse()?, LIMIT)?;
    }
    Ok(())
}

fn wait(cluster: &Cluster, condition: &str, object: &str) -> Outcome {
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    cluster.kubectl().run(&["wait", &format!("--for={condition}"), object, &limit])?;
    Ok(())
}
