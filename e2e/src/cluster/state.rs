//! What is written down about a cluster, so that another process can find it, use it and end it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, MOST_CLUSTERS, host_link};
use super::run::RunId;
use super::{ClusterError, Options};
use crate::parts::cache;

/// `state.json` in the cluster's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Chooses the cluster's networks and devices.
    pub(crate) number: u8,
    /// As asked for.
    pub(crate) options: Options,
    /// The run that started it, where one did.
    #[serde(default)]
    pub(crate) run: Option<RunId>,
}

/// The folder of all clusters.
pub(crate) fn clusters() -> Result<PathBuf, ClusterError> {
    Ok(cache()?.join("cluster"))
}

/// The names of the clusters that have a state.
pub(crate) fn names() -> Result<Vec<String>, ClusterError> {
    let folder = clusters()?;
    let mut names: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Claims a number that no other cluster has, and writes the state.
pub(crate) fn create(options: &Options) -> Result<Layout, ClusterError> {
    let all = clusters()?;
    let folder = all.join(&options.name);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ClusterError::File { path, source }
    };
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let lock = all.join("lock");
    // Held until this returns: two clusters that come up at once must not take the same number.
    let guard = File::create(&lock).map_err(io(&lock))?;
    flock(&guard, FlockOperation::LockExclusive).map_err(|error| io(&lock)(error.into()))?;

    let taken: Vec<u8> =
        names()?.iter().filter_map(|name| read(name).ok().flatten()).map(|state| state.number).collect();
    let number = (0..MOST_CLUSTERS)
        .find(|number| !taken.contains(number) && !host_link_exists(*number))
        .ok_or(ClusterError::TooMany)?;
    let state = State { number, options: options.clone(), run: RunId::current()? };
    let path = folder.join("state.json");
    let text =
        serde_json::to_string_pretty(&state).map_err(|source| ClusterError::State { path: path.clone(), source })?;
    fs::write(&path, text).map_err(io(&path))?;
    Ok(layout(&state, folder))
}

/// Another user's cluster has its state in another cache.
fn host_link_exists(number: u8) -> bool {
    Path::new("/sys/class/net").join(host_link(number)).exists()
}

/// Reads the state of a cluster; `None` if there is no such cluster.
pub(crate) fn read(name: &str) -> Result<Option<State>, ClusterError> {
    let path = clusters()?.join(name).join("state.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| ClusterError::State { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClusterError::File { path, source }),
    }
}

/// The layout that follows from a state.
pub(crate) fn layout(state: &State, folder: PathBuf) -> Layout {
    Layout { name: state.options.name.clone(), number: state.number, workers: state.options.workers, folder }
}
