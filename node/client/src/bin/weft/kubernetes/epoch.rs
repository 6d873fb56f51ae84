use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use kube::{Resource, api::PostParams};
use tokio::time::sleep;
use weft_crds::{Epoch, EpochMember, EpochPhase, EpochSpec, Moves, epoch_name, names::COMMITTEE};

use super::{
    Cluster, Committee, Output, columns, table,
    text::{age, bytes, count, ranges},
};
use crate::failure::{BoxError as Error, Outcome, block_on};

/// Between looks at an epoch that is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// See how shards moved between members, or have them assigned anew
#[derive(Debug, Args)]
pub(crate) struct EpochCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a committee's epochs
    List {
        #[command(flatten)]
        of: Committee,
        #[command(flatten)]
        output: Output,
    },
    /// Show one epoch: who owns what, what moves, how far it is
    Show {
        /// The epoch's number
        number: u64,
        #[command(flatten)]
        of: Committee,
        #[command(flatten)]
        output: Output,
    },
    /// Begin the next epoch: the operator assigns the shards anew
    Advance {
        #[command(flatten)]
        of: Committee,
        #[command(flatten)]
        output: Output,
        /// Why, for the history
        #[arg(long, default_value = "asked for on the command line")]
        reason: String,
        /// Wait until every new owner has everything
        #[arg(long, short)]
        wait: bool,
    },
}

impl EpochCommand {
    pub(crate) fn run(self) -> Outcome {
        block_on(async {
            match self.command {
                Command::List { of, output } => {
                    let (cluster, committee) = find(&of).await?;
                    let epochs = cluster.epochs(&committee.name).await?;
                    output.print(&epochs, || list(&epochs, Timestamp::now()))
                }
                Command::Show { number, of, output } => {
                    let (cluster, committee) = find(&of).await?;
                    let epoch = cluster.api::<Epoch>().get(&epoch_name(&committee.name, number)).await?;
                    output.print(&epoch, || show(&epoch))
                }
                Command::Advance { of, output, reason, wait } => {
                    let (cluster, committee) = find(&of).await?;
                    let mut epoch = advance(&cluster, &committee, reason).await?;
                    if wait {
                        epoch = committed(&cluster, epoch).await?;
                    }
                    output.print(&epoch, || format!("epoch {} {}", epoch.spec.number, phase(&epoch)))
                }
            }
        })
    }
}

/// What of a committee its epochs need.
struct Found {
    name: String,
    current: Option<u64>,
    owner: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>,
}

async fn find(of: &Committee) -> Result<(Cluster, Found), Error> {
    let cluster = of.kube.connect().await?;
    let committee = cluster.committee(of.committee.as_deref()).await?;
    let owner = committee.controller_owner_ref(&());
    let current = committee.status.and_then(|status| status.epoch).map(|epoch| epoch.current);
    Ok((cluster, Found { name: committee.metadata.name.unwrap_or_default(), current, owner }))
}

/// Makes the next Epoch. The API server refuses a second one of that number.
async fn advance(cluster: &Cluster, committee: &Found, reason: String) -> Result<Epoch, Error> {
    let current = committee.current.filter(|current| *current > 0).ok_or("the committee has no epoch yet")?;
    let number = current + 1;
    let spec = EpochSpec { committee: committee.name.clone(), number, owners: None, reason: Some(reason) };
    let mut epoch = Epoch::new(&epoch_name(&committee.name, number), spec);
    epoch.metadata.labels = Some([(COMMITTEE.to_owned(), committee.name.clone())].into());
    epoch.metadata.owner_references = committee.owner.clone().map(|owner| vec![owner]);
    match cluster.api().create(&PostParams::default(), &epoch).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            Err(format!("epoch {number} is there already: weft epoch show {number}").into())
        }
        made => Ok(made?),
    }
}

/// Waits until an epoch is committed, and tells what changes meanwhile.
async fn committed(cluster: &Cluster, mut epoch: Epoch) -> Result<Epoch, Error> {
    let (epochs, name) = (cluster.api::<Epoch>(), epoch.metadata.name.clone().unwrap_or_default());
    let mut told = String::new();
    loop {
        let line = progress(&epoch);
        if line != told {
            // Beside the output, which may be read by a program.
            eprintln!("{line}");
            told = line;
        }
        let status = epoch.status.clone().unwrap_or_default();
        match status.phase {
            Some(EpochPhase::Committed | EpochPhase::Retired) => return Ok(epoch),
            Some(EpochPhase::Superseded) => return Err(format!("another epoch took the place of {name}").into()),
            Some(EpochPhase::Planned | EpochPhase::Migrating | EpochPhase::Sealing) | None => {}
        }
        if let Some(refused) = status.conditions.iter().find(|said| said.type_ == "Accepted" && said.status == "False")
        {
            return Err(format!("{name} isn't accepted: {}", refused.message).into());
        }
        sleep(LOOK).await;
        // An API server that is away for a moment ends nothing.
        match epochs.get_opt(&name).await {
            Ok(Some(now)) => epoch = now,
            Ok(None) => return Err(format!("{name} was deleted").into()),
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn phase(epoch: &Epoch) -> String {
    let phase = epoch.status.as_ref().and_then(|status| status.phase);
    phase.map_or_else(|| "Waiting".to_owned(), |phase| format!("{phase:?}"))
}

fn moves(epoch: &Epoch) -> Moves {
    epoch.status.as_ref().and_then(|status| status.moves).unwrap_or_default()
}

fn progress(epoch: &Epoch) -> String {
    let Moves { shards, bytes: all, copied, rebuilt, .. } = moves(epoch);
    let mut line = format!("epoch {}: {}", epoch.spec.number, phase(epoch));
    if shards > 0 {
        let (moved, all, shards) = (bytes(copied + rebuilt), bytes(all), count(shards.into(), "shard"));
        let _ = write!(line, ", {moved} of {all} moved for {shards}");
    }
    line
}

fn list(epochs: &[Epoch], now: Timestamp) -> String {
    if epochs.is_empty() {
        return "The committee has no epochs yet.\n".to_owned();
    }
    let mut table = table(&["EPOCH", "PHASE", "MOVES", "FEWEST", "BYTES", "COMMITTED", "REASON"]);
    for epoch in epochs {
        let Moves { shards, minimum, bytes: moved, .. } = moves(epoch);
        let committed = epoch.status.as_ref().and_then(|status| status.committed_at.as_ref());
        table.add_row([
            epoch.spec.number.to_string(),
            phase(epoch),
            shards.to_string(),
            minimum.to_string(),
            bytes(moved),
            committed.map_or_else(|| "-".to_owned(), |at| format!("{} ago", age(now, at.0))),
            epoch.spec.reason.clone().unwrap_or_default(),
        ]);
    }
    columns(table)
}

fn show(epoch: &Epoch) -> String {
    let status = epoch.status.clone().unwrap_or_default();
    let Moves { shards, minimum, bytes: all, copied, rebuilt } = moves(epoch);
    let mut text = format!("epoch {} of {}: {}\n", epoch.spec.number, epoch.spec.committee, phase(epoch));
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    if let Some(reason) = &epoch.spec.reason {
        fact("Reason", reason.clone());
    }
    let moved = count(shards.into(), "shard");
    fact("Moves", format!("{moved}, {minimum} at least; {}", bytes(all)));
    fact("Moved", format!("{} copied, {} rebuilt", bytes(copied), bytes(rebuilt)));
    if let Some(at) = &status.committed_at {
        fact("Committed", at.0.to_string());
    }
    if let Some(digest) = &status.registry_digest {
        fact("Registry", digest.clone());
    }
    if !status.conditions.is_empty() {
        let mut conditions = table(&["CONDITION", "STATUS", "REASON", "MESSAGE"]);
        for said in &status.conditions {
            conditions.add_row([&said.type_, &said.status, &said.reason, &said.message]);
        }
        text = text + "\n" + &columns(conditions);
    }
    let mut owned: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (shard, owner) in status.owners.iter().enumerate() {
        owned.entry(*owner).or_default().push(shard as u8);
    }
    if owned.is_empty() {
        return text;
    }
    let mut owners = table(&["OWNER", "SHARDS"]);
    for (owner, shards) in owned {
        let incarnation = |member: &&EpochMember| member.id == owner;
        let name = status.members.iter().find(incarnation).map(|member| format!("{owner}-{}", member.incarnation));
        owners.add_row([name.unwrap_or_else(|| owner.to_string()), format!("{} ({})", shards.len(), ranges(&shards))]);
    }
    text + "\n" + &columns(owners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::testing;

    #[test]
    fn epochs_are_listed_by_number() {
        insta::assert_snapshot!(list(&testing::epochs(), testing::now()));
        assert_eq!(list(&[], testing::now()), "The committee has no epochs yet.\n");
    }

    #[test]
    fn an_epoch_is_shown_with_its_owners() {
        insta::assert_snapshot!(show(&testing::epochs()[2]));
        let told = testing::epochs().iter().map(progress).collect::<Vec<_>>();
        assert_eq!(told[0], "epoch 3: Retired");
        assert_eq!(told[2], "epoch 5: Migrating, 256.00 MiB of 1.00 GiB moved for 4 shards");
    }
}
