//! The one place that publishes files: complete or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::OfflineError;

/// A file in the making, beside its final place. Dropped unpublished, it is removed.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Draft {
    pub(super) fn new(target: &Path) -> Result<Self, OfflineError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.weft-{}.tmp", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = file.map_err(OfflineError::io("create", &temporary))?;
        Ok(Self { file, temporary, target: target.to_owned(), published: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OfflineError> {
        self.file.write_all(bytes).map_err(OfflineError::io("write", &self.temporary))
    }

    /// Puts the file in its place, durably. It is synced first, lest a power cut leave the name without the bytes; then its folder, lest it
    /// take the name back after the caller reported success.
    pub(super) fn publish(mut self) -> Result<(), OfflineError> {
        self.file.sync_all().map_err(OfflineError::io("sync", &self.temporary))?;
        self.place()?;
        let folder = folder_of(&self.target);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(OfflineError::io("sync", folder))
    }

    fn place(&mut self) -> Result<(), OfflineError> {
        fs::rename(&self.temporary, &self.target).map_err(OfflineError::io("replace", &self.target))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // The error that led here is the one to tell; a left-over draft does no harm.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a file durably, complete or not at all.
pub(super) fn publish(target: &Path, bytes: &[u8]) -> Result<(), OfflineError> {
    let mut draft = Draft::new(target)?;
    draft.write(bytes)?;
    draft.publish()
}

/// Replaces a sliver that was damaged anyway. It isn't synced: whoever reads a sliver checks it, and it can be rebuilt again.
pub(super) fn replace_sliver(target: &Path, bytes: &[u8]) -> Result<(), OfflineError> {
    let mut draft = Draft::new(target)?;
    draft.write(bytes)?;
    draft.place()
}

/// The folder that a path's last part is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Reads until `buffer` is full or the input ends; how many bytes it were.
pub(super) fn read_full(input: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
