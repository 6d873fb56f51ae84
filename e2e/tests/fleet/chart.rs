//! What `helm test` says of a release, with an operator and without.

use std::time::Duration;

use crate::theatre::{Outcome, Theatre};

const LIMIT: Duration = Duration::from_secs(120);

/// The operator's image asks the operator through its Service.
pub(crate) fn tested(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let told = theatre.stage()?.test_chart(LIMIT).await?;
        let phases: Vec<&str> = told.lines().filter(|line| line.starts_with("Phase:")).collect();
        assert_eq!(phases.len(), 1, "{told}");
        assert!(phases[0].ends_with("Succeeded"), "{told}");
        Ok(())
    })
}
