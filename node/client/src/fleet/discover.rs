//! Asking members for the newest view and for each other's addresses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, timeout, timeout_at};
use weft_proto::{
    MAX_MESSAGE,
    v1::{GetViewRequest, Peer, ViewReply, reads_client::ReadsClient},
};
use weft_protocol::MemberId;

use super::{Current, Fleet, FleetError, Known, Offer, Views};
use crate::Traced;

/// For one member's answer.
const ANSWER: Duration = Duration::from_millis(1500);
/// How long the others may still answer once somebody gave a view.
const OTHERS: Duration = Duration::from_millis(200);

/// A place to ask: a known member's address, or a seed's.
struct Asked {
    member: Option<(MemberId, u32)>,
    address: String,
}

impl Fleet {
    /// Asks for the newest view; done soon after the first one answered.
    pub async fn refresh(&self) -> Result<Arc<Current>, FleetError> {
        self.ask(OTHERS).await
    }

    /// Asks everybody and waits for the slow ones too, to know who is there.
    pub(super) async fn survey(&self) -> Result<Arc<Current>, FleetError> {
        self.ask(ANSWER).await
    }

    async fn ask(&self, patience: Duration) -> Result<Arc<Current>, FleetError> {
        let mut answers: FuturesUnordered<_> =
            self.places().await.into_iter().map(|asked| self.ask_one(asked)).collect();
        let (mut deadline, mut peers, mut last) = (Instant::now() + ANSWER, Vec::new(), None);
        let (mut viewless, mut refused, mut added) = (0, None, false);
        while let Ok(Some((asked, answer))) = timeout_at(deadline, answers.next()).await {
            match answer {
                Ok(reply) => {
                    let ViewReply { newest, seal, peers: more, time_floor } = reply;
                    self.heed(&time_floor);
                    // First: whoever waits for a view asks its holders as soon as it is known.
                    added |= self.try_addresses(&more);
                    peers.extend(more);
                    if newest.is_empty() {
                        viewless += 1;
                        continue;
                    }
                    match self.offer(&newest, &seal) {
                        Ok(Offer::Newer | Offer::Same) => deadline = deadline.min(Instant::now() + patience),
                        Ok(Offer::Older) => {}
                        Err(error) => refused = Some(format!("{}: {error}", asked.address)),
                    }
                }
                Err(error) => last = Some(format!("{}: {error}", asked.address)),
            }
        }
        let renewed = self.0.config.connector.generation() != self.lock().generation;
        // Later answers may have told of more than the one that brought the view.
        if self.learn_addresses(peers) || added || renewed {
            self.publish();
        }
        self.known().ok_or_else(|| match refused {
            None if viewless > 0 => FleetError::NoFirstView { fleet: self.id(), members: viewless },
            refused => FleetError::NoView {
                fleet: self.id(),
                seeds: self.0.config.seeds.clone(),
                last: refused.or(last).unwrap_or_else(|| "nobody answered".to_owned()),
            },
        })
    }

    /// Known members and the seeds' addresses, each once.
    async fn places(&self) -> Vec<Asked> {
        let mut places: BTreeMap<String, Option<(MemberId, u32)>> = BTreeMap::new();
        for seed in &self.0.config.seeds {
            match timeout(ANSWER, self.0.config.connector.resolve(seed)).await {
                Ok(Ok(addresses)) => places.extend(addresses.into_iter().map(|address| (address, None))),
                Ok(Err(error)) => tracing::debug!(seed, %error, "a seed can't be resolved"),
                Err(_) => tracing::debug!(seed, "a seed can't be resolved in time"),
            }
        }
        let known = self.lock();
        let members = known.addresses.iter().filter(|(key, _)| is_seated(&known.views, **key));
        places.extend(members.map(|(key, address)| (address.clone(), Some(*key))));
        places.into_iter().map(|(address, member)| Asked { member, address }).collect()
    }

    async fn ask_one(&self, asked: Asked) -> (Asked, Result<ViewReply, String>) {
        let answer = async {
            let channel = self.0.config.connector.channel(&asked.address).map_err(|error| error.to_string())?;
            let mut reads = ReadsClient::new(Traced::from(channel)).max_decoding_message_size(MAX_MESSAGE);
            match timeout(ANSWER, reads.get_view(GetViewRequest {})).await {
                Ok(Ok(reply)) => Ok(reply.into_inner()),
                Ok(Err(status)) => Err(status.to_string()),
                Err(_) => Err(format!("no answer within {ANSWER:?}")),
            }
        };
        let answer = answer.await;
        if let Some(key) = asked.member {
            let health = Arc::clone(self.lock().health.entry(key).or_default());
            health.record(answer.is_ok());
        }
        (asked, answer)
    }

    /// Takes the addresses of whoever has none yet, until others are heard: whoever told a wrong one can only keep a member from
    /// being reached, as what is trusted are certificates, keys and hashes. Says whether it took any.
    fn try_addresses(&self, told: &[Peer]) -> bool {
        let Known { addresses, .. } = &mut *self.lock();
        let before = addresses.len();
        for Peer { member, incarnation, address } in told {
            addresses.entry((MemberId(*member), *incarnation)).or_insert_with(|| address.clone());
        }
        addresses.len() > before
    }

    /// Takes, for each incarnation, the address that most members tell; forgets those without a seat that nobody tells of
    /// any more. Says whether anything changed.
    fn learn_addresses(&self, peers: Vec<Peer>) -> bool {
        let mut votes: BTreeMap<(MemberId, u32), BTreeMap<String, u32>> = BTreeMap::new();
        for Peer { member, incarnation, address } in peers {
            *votes.entry((MemberId(member), incarnation)).or_default().entry(address).or_default() += 1;
        }
        let mut changed = false;
        let Known { addresses, health, views, .. } = &mut *self.lock();
        if !votes.is_empty() {
            let before = addresses.len();
            addresses.retain(|key, _| votes.contains_key(key) || is_seated(views, *key));
            health.retain(|key, _| addresses.contains_key(key) || votes.contains_key(key));
            changed |= addresses.len() < before;
        }
        for (key, told) in votes {
            if let Some((address, _)) = told.into_iter().max_by_key(|(_, count)| *count) {
                changed |= addresses.insert(key, address.clone()).as_ref() != Some(&address);
            }
        }
        changed
    }
}

/// Whether the newest view gives an incarnation shards; before there is one, anybody may get some.
fn is_seated(views: &Views, (member, incarnation): (MemberId, u32)) -> bool {
    let newest = views.newest();
    newest.is_none_or(|(_, view)| view.seat(member).is_some_and(|seat| seat.incarnation.number == incarnation))
}
