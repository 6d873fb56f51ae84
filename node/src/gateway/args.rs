//! The gateway's arguments.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use weft_protocol::{FleetId, PublicKey};

/// Who may use the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum AccessMode {
    /// Whoever has a token; TLS only
    Token,
    /// Anybody; without TLS too
    Open,
}

/// Serve blobs over HTTP, in front of a fleet's members
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    /// Members to ask for the newest view, host:port; a name may stand for many
    #[arg(long, env = "WEFT_SEEDS", value_delimiter = ',', required = true)]
    pub seeds: Vec<String>,
    /// The fleet's ID, 32 hexadecimal digits
    #[arg(long, env = "WEFT_FLEET")]
    pub fleet: FleetId,
    /// The operator's public key for views, 64 hexadecimal digits
    #[arg(long, env = "WEFT_TRUST_KEY")]
    pub trust_key: PublicKey,
    /// The folder with tls.crt, tls.key, ca.crt and delete.key
    #[arg(long, env = "WEFT_TLS_DIR", default_value = "/tls")]
    pub tls_dir: PathBuf,
    /// The folder with tls.crt and tls.key to show to clients, if they are others than members see
    #[arg(long, env = "WEFT_SERVING_TLS_DIR")]
    pub serving_tls_dir: Option<PathBuf>,
    /// The folder with the file `token`, and perhaps `read-token`
    #[arg(long, env = "WEFT_TOKEN_DIR", default_value = "/tokens")]
    pub token_dir: PathBuf,
    /// Who may use the gateway
    #[arg(long, env = "WEFT_ACCESS", default_value = "Token")]
    pub access: AccessMode,
    /// Where to serve HTTP without TLS when access is open
    #[arg(long, env = "WEFT_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where to serve HTTP with TLS
    #[arg(long, env = "WEFT_LISTEN_TLS", default_value = "0.0.0.0:8443")]
    pub listen_tls: SocketAddr,
    /// Where to serve liveness, readiness and metrics
    #[arg(long, env = "WEFT_ADMIN", default_value = "0.0.0.0:7411")]
    pub admin: SocketAddr,
}
