//! A namespace goes with everything in it, and its fleet is taken up again.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use weft_crds::committee_condition;
use weft_e2e::demo::{Gateway, Meter, Run, Scale, Snapshot, compare};

use crate::page::find;
use crate::scenarios::or_dump;
use crate::settle::{LIMIT, incarnations, margin, margins, settled};
use crate::shell::Shell;
use crate::theatre::{Outcome, Theatre};

pub(crate) const GOES: &str = "The namespace is deleted";

pub(crate) fn again(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        let run = theatre.run("gone", Scale::SMALL).await?;
        let shell = Shell::of(&run)?;
        // A committee that is made again has no code at first.
        let has_code = |now: &Snapshot| now.status().is_some_and(|status| status.encoding.is_some());
        let whole = |now: &Snapshot| has_code(now) && margins(now) == Some(margin(now, 0));
        let before = incarnations(&settled(&run, "full margins", whole).await?);
        goes(&run, &shell).await?;
        shell.play(&find(GOES, "back")).await?;
        or_dump(&run, async {
            let asks = |now: &Snapshot| now.is(committee_condition::STALLED) && whole(now);
            run.fleet.observer().wait("a fleet that is back, and asks", LIMIT, asks).await?;
            shell.play(&find(GOES, "confirm")).await?;
            let now =
                settled(&run, "a fleet at rest", |now| !now.is(committee_condition::STALLED) && whole(now)).await?;
            assert_eq!(incarnations(&now), before);
            Ok(())
        })
        .await?;
        let gateway = Gateway::connect(&run.fleet).await?;
        assert_eq!(compare(&run.fleet, &gateway, &run.stored).await, Vec::<String>::new());
        // The processes are new, and so are their counters.
        let meter = Meter::begin(&run.fleet).await?;
        assert!(meter.level("weft_store_sliver_bytes") > 0);
        assert_eq!(meter.level("weft_repair_rebuilt_bytes_total"), 0, "everything is where it was");
        run.fleet.delete().await?;
        Ok(())
    })
}

/// The namespace goes, and what is left of the fleet is enough.
async fn goes(run: &Run, shell: &Shell) -> Outcome {
    let fleet = run.fleet.observer().now().status().and_then(|status| status.fleet_id.clone()).ok_or("a fleet")?;
    shell.play(&find(GOES, "")).await?;
    let client = run.fleet.stage().client();
    let labelled = ListParams::default().labels(&format!("weft.dev/fleet={fleet}"));
    let volumes = Api::<PersistentVolume>::all(client.clone()).list(&labelled).await?;
    let members: BTreeSet<String> =
        volumes.iter().filter_map(|volume| volume.labels().get("weft.dev/member").cloned()).collect();
    assert_eq!((volumes.items.len(), members.len()), (7, 7));
    let keys = Api::<Secret>::namespaced(client.clone(), run.fleet.stage().system()).list(&labelled).await?;
    assert_eq!(keys.items.len(), 1);
    Ok(())
}
