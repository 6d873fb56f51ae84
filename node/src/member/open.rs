//! Opening a volume: making an empty one this member's, or telling that it is another's (R1).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU64},
};

use weft_protocol::{Fence, FleetId, Incarnation, MemberId, PublicKey, SigningKey, VolumeId};
use weft_store::{Room, Store, View};

use super::{
    Condition, Floor, Foreground, Identity, Index, Invalid, Known, Member, MemberError, index, limits, readmit, records,
};
use crate::{env::Env, metrics::Metrics};

/// Who the process was started as.
#[derive(Debug, Clone, Copy)]
pub struct WhoAmI {
    pub fleet: FleetId,
    pub member: MemberId,
    /// Number of the incarnation; the volume gives it its random name.
    pub incarnation: u32,
    /// The volume was made for this incarnation of the member, and is admitted again as the present one (R25).
    pub readmit: Option<u32>,
    /// The key that signs views, until the first view names it.
    pub trust: PublicKey,
}

/// What a volume turned out to be.
#[derive(Debug)]
pub enum Opened {
    Ours(Arc<Member>),
    /// The volume is of another fleet, member or incarnation: nothing of it may be served (R1).
    Foreign(Box<Identity>),
}

impl Member {
    /// Opens the member on its store, and makes an empty volume its own.
    pub async fn open(store: Store, who: WhoAmI, env: Env) -> Result<Opened, MemberError> {
        let (volume, seed) = (VolumeId(env.random()), env.random());
        let write = store.write(Room::Reserved, move |tx| {
            let fresh = Identity {
                fleet: who.fleet,
                member: who.member,
                incarnation: Incarnation { number: who.incarnation, volume },
                key: SigningKey::from_seed(seed),
            };
            let identity = match Identity::load(tx)? {
                Some(found) if !readmit::is_meant(&who, &found) => found,
                found => {
                    if let Some(found) = found {
                        tracing::info!(%found, "the volume came back, and is admitted again (R25)");
                        readmit::forget(tx);
                    }
                    fresh.save(tx);
                    index::begin(tx);
                    records::put_fence(tx, &Fence::new(who.fleet, who.trust));
                    fresh
                }
            };
            if records::unjudged(tx)?.is_none() {
                records::put_unjudged(tx, Some(tx.next_sequence() - 1));
            }
            Ok::<_, MemberError>(identity)
        });
        // A volume that takes no writes any more still has an identity to read.
        let identity = match write.await {
            Ok(written) => written.value,
            Err(error) => Identity::load(&store.view())?.ok_or(error)?,
        };
        let WhoAmI { fleet, member, incarnation, readmit: _, trust: _ } = who;
        if (identity.fleet, identity.member, identity.incarnation.number) != (fleet, member, incarnation) {
            return Ok(Opened::Foreign(Box::new(identity)));
        }
        index::make(&store).await?;
        let member = Arc::new(Self::new(store, identity, env)?);
        member.refresh()?;
        Ok(Opened::Ours(member))
    }

    fn new(store: Store, identity: Identity, env: Env) -> Result<Self, MemberError> {
        let view = store.view();
        let (fence, limits) = (records::fence(&view)?, limits::limits(&view)?);
        let condition = match records::rewound(&view)? {
            Some((here, remembered)) => Condition::Rewound { here, remembered },
            None => Condition::WaitingForPeers,
        };
        let known = Known {
            newest: None,
            newest_hash: None,
            refuses_newest: false,
            since: env.clock.now(),
            synced: None,
            target: None,
            peers: records::peers(&view)?,
            work: records::work(&view)?,
            verified: records::verified(&view)?,
            views: Arc::new(HashMap::new()),
            refusal: None,
            fence,
        };
        Ok(Self {
            index: Arc::new(Index::load(&view)?),
            floor: Arc::new(Floor::new(records::floor(&view)?)),
            // Whoever was judged healthy may have signed anything up to then.
            opened_at: records::unjudged(&view)?.unwrap_or_default(),
            signed: AtomicU64::new(view.sequence()),
            told_sequence: Mutex::default(),
            heard_sequences: Mutex::default(),
            known: RwLock::new(Arc::new(known)),
            condition: RwLock::new(condition),
            reachable: Mutex::default(),
            peers_lacking: Mutex::default(),
            told_invalid: Mutex::default(),
            invalid: Mutex::new(Invalid::load(&view)?),
            paths: super::paths::Paths::default(),
            fresh: Mutex::default(),
            refusals: Mutex::default(),
            declared: Mutex::default(),
            repair_limit: AtomicU64::new(0),
            foreground: Foreground::default(),
            changed: tokio::sync::watch::Sender::new(0),
            retiring: tokio::sync::Mutex::default(),
            unrecoverable: Mutex::default(),
            listed: Mutex::default(),
            closings: Mutex::default(),
            challenge_interval: AtomicU64::new(0),
            scrub_period: AtomicU64::new(limits.scrub_period_seconds),
            shard_limit: AtomicU64::new(limits.shard_bytes),
            unanswered: Mutex::default(),
            metrics: Metrics::default(),
            store,
            identity,
            env,
        })
    }

    /// Reads the records again, after a commit that changed them. Tells waiters where that matters to work.
    pub(crate) fn refresh(&self) -> Result<(), MemberError> {
        let mut cached = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Inside the lock, so that an older state never takes the place of a newer one.
        let view = self.store.view();
        let fence = records::fence(&view)?;
        let views = records::views(&view)?;
        let same = |newest: &Arc<weft_protocol::SignedView>| Some(&**newest) == fence.newest();
        let (newest, since) = match cached.newest.clone().filter(same) {
            Some(newest) => (Some(newest), cached.since),
            None => (fence.newest().cloned().map(Arc::new), self.env.clock.now()),
        };
        let views = if views.len() == cached.views.len() {
            cached.views.clone()
        } else {
            Arc::new(views.into_iter().map(|view| (view.view.hash(), Arc::new(view))).collect())
        };
        // Not before this volume is judged: what peers remember of it is compared with what it was opened at (R1).
        let healthy = self.condition() == Condition::Healthy;
        let refusal = fence.refusal().filter(|_| healthy).map(|statement| {
            let signed = cached.refusal.clone().filter(|signed| signed.statement == statement);
            signed.unwrap_or_else(|| self.sign_at(statement, view.sequence()))
        });
        let id = newest.as_ref().map(|newest| newest.view.id());
        let known = Known {
            newest,
            newest_hash: id.map(|id| id.hash),
            refuses_newest: id.is_some_and(|id| fence.refuses(&id)),
            since,
            synced: records::synced(&view)?,
            target: records::target(&view)?,
            peers: records::peers(&view)?,
            work: records::work(&view)?,
            verified: records::verified(&view)?,
            views,
            refusal,
            fence,
        };
        *cached = Arc::new(known);
        drop(cached);
        self.notify();
        Ok(())
    }
}
