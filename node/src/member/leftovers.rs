//! Collecting what is left of blobs that are gone: tombstones, and voids (R14).
//!
//! Members go on at different times, and must not give each other back what one has collected already. So an entry goes
//! in two steps. When every holder of the newest view has it since before that view, each hides it: it holds there as
//! before, and isn't told any more. When no holder tells it, it goes.
//!
//! All holders being synced to the view before, a certificate of that or an older one is late to each of them, and comes
//! to nothing but a void (R12). A certificate of a later view there can't be: its acks would have come from members that
//! knew the tombstone, or of a put that began before (`horizon`).

use std::sync::Arc;

use weft_proto::v1::Leftover;
use weft_protocol::{Entry, Rank, SignedView, View as ProtocolView};
use weft_redstuff::{BlobId, Hash};
use weft_store::{Tx, View};

use super::{
    Condition, Kind, Member, MemberError,
    index::{self, Changes, Times},
    records, registry, syncing, void,
};

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Hide,
    Forget,
    /// It is hidden, and somebody has what it beats.
    Tell,
}

/// The next step, from what the entry is here and at everyone else whom the newest view seats; `None`: it waits.
pub(crate) fn step(here: Leftover, there: &[Leftover]) -> Option<Step> {
    let all = |of: [Leftover; 2]| there.iter().all(|leftover| of.contains(leftover));
    match here {
        Leftover::Ready if all([Leftover::Ready, Leftover::Hidden]) => Some(Step::Hide),
        Leftover::Hidden if there.contains(&Leftover::Beaten) => Some(Step::Tell),
        Leftover::Hidden if all([Leftover::Hidden, Leftover::Absent]) => Some(Step::Forget),
        Leftover::Told | Leftover::Ready | Leftover::Hidden | Leftover::Absent | Leftover::Beaten => None,
    }
}

/// `noted`: the view under which it came here, or was last receipted; `newest`: the one in effect.
fn leftover(kind: Option<Kind>, noted: Option<(u64, u64)>, rank: Rank, newest: (u64, u64)) -> Leftover {
    match kind {
        None => Leftover::Absent,
        Some(kind) if kind.rank() < rank => Leftover::Beaten,
        Some(Kind::Hidden { .. }) => Leftover::Hidden,
        Some(kind) if kind.rank() == rank && noted.is_some_and(|noted| noted < newest) => Leftover::Ready,
        Some(_) => Leftover::Told,
    }
}

impl Member {
    /// The newest view, where this member may collect what was there before it came.
    pub(crate) fn may_collect(&self) -> Option<Arc<SignedView>> {
        let known = self.known();
        let newest = known.newest.clone().filter(|newest| newest.view.predecessor.is_some())?;
        let rested = self.env.clock.now().duration_since(known.since) >= self.env.keep_tombstones;
        (rested && self.is_seated() && self.is_settled(&newest.view.hash())).then_some(newest)
    }

    /// Whether this member's newest view is that one, not refused, and it is synced to the view before.
    pub(crate) fn is_settled(&self, view: &Hash) -> bool {
        let known = self.known();
        let permitted = known.fence.permit(view).is_ok_and(|view| syncing::knows_before(known.synced, view));
        permitted && self.condition() == Condition::Healthy
    }

    /// Tombstones and voids, in order of ID.
    pub(crate) fn leftovers(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<(BlobId, Rank)>, MemberError> {
        let page = index::leftovers(&self.store.view(), after, limit)?.into_iter();
        Ok(page.map(|(blob, kind)| (blob, kind.rank())).collect())
    }

    /// What these entries are here, in the newest view.
    pub(crate) fn leftovers_here(
        &self,
        newest: &ProtocolView,
        rows: &[(BlobId, Rank)],
    ) -> Result<Vec<Leftover>, MemberError> {
        let view = self.store.view();
        let of = |(blob, rank): &(BlobId, Rank)| {
            Ok(leftover(index::kind(&view, blob)?, records::noted(&view, blob)?, *rank, newest.position()))
        };
        rows.iter().map(of).collect()
    }

    /// Takes steps, if `view` still is the newest here. Returns how many entries went.
    pub(crate) async fn take_steps(&self, view: Hash, steps: Vec<(BlobId, Rank, Step)>) -> Result<usize, MemberError> {
        let write = self.write_registry(move |tx, changes| {
            let fence = records::fence(tx)?;
            let Ok(newest) = fence.permit(&view) else { return Ok(0) };
            let Some(before) = newest.predecessor else { return Ok(0) };
            let mut gone = 0;
            for (blob, rank, step) in steps {
                match step {
                    Step::Hide => hide(tx, changes, (blob, rank), newest.position(), before.position())?,
                    Step::Forget => gone += usize::from(forget(tx, changes, (blob, rank))?),
                    Step::Tell => tell(tx, changes, &blob)?,
                }
            }
            Ok::<_, MemberError>(gone)
        });
        Ok(write.await?.value)
    }
}

fn hide(
    tx: &mut Tx<'_>,
    changes: &mut Changes,
    (blob, rank): (BlobId, Rank),
    newest: (u64, u64),
    before: (u64, u64),
) -> Result<(), MemberError> {
    // It may have been receipted, or a voided blob acked, since everyone was asked.
    if leftover(index::kind(tx, &blob)?, records::noted(tx, &blob)?, rank, newest) == Leftover::Ready {
        // From now on a newcomer learns the horizon from here, and no tombstone any more.
        if rank.deleted {
            records::raise_horizon(tx, before)?;
        }
        records::put_hidden(tx, &blob, true);
        // A void's slivers may be there yet: see `Member::drop_void`.
        tx.release_blob(&blob.0)?;
        changes.set(tx, blob, Kind::Hidden { rank }, Times::default())?;
    }
    Ok(())
}

fn forget(tx: &mut Tx<'_>, changes: &mut Changes, (blob, rank): (BlobId, Rank)) -> Result<bool, MemberError> {
    if index::kind(tx, &blob)? != Some(Kind::Hidden { rank }) {
        return Ok(false);
    }
    changes.remove(tx, blob)?;
    tx.remove_entry(&blob.0)?;
    records::put_noted(tx, &blob, None);
    records::put_hidden(tx, &blob, false);
    Ok(true)
}

fn tell(tx: &mut Tx<'_>, changes: &mut Changes, blob: &BlobId) -> Result<(), MemberError> {
    let hidden = matches!(index::kind(tx, blob)?, Some(Kind::Hidden { .. }));
    let Some(entry) = tx.entry(&blob.0)?.filter(|_| hidden) else { return Ok(()) };
    records::put_hidden(tx, blob, false);
    let entry = Entry::decode(&entry)?;
    let kind = registry::kind_of(tx, &entry)?;
    changes.set(tx, *blob, kind, Times::of(&entry))?;
    Ok(())
}

/// A tombstone is receipted: it stays until that view is sealed, and is told.
pub(super) fn renew(tx: &mut Tx<'_>, changes: &mut Changes, blob: &BlobId) -> Result<(), MemberError> {
    tell(tx, changes, blob)?;
    void::note(tx, blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOMBSTONE: Rank = Rank { deleted: true, position: (0, 0), void: false };

    #[test]
    fn r14_an_entry_is_hidden_when_everyone_has_it_and_goes_when_nobody_tells_it() {
        use Leftover::{Absent, Beaten, Hidden, Ready, Told};
        assert_eq!(step(Ready, &[Ready, Hidden, Ready]), Some(Step::Hide));
        for waits in [Told, Absent, Beaten] {
            assert_eq!(step(Ready, &[Ready, waits]), None, "{waits:?}");
        }
        assert_eq!(step(Hidden, &[Hidden, Absent]), Some(Step::Forget));
        assert_eq!(step(Hidden, &[Hidden, Ready]), None, "it would be given back");
        assert_eq!(step(Hidden, &[Absent, Beaten]), Some(Step::Tell), "somebody has the blob");
        assert_eq!(step(Told, &[Hidden, Hidden]), None);
    }

    #[test]
    fn r14_what_came_under_the_newest_view_waits_for_the_next() {
        let kind = Some(Kind::Deleted);
        assert_eq!(leftover(kind, Some((3, 1)), TOMBSTONE, (3, 1)), Leftover::Told);
        assert_eq!(leftover(kind, Some((3, 0)), TOMBSTONE, (3, 1)), Leftover::Ready);
        assert_eq!(leftover(kind, None, TOMBSTONE, (3, 1)), Leftover::Told);
        let live = Some(Kind::Live { slivers: 2, bytes: 9, position: (3, 1) });
        assert_eq!(leftover(live, None, TOMBSTONE, (3, 1)), Leftover::Beaten);
        let hidden = Some(Kind::Hidden { rank: TOMBSTONE });
        assert_eq!(leftover(hidden, Some((2, 0)), TOMBSTONE, (3, 1)), Leftover::Hidden);
        assert_eq!(leftover(None, None, TOMBSTONE, (3, 1)), Leftover::Absent);
    }
}
