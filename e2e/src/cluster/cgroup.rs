//! Control groups: what belongs to a cluster or a machine is known by its group, so it can be ended without a list of ids.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ClusterError;
use crate::process::{began, is_running};
use crate::wait::wait_until;

const ROOT: &str = "/sys/fs/cgroup";

/// The hierarchies of version 1 that a kubelet or runc uses.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];

/// What version 2 has to pass down: a kubelet insists on all that the root has of these (`io` apart), and on the four.
const DELEGATED: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "hugetlb", "io"];
const INDISPENSABLE: usize = 4;

/// The kernel ends processes within milliseconds, but tears down their namespaces in the same breath.
const END: Duration = Duration::from_secs(30);

/// How this machine's control groups are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// One folder for each hierarchy (version 1, also the hybrid form).
    Separate(Vec<PathBuf>),
    /// One tree (version 2).
    Unified(PathBuf),
}

impl Cgroups {
    /// Looks at what is mounted, and refuses what a kubelet could not work with.
    pub(crate) fn detect() -> Result<Self, ClusterError> {
        let root = Path::new(ROOT);
        if root.join("cgroup.controllers").is_file() {
            return Ok(Self::Unified(root.to_owned()));
        }
        let (found, missing): (Vec<_>, Vec<_>) =
            CONTROLLERS.iter().partition(|name| root.join(name).join("cgroup.procs").is_file());
        if missing.is_empty() {
            // The hybrid form has a tree of version 2 without controllers beside them, and runc makes groups there too.
            let hybrid = Some(&"unified").filter(|name| root.join(name).join("cgroup.procs").is_file());
            Ok(Self::Separate(found.into_iter().chain(hybrid).map(|name| root.join(name)).collect()))
        } else {
            let missing: Vec<&str> = missing.into_iter().copied().collect();
            Err(ClusterError::Unsupported {
                what: format!("{ROOT} holds neither the one tree of version 2 nor {} of version 1", missing.join(", ")),
            })
        }
    }

    /// Makes a group (and those above it) ready to hold groups of its own.
    pub(crate) fn create(&self, group: &str) -> Result<(), ClusterError> {
        match self {
            Self::Unified(root) => {
                let mut above = root.clone();
                delegate(&above)?;
                for name in group.split('/') {
                    above.push(name);
                    make(&above)?;
                    delegate(&above)?;
                }
            }
            Self::Separate(roots) => {
                for root in roots {
                    let mut folder = root.clone();
                    for name in group.split('/') {
                        let above = folder.clone();
                        folder.push(name);
                        make(&folder)?;
                        if root.ends_with("cpuset") {
                            inherit_cpuset(&above, &folder)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A leaf for the machine's own daemons: version 2 wants processes only in leaves. Returns the file that takes their ids.
    pub(crate) fn daemons(&self, group: &str) -> Result<PathBuf, ClusterError> {
        let folder = self.tasks(group).join("daemons");
        make(&folder)?;
        Ok(folder.join("cgroup.procs"))
    }

    /// Kills all processes in a group and below it, and waits until they are gone.
    pub(crate) fn kill(&self, group: &str) -> Result<(), ClusterError> {
        let folder = self.tasks(group);
        let mut killed = BTreeSet::new();
        wait_until(&format!("the end of all processes in {}", folder.display()), END, || {
            for id in processes_in(&folder) {
                if let (Some(pid), Some(beginning)) = (Pid::from_raw(id), began(id as u32)) {
                    killed.insert((id as u32, beginning));
                    // It fails where the process ended meanwhile.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            // They leave the group before they are gone.
            killed.retain(|&(id, beginning)| is_running(id) && began(id) == Some(beginning));
            if killed.is_empty() { Ok(Some(())) } else { Err(format!("still there: {killed:?}")) }
        })?;
        Ok(())
    }

    /// Removes a group and all below it, in every hierarchy. They must be empty of processes.
    pub(crate) fn remove(&self, group: &str) -> Result<(), ClusterError> {
        for folder in self.folders(group) {
            // A group stays busy for a moment after its last process ended.
            wait_until(&format!("the removal of {}", folder.display()), END, || {
                remove_tree(&folder).map(Some).map_err(|error| error.to_string())
            })?;
        }
        Ok(())
    }

    /// The processes in a group and below it.
    pub(crate) fn processes(&self, group: &str) -> Vec<i32> {
        processes_in(&self.tasks(group))
    }

    /// The folders that a group has, where it has any.
    pub(crate) fn folders(&self, group: &str) -> Vec<PathBuf> {
        self.roots().iter().map(|root| root.join(group)).filter(|folder| folder.is_dir()).collect()
    }

    /// The names of the groups at the top that begin with `prefix`.
    pub(crate) fn groups(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .roots()
            .iter()
            .flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten())
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn roots(&self) -> &[PathBuf] {
        match self {
            Self::Separate(roots) => roots,
            Self::Unified(root) => std::slice::from_ref(root),
        }
    }

    /// The folder whose `cgroup.procs` tells who belongs to a group.
    fn tasks(&self, group: &str) -> PathBuf {
        match self {
            Self::Separate(_) => Path::new(ROOT).join("pids").join(group),
            Self::Unified(root) => root.join(group),
        }
    }
}

fn make(folder: &Path) -> Result<(), ClusterError> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ClusterError::File { path: folder.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn delegate(folder: &Path) -> Result<(), ClusterError> {
    let path = folder.join("cgroup.controllers");
    let offered = fs::read_to_string(&path).map_err(|source| ClusterError::File { path, source })?;
    let words = delegation(&offered)?;
    let path = folder.join("cgroup.subtree_control");
    fs::write(&path, words).map_err(|source| ClusterError::Unsupported {
        what: format!("the controllers of cgroup version 2 can't be passed down ({}: {source})", path.display()),
    })
}

/// What to write into `cgroup.subtree_control`, from what `cgroup.controllers` offers.
fn delegation(offered: &str) -> Result<String, ClusterError> {
    let there = |name: &&str| offered.split_whitespace().any(|word| word == *name);
    if let Some(name) = DELEGATED[..INDISPENSABLE].iter().find(|name| !there(name)) {
        return Err(ClusterError::Unsupported { what: format!("cgroup version 2 has no {name} controller here") });
    }
    let words: Vec<String> = DELEGATED.iter().filter(|name| there(name)).map(|name| format!("+{name}")).collect();
    Ok(words.join(" "))
}

/// A new group of the cpuset hierarchy has no processors and no memory, and takes no process before it has.
fn inherit_cpuset(above: &Path, folder: &Path) -> Result<(), ClusterError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = folder.join(name);
        fs::read(above.join(name))
            .and_then(|value| fs::write(&path, value))
            .map_err(|source| ClusterError::File { path, source })?;
    }
    Ok(())
}

fn processes_in(folder: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_to_string(folder.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for child in children(folder) {
        found.extend(processes_in(&child));
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for child in children(folder) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_kubelet_asks_for_is_passed_down() {
        assert_eq!(
            delegation("cpuset cpu io memory pids rdma\n").ok().as_deref(),
            Some("+cpu +cpuset +memory +pids +io")
        );
        let error = delegation("cpuset cpu io pids").expect_err("no memory").to_string();
        assert!(error.contains("no memory controller"), "{error}");
    }

    /// On a tree of version 2 as this machine has it. Where it is the hybrid form's, it has no controllers to pass down: that
    /// is refused before anything is made, and what needs none of them is done on the tree all the same.
    #[cfg(feature = "cluster")]
    #[test]
    fn a_unified_tree_is_refused_without_controllers_and_kills_what_is_in_its_groups() {
        let trees = [ROOT.to_owned(), format!("{ROOT}/unified")];
        let root = trees.iter().map(Path::new).find(|root| root.join("cgroup.controllers").is_file());
        let root = root.expect("a tree of version 2: mount one at /sys/fs/cgroup/unified");
        let (cgroups, group) = (Cgroups::Unified(root.to_owned()), format!("weft-unified{}", std::process::id()));
        let offered = fs::read_to_string(root.join("cgroup.controllers")).expect("controllers");
        match (delegation(&offered), cgroups.create(&group)) {
            (Ok(_), made) => made.expect("made with all controllers"),
            (Err(expected), Err(refused)) => {
                assert_eq!(refused.to_string(), expected.to_string());
                assert_eq!(cgroups.folders(&group), Vec::<PathBuf>::new());
                make(&root.join(&group)).expect("a group without controllers");
            }
            (Err(expected), Ok(())) => panic!("made in spite of: {expected}"),
        }
        let tasks = cgroups.daemons(&group).expect("a leaf");
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
        fs::write(tasks, sleeper.id().to_string()).expect("taken into the group");
        assert_eq!(cgroups.processes(&group), [sleeper.id() as i32]);
        cgroups.kill(&group).expect("killed");
        assert!(!sleeper.wait().expect("its end").success());
        cgroups.remove(&group).expect("removed");
        assert_eq!(cgroups.groups(&group), Vec::<String>::new());
    }
}
