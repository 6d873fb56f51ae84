//! Members and gateways of the release before (`e2e/previous`), under the present operator: they are looked after as ever, and
//! then follow, one after another.

use weft_e2e::demo::{Run, Scale, Snapshot};

use crate::{
    cookbook::{attempt, follow},
    load::under_load,
    page::find,
    rollout::restarted,
    settle::{incarnations, patch, settled},
    shell::Shell,
    theatre::{IMAGE, Outcome, PREVIOUS, Theatre},
};

const POD: &str = "A member's pod is deleted";
const CLAIM: &str = "A claim is deleted";
const EPOCH: &str = "An epoch begins by hand";

pub(crate) fn is_run(theatre: &Theatre) -> Outcome {
    theatre.wait(async {
        theatre.load_previous().await?;
        let run = theatre.run("previous", Scale { image: Some(PREVIOUS), ..Scale::SMALL }).await?;
        let shell = Shell::of(&run)?;
        under_load(&run, async {
            is_looked_after(&run, &shell).await?;
            follows(&run).await
        })
        .await?;
        run.fleet.delete().await?;
        Ok(())
    })
}

/// A restart, a loss that is mended, and an epoch.
async fn is_looked_after(run: &Run, shell: &Shell) -> Outcome {
    for (title, fresh) in [(POD, &[][..]), (CLAIM, &[3]), (EPOCH, &[])] {
        let before = run.fleet.observer().now();
        shell.play(&find(title, "")).await?;
        follow(run, title, &before, fresh, |now| title != POD || attempt(now, 3) > attempt(&before, 3)).await?;
    }
    let now = run.fleet.observer().now();
    assert!(images(&now).all(|image| image == PREVIOUS), "{:?}", images(&now).collect::<Vec<_>>());
    Ok(())
}

/// All get the present image, and keep their volumes.
async fn follows(run: &Run) -> Outcome {
    let before = run.fleet.observer().now();
    patch(run, &format!(r#"{{"spec": {{"image": "{IMAGE}"}}}}"#)).await?;
    let all = |now: &Snapshot| restarted(&before, now).len() == 7 && images(now).all(|image| image == IMAGE);
    let now = settled(run, "the present image everywhere", all).await?;
    assert_eq!(incarnations(&now), incarnations(&before));
    Ok(())
}

/// What members and gateways run.
fn images(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let pods = ["member", "gateway"].into_iter().flat_map(|component| snapshot.component(component));
    let specs = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(|pod| pod.spec.as_ref());
    specs.flat_map(|spec| &spec.containers).filter_map(|container| container.image.as_deref())
}
