//! Putting real files and comparing what comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures::{StreamExt as _, stream};

use super::DemoError;
use super::corpus::Source;
use super::fleet::Fleet;
use super::gateway::{Gateway, Stored};
use super::stage;

/// Files in one call of `weft put`.
const PER_CALL: usize = 40;
/// Blobs that are read at once.
const READERS: usize = 8;

/// The `weft` command, bound to a fleet.
#[derive(Clone, Debug)]
pub struct Weft {
    program: PathBuf,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
}

impl Weft {
    /// `program` is the `weft` binary.
    pub fn new(program: &Path, fleet: &Fleet) -> Self {
        let arguments = ["--namespace", fleet.namespace(), "--committee", fleet.name()].map(str::to_owned).to_vec();
        Self { program: program.to_owned(), arguments, kubeconfig: fleet.stage().kubeconfig().to_owned() }
    }

    /// `weft put` of all files, several a call.
    pub async fn put(&self, fleet: &Fleet, sources: &[Source]) -> Result<Vec<Stored>, DemoError> {
        let bar = fleet.story().bytes("weft put", sources.iter().map(|source| source.length).sum());
        let mut stored = Vec::with_capacity(sources.len());
        for batch in sources.chunks(PER_CALL) {
            stored.extend(self.put_batch(batch).await?);
            bar.add(batch.iter().map(|source| source.length).sum());
        }
        Ok(stored)
    }

    /// It prints one line a file, in their order: the blob's ID, and the file's name.
    async fn put_batch(&self, batch: &[Source]) -> Result<Vec<Stored>, DemoError> {
        let mut command = self.command("put");
        command.args(batch.iter().map(|source| &source.path));
        let told = stage::run(&format!("weft put (of {} files)", batch.len()), command).await?;
        let ids: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
        if ids.len() != batch.len() {
            let message = format!("it printed {} IDs for {} files: {told}", ids.len(), batch.len());
            return Err(DemoError::Command { command: "weft put".to_owned(), message });
        }
        let blob = |(id, source): (&&str, &Source)| Stored {
            id: (*id).to_owned(),
            hash: source.hash,
            length: source.length,
            name: source.path.display().to_string(),
        };
        Ok(ids.iter().zip(batch).map(blob).collect())
    }

    /// `weft get` of one blob into a file.
    pub async fn get(&self, blob: &Stored, into: &Path) -> Result<(), DemoError> {
        let mut command = self.command("get");
        command.arg(&blob.id).arg(into);
        stage::run(&format!("weft get {}", blob.id), command).await.map(drop)
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).args(&self.arguments).env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

/// Reads everything through the gateway and compares hashes. Returns what came back different or not at all, with why.
pub async fn compare(fleet: &Fleet, gateway: &Gateway, blobs: &[Stored]) -> Vec<String> {
    let bar = fleet.story().count("read back and compare", blobs.len() as u64);
    let reads = stream::iter(blobs).map(|blob| async {
        let outcome = gateway.get(&blob.id).await;
        bar.add(1);
        match outcome {
            Ok(bytes) if blake3::hash(&bytes) == blob.hash => None,
            Ok(bytes) => Some(format!("{} ({}): {} other bytes", blob.id, blob.name, bytes.len())),
            Err(kind) => Some(format!("{} ({}): {kind}", blob.id, blob.name)),
        }
    });
    reads.buffer_unordered(READERS).filter_map(|wrong| async { wrong }).collect().await
}
