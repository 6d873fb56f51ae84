//! What all reconciliations share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::Client;

use crate::{
    act::policies::Operators,
    api::Namespace,
    connected::Connected,
    env::Env,
    observe::Stores,
    report::events::Events,
    session::Session,
    subject::Subject,
    telemetry::{Committee, Telemetry},
    traffic::Traffic,
};

/// Namespace and name of a committee.
type Name = (String, String);

/// What is kept of a committee.
#[derive(Default)]
struct Kept {
    /// The object that the session is about: a namesake made later is another committee.
    uid: String,
    session: Arc<tokio::sync::Mutex<Session>>,
    /// How often watches have told of something that is the committee's.
    stirs: u64,
}

/// What all reconciliations share. Its life is that of a leadership: a new leader begins with new sessions.
pub struct Context {
    pub client: Client,
    pub env: Arc<dyn Env>,
    pub stores: Stores,
    pub telemetry: Arc<Telemetry>,
    pub events: Events,
    pub traffic: Traffic,
    pub connected: Connected,
    /// The image of members whose spec names none.
    pub image: String,
    /// Where the operator lives, and keeps what shall outlive a committee's namespace.
    pub home: Namespace,
    /// Whom network policies let in beside the committee's own pods; `None`: there shall be no policies.
    pub operators: Option<Operators>,
    committees: Mutex<HashMap<Name, Kept>>,
    /// How many reconciliations in a row have failed, of those that have, also before anything is kept of a committee.
    failures: Mutex<HashMap<Name, u32>>,
    /// When a watch broke last, by the clock that nobody sets.
    broken: Mutex<Option<Duration>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("env", &self.env).field("image", &self.image).finish_non_exhaustive()
    }
}

impl Context {
    /// `instance` is the operator's pod and `home` its namespace, `image` the one of members whose spec names none, `operators`
    /// those whom network policies let in.
    pub fn new(
        client: Client,
        env: Arc<dyn Env>,
        stores: Stores,
        telemetry: Arc<Telemetry>,
        (instance, home): (&str, &str),
        image: String,
        operators: Option<Operators>,
    ) -> Self {
        let events = Events::new(client.clone(), instance);
        let home = Namespace { client: client.clone(), name: home.to_owned() };
        let traffic = Traffic::default();
        Self {
            client,
            env,
            stores,
            telemetry,
            events,
            traffic,
            connected: Connected::default(),
            image,
            home,
            operators,
            committees: Mutex::default(),
            failures: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// This leader's memory of a committee.
    pub fn session(&self, subject: &Subject) -> Arc<tokio::sync::Mutex<Session>> {
        let mut committees = self.committees();
        let kept = committees.entry((subject.namespace.name.clone(), subject.name.clone())).or_default();
        if kept.uid != subject.uid {
            self.traffic.forget(&subject.namespace.name, &subject.name);
            kept.uid.clone_from(&subject.uid);
            kept.session = Arc::default();
        }
        Arc::clone(&kept.session)
    }

    /// The same of one that was reconciled before, by its object's UID.
    pub fn known(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<tokio::sync::Mutex<Session>>> {
        let committees = self.committees();
        let kept = committees.get(&(namespace.to_owned(), name.to_owned()))?;
        (kept.uid == uid).then(|| Arc::clone(&kept.session))
    }

    /// How many committees were reconciled, of those that are there.
    pub fn count(&self) -> usize {
        self.committees().len()
    }

    /// A watch has told of something that is a committee's.
    pub fn stir(&self, namespace: &str, name: &str) {
        if let Some(kept) = self.committees().get_mut(&(namespace.to_owned(), name.to_owned())) {
            kept.stirs += 1;
        }
    }

    /// A watch has broken: what it may have missed it doesn't tell when it goes on.
    pub fn stir_all(&self) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.env.monotonic());
        self.committees().values_mut().for_each(|kept| kept.stirs += 1);
    }

    /// Whether all watches have been whole for so long before a time.
    pub fn was_told(&self, at: Duration, for_: Duration) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|broken| broken + for_ < at)
    }

    /// How often a committee was stirred; `None`: it wasn't reconciled before.
    pub fn stirs(&self, namespace: &str, name: &str) -> Option<u64> {
        self.committees().get(&(namespace.to_owned(), name.to_owned())).map(|kept| kept.stirs)
    }

    /// A reconciliation has failed: how many in a row have, by now.
    pub fn failed(&self, namespace: &str, name: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.entry((namespace.to_owned(), name.to_owned())).or_default();
        *failed = failed.saturating_add(1);
        *failed
    }

    /// A reconciliation has succeeded, or there is nothing to reconcile any more.
    pub fn succeeded(&self, namespace: &str, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn committees(&self) -> MutexGuard<'_, HashMap<Name, Kept>> {
        self.committees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a committee that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.succeeded(namespace, name);
        self.traffic.forget(namespace, name);
        let key = (namespace.to_owned(), name.to_owned());
        self.committees().remove(&key);
        let (namespace, committee) = key;
        self.telemetry.forget(&Committee { namespace, committee });
    }
}
