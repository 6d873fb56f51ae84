//! One machine's firewall: iptables, which is there for Services, in chains of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::super::ClusterError;
use super::super::layout::Layout;

/// Rules of what pods begin, of what is begun with them, and where what no rule lets pass ends.
pub(super) const OUT: &str = "WEFT-OUT";
pub(super) const IN: &str = "WEFT-IN";
pub(super) const DENIED: &str = "WEFT-DENIED";

/// Whatever is passed on comes here first, and what begins something is judged in both directions. What is denied is told so at
/// once, and counted: this chain is written once.
const BEGIN: &str = "*filter
:WEFT-DENIED - [0:0]
:WEFT-OUT - [0:0]
:WEFT-IN - [0:0]
:WEFT-POLICIES - [0:0]
-A WEFT-DENIED -p tcp -j REJECT --reject-with tcp-reset
-A WEFT-DENIED -j REJECT --reject-with icmp-admin-prohibited
-A WEFT-POLICIES -m conntrack ! --ctstate NEW -j RETURN
-A WEFT-POLICIES -j WEFT-OUT
-A WEFT-POLICIES -j WEFT-IN
-I FORWARD 1 -j WEFT-POLICIES
COMMIT
";

/// The firewall of a machine, as long as this machine has power.
#[derive(Debug)]
pub(super) struct Firewall {
    namespace: PathBuf,
}

impl Firewall {
    pub(super) fn of(layout: &Layout, machine: usize) -> Self {
        Self { namespace: layout.namespace_path(machine) }
    }

    /// Tells it from the one that the machine had before it was restarted; `None` while it has none.
    pub(super) fn number(&self) -> Option<u64> {
        fs::metadata(&self.namespace).ok().map(|namespace| namespace.ino())
    }

    /// Puts rules in the place of all that were written before, at once.
    pub(super) fn write(&self, fresh: bool, rules: &[String]) -> Result<(), ClusterError> {
        let mut script = String::from(if fresh { BEGIN } else { "" });
        // Whatever is declared is emptied.
        write!(script, "*filter\n:{OUT} - [0:0]\n:{IN} - [0:0]\n").expect("a String takes everything");
        script.extend(rules.iter().flat_map(|rule| [rule.as_str(), "\n"]));
        script.push_str("COMMIT\n");
        self.run("iptables-restore --noflush --wait 10", &script).map(drop)
    }

    /// How many packets were denied.
    pub(super) fn denied(&self) -> Result<u64, ClusterError> {
        Ok(denied(&self.run(&format!("iptables --wait 10 --table filter --list {DENIED} -nvx"), "")?))
    }

    fn run(&self, line: &str, input: &str) -> Result<String, ClusterError> {
        let network = format!("--net={}", self.namespace.display());
        let line = format!("PATH=$PATH:/usr/sbin:/sbin exec {line}");
        feed("nsenter", &[network.as_str(), "sh", "-c", &line], input)
    }
}

/// Runs a program that reads `input`, and gives what it printed.
fn feed(program: &str, arguments: &[&str], input: &str) -> Result<String, ClusterError> {
    let failed =
        |message: String| ClusterError::Command { command: format!("{program} {}", arguments.join(" ")), message };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // It may end without having read everything: its own message says why.
    let fed = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    fed.transpose().map_err(|error| failed(error.to_string()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sum of the packets of all rules: after two lines of headings, a line each, which begins with the number.
fn denied(list: &str) -> u64 {
    list.lines().skip(2).filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_all_rules_count() {
        let list = "Chain WEFT-DENIED (7 references)\n    pkts      bytes target     prot opt in     out     source\n       \
                    3      180 REJECT     6    --  *      *       0.0.0.0/0\n      20     1200 REJECT     0    --  *\n";
        assert_eq!(denied(list), 23);
    }

    #[test]
    fn the_chains_that_rules_go_to_are_those_that_packets_come_through() {
        for chain in [OUT, IN, DENIED] {
            assert!(BEGIN.contains(&format!(":{chain} -")), "{chain}");
        }
        for chain in [OUT, IN] {
            assert!(BEGIN.contains(&format!("-A WEFT-POLICIES -j {chain}\n")), "{chain}");
        }
    }
}
