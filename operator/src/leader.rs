//! Who leads: a Lease. It elects and fences nothing (R4): terms do.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt,
    runtime::wait::{await_condition, conditions::is_deleted},
};
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::args::RunArgs;

/// Seconds without a renewal after which another may lead.
const DURATION: u64 = 15;
/// Seconds before that at which the leader renews.
const GRACE: u64 = 10;
/// Before a watch that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum LeaderError {
    #[error("set up the Lease {lease}")]
    Lease { lease: String, source: Box<LeaseManagerError> },
    #[error("read the Lease {lease}")]
    Read { lease: String, source: Box<kube::Error> },
    #[error("the Lease is no longer watched")]
    Ended,
}

/// The Lease, held or waited for.
pub(crate) struct Leadership {
    held: watch::Receiver<bool>,
    keeper: JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
    /// Ends when this very Lease has been deleted: its keeper would take no notice.
    deleted: BoxFuture<'static, ()>,
}

/// Begins to wait for the Lease, which is made where there is none.
pub(crate) async fn stand(client: Client, args: &RunArgs) -> Result<Leadership, LeaderError> {
    let manager = LeaseManagerBuilder::new(client.clone(), &args.lease)
        .with_namespace(&args.namespace)
        .with_identity(&args.name)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
        .map_err(|source| LeaderError::Lease { lease: args.lease.clone(), source: Box::new(source) })?;
    let leases: Api<Lease> = Api::namespaced(client, &args.namespace);
    let read = |source| LeaderError::Read { lease: args.lease.clone(), source: Box::new(source) };
    let uid = leases.get_opt(&args.lease).await.map_err(read)?.and_then(|lease| lease.uid()).unwrap_or_default();
    let (held, keeper) = manager.watch().await;
    Ok(Leadership { held, keeper, deleted: deleted(leases, args.lease.clone(), uid).boxed() })
}

/// Waits until the Lease of that UID is gone, also where another of its name has taken its place.
async fn deleted(leases: Api<Lease>, lease: String, uid: String) {
    while let Err(error) = await_condition(leases.clone(), &lease, is_deleted(&uid)).await {
        tracing::debug!(lease, %error, "the watch of the Lease failed; it is tried again");
        tokio::time::sleep(PAUSE).await;
    }
}

impl Leadership {
    /// Waits until this process leads. False where the Lease was deleted: another one must be stood for.
    pub(crate) async fn gained(&mut self) -> Result<bool, LeaderError> {
        tokio::select! {
            held = self.held.wait_for(|held| *held) => held.map(|_| true).map_err(|_| LeaderError::Ended),
            () = &mut self.deleted => Ok(false),
        }
    }

    /// Waits until it doesn't any more. Without a Lease nobody knows who leads: then it doesn't either.
    pub(crate) async fn lost(&mut self) -> Result<(), LeaderError> {
        tokio::select! {
            held = self.held.wait_for(|held| !*held) => held.map(drop).map_err(|_| LeaderError::Ended),
            () = &mut self.deleted => Ok(()),
        }
    }

    /// Gives the Lease back, so that another needn't wait for its end.
    pub(crate) async fn resign(self) {
        let Self { held, keeper, deleted: _ } = self;
        drop(held);
        // The keeper releases on its way out; if it can't, the Lease runs out by itself.
        drop(tokio::time::timeout(Duration::from_secs(3), keeper).await);
    }
}
