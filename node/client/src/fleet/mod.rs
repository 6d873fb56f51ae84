//! The fleet as a client sees it: the newest view, and channels to the members it seats.

mod discover;
mod holder;
mod time;
mod views;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prost::Message as _;
use thiserror::Error;
use tokio::sync::watch;
use tonic::Status;
use weft_proto::v1::ViewChanged;
use weft_protocol::{FleetId, MemberId, PublicKey, ShardSet, TimeFloor, View};
use weft_redstuff::Hash;

pub(crate) use self::holder::{Health, has_no_room, reached};
pub(crate) use self::views::Offer;
use self::views::Views;
pub use self::{holder::Holder, views::ViewRefused};
use crate::{ConnectError, Connector};

/// Why there is no view to work with.
#[derive(Debug, Error)]
pub enum FleetError {
    #[error("no member of fleet {fleet} behind {seeds:?} gave a view: {last}")]
    NoView { fleet: FleetId, seeds: Vec<String>, last: String },
    #[error("fleet {fleet} has yet to get its first view: {members} members answer, and none knows one")]
    NoFirstView { fleet: FleetId, members: usize },
    #[error("no channel to member {member}")]
    Connect { member: MemberId, source: ConnectError },
}

/// Which fleet, and where to look for it.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    pub fleet: FleetId,
    /// The operator's key for views: the root of all trust.
    pub trust: PublicKey,
    /// `host:port` each; a name may stand for many members.
    pub seeds: Vec<String>,
    pub connector: Arc<dyn Connector>,
}

/// The newest known view and its reachable members.
#[derive(Clone)]
pub struct Current {
    pub view: Arc<View>,
    pub hash: Hash,
    /// In order of their numbers, those whose address is known.
    pub holders: Vec<Arc<Holder>>,
    /// Incarnations without a seat that members tell of: holders of earlier views, returned ones, and newcomers. What
    /// they hold is as good as anybody's (R22, R25).
    pub(crate) others: Vec<Arc<Holder>>,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, revision) = self.view.position();
        f.debug_struct("Current").field("epoch", &epoch).field("revision", &revision).finish_non_exhaustive()
    }
}

impl Current {
    /// Who holds a shard; `None` while it is vacant or its holder's address isn't known.
    pub fn holder(&self, shard: u16) -> Option<&Arc<Holder>> {
        self.holders.iter().find(|holder| holder.shards().contains(shard as u8))
    }

    /// The holders, and then whoever else can be asked.
    pub(crate) fn everybody(&self) -> Vec<Arc<Holder>> {
        self.holders.iter().chain(&self.others).cloned().collect()
    }

    /// The holders, those last that failed lately; starting at another one for each `turn`, to spread the load.
    pub(crate) fn by_health(&self, turn: u8) -> Vec<Arc<Holder>> {
        let mut holders = self.holders.clone();
        if !holders.is_empty() {
            let first = usize::from(turn) % holders.len();
            holders.rotate_left(first);
        }
        // Asked once each: it may change meanwhile, and a sort panics where the order does.
        holders.sort_by_cached_key(|holder| holder.is_suspect());
        holders
    }
}

/// A fleet and its newest view. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: FleetConfig,
    known: Mutex<Known>,
    current: watch::Sender<Option<Arc<Current>>>,
}

#[derive(Debug)]
struct Known {
    views: Views,
    /// By member and incarnation.
    addresses: BTreeMap<(MemberId, u32), String>,
    health: BTreeMap<(MemberId, u32), Arc<Health>>,
    /// The fleet's time (R15).
    floor: Option<TimeFloor>,
    /// The connector's, when the channels were taken.
    generation: u64,
}

impl Fleet {
    /// Asks nobody yet.
    pub fn new(config: FleetConfig) -> Self {
        let views = Views::new(config.fleet, config.trust);
        let known = Known { views, addresses: BTreeMap::new(), health: BTreeMap::new(), floor: None, generation: 0 };
        Self(Arc::new(Inner { config, known: Mutex::new(known), current: watch::channel(None).0 }))
    }

    pub fn id(&self) -> FleetId {
        self.0.config.fleet
    }

    /// The newest known view, looked for when none is known yet.
    pub async fn current(&self) -> Result<Arc<Current>, FleetError> {
        match self.known() {
            Some(current) if !current.holders.is_empty() => Ok(current),
            // Whoever told the view knew nobody's address.
            _ => self.refresh().await,
        }
    }

    /// The newest known view, without asking anybody.
    pub fn known(&self) -> Option<Arc<Current>> {
        self.0.current.borrow().clone()
    }

    /// A verified view by its hash.
    pub fn view(&self, hash: &Hash) -> Option<Arc<View>> {
        self.lock().views.get(hash)
    }

    /// Whether a verified view lets this key sign deletes.
    pub fn may_delete(&self, key: &PublicKey) -> bool {
        self.lock().views.may_delete(key)
    }

    /// Asks all known members for a newer view every `interval`, until dropped. Never returns.
    pub async fn track(&self, interval: Duration) {
        let (mut ticks, mut told) = (tokio::time::interval(interval), false);
        loop {
            ticks.tick().await;
            match self.survey().await {
                Ok(_) => {}
                // Every fleet begins so; told once.
                Err(error @ FleetError::NoFirstView { .. }) if told => tracing::debug!(%error, "no view yet"),
                Err(error @ FleetError::NoFirstView { .. }) => {
                    tracing::info!(%error, "no view yet");
                    told = true;
                }
                Err(error) => tracing::warn!(%error, "the fleet's view can't be refreshed"),
            }
        }
    }

    /// Waits until another view than `hash` is the newest.
    pub(crate) async fn changed_from(&self, hash: Hash) {
        let mut changes = self.0.current.subscribe();
        let other = |current: &Option<Arc<Current>>| current.as_ref().is_some_and(|current| current.hash != hash);
        // The sender lives in `self`, so that waiting can't fail.
        let _ = changes.wait_for(other).await;
    }

    /// Reads the detail of a status: which view the member holds for the newest. A newer one is taken.
    /// `None` when the status isn't about views.
    pub(crate) fn learn(&self, status: &Status) -> Option<Offer> {
        if status.code() != tonic::Code::FailedPrecondition || status.details().is_empty() {
            return None;
        }
        let ViewChanged { newest, seal, sealing, syncing } = ViewChanged::decode(status.details()).ok()?;
        if newest.is_empty() {
            return (sealing || syncing).then_some(Offer::Same);
        }
        self.offer(&newest, &seal).inspect_err(|error| tracing::warn!(%error, "a member offers a bad view")).ok()
    }

    fn offer(&self, newest: &[u8], seal: &[u8]) -> Result<Offer, ViewRefused> {
        let offer = self.lock().views.offer(newest, seal)?;
        if offer == Offer::Newer {
            self.publish();
        }
        Ok(offer)
    }

    /// Makes the newest view and the known addresses visible.
    fn publish(&self) {
        let mut known = self.lock();
        let Some((hash, view)) = known.views.newest().cloned() else { return };
        known.generation = self.0.config.connector.generation();
        let seated = view.seats.iter().map(|seat| ((seat.member, seat.incarnation.number), seat.shards));
        let seated: BTreeMap<(MemberId, u32), ShardSet> = seated.collect();
        let (mut holders, mut others) = (Vec::new(), Vec::new());
        let Known { addresses, health, .. } = &mut *known;
        for (key, address) in addresses {
            let channel = match self.0.config.connector.channel(address) {
                Ok(channel) => channel,
                Err(error) => {
                    tracing::warn!(member = %key.0, %error, "no channel");
                    continue;
                }
            };
            let health = Arc::clone(health.entry(*key).or_default());
            match seated.get(key) {
                Some(shards) => holders.push(Arc::new(Holder::new(*key, *shards, channel, health))),
                None => others.push(Arc::new(Holder::new(*key, ShardSet::EMPTY, channel, health))),
            }
        }
        tracing::debug!(epoch = view.epoch, revision = view.revision, holders = holders.len(), "view");
        // Under the lock, so that an older view never overwrites a newer one.
        self.0.current.send_replace(Some(Arc::new(Current { view, hash, holders, others })));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
