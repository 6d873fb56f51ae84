//! Where the binaries of the local Kubernetes lie, and where its state may be kept.

use std::env;
use std::path::{Path, PathBuf};

/// The versions that `kubernetes/build.sh` builds.
const VERSIONS: &str = include_str!("../kubernetes/versions");

/// The binaries of one Kubernetes version.
#[derive(Clone, Debug)]
pub struct Parts {
    version: String,
    bin: PathBuf,
}

/// Why the binaries can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("find the cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// `kubernetes/versions` doesn't name a part.
    #[error("read kubernetes/versions: no {key} in it")]
    NoVersion {
        /// What was looked for.
        key: &'static str,
    },
    /// A part wasn't built yet.
    #[error("find {name} of Kubernetes {version}: not built yet, run e2e/kubernetes/build.sh {name}")]
    NotBuilt {
        /// The binary.
        name: &'static str,
        /// The Kubernetes version.
        version: String,
    },
}

impl Parts {
    /// The parts of the version in `KUBERNETES_VERSION`, silent: of the pinned one.
    pub fn locate() -> Result<Self, PartsError> {
        let version = version("KUBERNETES_VERSION")?;
        let bin = cache()?.join("kubernetes").join(&version).join("bin");
        Ok(Self { version, bin })
    }

    /// The Kubernetes version, without a leading `v`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The folder with all binaries (some of them links).
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The path of one binary, or an error that says how to build it.
    pub fn path(&self, name: &'static str) -> Result<PathBuf, PartsError> {
        let path = self.bin.join(name);
        if path.is_file() { Ok(path) } else { Err(PartsError::NotBuilt { name, version: self.version.clone() }) }
    }
}

/// `${XDG_CACHE_HOME:-$HOME/.cache}/weft`, where everything lies that may be made again.
pub(crate) fn cache() -> Result<PathBuf, PartsError> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("weft"))
        .ok_or(PartsError::NoCache)
}

/// The version of a part: what the environment says under that key, silent: the pinned one.
pub(crate) fn version(key: &'static str) -> Result<String, PartsError> {
    match env::var(key) {
        Ok(version) if !version.is_empty() => Ok(version),
        _ => pinned(VERSIONS, key).map(str::to_owned).ok_or(PartsError::NoVersion { key }),
    }
}

fn pinned<'a>(versions: &'a str, key: &str) -> Option<&'a str> {
    versions.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_file_pins_a_kubernetes() {
        let version = pinned(VERSIONS, "KUBERNETES_VERSION").expect("a version");
        assert!(version.starts_with("1."), "{version}");
        assert_eq!(version.split('.').count(), 3, "{version}");
    }
}
