//! Real files to store: those of the machine's own Rust and Go toolchains.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DemoError;

/// How large a fleet, and how much is stored.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Members.
    pub members: u32,
    /// Bytes in all, at least.
    pub bytes: u64,
    /// Files in all, at least.
    pub files: usize,
    /// How many of the files have tens of megabytes.
    pub large: usize,
    /// What members and gateways run; `None`: what the operator comes with.
    pub image: Option<&'static str>,
    /// `spec.storage` of the committee, in braces.
    pub storage: &'static str,
}

/// Nothing is allocated before it is used.
const STORAGE: &str = "{size: 10Gi}";

impl Scale {
    /// What `make demo` stores.
    pub const DEMO: Self = Self { members: 7, bytes: 200_000_000, files: 400, large: 2, image: None, storage: STORAGE };
    /// What the tests store: the same in small.
    pub const TEST: Self = Self { members: 7, bytes: 20_000_000, files: 40, large: 0, image: None, storage: STORAGE };
    /// What several fleets at once store each.
    pub const SMALL: Self = Self { members: 7, bytes: 4_000_000, files: 30, large: 0, image: None, storage: STORAGE };
}

/// Tens of megabytes.
const LARGE: std::ops::Range<u64> = 16 << 20..64 << 20;
/// Megabytes.
const MIDDLE: std::ops::Range<u64> = 1 << 20..16 << 20;

/// A file that is stored, as it was when it was chosen.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
    /// The BLAKE3 hash of its bytes.
    pub hash: blake3::Hash,
}

/// Chooses files: an empty one, `large` ones of tens of megabytes, many below one, and enough of megabytes in between. The
/// same machine gives the same files.
pub fn choose(scale: Scale) -> Result<Vec<Source>, DemoError> {
    let mut all = Vec::new();
    for root in toolchains()? {
        walk(&root, &mut all);
    }
    // An order that has nothing to do with folders, so that neighbours aren't alike.
    all.sort_by_cached_key(|(path, _)| *blake3::hash(path.as_os_str().as_encoded_bytes()).as_bytes());

    let pick = |wanted: fn(&u64) -> bool| all.iter().filter(move |(_, length)| wanted(length)).cloned();
    let mut chosen: Vec<(PathBuf, u64)> = pick(|length| *length == 0).take(1).collect();
    chosen.extend(pick(|length| LARGE.contains(length)).take(scale.large));
    let small = scale.files - scale.files / 10;
    chosen.extend(pick(|length| (1..MIDDLE.start).contains(length)).take(small));
    let mut bytes: u64 = chosen.iter().map(|(_, length)| length).sum();
    for (path, length) in pick(|length| MIDDLE.contains(length)) {
        if bytes >= scale.bytes && chosen.len() >= scale.files {
            break;
        }
        bytes += length;
        chosen.push((path, length));
    }
    if bytes < scale.bytes || !chosen.iter().any(|(_, length)| *length == 0) {
        return Err(DemoError::Unfit(format!(
            "the toolchains here have too few files: {bytes} bytes of {}",
            scale.bytes
        )));
    }
    chosen.into_iter().map(|(path, _)| source(path)).collect()
}

fn source(path: PathBuf) -> Result<Source, DemoError> {
    let mut hasher = blake3::Hasher::new();
    match File::open(&path).and_then(|file| hasher.update_reader(file).map(drop)) {
        Ok(()) => Ok(Source { length: hasher.count(), hash: hasher.finalize(), path }),
        Err(source) => Err(DemoError::File { path, source }),
    }
}

/// The folders of the compilers that built this.
fn toolchains() -> Result<[PathBuf; 2], DemoError> {
    Ok([ask("rustc", &["--print", "sysroot"])?, ask("go", &["env", "GOROOT"])?])
}

fn ask(program: &str, arguments: &[&str]) -> Result<PathBuf, DemoError> {
    let failed =
        |message: String| DemoError::Command { command: format!("{program} {}", arguments.join(" ")), message };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// All regular files below a folder; what can't be read isn't there.
fn walk(folder: &Path, into: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(&entry.path(), into);
        } else if kind.is_file()
            && let Ok(metadata) = entry.metadata()
        {
            into.push((entry.path(), metadata.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_sizes_are_chosen_and_again_the_same() {
        let chosen = choose(Scale::TEST).expect("files");
        let bytes: u64 = chosen.iter().map(|source| source.length).sum();
        assert!((Scale::TEST.bytes..2 * Scale::TEST.bytes).contains(&bytes), "{bytes}");
        assert!(chosen.len() >= Scale::TEST.files);
        assert!(chosen.iter().any(|source| source.length == 0));
        assert!(chosen.iter().any(|source| MIDDLE.contains(&source.length)));
        let paths = |sources: &[Source]| sources.iter().map(|source| source.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&choose(Scale::TEST).expect("files")), paths(&chosen));
    }
}
