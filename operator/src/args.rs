//! What the operator is told when it starts.

use std::net::SocketAddr;

use axum::http::Uri;
use clap::{Parser, Subcommand, ValueEnum};

use crate::act::policies::Operators;

/// The operator of Weft's storage committees.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster of the kubeconfig, or the one that it runs in.
    Run(RunArgs),
    /// Ask an operator over plain HTTP, and succeed if it answers with success.
    Probe {
        /// E.g. `http://weft.weft-system.svc:8080/readyz`.
        url: Uri,
    },
}

/// Where to watch and what to run there.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Image of members and gateways of committees whose spec names none.
    #[arg(long, env = "WEFT_NODE_IMAGE")]
    pub node_image: String,
    /// Namespaces to watch; none: all of them.
    #[arg(long, env = "WEFT_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// The operator's own namespace, where its Lease lives and the copies of fleets' keys.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// The operator's own name, by which it holds the Lease and signs its events.
    #[arg(long, env = "POD_NAME", default_value = "weft-operator")]
    pub name: String,
    /// Name of the Lease by which one operator leads.
    #[arg(long, env = "WEFT_LEASE_NAME", default_value = "weft-operator")]
    pub lease: String,
    /// Labels of operators' pods in the operator's own namespace: each committee gets network policies, which let in those whom
    /// it takes, and such operators. Silent: none are made, and those that were made before go. So it is for an operator that
    /// runs outside of the cluster, since no policy could name it.
    #[arg(long, env = "WEFT_NETWORK_POLICIES", value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    pub network_policies: Vec<(String, String)>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "WEFT_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,
    /// What to log, e.g. `info` or `weft_operator=debug,info`.
    #[arg(long, env = "WEFT_LOG", default_value = "info")]
    pub log: String,
    /// How to write the log.
    #[arg(long, env = "WEFT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// Whom network policies let in; `None`: there shall be none.
    pub fn operators(&self) -> Option<Operators> {
        let labels = self.network_policies.iter().cloned().collect();
        (!self.network_policies.is_empty()).then(|| Operators { namespace: self.namespace.clone(), labels })
    }
}

/// A label as text. That it is a good one is for the API server to say.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(more: &[&str]) -> Result<RunArgs, clap::Error> {
        let line =
            [&["weft-operator", "run", "--node-image", "example.com/weft:1", "--namespace", "ops"], more].concat();
        Args::try_parse_from(line).map(|args| match args.command {
            Command::Run(args) => args,
            Command::Probe { .. } => unreachable!("it was told to run"),
        })
    }

    #[test]
    fn operators_are_named_by_their_labels_and_where_they_live() {
        assert_eq!(parsed(&[]).expect("arguments").operators(), None);
        let operators = parsed(&["--network-policies", "app=weft,part=operator"]).expect("arguments").operators();
        let labels = [("app", "weft"), ("part", "operator")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(operators, Some(Operators { namespace: "ops".to_owned(), labels: labels.into() }));
        for bad in ["app", "=weft", "app=weft,", ""] {
            assert!(parsed(&["--network-policies", bad]).is_err(), "{bad:?}");
        }
    }
}
