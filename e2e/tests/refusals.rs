//! What the API server refuses, with which words, and what it accepts: the manifests of `refusals/`, as its README says.
#![cfg(feature = "api")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use weft_e2e::{ApiServer, Kubectl, wait_until};

type Outcome = Result<(), String>;

/// A file, or a pair of them: what is made first, and what it is then changed to.
#[derive(Debug, Default)]
struct Case {
    first: Option<PathBuf>,
    then: Option<PathBuf>,
}

#[test]
fn each_manifest_gets_the_answer_that_it_names() {
    let api = ApiServer::start().expect("an API server");
    let kubectl = api.kubectl();
    install(kubectl);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("refusals");

    let (refused, accepted) = (cases(&folder), cases(&folder.join("valid")));
    assert!(refused.len() >= 15 && accepted.len() >= 2, "{} and {} cases", refused.len(), accepted.len());
    let wrong: Vec<String> = refused
        .iter()
        .filter_map(|(name, case)| is_refused(kubectl, case).err().map(|why| format!("{name}: {why}")))
        .chain(
            accepted
                .iter()
                .filter_map(|(name, case)| is_accepted(kubectl, case).err().map(|why| format!("valid/{name}: {why}"))),
        )
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Installs the definitions, and waits until their kinds are served.
fn install(kubectl: &Kubectl) {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    for kind in ["storagecommittees", "epochs"] {
        let file = definitions.join(format!("weft.dev_{kind}.yaml"));
        kubectl.apply(&fs::read_to_string(file).expect("a generated definition")).expect("a valid definition");
        wait_until("the kind to be served", std::time::Duration::from_secs(60), || {
            kubectl.run(&["get", kind]).map(Some).map_err(|error| error.to_string())
        })
        .expect("the kind is served");
    }
}

/// The cases of a folder by name, sorted.
fn cases(folder: &Path) -> BTreeMap<String, Case> {
    let mut cases = BTreeMap::<String, Case>::new();
    for entry in fs::read_dir(folder).expect("the folder of manifests") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".yaml") else { continue };
        let (name, is_second) = match stem.strip_suffix(".after") {
            Some(name) => (name, true),
            None => (stem.strip_suffix(".before").unwrap_or(stem), false),
        };
        let case = cases.entry(name.to_owned()).or_default();
        *(if is_second { &mut case.then } else { &mut case.first }) = Some(path);
    }
    cases
}

fn is_accepted(kubectl: &Kubectl, case: &Case) -> Outcome {
    create(kubectl, case.first.as_deref().ok_or("its .before.yaml is missing")?)?;
    case.then.as_deref().map_or(Ok(()), |then| replace(kubectl, then))
}

fn is_refused(kubectl: &Kubectl, case: &Case) -> Outcome {
    let first = case.first.as_deref().ok_or("its .before.yaml is missing")?;
    let (file, outcome) = match case.then.as_deref() {
        None => (first, create(kubectl, first)),
        Some(then) => {
            create(kubectl, first)?;
            (then, replace(kubectl, then))
        }
    };
    let expected = header(file, "refused").ok_or("it has no line `# refused:`")?;
    match outcome {
        Ok(()) => Err("it is accepted".to_owned()),
        Err(message) if message.contains(&expected) => Ok(()),
        Err(message) => Err(format!("expected {expected:?} in: {message}")),
    }
}

/// Creates an object, and writes the status that its manifest has: creation itself drops it.
fn create(kubectl: &Kubectl, file: &Path) -> Outcome {
    run(kubectl, &["create", "-f"], file)?;
    if text(file).lines().any(|line| line.starts_with("status:")) {
        run(kubectl, &["replace", "--subresource=status", "-f"], file)?;
    }
    Ok(())
}

fn replace(kubectl: &Kubectl, file: &Path) -> Outcome {
    match header(file, "subresource") {
        Some(name) => run(kubectl, &["replace", &format!("--subresource={name}"), "-f"], file),
        None => run(kubectl, &["replace", "-f"], file),
    }
}

fn run(kubectl: &Kubectl, arguments: &[&str], file: &Path) -> Outcome {
    let path = file.to_str().ok_or("its path is no text")?;
    kubectl.run(&[arguments, &[path]].concat()).map(drop).map_err(|error| error.to_string())
}

/// What a manifest says of itself in a line `# key: value`.
fn header(file: &Path, key: &str) -> Option<String> {
    let prefix = format!("# {key}: ");
    text(file).lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).expect("a manifest")
}
