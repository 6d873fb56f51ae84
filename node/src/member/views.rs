//! Learning views: from the operator's orders, and from peers.

use std::collections::BTreeMap;

use weft_protocol::{Fence, FenceError, MemberId, Seal, SealError, Signed, SignedView, Statement};
use weft_store::{Room, Tx, View};

use super::{Member, MemberError, lock, records, signing};

impl Member {
    /// Takes a newer view from a peer or a gateway, where it is one: on its seal; or the first, on an empty volume.
    ///
    /// Returns whether the newest view changed.
    pub(crate) async fn learn(&self, newest: &[u8], seal: &[u8]) -> Result<bool, MemberError> {
        if newest.is_empty() {
            return Ok(false);
        }
        let newest = SignedView::decode(newest)?;
        let known = self.known();
        if known.newest.as_ref().is_some_and(|own| own.view.position() >= newest.view.position()) {
            return Ok(false);
        }
        let seal = if seal.is_empty() { None } else { Some(Seal::decode(seal)?) };
        match seal {
            Some(seal) => self.install(seal).await,
            None => self.begin(newest).await,
        }
    }

    /// Puts a view into effect on its seal (R5).
    pub(crate) async fn install(&self, seal: Seal) -> Result<bool, MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| install(tx, seal));
        let changed = write.await?.value;
        if changed {
            self.refresh()?;
            lock(&self.refusals).clear();
            self.announce();
        }
        Ok(changed)
    }

    async fn begin(&self, first: SignedView) -> Result<bool, MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            let mut fence = records::fence(tx)?;
            begin(tx, &mut fence, first)?;
            records::put_fence(tx, &fence);
            Ok::<_, MemberError>(())
        });
        write.await?;
        self.refresh()?;
        self.announce();
        Ok(true)
    }

    pub(crate) fn announce(&self) {
        if let Some(newest) = self.newest() {
            let (epoch, revision) = newest.view.position();
            tracing::info!(epoch, revision, shards = ?super::shards_in(&self.identity, &newest.view), "view in effect");
        }
    }

    /// Takes a peer's refusal of the newest view into account, and seals it when those of n − f shards are there: the
    /// fleet goes forward without the operator (R5).
    pub(crate) async fn collect(&self, refusal: &[u8], successor: &[u8]) -> Result<(), MemberError> {
        if refusal.is_empty() || successor.is_empty() {
            return Ok(());
        }
        let (refusal, successor) = (Signed::decode(refusal)?, SignedView::decode(successor)?);
        let known = self.known();
        let Some(newest) = &known.newest else { return Ok(()) };
        let Statement::Refusal { view, successor: named, term: _ } = refusal.statement else { return Ok(()) };
        if view != newest.view.hash() || named != successor.view.hash() {
            return Ok(());
        }
        // Only what the operator signed is counted for: a liar can't fill the memory with successors of its own.
        newest.view.check_successor(&successor).map_err(|error| MemberError::order(error.into()))?;
        let refusals = {
            let mut all = lock(&self.refusals);
            let same = all.entry(named).or_default();
            same.insert(refusal.header.member, refusal);
            if let Some(own) = known.refusal.clone().filter(|own| is_for(own, &named)) {
                same.insert(self.identity.member, own);
            }
            proven(newest, same);
            Seal::gather(&newest.view, &successor.view, None, same.values()).1
        };
        let seal = Seal { sealed: (**newest).clone(), successor, refusals, declaration: None };
        match seal.check(known.fence.authority()) {
            Ok(()) => self.install(seal).await.map(drop),
            Err(SealError::NoQuorum { .. }) => Ok(()),
            Err(error) => Err(MemberError::order(FenceError::Seal(error))),
        }
    }
}

fn is_for(refusal: &Signed, successor: &weft_redstuff::Hash) -> bool {
    matches!(&refusal.statement, Statement::Refusal { successor: named, .. } if named == successor)
}

/// Keeps the refusals that the view's seats signed: a forged one would spoil the whole seal.
fn proven(view: &SignedView, refusals: &mut BTreeMap<MemberId, Signed>) {
    refusals.retain(|member, refusal| {
        let seat = view.view.seat(*member);
        seat.is_some_and(|seat| refusal.verify(view.view.fleet, seat).is_ok())
    });
}

pub(crate) fn install(tx: &mut Tx<'_>, seal: Seal) -> Result<bool, MemberError> {
    let mut fence = records::fence(tx)?;
    let (sealed, successor) = (seal.sealed.clone(), seal.successor.clone());
    let changed = fence.install(seal).map_err(MemberError::order)?;
    if changed {
        records::put_fence(tx, &fence);
        records::add_views(tx, [&sealed, &successor])?;
        signing::note(tx, fence.seal().into_iter().flat_map(|seal| &seal.refusals))?;
    }
    Ok(changed)
}

/// A fleet's one first view, on a volume that never saw another, with an empty registry (R3).
pub(crate) fn begin(tx: &mut Tx<'_>, fence: &mut Fence, first: SignedView) -> Result<(), MemberError> {
    if fence.newest().is_none() && tx.totals().entries > 0 {
        return Err(MemberError::order(FenceError::NotFirst));
    }
    fence.begin(first).map_err(MemberError::order)?;
    records::add_views(tx, fence.newest())
}
