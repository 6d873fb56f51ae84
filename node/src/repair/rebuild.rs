//! Rebuilding slivers from crossing symbols (DESIGN §2; the Walrus paper, section 4.3).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use weft_proto::v1::SymbolItem;
use weft_protocol::MemberId;
use weft_redstuff::{Axis, BlobId, Code, Hash, rebuild_sliver, symbol};

use super::{
    evidence::Evidence,
    select::{Circumstances, Helpers, helpers},
    suspects::{self, Doubts},
    symbols,
    work::{Fleet, Item},
};
use crate::member::{Member, Way};

/// One sliver to rebuild, and the symbols that have come in for it.
pub(super) struct Unit {
    pub(super) blob: BlobId,
    pub(super) stripe: u32,
    pub(super) axis: Axis,
    pub(super) index: u16,
    pub(super) symbol_size: u32,
    expected: Hash,
    pub(super) helpers: Helpers,
    pub(super) symbols: Vec<(u16, Bytes)>,
}

/// Rebuilds what `items` lack on one axis, as far as helpers serve; what fails stays on the work list. Who gave nothing,
/// or something wrong, is doubted from then on (R18). `attempt` tells how often an item failed.
pub(super) async fn rebuild(
    member: &Member,
    fleet: &Fleet,
    items: &[Item],
    axis: Axis,
    attempt: impl Fn(&Item) -> usize,
    evidence: &Evidence,
    doubts: &mut Doubts,
) {
    let mut all = Vec::new();
    for item in items {
        all.extend(units(member, fleet, (item, axis, attempt(item)), evidence, doubts.of(&item.blob)));
    }
    for (blob, peer) in gather(member, fleet, &mut all).await {
        doubts.add(blob, peer);
    }
    // Of each blob one is looked into: a liar is doubted for all of them.
    let mut wrong: BTreeMap<BlobId, Unit> = BTreeMap::new();
    for unit in all {
        if let Some(unit) = finish(member, fleet.newest.view.code, unit).await {
            wrong.entry(unit.blob).or_insert(unit);
        }
    }
    for (blob, unit) in wrong {
        for peer in suspects::liars(member, &fleet.newest.view, &unit).await {
            tracing::warn!(%blob, %peer, "a peer's symbols are wrong, or it doesn't show what they are of");
            doubts.add(blob, peer);
        }
    }
}

/// The slivers of an item that are not yet there and have helpers enough.
fn units(
    member: &Member,
    fleet: &Fleet,
    (item, axis, attempt): (&Item, Axis, usize),
    evidence: &Evidence,
    doubted: &BTreeSet<MemberId>,
) -> Vec<Unit> {
    let of = |stripe| Circumstances {
        view: &fleet.newest.view,
        me: member.identity().member,
        moved: fleet.moved,
        reachable: &fleet.reachable,
        doubted,
        held: evidence.held(&item.blob, stripe),
    };
    let wanted = item.slivers().filter(|(_, of_axis, _)| *of_axis == axis);
    wanted
        .filter_map(|(stripe, _, index)| {
            let held = member.held_slivers(&item.blob, stripe).ok()?;
            if held.contains(&(axis, index)) {
                return None;
            }
            let local: Vec<u16> =
                held.iter().filter(|(held, _)| *held == axis.crossing()).map(|(_, index)| *index).collect();
            let (symbol_size, hashes) = member.stripe_hashes(&item.blob, stripe).ok()??;
            Some(Unit {
                blob: item.blob,
                stripe,
                axis,
                index,
                symbol_size,
                expected: hashes.get(axis, index)?,
                helpers: helpers(&of(stripe), axis, &local, attempt)?,
                symbols: Vec::new(),
            })
        })
        .collect()
}

/// One request a peer carries everything that this batch wants of it. Gives the peers that don't have what is wanted of
/// a blob, or don't give it.
async fn gather(member: &Member, fleet: &Fleet, units: &mut [Unit]) -> BTreeSet<(BlobId, MemberId)> {
    let mut asked: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
    for (at, unit) in units.iter().enumerate() {
        for peer in unit.helpers.remote.keys() {
            asked.entry(*peer).or_default().push(at);
        }
    }
    let requests = asked.iter().map(|(peer, asked)| {
        let items = asked.iter().map(|at| request(&units[*at], *peer)).collect();
        symbols::ask(member, &fleet.newest.view, *peer, items)
    });
    let answers = join_all(requests).await;
    let mut silent = BTreeSet::new();
    for ((peer, asked), answer) in asked.into_iter().zip(answers) {
        let mut answer = answer.into_iter();
        for at in asked {
            let unit = &mut units[at];
            let (wanted, before) = (&unit.helpers.remote[&peer], unit.symbols.len());
            let served = wanted.iter().copied().zip(answer.by_ref());
            unit.symbols.extend(served.filter(|(_, symbol)| symbol.len() == unit.symbol_size as usize));
            if unit.symbols.len() < before + wanted.len() {
                silent.insert((unit.blob, peer));
            }
        }
    }
    silent
}

fn request(unit: &Unit, peer: MemberId) -> SymbolItem {
    SymbolItem {
        blob: Bytes::copy_from_slice(&unit.blob.0),
        stripe: unit.stripe,
        axis: unit.axis as u32,
        index: u32::from(unit.index),
        helpers: unit.helpers.remote[&peer].iter().map(|index| u32::from(*index)).collect(),
    }
}

/// Puts the symbols together, compares the sliver with its committed hash, and stores it. Gives it back when it has
/// another.
async fn finish(member: &Member, code: Code, mut unit: Unit) -> Option<Unit> {
    let (_, hashes) = member.stripe_hashes(&unit.blob, unit.stripe).ok().flatten()?;
    let crossing = unit.axis.crossing();
    for index in &unit.helpers.local {
        let Ok(Some(sliver)) = member.read_sliver(&unit.blob, unit.stripe, crossing, *index).await else { continue };
        if let Ok(symbol) = symbol(code, crossing, &sliver, unit.symbol_size, unit.index) {
            unit.symbols.push((*index, symbol.into()));
        }
    }
    let inputs: Vec<(u16, &[u8])> = unit.symbols.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
    let sliver = rebuild_sliver(code, unit.axis, unit.symbol_size, &inputs).ok()?;
    if Hash::of(&sliver) != unit.expected {
        tracing::warn!(blob = %unit.blob, stripe = unit.stripe, axis = unit.axis.name(), index = unit.index,
            helpers = ?unit.helpers.remote.keys(), "a rebuilt sliver has not its committed hash; other helpers are next");
        return Some(unit);
    }
    let length = sliver.len();
    let slivers = vec![(unit.axis, unit.index, Bytes::from(sliver))];
    match member.put_slivers(unit.blob, unit.stripe, &hashes, unit.symbol_size, slivers, Way::Rebuilt).await {
        Ok(()) => member.metrics().sliver_rebuilt(length),
        Err(error) => tracing::warn!(blob = %unit.blob, %error, "a rebuilt sliver could not be stored"),
    }
    None
}
