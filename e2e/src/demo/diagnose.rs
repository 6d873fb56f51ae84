//! What a person would look at when something didn't come about.

use super::stage::Stage;

/// Lines of each log.
const LINES: &str = "--tail=300";

/// Prints the committee, its Epochs, pods, claims, policies and Events, and the last lines of the logs to standard error. What
/// can't be had says why.
pub(crate) async fn dump(stage: &Stage, namespace: &str, committee: &str) {
    let committees = format!("storagecommittee/{committee}");
    let members = "app.kubernetes.io/component=member";
    let gateways = "app.kubernetes.io/component=gateway";
    let operator = "app.kubernetes.io/component=operator";
    let questions: [&[&str]; 10] = [
        &["-n", namespace, "get", &committees, "-o", "yaml"],
        &["-n", namespace, "get", "epochs", "-o", "yaml"],
        &["-n", namespace, "get", "pods,pvc,networkpolicies", "-o", "wide"],
        &["get", "nodes", "-o", "wide"],
        &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
        &["-n", stage.system(), "get", "pods", "-o", "wide"],
        &["-n", stage.system(), "logs", "-l", operator, "--prefix", LINES],
        &["-n", stage.system(), "logs", "-l", operator, "--previous", "--prefix", LINES],
        &["-n", namespace, "logs", "-l", members, "--prefix", "--max-log-requests=20", "--tail=20"],
        &["-n", namespace, "logs", "-l", gateways, "--prefix", "--max-log-requests=20", "--tail=20"],
    ];
    for arguments in questions {
        eprintln!("--- kubectl {}", arguments.join(" "));
        match stage.kubectl(arguments).await {
            Ok(text) => eprintln!("{}", text.trim_end()),
            Err(error) => eprintln!("{error}"),
        }
    }
}
