//! Every target takes its seeds, and what fuzzing has found before.

use std::path::Path;

use weft_fuzz::TARGETS;

#[test]
fn seeds_and_former_findings_pass() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            (target.run)(&seed);
        }
        let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(target.name);
        for input in std::fs::read_dir(found).into_iter().flatten() {
            let path = input.expect("a readable folder").path();
            println!("{}", path.display());
            (target.run)(&std::fs::read(&path).expect("a readable file"));
        }
    }
}
