//! What is to be done: items of the work list.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thiserror::Error;
use weft_protocol::{Entry, MemberId, ShardSet, SignedView};
use weft_redstuff::{Axis, BlobId, Hash, Layout};
use weft_store::{StoreError, View as _};

use super::{batch::Key, pass::Pass};
use crate::member::{Member, MemberError, Peer};

/// How much is done in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Items of a batch.
    items: usize,
    /// Bytes of their slivers, the last item's not counted; and of those of a portion, the last one not counted.
    pub(super) bytes: u64,
}

impl Size {
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
    /// The stripe that its turn begins with; those before it come last.
    pub(crate) from: u32,
}

/// How an item fared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried {
    /// How often it failed.
    pub(super) times: usize,
    /// The stripe that its next turn begins with.
    pub(super) from: u32,
}

impl Item {
    pub(super) const fn key(&self) -> Key {
        (self.blob, self.shard)
    }

    fn bytes(&self) -> u64 {
        let length = |axis| self.layout.iter().map(move |stripe| stripe.sliver_length(axis) as u64).sum::<u64>();
        length(Axis::Primary) + length(Axis::Secondary)
    }
}

/// The fleet as this member sees it when a portion begins.
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

    /// Whether nobody answers yet who could help.
    pub(super) fn is_unheard(&self) -> bool {
        self.reachable.is_empty() && self.sources.values().all(Vec::is_empty)
    }

    /// Where to take a shard's slivers from, another way each time: from those who have them or had them, then from symbols,
    /// and then from those of them who are `shunned`. Sliver hashes are checked, so that anyone will do: also a lost
    /// incarnation that came back (R25).
    fn source(&self, shard: u8, attempt: usize, shunned: &BTreeSet<MemberId>) -> Source {
        let sources = self.sources.get(&shard).into_iter().flatten();
        let (late, prompt): (Vec<Peer>, Vec<Peer>) = sources.partition(|source| shunned.contains(&source.0));
        let copy = |source: &Peer| Source::Copy(*source);
        let ways: Vec<Source> = prompt.iter().map(copy).chain([Source::Symbols]).chain(late.iter().map(copy)).collect();
        ways[attempt % ways.len()]
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
/// `tried` tells how an item fared; `None`: it isn't to be tried now. Who is `shunned` is asked for copies last.
pub(super) fn next(
    member: &Member,
    fleet: &Fleet,
    pass: &mut Pass,
    tried: impl Fn(BlobId, u8) -> Option<Tried>,
    shunned: &BTreeSet<MemberId>,
    size: Size,
) -> Result<Vec<Item>, WorkError> {
    let view = member.store().view();
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < size.items {
        let rows = pass.rows(&view, size.items - items.len())?;
        if rows.is_empty() {
            break;
        }
        for (blob, shard) in rows {
            pass.visited((blob, shard));
            if member.coming_in(&blob).contains(shard) {
                continue;
            }
            let Some(Tried { times, from }) = tried(blob, shard) else { continue };
            let Some(Entry::Live { metadata, .. }) = member.entry(&blob)? else { continue };
            let source = fleet.source(shard, times, shunned);
            // Of an invalid blob the slivers that there are still go with their shards: they are its proof (R19).
            if source == Source::Symbols && member.is_invalid(&blob) {
                continue;
            }
            let item = Item { blob, shard, layout: metadata.layout, root: metadata.root, source, from };
            bytes += item.bytes();
            items.push(item);
            if bytes >= size.bytes {
                return Ok(items);
            }
        }
    }
    Ok(items)
}

/// Those that are off the work list.
pub(super) fn over(member: &Member, keys: impl Iterator<Item = Key>) -> Result<BTreeSet<Key>, WorkError> {
    let (view, mut over) = (member.store().view(), BTreeSet::new());
    for (blob, shard) in keys.collect::<BTreeSet<Key>>() {
        if !view.is_missing(&blob.0, shard)? {
            over.insert((blob, shard));
        }
    }
    Ok(over)
}
