//! A volume of its own for a test: ext4 in a file, mounted through a loop device.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long programs take to start, at the most; and between two looks whether they have.
const STARTS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// A mounted filesystem that can lose its power. Unmounted and gone when dropped.
pub(crate) struct Volume {
    directory: tempfile::TempDir,
}

impl Volume {
    /// Of so many MiB. The image lies in memory where there is room for it: no test crashes the host.
    pub(crate) fn new(mebibytes: u64) -> Outcome<Self> {
        let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("weft-volume").tempdir_in(place)?;
        let volume = Self { directory };
        let image = std::fs::File::create(volume.image())?;
        image.set_len(mebibytes << 20)?;
        std::fs::create_dir(volume.path())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&volume.image())])?;
        volume.mount()?;
        Ok(volume)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    /// Mounts it; its journal is played, as after a loss of power.
    pub(crate) fn mount(&self) -> Outcome {
        run("mount", &["-o", "loop,errors=remount-ro", &text(&self.image()), &text(&self.path())])
    }

    /// A program that another test starts at this moment has the files open that this one had, until it is itself.
    pub(crate) fn unmount(&self) -> Outcome {
        let limit = Instant::now() + STARTS;
        loop {
            match run("umount", &[&text(&self.path())]) {
                Err(error) if error.to_string().contains("busy") && Instant::now() < limit => std::thread::sleep(PAUSE),
                unmounted => return unmounted,
            }
        }
    }

    /// From here on the filesystem does nothing and has written nothing that it hadn't: what a loss of power leaves.
    pub(crate) fn cut_power(&self) -> Outcome {
        // The ioctl is the same for both filesystems: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        run("xfs_io", &["-x", "-c", "shutdown", &text(&self.path())])
    }

    /// Has the kernel find an error in the filesystem, for which it is remounted read-only.
    pub(crate) fn break_filesystem(&self) -> Outcome {
        let device = output("findmnt", &["-n", "-o", "SOURCE", &text(&self.path())])?;
        let name = Path::new(device.trim()).file_name().ok_or("no device")?;
        std::fs::write(Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error"), "a test")?;
        Ok(())
    }

    /// Repairs what [`Volume::break_filesystem`] noted in it. Unmounted.
    pub(crate) fn repair(&self) -> Outcome {
        // 1: errors were corrected.
        let status = Command::new("e2fsck").args(["-f", "-y"]).arg(self.image()).output()?.status;
        if matches!(status.code(), Some(0 | 1)) { Ok(()) } else { Err(format!("e2fsck: {status}").into()) }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Twice where a store is still open while a test fails: the second lets go of it once that is closed.
        if self.unmount().is_err() {
            let _ = run("umount", &["-l", &text(&self.path())]);
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, arguments: &[&str]) -> Outcome {
    output(program, arguments).map(drop)
}

fn output(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
    }
}
