//! Who started a cluster: a run of tests ends its own clusters and no others.

use std::env;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ClusterError;

/// Names the run of which this process is a part, and those that it starts.
const VARIABLE: &str = "WEFT_RUN";

/// Long enough that two runs don't meet; a cluster's name has 20 characters in all.
const LENGTH: usize = 8;

/// One run of tests: eight lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunId(String);

impl RunId {
    /// The run that `WEFT_RUN` names; `None` outside of runs.
    pub fn current() -> Result<Option<Self>, ClusterError> {
        match env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => name.parse().map(Some),
            _ => Ok(None),
        }
    }

    /// The name of this run's cluster for a purpose (at most 12 characters): two runs side by side have one each.
    pub fn cluster(purpose: &str) -> Result<String, ClusterError> {
        Ok(Self::current()?.map_or_else(|| purpose.to_owned(), |run| format!("{purpose}{run}")))
    }

    /// Whether a cluster's name was made for this run.
    pub(crate) fn names(&self, cluster: &str) -> bool {
        cluster.ends_with(&self.0)
    }
}

impl FromStr for RunId {
    type Err = ClusterError;

    fn from_str(name: &str) -> Result<Self, ClusterError> {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if name.len() == LENGTH && plain {
            Ok(Self(name.to_owned()))
        } else {
            Err(ClusterError::Run { name: name.to_owned() })
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_knows_its_clusters_by_their_names() {
        let run: RunId = "0a1b2c3d".parse().expect("a run");
        assert!(run.names("fleet0a1b2c3d"));
        assert!(!run.names("fleet"));
        for bad in ["", "t", "0A1B2C3D", "0a1b2c3d4"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
