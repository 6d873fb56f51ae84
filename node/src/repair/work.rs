//! What is to be done: items of the work list.

use std::{collections::BTreeMap, sync::Arc};

use thiserror::Error;
use weft_protocol::{Entry, MemberId, ShardSet, SignedView};
use weft_redstuff::{Axis, BlobId, Hash, Layout};
use weft_store::{StoreError, View as _};

use super::pass::Pass;
use crate::member::{Member, MemberError, Peer};

/// What is done in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    items: usize,
    /// Bytes of their slivers, the last item's not counted; and of those of a portion, the last one not counted.
    pub(super) bytes: u64,
}

impl Batch {
    pub(super) const LARGE: Self = Self { items: 512, bytes: 16 << 20 };
    /// While gateways wait for this member.
    pub(super) const SMALL: Self = Self { items: 64, bytes: 512 << 10 };
}

#[derive(Debug, Error)]
pub(super) enum WorkError {
    #[error("read the work list: {0}")]
    Store(#[from] StoreError),
    #[error("read what the work is for: {0}")]
    Member(#[from] MemberError),
}

/// Where a shard's slivers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A process that answers has them, or had: nothing is cheaper.
    Copy(Peer),
    /// Nobody has them: from crossing symbols.
    Symbols,
}

/// A shard of a blob that this member must hold, and doesn't.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) blob: BlobId,
    pub(crate) shard: u8,
    pub(crate) layout: Layout,
    pub(crate) root: Hash,
    pub(crate) source: Source,
}

impl Item {
    fn bytes(&self) -> u64 {
        let length = |axis| self.layout.iter().map(move |stripe| stripe.sliver_length(axis) as u64).sum::<u64>();
        length(Axis::Primary) + length(Axis::Secondary)
    }
}

/// The fleet as this member sees it when a batch begins.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) newest: Arc<SignedView>,
    /// Shards that changed hands with the newest view.
    pub(super) moved: ShardSet,
    pub(super) reachable: Vec<MemberId>,
    /// Of each of this member's shards the incarnations that a view ever gave it and that answer, the latest first.
    sources: BTreeMap<u8, Vec<Peer>>,
}

impl Fleet {
    pub(super) fn of(member: &Member) -> Option<Self> {
        let newest = member.newest()?;
        let sealed = member.sealed();
        let moved = sealed.as_ref().map_or(ShardSet::EMPTY, |sealed| sealed.view.moved_to(&newest.view));
        Some(Self { newest, moved, reachable: member.reachable(), sources: sources(member) })
    }

    /// Whether its view is still the newest: under another one others hold what is asked for.
    pub(super) fn is_current(&self, member: &Member) -> bool {
        member.newest().is_some_and(|newest| newest.view.position() == self.newest.view.position())
    }

    /// Whether nobody answers yet who could help.
    pub(super) fn is_unheard(&self) -> bool {
        self.reachable.is_empty() && self.sources.values().all(Vec::is_empty)
    }

    /// Where to take a shard's slivers from, another way each time: from those who have them or had them, and then from
    /// symbols. Sliver hashes are checked, so that anyone will do: also a lost incarnation that came back (R25).
    fn source(&self, shard: u8, attempt: usize) -> Source {
        let Some(sources) = self.sources.get(&shard) else { return Source::Symbols };
        sources.get(attempt % (sources.len() + 1)).copied().map_or(Source::Symbols, Source::Copy)
    }
}

/// The newest view's holders, for shards that are being migrated here; and those of the views before it, which keep
/// their copies until they are retired (R22, R23), or came back from being lost (R25).
fn sources(member: &Member) -> BTreeMap<u8, Vec<Peer>> {
    let known = member.known();
    let me = (member.identity().member, member.identity().incarnation.number);
    let answering = member.reachable_peers();
    let mut views: Vec<_> = known.views.values().chain(&known.newest).collect();
    views.sort_by_key(|view| std::cmp::Reverse(view.view.position()));
    let of = |shard: u8| {
        let mut sources: Vec<Peer> = Vec::new();
        for seat in views.iter().filter_map(|view| view.view.holder(shard)) {
            let peer = (seat.member, seat.incarnation.number);
            if peer != me && answering.contains(&peer) && !sources.contains(&peer) {
                sources.push(peer);
            }
        }
        (shard, sources)
    };
    member.must_hold().iter().map(of).collect()
}

/// The next batch of the work list, which the pass tells the order of. Blobs whose upload may still be coming in are
/// left for later. Empty when the pass has ended.
/// `attempt` tells how often an item failed; `None`: it isn't to be tried now.
pub(super) fn next(
    member: &Member,
    fleet: &Fleet,
    pass: &mut Pass,
    attempt: impl Fn(BlobId, u8) -> Option<usize>,
    batch: Batch,
) -> Result<Vec<Item>, WorkError> {
    pass.begin(member, fleet.newest.view.hash())?;
    let view = member.store().view();
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < batch.items {
        let rows = pass.rows(&view, batch.items - items.len())?;
        if rows.is_empty() {
            break;
        }
        for (blob, shard) in rows {
            pass.visited((blob, shard));
            if member.coming_in(&blob).contains(shard) {
                continue;
            }
            let Some(attempt) = attempt(blob, shard) else { continue };
            let Some(Entry::Live { metadata, .. }) = member.entry(&blob)? else { continue };
            let source = fleet.source(shard, attempt);
            // Of an invalid blob the slivers that there are still go with their shards: they are its proof (R19).
            if source == Source::Symbols && member.is_invalid(&blob) {
                continue;
            }
            let item = Item { blob, shard, layout: metadata.layout, root: metadata.root, source };
            bytes += item.bytes();
            items.push(item);
            if bytes >= batch.bytes {
                return Ok(items);
            }
        }
    }
    Ok(items)
}

pub(super) fn is_missing(member: &Member, item: &Item) -> Result<bool, WorkError> {
    Ok(member.store().view().is_missing(&item.blob.0, item.shard)?)
}
