//! A shell, as somebody has it who reads the chaos cookbook.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use weft_e2e::Parts;
use weft_e2e::demo::Run;

use crate::page::Block;
use crate::theatre::{Outcome, weft};

/// `kubectl`, `helm` and `kubectl weft` at hand, and the fleet's namespace the current one.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    kubeconfig: PathBuf,
    path: OsString,
    node: Option<String>,
}

impl Shell {
    /// A kubeconfig of its own, and a folder with kubectl's plugin, beside the cluster's kubeconfig.
    pub(crate) fn of(run: &Run) -> Result<Self, Box<dyn Error>> {
        let (original, namespace) = (run.fleet.stage().kubeconfig(), run.fleet.namespace());
        let mut config: Value = serde_json::from_slice(&fs::read(original)?)?;
        config["contexts"][0]["context"]["namespace"] = namespace.into();
        let kubeconfig = original.with_file_name(format!("kubeconfig-{namespace}"));
        fs::write(&kubeconfig, config.to_string())?;

        let plugins = original.with_file_name(format!("plugins-{namespace}"));
        fs::create_dir_all(&plugins)?;
        match symlink(fs::canonicalize(weft()?)?, plugins.join("kubectl-weft")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let usual = env::var_os("PATH").unwrap_or_default();
        let bin = Parts::locate()?.bin().to_owned();
        let path = env::join_paths([plugins, bin].into_iter().chain(env::split_paths(&usual)))?;
        Ok(Self { kubeconfig, path, node: None })
    }

    /// The same with `$node` set.
    pub(crate) fn with_node(&self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self.clone() }
    }

    /// Runs a block of the page; its last command's failure, or any other's, is an error.
    pub(crate) async fn play(&self, block: &Block) -> Outcome {
        self.run(&block.commands).await.map(drop).map_err(|error| format!("{}: {error}", block.title).into())
    }

    /// Runs commands, and gives what they printed.
    pub(crate) async fn run(&self, commands: &str) -> Result<String, Box<dyn Error>> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", commands]).env("KUBECONFIG", &self.kubeconfig);
        command.env("PATH", &self.path).envs(self.node.as_ref().map(|node| ("node", node)));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{commands}\n{}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Runs a command that prints JSON.
    pub(crate) async fn json(&self, command: &str) -> Result<Value, Box<dyn Error>> {
        let told = self.run(command).await?;
        serde_json::from_str(&told).map_err(|error| format!("{command}: {error}: {told}").into())
    }
}
