//! Disks of machines. A machine that loses its power keeps its disk, wherever that is.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ClusterError;
use super::layout::Layout;
use super::leftovers::mounts;
use super::shell::run;

/// As much as machines of five may take with all that the tests store, several times over.
const ENOUGH: u64 = 12 << 30;

/// What a machine's disk may hold, in bytes: several times what the tests store.
const LARGEST: u64 = 4 << 30;

/// Where the machines' disks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disks {
    /// On the host's own.
    #[default]
    OfHost,
    /// In memory. A cluster's tests never crash the host, and half of what they would do is to wait for its disk.
    InMemory,
}

impl Disks {
    /// In memory, where there is enough of it.
    pub fn of_tests() -> Self {
        if available().is_some_and(|bytes| bytes >= ENOUGH) { Self::InMemory } else { Self::OfHost }
    }
}

/// Bytes of memory that can be had without swapping: `MemAvailable` of proc(5).
fn available() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Gives every machine its disk.
pub(crate) fn put_in(layout: &Layout, disks: Disks) -> Result<(), ClusterError> {
    if disks == Disks::OfHost {
        return Ok(());
    }
    for machine in layout.machines() {
        let folder = layout.machine_folder(machine);
        fs::create_dir_all(&folder).map_err(|source| ClusterError::File { path: folder.clone(), source })?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("mode=0755,size={LARGEST}"), "tmpfs", &folder.display().to_string()],
        )?;
    }
    Ok(())
}

/// Takes the disks in memory below a folder out for good.
pub(crate) fn take_out(folder: &Path) -> Result<(), ClusterError> {
    for mount in mounts().iter().filter_map(|line| mount_point(line)).filter(|mount| mount.starts_with(folder)) {
        run("umount", &[&mount.display().to_string()])?;
    }
    Ok(())
}

/// The fifth field of a line of `mountinfo`, in which spaces are written otherwise; proc(5).
fn mount_point(line: &str) -> Option<PathBuf> {
    line.split(' ').nth(4).map(|path| PathBuf::from(path.replace("\\040", " ")))
}
