//! Running the system's own tools.

use std::ffi::OsStr;
use std::process::Command;

use super::ClusterError;

/// Runs a program to its end and returns what it printed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, ClusterError> {
    let told = || {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
        format!("{program} {}", words.join(" "))
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| ClusterError::Command { command: told(), message: error.to_string() })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ClusterError::Command { command: told(), message })
    }
}

/// `ip`, with its arguments in one line: none of ours holds a space.
pub(crate) fn ip(line: &str) -> Result<String, ClusterError> {
    run("ip", &line.split_whitespace().collect::<Vec<_>>())
}
