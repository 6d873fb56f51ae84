//! A network of the bench's own, without which many a `MinIO` in one fleet can't be had on one machine: they refuse loopback
//! addresses where they take it for a container.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    os::unix::process::CommandExt as _,
    process::Command,
};

use crate::Failure;

/// Where all that is measured listens.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// Set inside.
const INSIDE: &str = "BENCH_NODE_INSIDE";

/// Begins this program once more in a network namespace of its own, if it isn't in one, with [`HOST`] in it and no way out.
pub(crate) fn enter() -> Result<(), Failure> {
    if env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--user", "--map-root-user", "--net"]).arg(env::current_exe()?).args(env::args_os().skip(1));
        return Err(format!("unshare (util-linux): {}", again.env(INSIDE, "1").exec()).into());
    }
    for arguments in [["link", "set", "lo", "up"].as_slice(), &["address", "add", &format!("{HOST}/32"), "dev", "lo"]] {
        let status = Command::new("ip").args(arguments).status().map_err(|error| format!("ip (iproute2): {error}"))?;
        if !status.success() {
            return Err(format!("ip {}: {status}", arguments.join(" ")).into());
        }
    }
    Ok(())
}
