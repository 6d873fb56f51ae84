//! The `weft` command with plain sliver files: encode, lose, repair, decode.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use weft_redstuff::{Axis, Code, Hash, Labels, Layout, Metadata, StripeHashes, merkle};

/// A folder to play in, with the file `original`.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn with(content: &[u8]) -> Self {
        let desk = Self { folder: TempDir::new().unwrap() };
        fs::write(desk.path("original"), content).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `weft` in the folder.
    fn weft(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.current_dir(self.folder.path()).args(arguments.split_whitespace()).output().unwrap()
    }

    /// Runs `weft`, which must succeed; what it printed.
    fn done(&self, arguments: &str) -> String {
        let output = self.weft(arguments);
        assert!(output.status.success(), "weft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `weft`, which must fail; what it complained about.
    fn refused(&self, arguments: &str) -> String {
        self.refused_as(arguments, 1)
    }

    fn refused_as(&self, arguments: &str, code: i32) -> String {
        let output = self.weft(arguments);
        assert_eq!(output.status.code(), Some(code), "weft {arguments}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    fn decodes_to(&self, content: &[u8]) {
        self.done("decode slivers decoded");
        assert!(fs::read(self.path("decoded")).unwrap() == content, "the decoded file differs");
    }

    fn slivers(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.path("slivers"))
    }

    fn remove(&self, sliver: &str) {
        fs::remove_file(self.path("slivers").join(sliver)).unwrap();
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// Bytes without a pattern that a stripe could hide.
fn content(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn bash_completes_commands_and_their_options() {
    let desk = Desk::with(b"");
    fs::write(desk.path("script"), desk.done("completion bash")).unwrap();
    let complete = |words: &[&str]| -> Vec<String> {
        let (last, before) = words.split_last().unwrap();
        let line = format!(
            ". ./script; COMP_WORDS=(weft {words}); COMP_CWORD={at}; _weft weft '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            words = words.join(" "),
            at = words.len(),
            before = before.last().unwrap_or(&"weft"),
        );
        let output = Command::new("bash").current_dir(desk.folder.path()).args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(complete(&["re"]), ["recover", "repair"]);
    assert!(complete(&["encode", "--sh"]).contains(&"--shards".to_owned()));
    assert!(desk.refused_as("completion cmd", 2).contains("possible values: bash"));
}

#[test]
fn a_lost_and_a_corrupted_shard_are_rebuilt_byte_for_byte() {
    // Three stripes of 64 * 28 bytes, the last one short.
    let original = content(64 * 28 * 2 + 100);
    let desk = Desk::with(&original);
    desk.done("encode original slivers --symbol-size 64");
    let before = desk.slivers();
    assert_eq!(before.len(), 3 * 20 + 1);

    for stripe in 0..3 {
        for shard in [0, 4] {
            desk.remove(&format!("stripe-{stripe:06}/primary-{shard:03}"));
            desk.remove(&format!("stripe-{stripe:06}/secondary-{:03}", 9 - shard));
        }
    }
    let corrupt = desk.path("slivers/stripe-000001/primary-007");
    let mut bytes = fs::read(&corrupt).unwrap();
    bytes[5] ^= 1;
    fs::write(&corrupt, bytes).unwrap();
    fs::write(desk.path("slivers/stripe-000002/secondary-001"), b"short").unwrap();

    let told = desk.done("repair slivers");
    assert!(told.contains("rebuilt stripe-000001/primary-007 (corrupt): 448 bytes from 448 bytes"), "{told}");
    assert!(told.contains("rebuilt stripe-000000/secondary-009 (missing): 256 bytes from 256 bytes"), "{told}");
    assert!(told.contains("46 slivers were good, 14 rebuilt"), "{told}");
    assert!(desk.slivers() == before, "the folder isn't what it was");
    assert!(desk.done("repair slivers").contains("60 slivers were good, 0 rebuilt"));
    desk.decodes_to(&original);
}

#[test]
fn a_whole_lost_stripe_folder_of_one_axis_comes_back() {
    let original = content(5000);
    let desk = Desk::with(&original);
    desk.done("encode original slivers --shards 7 --fault-tolerance 2");
    let before = desk.slivers();
    // Secondaries need 3 primaries, all primaries then come from the secondaries.
    for index in 0..7 {
        desk.remove(&format!("stripe-000000/secondary-{index:03}"));
    }
    for index in [0, 2, 3, 5] {
        desk.remove(&format!("stripe-000000/primary-{index:03}"));
    }
    desk.done("repair slivers");
    assert!(desk.slivers() == before, "the folder isn't what it was");
}

#[test]
fn any_sufficient_slivers_decode_without_a_repair() {
    let original = content(200_000);
    let desk = Desk::with(&original);
    desk.done("encode original slivers");
    for index in 0..6 {
        desk.remove(&format!("stripe-000000/primary-{index:03}"));
    }
    desk.decodes_to(&original);
    for index in 0..3 {
        desk.remove(&format!("stripe-000000/secondary-{index:03}"));
    }
    desk.remove("stripe-000000/primary-009");
    desk.decodes_to(&original);
}

#[test]
fn files_of_every_awkward_length_survive() {
    for length in [0, 1, 27, 28, 29, 28 * 64, 28 * 64 + 1] {
        let original = content(length);
        let desk = Desk::with(&original);
        desk.done("encode original slivers --symbol-size 64");
        desk.done("encode original default");
        for folder in ["slivers", "default"] {
            let stripe = desk.path(folder).join("stripe-000000");
            fs::remove_file(stripe.join("primary-000")).unwrap();
            fs::remove_file(stripe.join("secondary-000")).unwrap();
            desk.done(&format!("repair {folder}"));
            desk.done(&format!("decode {folder} decoded"));
            assert!(fs::read(desk.path("decoded")).unwrap() == original, "{length} bytes in {folder}");
        }
    }
}

#[test]
fn a_file_of_several_default_stripes_survives() {
    // 4 shards: stripes of 6 symbols of 64 KiB.
    let original = content(6 * 65536 * 2 + 12_345);
    let desk = Desk::with(&original);
    desk.done("encode original slivers --shards 4");
    assert!(desk.path("slivers/stripe-000002/primary-003").exists());
    assert!(!desk.path("slivers/stripe-000003").exists());
    fs::remove_dir_all(desk.path("slivers/stripe-000001")).unwrap();
    let complaint = desk.refused("repair slivers");
    assert!(complaint.contains("stripe-000001: 0 good primary slivers are left"), "{complaint}");
    let again = Desk::with(&original);
    again.done("encode original slivers --shards 4");
    again.decodes_to(&original);
}

#[test]
fn too_great_a_loss_is_refused_and_nothing_is_touched() {
    let original = content(64 * 28 + 1);
    let desk = Desk::with(&original);
    desk.done("encode original slivers --symbol-size 64");
    for index in 0..7 {
        desk.remove(&format!("stripe-000000/primary-{index:03}"));
    }
    for index in 0..4 {
        desk.remove(&format!("stripe-000000/secondary-{index:03}"));
    }
    desk.remove("stripe-000001/primary-003");
    fs::write(desk.path("decoded"), b"precious").unwrap();

    let complaint = desk.refused("decode slivers decoded");
    assert!(
        complaint.contains("stripe-000000: 3 good primary slivers are left and 6 good secondary ones"),
        "{complaint}"
    );
    assert_eq!(fs::read(desk.path("decoded")).unwrap(), b"precious");
    let left: Vec<PathBuf> = desk.slivers().into_keys().collect();
    let complaint = desk.refused("repair slivers");
    assert!(complaint.contains("it takes 4 primary or 7 secondary ones"), "{complaint}");
    assert!(complaint.contains("primary-006 (missing)"), "{complaint}");
    let after = desk.slivers();
    assert!(left.iter().all(|path| after.contains_key(path)));
    // The other stripe was mended all the same.
    assert_eq!(after.len(), left.len() + 1);
    let names: Vec<_> = fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn metadata_name_the_code_and_every_hash() {
    let desk = Desk::with(&content(3000));
    desk.done("encode original slivers --shards 31 --fault-tolerance 4");
    let metadata: serde_json::Value =
        serde_json::from_slice(&fs::read(desk.path("slivers/metadata.json")).unwrap()).unwrap();
    for (field, value) in [("shards", 31), ("faultTolerance", 4), ("k1", 23), ("k2", 27), ("length", 3000)] {
        assert_eq!(metadata[field], value, "{field}");
    }
    assert_eq!(metadata["blobId"].as_str().unwrap().len(), 64);
    let stripe = &metadata["stripes"][0];
    assert_eq!((stripe["symbolSize"].as_u64(), metadata["tailSymbolSize"].as_u64()), (Some(5), Some(5)));
    let secondary = fs::read(desk.path("slivers/stripe-000000/secondary-030")).unwrap();
    assert_eq!(secondary.len(), 23 * 5);
    assert_eq!(stripe["secondary"][30], blake3::hash(&secondary).to_string());
    // The data are the first slivers, end to end.
    let rows: Vec<u8> =
        (0..23).flat_map(|i| fs::read(desk.path(&format!("slivers/stripe-000000/primary-{i:03}"))).unwrap()).collect();
    assert_eq!(rows[..3000], fs::read(desk.path("original")).unwrap());
}

#[test]
fn the_same_file_gives_the_same_folder() {
    let desk = Desk::with(&content(3000));
    let told = desk.done("encode original slivers");
    assert_eq!(desk.done("encode original again"), told);
    assert_eq!(
        fs::read(desk.path("slivers/metadata.json")).unwrap(),
        fs::read(desk.path("again/metadata.json")).unwrap()
    );
}

#[test]
fn altered_metadata_are_refused() {
    let desk = Desk::with(&content(3000));
    desk.done("encode original slivers");
    let path = desk.path("slivers/metadata.json");
    let good = fs::read_to_string(&path).unwrap();
    let root = good.lines().find(|line| line.contains("\"root\"")).unwrap();
    for bad in [
        good.replace("\"length\": 3000", "\"length\": 2999"),
        good.replace(root, "  \"root\": \"00\","),
        good.replace("\"k1\": 4", "\"k1\": 5"),
    ] {
        fs::write(&path, bad).unwrap();
        for command in ["repair slivers", "decode slivers decoded"] {
            assert!(desk.refused(command).contains("contradicts itself"), "{command}");
        }
    }
    fs::write(&path, "{").unwrap();
    assert!(desk.refused("repair slivers").contains("isn't valid JSON"));
    fs::remove_file(&path).unwrap();
    assert!(desk.refused("decode slivers decoded").contains("encode again"));
    assert!(!desk.path("decoded").exists());
}

#[test]
fn bad_arguments_are_refused_before_anything_is_made() {
    let desk = Desk::with(b"content");
    for (options, complaint) in [
        ("--shards 3", "4 to 255 shards"),
        ("--shards 256", "4 to 255 shards"),
        ("--fault-tolerance 4", "tolerates 1 to 3 faults"),
        ("--symbol-size 0", "a symbol has 1 to"),
        ("--symbol-size 4294967295", "a symbol has 1 to"),
    ] {
        let told = desk.refused(&format!("encode original slivers {options}"));
        assert!(told.contains(complaint), "{options}: {told}");
        assert!(!desk.path("slivers").exists());
    }
    assert!(desk.refused("encode absent slivers").contains("can't open absent"));
    assert!(desk.refused("encode . slivers").contains("is a folder"));
    assert!(!desk.path("slivers").exists());
}

#[test]
fn nothing_that_is_there_is_overwritten_by_mistake() {
    let desk = Desk::with(b"content");
    fs::create_dir(desk.path("full")).unwrap();
    fs::write(desk.path("full/treasure"), b"gold").unwrap();
    assert!(desk.refused("encode original full").contains("isn't empty"));
    assert_eq!(fs::read(desk.path("full/treasure")).unwrap(), b"gold");
    assert!(desk.refused("encode original original").contains("can't use original"));
    fs::create_dir(desk.path("slivers")).unwrap();
    desk.done("encode original slivers");
    assert!(desk.refused("encode original slivers").contains("isn't empty"));
    assert!(desk.refused("decode slivers full").contains("is a folder"));
    assert!(desk.refused("decode slivers /dev/null").contains("isn't a regular file"));
    desk.decodes_to(b"content");
}

/// Replaces a sliver, and makes `metadata.json` promise the new bytes in a consistent way: what a lying writer does.
fn commit_to(desk: &Desk, sliver: &str, axis: Axis, index: usize, bytes: &[u8]) {
    fs::write(desk.path("slivers/stripe-000000").join(sliver), bytes).unwrap();
    let path = desk.path("slivers/metadata.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["stripes"][0][axis.name()][index] = Hash::of(bytes).to_string().into();
    let hashes = |axis: Axis| {
        let texts = json["stripes"][0][axis.name()].as_array().unwrap();
        texts.iter().map(|text| text.as_str().unwrap().parse().unwrap()).collect()
    };
    let code = Code::with_shards(10).unwrap();
    let stripe = StripeHashes::new(code, hashes(Axis::Primary), hashes(Axis::Secondary)).unwrap().root();
    let size = |name: &str| u32::try_from(json[name].as_u64().unwrap()).unwrap();
    let length = json["length"].as_u64().unwrap();
    let metadata = Metadata {
        root: merkle::root(&[stripe]),
        layout: Layout::from_sizes(code, length, size("symbolSize"), size("tailSymbolSize")).unwrap(),
        labels: Labels::default(),
        expiry: None,
        digest: json["digest"].as_str().unwrap().parse().unwrap(),
        nonce: [0; 16],
    };
    json["stripes"][0]["root"] = stripe.to_string().into();
    json["root"] = metadata.root.to_string().into();
    json["blobId"] = metadata.id().to_string().into();
    fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn a_sliver_that_contradicts_the_others_is_not_made_up() {
    let original = content(3000);
    let desk = Desk::with(&original);
    desk.done("encode original slivers");
    let length = fs::read(desk.path("slivers/stripe-000000/primary-009")).unwrap().len();
    commit_to(&desk, "primary-009", Axis::Primary, 9, &vec![7; length]);
    desk.decodes_to(&original);
    desk.remove("stripe-000000/primary-009");
    let complaint = desk.refused("repair slivers");
    assert!(complaint.contains("primary-009 can't be rebuilt"), "{complaint}");
    assert!(!desk.path("slivers/stripe-000000/primary-009").exists());

    // A source row that contradicts the rest is what the reader gets, and the digest tells.
    commit_to(&desk, "primary-000", Axis::Primary, 0, &vec![7; length]);
    assert!(desk.refused("decode slivers decoded").contains("the decoded content isn't the one"));
    assert!(fs::read(desk.path("decoded")).unwrap() == original, "the earlier file is gone");
}
