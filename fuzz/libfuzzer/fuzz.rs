//! libFuzzer's program for one target: the one that `WEFT_FUZZ` names. Without a name it tells all.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use weft_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

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
    // libFuzzer's own would end the process at any panic, and the store catches those of damaged pages. What isn't caught ends it
    // all the same.
    drop(std::panic::take_hook());
}

fuzz_target!(init: begin(), |input: &[u8]| (CHOSEN.get().expect("chosen at first").run)(input));
