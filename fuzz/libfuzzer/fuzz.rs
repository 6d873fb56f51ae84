//! libFuzzer's program for one target: the one that `WEFT_FUZZ` names. Without a name it tells all.

#![no_main]

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

/// What the last panic said.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Chooses the target, and puts its seeds into the folder that `WEFT_FUZZ_SEEDS` names.
fn begin() {
    let Ok(name) = std::env::var("WEFT_FUZZ") else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let target = TARGETS.iter().find(|target| target.name == name).expect("WEFT_FUZZ names no target");
    CHOSEN.get_or_init(|| target);
    if let Ok(folder) = std::env::var("WEFT_FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("write a seed");
        }
    }
    if target.catches {
        // libFuzzer's own hook ends the process at any panic.
        std::panic::set_hook(Box::new(|panic| {
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string()
        }));
    }
}

fn run(input: &[u8]) {
    let target = CHOSEN.get().expect("chosen at first");
    if catch_unwind(|| (target.run)(input)).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
}

fuzz_target!(init: begin(), |input: &[u8]| run(input));
