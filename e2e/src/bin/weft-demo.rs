//! `make demo`: from an empty machine to a mended fleet.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _, stdin, stdout};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};
use weft_e2e::demo::{DemoError, Place, Run, Scale, Stage, Story, delete_namespace};
use weft_e2e::{Cluster, Options};

/// The cluster of the demonstration; `make cluster-up` has another.
const CLUSTER: &str = "demo";
/// Where the committee lives, and all that is ever touched in a cluster that isn't ours.
const NAMESPACE: &str = "weft-demo";
/// An operator that isn't there after this time doesn't come.
const INSTALL: Duration = Duration::from_secs(180);

/// A fleet on a real Kubernetes that loses a worker under load, and mends itself.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// `local`: a cluster of this machine's own. `current`: the one that KUBECONFIG names.
    #[arg(long, env = "CLUSTER", default_value = "local", global = true)]
    cluster: Where,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    Local,
    Current,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Play it.
    Run {
        /// The `weft` command.
        #[arg(long)]
        weft: PathBuf,
        /// The image's tar, and its name.
        #[arg(long)]
        image_tar: PathBuf,
        #[arg(long, default_value = "localhost/weft:dev")]
        image: String,
        /// An image that the cluster can pull; only for `CLUSTER=current`.
        #[arg(long, env = "WEFT_IMAGE")]
        pull: Option<String>,
        /// Don't ask before something is done to a cluster that isn't ours: `1`.
        #[arg(long, env = "YES", default_value = "")]
        yes: String,
        /// Stores a tenth of it.
        #[arg(long)]
        small: bool,
    },
    /// End it, and leave nothing.
    Down,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.action {
        Action::Down => down(arguments.cluster).await.map(|()| ExitCode::SUCCESS),
        Action::Run { weft, image_tar, image, pull, yes, small } => {
            let scale = if small { Scale::TEST } else { Scale::DEMO };
            let show = Show { weft, image_tar, image, scale, story: Story::begin() };
            play(arguments.cluster, show, pull, yes == "1").await
        }
    };
    outcome.unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
        eprintln!("weft-demo: {told}");
        ExitCode::FAILURE
    })
}

struct Show {
    weft: PathBuf,
    image_tar: PathBuf,
    image: String,
    scale: Scale,
    story: Story,
}

async fn play(place: Where, show: Show, pull: Option<String>, sure: bool) -> Result<ExitCode, DemoError> {
    let (stage, image) = match place {
        Where::Local => (local(&show).await?, show.image.clone()),
        Where::Current => current(&show, pull, sure).await?,
    };
    show.story.say("helm install weft charts/weft");
    stage.install(&image, INSTALL).await?;
    let run = Run::start(&stage, NAMESPACE, &show.weft, show.scale, &show.story).await?;
    let (run, report) = run.lose().await?;
    println!("\n{report}\n");
    let broken = report.broken();
    for promise in &broken {
        println!("NOT KEPT: {promise}");
    }
    if broken.is_empty() {
        println!("Every promise was kept.\n");
    }
    println!("Look around:");
    println!("  export KUBECONFIG={}", run.fleet.stage().kubeconfig().display());
    println!("  kubectl --namespace {NAMESPACE} get storagecommittees,epochs,pods -o wide");
    println!("  {} ls --namespace {NAMESPACE} --committee {}", show.weft.display(), run.fleet.name());
    println!("and end it with `make demo-down`.");
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A fresh local cluster with the image on every machine.
async fn local(show: &Show) -> Result<Stage, DemoError> {
    let bar = show.story.spinner("starting a cluster of 4 workers");
    let options = Options { name: CLUSTER.to_owned(), ..Options::default() };
    let cluster = tokio::task::spawn_blocking(move || Cluster::up(&options)).await??;
    let stage = Stage::local(cluster).await?;
    drop(bar);
    show.story.say("a real Kubernetes is up: a control plane and 4 workers, each in a zone of its own");
    stage.load_image(show.image_tar.clone()).await?;
    show.story.say(format!("every machine has the image {}", show.image));
    Ok(stage)
}

/// The user's own cluster, after asking once.
async fn current(show: &Show, pull: Option<String>, sure: bool) -> Result<(Stage, String), DemoError> {
    let stage = Stage::current(NAMESPACE).await?;
    let Place::Current { context } = stage.place().clone() else {
        return Err(DemoError::Unfit("the current cluster has no context".to_owned()));
    };
    ask(&context, sure)?;
    let image = match pull {
        Some(image) => image,
        None => kind_load(show, &context)?,
    };
    Ok((stage, image))
}

fn ask(context: &str, sure: bool) -> Result<(), DemoError> {
    if sure {
        return Ok(());
    }
    if !stdin().is_terminal() {
        let unasked = format!("nobody to ask whether the cluster {context} may be used: set YES=1");
        return Err(DemoError::Unfit(unasked));
    }
    print!("Install Weft in the namespace {NAMESPACE} of the cluster {context}? [y/N] ");
    let mut answer = String::new();
    let asked = stdout().flush().and_then(|()| stdin().read_line(&mut answer));
    match asked {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(DemoError::Unfit(format!("the cluster {context} is left alone"))),
    }
}

/// A cluster of kind gets the image that was built here.
fn kind_load(show: &Show, context: &str) -> Result<String, DemoError> {
    let Some(name) = context.strip_prefix("kind-") else {
        let how = "where does the cluster get its image from? Set WEFT_IMAGE to one that it can pull";
        return Err(DemoError::Unfit(how.to_owned()));
    };
    show.story.say(format!("kind load image-archive, into {name}"));
    let status = Command::new("kind").args(["load", "image-archive", "--name", name]).arg(&show.image_tar).status();
    match status {
        Ok(status) if status.success() => Ok(show.image.clone()),
        Ok(status) => Err(DemoError::Command { command: "kind load".to_owned(), message: status.to_string() }),
        Err(error) => Err(DemoError::Command { command: "kind load".to_owned(), message: error.to_string() }),
    }
}

async fn down(place: Where) -> Result<(), DemoError> {
    match place {
        Where::Local => tokio::task::spawn_blocking(|| Cluster::down(CLUSTER)).await?.map_err(DemoError::from),
        Where::Current => {
            let stage = Stage::current(NAMESPACE).await?;
            stage.uninstall().await?;
            delete_namespace(&stage, NAMESPACE).await
        }
    }
}
