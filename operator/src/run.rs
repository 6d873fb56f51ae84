//! From the arguments to a running operator.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use kube::{Client, Config};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Args, Command, LogFormat, RunArgs},
    context::Context,
    controller,
    env::SystemEnv,
    leader::{self, LeaderError},
    probe::{ProbeError, probe},
    telemetry::{self, Telemetry, TelemetryError},
};

/// A watch ends sooner by itself; one whose beginning is never answered is begun again.
const SILENCE: Duration = Duration::from_secs(90);
/// Calls of the API server that take longer have failed: without a limit, one lost packet would hold a committee up
/// for ever.
const ANSWER: Duration = Duration::from_secs(20);

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("find the API server")]
    Config(#[from] kube::config::InferConfigError),
    #[error("set up the API client")]
    Client(#[source] Box<kube::Error>),
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("the Lease was lost: another may lead now")]
    Deposed,
    #[error("the controllers ended")]
    Ended,
    #[error("probe an operator")]
    Probe(#[source] Box<ProbeError>),
}

/// Does what the arguments say, until a signal ends it.
pub async fn run(args: Args) -> Result<(), RunError> {
    let args = match args.command {
        Command::Run(args) => args,
        Command::Probe { url } => {
            telemetry::log("info", LogFormat::Text)?;
            return probe(url).await.map_err(|error| RunError::Probe(Box::new(error)));
        }
    };
    telemetry::log(&args.log, args.log_format)?;
    weft_client::allow_descriptors();
    // Another crate may have chosen the same provider already; either way there is one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    let watches = client(config.clone())?;
    config.read_timeout = Some(ANSWER);
    config.reset_reader_on_write = true;
    let calls = client(config)?;
    let telemetry = Telemetry::new();
    let admin = tokio::spawn(telemetry::serve(Arc::clone(&telemetry), args.admin));
    tokio::spawn(Arc::clone(&telemetry).beat());
    let stop = stop()?;
    tokio::select! {
        result = admin => match result {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Err(RunError::Ended),
        },
        result = lead(&args, calls, watches, telemetry, stop) => result,
    }
}

/// Waits for the signals that end the process.
fn stop() -> Result<impl Future<Output = ()>, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn client(config: Config) -> Result<Client, RunError> {
    Client::try_from(config).map_err(|source| RunError::Client(Box::new(source)))
}

/// Stands by until this process leads, then reconciles until it doesn't. A process leads once: its memory of terms is
/// that of one leadership.
async fn lead(
    args: &RunArgs,
    calls: Client,
    watches: Client,
    telemetry: Arc<Telemetry>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut stop = std::pin::pin!(stop);
    let mut leadership = leader::stand(calls.clone(), args).await?;
    telemetry.set_ready();
    tracing::info!(lease = args.lease, "standing by");
    loop {
        tokio::select! {
            gained = leadership.gained() => if gained? {
                break;
            },
            () = &mut stop => return Ok(()),
        }
        tracing::warn!(lease = args.lease, "the Lease was deleted, and is made again");
        leadership = leader::stand(calls.clone(), args).await?;
    }
    telemetry.leading.set(1);
    tracing::info!(lease = args.lease, "leading");
    let (stores, nodes) = controller::stores(&watches);
    let (env, at, image) = (Arc::new(SystemEnv), (&*args.name, &*args.namespace), args.node_image.clone());
    let context = Context::new(calls, env, stores, Arc::clone(&telemetry), at, image, args.operators());
    let context = Arc::new(context);
    let named = args.watch_namespaces.iter().filter(|name| !name.is_empty());
    let mut namespaces: Vec<Option<&str>> = named.map(|name| Some(name.as_str())).collect();
    if namespaces.is_empty() {
        namespaces.push(None);
    }
    let controllers = namespaces
        .into_iter()
        .map(|namespace| controller::run(Arc::clone(&context), watches.clone(), namespace, nodes.clone()));
    tokio::select! {
        _ = join_all(controllers) => Err(RunError::Ended),
        lost = leadership.lost() => {
            lost?;
            telemetry.leading.set(0);
            Err(RunError::Deposed)
        }
        () = &mut stop => {
            leadership.resign().await;
            Ok(())
        }
    }
}
