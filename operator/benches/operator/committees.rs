//! Which committees are ready, as their objects say.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::task::JoinSet;
use weft_crds::StorageCommittee;

/// Namespace and name.
pub(crate) type Name = (String, String);

/// Looks until it is dropped.
pub(crate) struct Committees {
    ready: Arc<Mutex<BTreeSet<Name>>>,
    _watching: JoinSet<()>,
}

impl Committees {
    pub(crate) fn watch(client: &Client) -> Self {
        let ready = Arc::default();
        let mut watching = JoinSet::new();
        watching.spawn(watch(Api::all(client.clone()), Arc::clone(&ready)));
        Self { ready, _watching: watching }
    }

    /// Those that are ready now.
    pub(crate) fn ready(&self) -> BTreeSet<Name> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn watch(committees: Api<StorageCommittee>, ready: Arc<Mutex<BTreeSet<Name>>>) {
    let mut events = pin!(watcher(committees, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        // One that fails goes on by itself; where it doesn't, no committee is ever ready.
        if let Ok(watcher::Event::Apply(committee) | watcher::Event::InitApply(committee)) = event {
            let name = (committee.namespace().unwrap_or_default(), committee.name_any());
            let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
            if is_ready(&committee) {
                ready.insert(name);
            } else {
                ready.remove(&name);
            }
        }
    }
}

fn is_ready(committee: &StorageCommittee) -> bool {
    let conditions = committee.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|said| said.type_ == "Ready" && said.status == "True")
}
