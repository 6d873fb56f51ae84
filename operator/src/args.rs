//! What the operator is told when it starts.

use std::net::SocketAddr;

use axum::http::Uri;
use clap::{Parser, Subcommand, ValueEnum};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
