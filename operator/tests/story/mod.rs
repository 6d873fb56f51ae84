//! One fleet's life in a namespace of its own: operator and Kubernetes take turns, and time passes with each turn.

use std::{error::Error, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client,
    api::{Patch, PatchParams},
    client::ClientBuilder,
};
use serde_json::{Value, json};
use weft_crds::{MemberState, StorageCommittee, StorageCommitteeStatus};
use weft_operator::{
    context::Context,
    reconcile::{chain, reconcile},
};

use crate::{
    Bench, Outcome, config,
    machines::Machines,
    make_namespace, members,
    stage::{let_claims_go, run_pods, said, trust},
    wire::{Through, Trouble, Wire},
};

pub(crate) const COMMITTEE: &str = "demo";

/// So much time passes for the operator with each round.
pub(crate) const ROUND: Duration = Duration::from_secs(3);

/// What a spec says more than that there are seven: a fleet that waits for nothing, and has no gateways.
pub(crate) const SPEC: &str = ", epochs: {settle: 10s, retainFor: 0s}, gateway: {replicas: 0}";

/// Rounds that change nothing, after which a fleet rests.
const REST: usize = 3;

/// Rounds that anything may take.
pub(crate) const LIMIT: usize = 200;

pub(crate) struct Story {
    pub(crate) bench: Bench,
    pub(crate) fleet: Arc<members::Fleet>,
    pub(crate) wire: Arc<Wire>,
    /// Where its pods run; `None`: they all run, and nobody asks where.
    pub(crate) machines: Option<Machines>,
    /// Ends with an error as soon as the status says this.
    pub(crate) until_told: Option<String>,
    /// Whom the operator is to the API server; `None`: an administrator.
    user: Option<String>,
    operator: Context,
}

impl Story {
    /// `trouble` is what befalls the operator at which of its writes.
    pub(crate) async fn begin(
        bench: &Bench,
        namespace: &str,
        trouble: Option<(usize, Trouble)>,
    ) -> Result<Self, Box<dyn Error>> {
        make_namespace(&bench.client, namespace).await?;
        Self::begin_as(bench, namespace, trouble, None).await
    }

    /// In a namespace that is there, by an operator who is a user.
    pub(crate) async fn begin_as(
        bench: &Bench,
        namespace: &str,
        trouble: Option<(usize, Trouble)>,
        user: Option<&str>,
    ) -> Result<Self, Box<dyn Error>> {
        let bench = bench.beside(namespace);
        let (fleet, wire) = (Arc::new(members::Fleet::unborn()), Wire::new(trouble));
        let user = user.map(str::to_owned);
        let operator = operator(&bench, &fleet, &wire, user.as_deref()).await?;
        Ok(Self { bench, fleet, wire, machines: None, until_told: None, user, operator })
    }

    /// Its pods run on so many machines, in so many zones.
    pub(crate) async fn runs_on(&mut self, machines: usize, zones: usize) -> Outcome {
        self.machines = Some(Machines::make(&self.bench, machines, zones).await?);
        Ok(())
    }

    pub(crate) fn operator(&self) -> &Context {
        &self.operator
    }

    /// Merges a change into the spec.
    pub(crate) async fn change(&self, spec: Value) -> Result<(), kube::Error> {
        let change = Patch::Merge(json!({"spec": spec}));
        let committees = self.bench.api::<StorageCommittee>();
        committees.patch(COMMITTEE, &PatchParams::default(), &change).await.map(drop)
    }

    /// Another operator takes over. Gives the former one.
    pub(crate) async fn replace_operator(&mut self) -> Result<Context, Box<dyn Error>> {
        let next = operator(&self.bench, &self.fleet, &self.wire, self.user.as_deref()).await?;
        Ok(std::mem::replace(&mut self.operator, next))
    }

    /// Another release of the operator takes over, which comes with this image.
    pub(crate) async fn another_operator(&mut self, image: &str) -> Outcome {
        let client = client(&self.bench, &self.wire, self.user.as_deref()).await?;
        self.operator = crate::operator_of(client, self.fleet.clone(), image);
        Ok(())
    }

    /// One reconciliation, and what Kubernetes does about it. Where the operator dies, another begins.
    pub(crate) async fn round(&mut self) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let (disturbed, stale) = (self.wire.was_disturbed(), self.wire.is_stale());
        let died = tokio::select! {
            () = self.wire.death() => true,
            result = reconcile(&self.operator, &self.bench.namespace, COMMITTEE) => {
                match result {
                    Err(error) if !error.is_conflict() && !stale && disturbed == self.wire.was_disturbed() => {
                        self.ends_where_told().await?;
                        if self.until_told.is_none() {
                            return Err(chain(&error).into());
                        }
                        false
                    }
                    _ => false,
                }
            }
        };
        if died {
            self.operator = operator(&self.bench, &self.fleet, &self.wire, self.user.as_deref()).await?;
        }
        if stale {
            self.wire.freshen();
        }
        self.ends_where_told().await?;
        self.fleet.advance(ROUND);
        self.kubernetes().await
    }

    async fn ends_where_told(&self) -> Outcome {
        let Some(words) = &self.until_told else { return Ok(()) };
        let committee = self.bench.api::<StorageCommittee>().get_opt(COMMITTEE).await?;
        let status = serde_json::to_string(&committee.and_then(|committee| committee.status))?;
        let quoted = serde_json::to_string(words)?;
        if status.contains(&quoted[1..quoted.len() - 1]) { Err(format!("it is told: {words}").into()) } else { Ok(()) }
    }

    /// What Kubernetes does in its turn.
    pub(crate) async fn kubernetes(&self) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        if !self.fleet.is_born() && self.bench.api::<Secret>().get_opt("demo-ca").await?.is_some() {
            self.fleet.bear(trust(&self.bench).await?);
        }
        match &self.machines {
            _ if !self.fleet.is_born() => {}
            // Boxed: whoever awaits a round would be as large as all that machines do.
            Some(machines) => Box::pin(machines.play()).await?,
            None => run_pods(&self.bench).await?,
        }
        if self.machines.is_none() {
            let_claims_go(&self.bench).await?;
        }
        let committee = self.bench.api::<StorageCommittee>().get_opt(COMMITTEE).await?;
        Ok(committee.and_then(|committee| committee.status).unwrap_or_default())
    }

    /// Goes on until the status is as wanted and nothing changes any more.
    pub(crate) async fn rests(
        &mut self,
        what: &str,
        wanted: impl Fn(&StorageCommitteeStatus) -> bool,
    ) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let (mut quiet, mut told) = (0, StorageCommitteeStatus::default());
        for _ in 0..LIMIT {
            let before = self.wire.changes();
            told = self.round().await?;
            quiet = if self.wire.changes() == before && wanted(&told) { quiet + 1 } else { 0 };
            if quiet == REST {
                return Ok(told);
            }
        }
        Err(format!("never {what}: {}", serde_yaml::to_string(&told)?).into())
    }

    pub(crate) async fn is_born(&mut self) -> Outcome {
        self.bench.apply(COMMITTEE, SPEC).await?;
        self.rests("begun", |status| serves(status, 7) && position(status) == Some((1, 0))).await.map(drop)
    }
}

async fn operator(
    bench: &Bench,
    fleet: &Arc<members::Fleet>,
    wire: &Arc<Wire>,
    user: Option<&str>,
) -> Result<Context, Box<dyn Error>> {
    Ok(crate::operator(client(bench, wire, user).await?, fleet.clone()))
}

async fn client(bench: &Bench, wire: &Arc<Wire>, user: Option<&str>) -> Result<Client, Box<dyn Error>> {
    let mut config = config(&bench.server).await?;
    config.auth_info.impersonate = user.map(str::to_owned);
    Ok(ClientBuilder::try_from(config)?.with_layer(&Through { wire: wire.clone() }).build())
}

pub(crate) fn is_ready(status: &StorageCommitteeStatus) -> bool {
    said(status, "Ready").is_some_and(|(status, ..)| status == "True")
}

pub(crate) fn serves(status: &StorageCommitteeStatus, members: usize) -> bool {
    let serving = status.members.iter().filter(|member| member.current.state == MemberState::Serving).count();
    is_ready(status) && (serving, status.members.len()) == (members, members)
}

/// Whether member 2, of seven, has been lost and replaced.
pub(crate) fn has_mended_two(status: &StorageCommitteeStatus) -> bool {
    let heir = status.members.iter().any(|member| (member.id, member.current.number) == (2, 2));
    heir && serves(status, 7) && position(status).is_some_and(|(epoch, _)| epoch == 2)
}

/// Epoch and revision of the view in effect.
pub(crate) fn position(status: &StorageCommitteeStatus) -> Option<(u64, u64)> {
    status.view.as_ref().filter(|view| view.in_effect).map(|view| (view.epoch, view.revision))
}
