//! Writes the definitions to `crds/` and, as templates, to the chart; with `--check` says whether they are current.

use std::{fs, io, path::PathBuf, process::ExitCode};

use thiserror::Error;
use weft_crds::{DefinitionError, definitions};

#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    Generate(#[from] DefinitionError),
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("out of date: {}; run `cargo run -p weft-crds --bin generate-crds`", paths.join(", "))]
    Stale { paths: Vec<String> },
    #[error("usage: generate-crds [--check]; {argument:?} is unknown")]
    Usage { argument: String },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("generate-crds: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(argument) => return Err(Error::Usage { argument: argument.to_owned() }),
    };
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let templates = crate_folder.join("../charts/weft/templates/crds");
    let mut stale = Vec::new();
    for definition in definitions()? {
        let files = [
            (crate_folder.join(definition.file_name()), definition.manifest()?),
            (templates.join(format!("{}.yaml", definition.plural)), definition.template()?),
        ];
        for (path, text) in files {
            if check {
                let found = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                if found != text {
                    stale.push(path.display().to_string());
                }
            } else {
                fs::write(&path, text).map_err(|source| Error::Write { path, source })?;
            }
        }
    }
    if stale.is_empty() { Ok(()) } else { Err(Error::Stale { paths: stale }) }
}
