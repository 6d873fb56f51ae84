//! How a command ends.

use std::error::Error;
use std::process::ExitCode;

/// What a command returns: any error, told with its causes.
pub(crate) type Outcome = Result<(), BoxError>;

/// Any error.
pub(crate) type BoxError = Box<dyn Error>;

/// Tells an error and its causes on standard error.
pub(crate) fn report(outcome: Outcome) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let mut causes = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    eprintln!("weft: {}", causes.join(": "));
    ExitCode::FAILURE
}

/// Prints a line. Nobody listening any more is no reason to stop the work half-way.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs a command that speaks to others.
pub(crate) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
