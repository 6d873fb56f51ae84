//! The command line. Everything may come from the environment as well.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use weft_protocol::{FleetId, PublicKey};

use crate::gateway::GatewayArgs;

/// The storage node and the gateway of Weft.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves one member of a fleet from one volume.
    Serve(Serve),
    /// Serves blobs over HTTP in front of the members.
    Gateway(GatewayArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// The volume.
    #[arg(long, env = "WEFT_DATA_DIR", default_value = "/data")]
    pub data_dir: PathBuf,
    /// Where peers, gateways and the operator connect.
    #[arg(long, env = "WEFT_LISTEN", default_value = "0.0.0.0:7410")]
    pub listen: SocketAddr,
    /// Health, readiness and metrics, plain HTTP.
    #[arg(long, env = "WEFT_ADMIN", default_value = "0.0.0.0:7411")]
    pub admin: SocketAddr,
    /// Folder with `tls.crt`, `tls.key` and `ca.crt`.
    #[arg(long, env = "WEFT_TLS_DIR", default_value = "/tls")]
    pub tls_dir: PathBuf,
    /// ID of the fleet, 32 hexadecimal digits.
    #[arg(long, env = "WEFT_FLEET")]
    pub fleet: FleetId,
    /// The member's number in its committee.
    #[arg(long, env = "WEFT_MEMBER")]
    pub member: u32,
    /// Number of the incarnation that this volume makes the member.
    #[arg(long, env = "WEFT_INCARNATION")]
    pub incarnation: u32,
    /// The volume was made for this earlier incarnation, was lost and came back: it is admitted again (R25).
    #[arg(long, env = "WEFT_READMIT")]
    pub readmit: Option<u32>,
    /// The operator's public key for views, 64 hexadecimal digits; trusted until the first view names it.
    #[arg(long, env = "WEFT_TRUST_KEY")]
    pub trust_key: PublicKey,
}
