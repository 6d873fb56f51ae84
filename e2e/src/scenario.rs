//! The scenarios that the tests must have played, and who has: `e2e/scenarios.txt` names them by number.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

/// Names the file in which tests note what they have played; silent: nobody asks.
const NOTES: &str = "WEFT_SCENARIOS";

/// A test that plays scenarios, from its beginning to its end.
#[derive(Debug)]
pub struct Scenario<'t> {
    test: &'t str,
    numbers: &'t [u8],
    began: Instant,
}

impl<'t> Scenario<'t> {
    /// A test begins to play the scenarios of these numbers.
    pub fn begins(test: &'t str, numbers: &'t [u8]) -> Self {
        Self { test, numbers, began: Instant::now() }
    }

    /// It has come to its end, and everything was as it should be.
    pub fn ends(self) {
        let Some(path) = env::var_os(NOTES) else { return };
        let seconds = self.began.elapsed().as_secs();
        // In one write: other test programs append to the same file.
        let lines = self.numbers.iter().map(|number| format!("{number}\t{}\t{seconds}\n", self.test));
        let noted = OpenOptions::new().append(true).create(true).open(path);
        let noted = noted.and_then(|mut notes| notes.write_all(lines.collect::<String>().as_bytes()));
        noted.expect("what was played can be noted");
    }
}
