//! Loop devices of a cluster's volumes. Each is its mount's own, and goes with it; what stays all the same is found by its file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{major, minor};

use super::ClusterError;
use super::leftovers::mounts;
use super::machine::{self, VOLUMES};
use super::shell::run;
use crate::wait::wait_until;

/// The kernel writes what a filesystem hasn't written yet when its last mount goes.
const END: Duration = Duration::from_secs(30);

/// An attached device and its file: where machines see it, on which device (`major:minor`) and by which number it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loop {
    name: String,
    disk: String,
    file: u64,
    path: String,
}

/// The devices whose files lie in a cluster's folder, deleted ones too where the machines' disks are in memory.
pub(crate) fn of(folder: &Path) -> Result<Vec<String>, ClusterError> {
    let attached = attached()?;
    if attached.is_empty() {
        return Ok(Vec::new());
    }
    let (disks, files) = (disks(folder), files(folder));
    let its = |device: &Loop| disks.contains(&device.disk) || files.contains(&(device.disk.clone(), device.file));
    Ok(attached.into_iter().filter(its).map(|device| device.name).collect())
}

/// The devices of files that lie where machines have their volumes, whosever they are.
pub(crate) fn of_anybody() -> Result<Vec<String>, ClusterError> {
    let volume = |device: &Loop| Path::new(&device.path).starts_with(VOLUMES);
    Ok(attached()?.into_iter().filter(volume).map(|device| device.name).collect())
}

/// Detaches those of a folder, and waits until they are gone: they keep its files, and its disks from being unmounted.
pub(crate) fn detach(folder: &Path) -> Result<(), ClusterError> {
    wait_until(&format!("the end of the loop devices of {}", folder.display()), END, || {
        let devices = of(folder).map_err(|error| error.to_string())?;
        for device in &devices {
            // It fails where the last mount has just taken it along.
            let _ = run("losetup", &["--detach", device]);
        }
        if devices.is_empty() { Ok(Some(())) } else { Err(format!("still there: {devices:?}")) }
    })?;
    Ok(())
}

fn attached() -> Result<Vec<Loop>, ClusterError> {
    let mut devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    if !devices.any(|device| device.path().join("loop").is_dir()) {
        return Ok(Vec::new());
    }
    let told =
        run("losetup", &["--list", "--noheadings", "--raw", "--output", "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE"])?;
    Ok(told.lines().filter_map(parse).collect())
}

/// One line, in which spaces within fields are written otherwise: some versions fill up numbers with them.
fn parse(line: &str) -> Option<Loop> {
    let mut fields = line.splitn(4, ' ').map(|field| field.replace("\\x20", " ").trim().to_owned());
    let (name, disk, file) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    Some(Loop { name, disk, file, path: fields.next()? })
}

/// The devices of what is mounted in a folder; the third field of mountinfo, proc(5).
fn disks(folder: &Path) -> BTreeSet<String> {
    let mounts = mounts();
    let fields = mounts.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let below = fields.filter(|fields| fields.get(4).is_some_and(|path| Path::new(path).starts_with(folder)));
    below.filter_map(|fields| fields.get(2).map(|&device| device.to_owned())).collect()
}

/// What lies among the volumes of a cluster's machines.
fn files(folder: &Path) -> BTreeSet<(String, u64)> {
    let machines = fs::read_dir(folder).into_iter().flatten().flatten();
    let volumes = machines.map(|machine| machine::volumes(&machine.path().join("disk")));
    let files = volumes.flat_map(|volumes| fs::read_dir(volumes).into_iter().flatten().flatten());
    let place = |file: &fs::Metadata| (format!("{}:{}", major(file.dev()), minor(file.dev())), file.ino());
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|file| place(&file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_file() {
        let line = r"/dev/loop3 \x20\x200:45\x20 12 /var/lib/weft-volumes/pvc-1.img (deleted)";
        let found = parse(line).expect("a device");
        assert_eq!((found.name.as_str(), found.disk.as_str(), found.file), ("/dev/loop3", "0:45", 12));
        assert!(Path::new(&found.path).starts_with(VOLUMES));
        assert_eq!(parse("/dev/loop3 0:45"), None);
    }

    /// As root, where the kernel has loop devices.
    #[cfg(feature = "cluster")]
    #[test]
    fn what_is_attached_to_a_machines_volume_is_found_and_detached() {
        let folder = std::env::temp_dir().join(format!("weft-loops-{}", std::process::id()));
        let volumes = folder.join("worker-1/disk/weft-volumes");
        fs::create_dir_all(&volumes).expect("a folder");
        let file = volumes.join("pvc-1.img");
        fs::File::create(&file).and_then(|file| file.set_len(1 << 20)).expect("a file");
        assert_eq!(of(&folder).expect("a list"), Vec::<String>::new());

        let device = run("losetup", &["--find", "--show", &file.display().to_string()]).expect("a loop device");
        assert_eq!(of(&folder).expect("a list"), [device.trim()]);
        detach(&folder).expect("detached");
        assert_eq!(of(&folder).expect("a list"), Vec::<String>::new());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
