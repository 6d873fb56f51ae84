//! What all reconciliations share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::Client;

use crate::{
    act::policies::Operators,
    api::Namespace,
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
/// The UID that a session is about, since a namesake made later is another committee; and the session.
type Kept = (String, Arc<tokio::sync::Mutex<Session>>);

/// What all reconciliations share. Its life is that of a leadership: a new leader begins with new sessions.
pub struct Context {
    pub client: Client,
    pub env: Arc<dyn Env>,
    pub stores: Stores,
    pub telemetry: Arc<Telemetry>,
    pub events: Events,
    pub traffic: Traffic,
    /// The image of members whose spec names none.
    pub image: String,
    /// Where the operator lives, and keeps what shall outlive a committee's namespace.
    pub home: Namespace,
    /// Whom network policies let in beside the committee's own pods; `None`: there shall be no policies.
    pub operators: Option<Operators>,
    sessions: Mutex<HashMap<Name, Kept>>,
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
        Self { client, env, stores, telemetry, events, traffic, image, home, operators, sessions: Mutex::default() }
    }

    /// This leader's memory of a committee.
    pub fn session(&self, subject: &Subject) -> Arc<tokio::sync::Mutex<Session>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = sessions.entry((subject.namespace.name.clone(), subject.name.clone())).or_default();
        if kept.0 != subject.uid {
            self.traffic.forget(&subject.namespace.name, &subject.name);
            *kept = (subject.uid.clone(), Arc::default());
        }
        Arc::clone(&kept.1)
    }

    /// Forgets a committee that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.traffic.forget(namespace, name);
        let key = (namespace.to_owned(), name.to_owned());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let (namespace, committee) = key;
        self.telemetry.forget(&Committee { namespace, committee });
    }
}
