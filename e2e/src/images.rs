//! Container images made of static binaries, without a container engine.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The image that holds a pod's namespaces. It only has to wait: the helper's `sleep` does that.
pub(crate) const PAUSE: &str = "localhost/pause:1";

/// A shell and its tools, for helper pods.
pub(crate) const BUSYBOX: &str = "localhost/busybox:1";

/// The names under which busybox does something else.
const APPLETS: [&str; 14] =
    ["sh", "ls", "cat", "mkdir", "rm", "mv", "cp", "chmod", "sleep", "nslookup", "wget", "nc", "httpd", "dd"];

/// An image of one layer on an empty base.
#[must_use]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    user: Option<String>,
    layer: tar::Builder<Vec<u8>>,
}

impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Image").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that belongs into it.
    #[error("add {} to the image {image}", path.display())]
    Add {
        /// The image.
        image: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image itself.
    #[error("write the image {image} to {}", path.display())]
    Write {
        /// The image.
        image: String,
        /// Where to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// For the programs that have no allocator of their own: large pieces of memory go back to the system; the C library would learn to keep them (mallopt(3)).
const MEMORY: &str = "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576";

impl Image {
    /// An empty image with a name such as `localhost/weft:dev`.
    pub fn new(name: &str) -> Self {
        let mut layer = tar::Builder::new(Vec::new());
        layer.mode(tar::HeaderMode::Deterministic);
        Self { name: name.to_owned(), entrypoint: Vec::new(), user: None, layer }
    }

    /// Weft's own image, from the folder where cargo put the static `weft-operator`, `weft-node` and `weft`.
    pub fn weft(name: &str, binaries: &Path) -> Result<Self, ImageError> {
        let mut image = Self::new(name).user("65532:65532").folder("tmp", 0o1777)?;
        for binary in ["weft-operator", "weft-node", "weft"] {
            image = image.program(&binaries.join(binary), &format!("bin/{binary}"))?;
        }
        Ok(image)
    }

    /// Busybox with its usual names, and the pause image.
    pub(crate) fn helpers(busybox: &Path) -> Result<[Self; 2], ImageError> {
        let mut helper = Self::new(BUSYBOX).program(busybox, "bin/busybox")?.folder("tmp", 0o1777)?;
        for applet in APPLETS {
            helper = helper.link(&format!("bin/{applet}"), "/bin/busybox")?;
        }
        let pause =
            Self::new(PAUSE).program(busybox, "bin/busybox")?.entrypoint(&["/bin/busybox", "sleep", "infinity"]);
        Ok([helper, pause])
    }

    /// Adds an executable file.
    pub fn program(mut self, from: &Path, to: &str) -> Result<Self, ImageError> {
        File::open(from)
            .and_then(|mut file| {
                let mut header = header(tar::EntryType::Regular, 0o755);
                header.set_size(file.metadata()?.len());
                self.layer.append_data(&mut header, to, &mut file)
            })
            .map_err(|source| ImageError::Add { image: self.name.clone(), path: from.to_owned(), source })?;
        Ok(self)
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Result<Self, ImageError> {
        self.layer
            .append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target)
            .map_err(|source| ImageError::Add { image: self.name.clone(), path: path.into(), source })?;
        Ok(self)
    }

    /// Adds an empty folder.
    pub fn folder(mut self, path: &str, mode: u32) -> Result<Self, ImageError> {
        self.layer
            .append_data(&mut header(tar::EntryType::Directory, mode), path, io::empty())
            .map_err(|source| ImageError::Add { image: self.name.clone(), path: path.into(), source })?;
        Ok(self)
    }

    /// What is run when nothing else is asked for.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Who runs it, as `uid:gid`.
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Writes it in the form that `docker save` writes and `docker load`, `ctr images import` and
    /// `kind load image-archive` read. The same content gives the same bytes.
    pub fn write(self, path: &Path) -> Result<(), ImageError> {
        let failed = |source| ImageError::Write { image: self.name.clone(), path: path.to_owned(), source };
        let layer = self.layer.into_inner().map_err(failed)?;
        let layer_id = hex(&layer);
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/bin", MEMORY],
                "User": self.user.as_deref().unwrap_or_default(),
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_id}")]},
        })
        .to_string();
        let config_name = format!("{}.json", hex(config.as_bytes()));
        let layer_name = format!("{layer_id}/layer.tar");
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": [layer_name]}]).to_string();

        let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + 8192));
        for (name, bytes) in [
            (&config_name, config.as_bytes()),
            (&layer_name, layer.as_slice()),
            (&"manifest.json".to_owned(), manifest.as_bytes()),
        ] {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, bytes).map_err(failed)?;
        }
        let bytes = archive.into_inner().map_err(failed)?;
        // Renamed when whole: another process may be about to load it.
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| fs::rename(&unfinished, path)).map_err(failed)
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_image_names_its_layer_by_its_hash() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("weft-image-{}.tar", std::process::id()));
        let image =
            Image::new("localhost/t:1").folder("tmp", 0o1777).expect("a folder").link("bin/a", "/b").expect("a link");
        image.entrypoint(&["/b"]).user("1:1").write(&path).expect("written");

        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(&path).expect("the tar"));
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("bytes");
            entries.insert(entry.path().expect("a path").display().to_string(), bytes);
        }
        fs::remove_file(&path).expect("removed");

        let manifest: serde_json::Value = serde_json::from_slice(&entries["manifest.json"]).expect("a manifest");
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/t:1");
        let layer = &entries[manifest[0]["Layers"][0].as_str().expect("a layer")];
        let config = &entries[manifest[0]["Config"].as_str().expect("a config")];
        let config: serde_json::Value = serde_json::from_slice(config).expect("a config");
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(layer)));
        assert_eq!(config["config"]["User"], "1:1");
    }
}
