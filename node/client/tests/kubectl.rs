//! The command as a plugin of kubectl, against a real API server.

use std::{
    error::Error,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use weft_e2e::ApiServer;

type Outcome = Result<(), Box<dyn Error>>;

/// An API server with Weft's definitions and a committee that an operator could have told of.
struct Bench {
    server: ApiServer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Result<Self, Box<dyn Error>> {
        let server = ApiServer::start()?;
        for definition in weft_crds::definitions()? {
            server.kubectl().apply(&definition.manifest()?)?;
            let name = format!("crd/{}.weft.dev", definition.plural);
            server.kubectl().run(&["wait", "--for=condition=Established", &name, "--timeout=60s"])?;
        }
        let folder = tempfile::tempdir()?;
        // What kubectl looks for in the PATH.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weft"), folder.path().join("kubectl-weft"))?;
        let bench = Self { server, folder };
        let mut committee: Value =
            serde_json::from_str(include_str!("../src/bin/weft/kubernetes/fixtures/committee.json"))?;
        committee["metadata"] = json!({"name": "demo", "namespace": "default"});
        bench.server.kubectl().apply(&committee.to_string())?;
        bench.patch("storagecommittee", &json!({"status": committee["status"]}))?;
        Ok(bench)
    }

    /// Patches a status as the operator would.
    fn patch(&self, what: &str, status: &Value) -> Outcome {
        let name = if what == "epoch" { "demo-5" } else { "demo" };
        let patch = status.to_string();
        self.server.kubectl().run(&["patch", what, name, "--subresource=status", "--type=merge", "-p", &patch])?;
        Ok(())
    }

    fn weft(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.plugin());
        command.args(arguments).env("KUBECONFIG", self.server.kubeconfig()).stdin(Stdio::null());
        command
    }

    fn plugin(&self) -> PathBuf {
        self.folder.path().join("kubectl-weft")
    }

    fn run(&self, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
        let output = self.weft(arguments).output()?;
        if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(told(&output).into()) }
    }

    fn refused(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect_err("it is refused").to_string()
    }

    fn object(&self, what: &str, name: &str) -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_str(&self.server.kubectl().run(&["get", what, name, "-o", "json"])?)?)
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_committee_is_looked_after_from_the_command_line() -> Outcome {
    let bench = Bench::start()?;
    looks(&bench)?;
    advances(&bench)?;
    recovers(&bench)?;
    adopts(&bench)
}

fn looks(bench: &Bench) -> Outcome {
    let status = bench.run(&["status", "--now"])?;
    assert!(status.contains("10 of 18 shards to read, 1 of 9 to write") && status.contains("5-1"), "{status}");
    let json: Value = serde_json::from_str(&bench.run(&["status", "demo", "--now", "-o", "json"])?)?;
    assert_eq!((&json["margin"]["read"], &json["missing"]["slivers"]), (&json!(10), &json!(312)));
    assert_eq!(json["members"].as_array().map(Vec::len), Some(7));

    let plan = bench.run(&["plan", "demo"])?;
    assert!(plan.contains("member 3 is replaced") && plan.contains("a budget of 9 shards"), "{plan}");
    let plan: Value = serde_json::from_str(&bench.run(&["plan", "-o", "json"])?)?;
    assert_eq!(plan[1]["withheldBy"], "a budget of 9 shards: 8 are gone");

    assert!(bench.refused(&["status", "other"]).contains("no StorageCommittee other in namespace default"));
    assert!(bench.refused(&["plan", "-n", "empty"]).contains("no StorageCommittee in namespace empty"));
    assert!(bench.run(&["status", "--help"])?.contains("kubectl weft status"));
    Ok(())
}

fn advances(bench: &Bench) -> Outcome {
    assert!(bench.run(&["epoch", "list"])?.contains("no epochs yet"));
    let waits = bench.weft(&["epoch", "advance", "--reason", "more room", "--wait", "-o", "json"]);
    let waits = { waits }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut looks = 0;
    let epoch = loop {
        match bench.object("epoch", "demo-5") {
            Ok(epoch) => break epoch,
            Err(error) if looks > 300 => return Err(error),
            Err(_) => looks += 1,
        }
    };
    assert_eq!(epoch["spec"], json!({"committee": "demo", "number": 5, "reason": "more room"}));
    assert_eq!(epoch["metadata"]["labels"]["weft.dev/committee"], "demo");
    assert_eq!(epoch["metadata"]["ownerReferences"][0]["kind"], "StorageCommittee");
    assert!(bench.refused(&["epoch", "advance"]).contains("epoch 5 is there already"));

    let moves = json!({"shards": 4, "minimum": 4, "bytes": 1 << 30, "copied": 1 << 29, "rebuilt": 0});
    bench.patch("epoch", &json!({"status": {"phase": "Migrating", "moves": moves}}))?;
    let listed = bench.run(&["epoch", "list"])?;
    assert!(listed.contains("Migrating") && listed.contains("more room"), "{listed}");
    bench.patch("epoch", &json!({"status": {"phase": "Committed", "committedAt": "2026-03-01T12:00:00Z"}}))?;
    let output = waits.wait_with_output()?;
    assert!(output.status.success(), "{}", told(&output));
    let epoch: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(epoch["status"]["phase"], "Committed");
    assert!(told(&output).contains("epoch 5: "), "{}", told(&output));
    assert!(bench.run(&["epoch", "show", "5"])?.contains("512.00 MiB copied"));
    Ok(())
}

fn recovers(bench: &Bench) -> Outcome {
    let annotation = |key: &str| -> Result<Value, Box<dyn Error>> {
        Ok(bench.object("storagecommittee", "demo")?["metadata"]["annotations"][key].clone())
    };
    // Without a terminal to ask at, nothing is changed unasked.
    assert!(bench.refused(&["recover", "--declare-lost", "5-1"]).contains("--yes"));
    assert_eq!(annotation("weft.dev/declare-lost")?, Value::Null);

    bench.run(&["recover", "--declare-lost", "5-1", "--yes"])?;
    bench.run(&["recover", "demo", "--declare-lost", "3-1", "--yes"])?;
    assert_eq!(annotation("weft.dev/declare-lost")?, "3-1,5-1");
    assert!(bench.refused(&["recover", "--declare-lost", "0-1", "--yes"]).contains("it isn't lost"));
    assert!(bench.refused(&["recover", "--yes"]).contains("--declare-lost"));

    assert!(bench.refused(&["recover", "--confirm-rewind", "--yes"]).contains("doesn't wait for a rewind"));
    let rewound = json!([{"type": "Stalled", "status": "True", "reason": "ControlPlaneRewound",
        "message": "look, then: kubectl annotate weft.dev/confirm-rewind=4.1.7",
        "lastTransitionTime": "2026-03-01T12:00:00Z"}]);
    bench.patch("storagecommittee", &json!({"status": {"conditions": rewound}}))?;
    bench.run(&["recover", "--confirm-rewind", "--yes"])?;
    assert_eq!(annotation("weft.dev/confirm-rewind")?, "4.1.7");
    Ok(())
}

/// What is left of a fleet whose namespace went: its volumes, and the operator's copy of its keys. Kubernetes' own controller
/// binds claims and volumes.
fn adopts(bench: &Bench) -> Outcome {
    let fleet = "0c".repeat(16);
    let kubectl = bench.server.kubectl();
    let _binder = bench.server.controllers("persistentvolume-binder-controller")?;
    let volume = |member: u32, name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {"weft.dev/fleet": fleet, "weft.dev/member": member.to_string(),
                "weft.dev/incarnation": "2"}},
            "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"},
                "storageClassName": "fast", "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "gone",
                    "name": format!("demo-{member}-1"), "uid": "6f5902ac-237b-4f9d-b1f0-aaaaaaaaaaaa"}}})
    };
    for member in 0..4 {
        kubectl.apply(&volume(member, &format!("disk-{member}")).to_string())?;
        kubectl.run(&[
            "wait",
            "--for=jsonpath={.status.phase}=Released",
            &format!("pv/disk-{member}"),
            "--timeout=60s",
        ])?;
    }
    let words = |more: &[&str]| {
        let all = ["adopt", "--fleet", &fleet].into_iter().chain(more.iter().copied());
        all.map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |more: &[&str]| bench.run(&words(more).iter().map(String::as_str).collect::<Vec<_>>());
    let refused = |more: &[&str]| run(more).expect_err("it is refused").to_string();
    assert!(bench.refused(&["adopt", "--fleet", &"0d".repeat(16)]).contains("no volume has data of fleet 0d0d"));
    assert!(
        refused(&["elsewhere", "--yes"])
            .contains("there is no copy of the fleet's keys, Secret weft-system/weft-keys-0c0c")
    );
    for namespace in ["weft-system", "again"] {
        kubectl.run(&["create", "namespace", namespace])?;
    }
    let keys = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("weft-keys-{fleet}"), "namespace": "weft-system", "annotations": {"weft.dev/term": "7"}},
        "stringData": {"view.key": "a key"}});
    kubectl.apply(&keys.to_string())?;
    // The committee of that name here has a fleet of its own.
    assert!(refused(&["--yes"]).contains("committee demo has fleet"));
    assert!(refused(&["-n", "nowhere", "--yes"]).contains("namespaces \"nowhere\" not found"));

    kubectl.apply(&volume(3, "copy-of-3").to_string())?;
    assert!(refused(&["-n", "again"]).contains("both have data of 3-2"));
    let rest = ["-n", "again", "--except", "copy-of-3"];
    let all = words(&rest);
    let output = bench.weft(&all.iter().map(String::as_str).collect::<Vec<_>>()).output()?;
    assert!(told(&output).contains("say --yes") && !output.status.success(), "{}", told(&output));
    let shown = String::from_utf8(output.stdout)?;
    assert!(shown.contains("again/demo-3-1") && shown.contains("again/demo-ca will have the keys"), "{shown}");
    assert_eq!(bench.object("pv", "disk-0")?["spec"]["claimRef"]["namespace"], "gone", "nothing was confirmed");

    let done = run(&[&rest[..], &["--yes"]].concat())?;
    assert!(done.contains(&format!("fleetId: \"{fleet}\"\n  members: 4\n  storage:\n    size: 5Gi")), "{done}");
    for member in 0..4 {
        let name = format!("pvc/demo-{member}-1");
        kubectl.run(&["wait", "-n", "again", "--for=jsonpath={.status.phase}=Bound", &name, "--timeout=60s"])?;
    }
    let claim: Value = serde_json::from_str(&kubectl.run(&["get", "pvc", "demo-2-1", "-n", "again", "-o", "json"])?)?;
    assert_eq!((&claim["spec"]["volumeName"], &claim["spec"]["storageClassName"]), (&json!("disk-2"), &json!("fast")));
    assert_eq!(claim["metadata"]["labels"]["weft.dev/incarnation"], "2", "it had inherited the claim");
    let reference = bench.object("pv", "disk-2")?["spec"]["claimRef"].clone();
    assert_eq!((&reference["namespace"], &reference["uid"]), (&json!("again"), &claim["metadata"]["uid"]));
    let secret: Value =
        serde_json::from_str(&kubectl.run(&["get", "secret", "demo-ca", "-n", "again", "-o", "json"])?)?;
    let of = |name: &str| secret["metadata"]["annotations"][name].clone();
    assert_eq!((of("weft.dev/fleet"), of("weft.dev/term")), (json!(fleet), json!("7")));
    assert_eq!(secret["data"]["view.key"], "YSBrZXk=");

    // Again, with nothing left to do; for somebody else, while it is in use here; and keys that aren't those.
    assert!(run(&rest)?.contains("there already"));
    assert!(refused(&[&["other"], &rest[..], &["--yes"]].concat()).contains("what is in use can't be taken up"));
    kubectl.run(&[
        "patch",
        "secret",
        "demo-ca",
        "-n",
        "again",
        "--type=merge",
        "-p",
        r#"{"stringData": {"view.key": "new"}}"#,
    ])?;
    assert!(refused(&rest).contains("see which is right"));
    Ok(())
}
