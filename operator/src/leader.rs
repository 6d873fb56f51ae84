//! Who leads: a Lease. It elects and fences nothing (R4): terms do.

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::args::RunArgs;

/// Seconds without a renewal after which another may lead.
const DURATION: u64 = 15;
/// Seconds before that at which the leader renews.
const GRACE: u64 = 10;

#[derive(Debug, Error)]
pub enum LeaderError {
    #[error("set up the Lease {lease}")]
    Lease { lease: String, source: Box<LeaseManagerError> },
    #[error("the Lease is no longer watched")]
    Ended,
}

/// The Lease, held or waited for.
#[derive(Debug)]
pub(crate) struct Leadership {
    held: watch::Receiver<bool>,
    keeper: JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
}

/// Begins to wait for the Lease.
pub(crate) async fn stand(client: Client, args: &RunArgs) -> Result<Leadership, LeaderError> {
    let manager = LeaseManagerBuilder::new(client, &args.lease)
        .with_namespace(&args.namespace)
        .with_identity(&args.name)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
        .map_err(|source| LeaderError::Lease { lease: args.lease.clone(), source: Box::new(source) })?;
    let (held, keeper) = manager.watch().await;
    Ok(Leadership { held, keeper })
}

impl Leadership {
    /// Waits until this process leads.
    pub(crate) async fn gained(&mut self) -> Result<(), LeaderError> {
        self.held.wait_for(|held| *held).await.map(drop).map_err(|_| LeaderError::Ended)
    }

    /// Waits until it doesn't any more.
    pub(crate) async fn lost(&mut self) -> Result<(), LeaderError> {
        self.held.wait_for(|held| !*held).await.map(drop).map_err(|_| LeaderError::Ended)
    }

    /// Gives the Lease back, so that another needn't wait for its end.
    pub(crate) async fn resign(self) {
        let Self { held, keeper } = self;
        drop(held);
        // The keeper releases on its way out; if it can't, the Lease runs out by itself.
        drop(tokio::time::timeout(std::time::Duration::from_secs(3), keeper).await);
    }
}
