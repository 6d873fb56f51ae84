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
    recovers(&bench)
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
