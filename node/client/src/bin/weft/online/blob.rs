use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;
use weft_client::http::{OtherAnswer, ShardAnswer, SliversAnswer};

use super::{Online, Session};
use crate::{
    failure::{Outcome, say},
    kubernetes::{columns, table},
};

/// Look into a blob
#[derive(Debug, Args)]
pub(crate) struct Blob {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show where each sliver of a blob is, and the blob's own margin
    Stat {
        /// The blob's ID
        id: String,
        #[command(flatten)]
        online: Online,
    },
}

impl Blob {
    pub(crate) fn run(self) -> Outcome {
        let Command::Stat { id, online } = self.command;
        online.run(async |session| stat(&session, &id).await)
    }
}

async fn stat(session: &Session, id: &str) -> Outcome {
    let found = session.retrying(async || session.gateways.slivers(id).await).await?;
    if session.json {
        say(format_args!("{}", json!(found)));
    } else {
        say(format_args!("{}", render(&found).trim_end()));
    }
    Ok(())
}

fn render(found: &SliversAnswer) -> String {
    let SliversAnswer { id, length, stripes, inline, view, fault_tolerance, held, to_read, margin, shards, others } =
        found;
    let place = match (*inline, *stripes) {
        (true, _) => "in its registry entry".to_owned(),
        (false, 1) => "in one stripe".to_owned(),
        (false, stripes) => format!("in {stripes} stripes"),
    };
    let mut text = format!("{id}\n{:<9} {length} bytes, {place}\n", "Content");
    let all = shards.len();
    let _ = writeln!(text, "{:<9} {held} of {all} shards have all of it, {to_read} are enough to read it", "Held");
    let _ = writeln!(text, "{:<9} {margin} of {} shards", "Margin", 2 * fault_tolerance);
    let _ = writeln!(text, "{:<9} {}.{}\n", "View", view.epoch, view.revision);
    let yes = |there: bool| if there { "yes" } else { "no" }.to_owned();
    let mut table = table(&["SHARD", "HOLDER", "PRIMARY", "SECONDARY", "NOTE"]);
    for ShardAnswer { shard, member, incarnation, primary, secondary, error } in shards {
        let silent = error.is_some();
        let holder = member.zip(*incarnation).map(|(member, incarnation)| format!("{member}-{incarnation}"));
        let [primary, secondary] = [primary, secondary].map(|there| if silent { "?".to_owned() } else { yes(*there) });
        let note = error.clone().or_else(|| holder.is_none().then(|| "nobody to ask".to_owned())).unwrap_or_default();
        table.add_row([shard.to_string(), holder.unwrap_or_else(|| "-".to_owned()), primary, secondary, note]);
    }
    text += &columns(table);
    for OtherAnswer { member, incarnation, primaries, secondaries } in others {
        let _ = write!(
            text,
            "\n{member}-{incarnation}, which has no seat, has {primaries} primary and {secondaries} secondary slivers besides."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use weft_client::http::ViewPlace;

    use super::*;

    #[test]
    fn each_sliver_is_shown_with_its_holder() {
        let shard = |shard: u16| ShardAnswer {
            shard,
            member: Some(u32::from(shard / 2)),
            incarnation: Some(1),
            primary: true,
            secondary: true,
            error: None,
        };
        let mut shards: Vec<_> = (0..8).map(shard).collect();
        shards[1].primary = false;
        shards[4] =
            ShardAnswer { error: Some("no answer within 2s".to_owned()), primary: false, secondary: false, ..shard(4) };
        shards[7] = ShardAnswer { member: None, incarnation: None, primary: false, secondary: false, ..shard(7) };
        let found = SliversAnswer {
            id: "ab".repeat(32),
            length: 70_000,
            stripes: 2,
            inline: false,
            view: ViewPlace { epoch: 3, revision: 1 },
            fault_tolerance: 2,
            held: 5,
            to_read: 4,
            margin: 1,
            shards,
            others: vec![OtherAnswer { member: 3, incarnation: 1, primaries: 1, secondaries: 2 }],
        };
        insta::assert_snapshot!(render(&found));
    }
}
