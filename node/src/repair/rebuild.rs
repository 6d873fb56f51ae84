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
use crate::member::{Member, Verdict, Way};

/// One sliver to rebuild.
pub(super) struct Unit {
    pub(super) blob: BlobId,
    pub(super) stripe: u32,
    pub(super) axis: Axis,
    pub(super) index: u16,
    pub(super) symbol_size: u32,
    expected: Hash,
    /// How often its item failed.
    attempt: usize,
    /// Whom to ask next, for which symbols.
    asked: Helpers,
    /// Who gave which symbols.
    pub(super) given: Helpers,
    /// All that is at hand, by the indices of the crossing slivers: those of slivers held at home don't travel.
    pub(super) symbols: Vec<(u16, Bytes)>,
}

impl Unit {
    fn is_complete(&self, code: Code) -> bool {
        self.symbols.len() >= usize::from(code.slivers_to_decode(self.axis.crossing()))
    }

    /// Takes what a peer gave of what it was asked for, nothing for what it doesn't have. Gives whether it was all.
    fn take(&mut self, peer: MemberId, answer: &mut impl Iterator<Item = Bytes>) -> bool {
        let wanted = self.asked.remove(&peer).unwrap_or_default();
        let asked = wanted.len();
        let served = wanted.into_iter().zip(answer.take(asked));
        let served: Vec<(u16, Bytes)> =
            served.filter(|(_, symbol)| symbol.len() == self.symbol_size as usize).collect();
        let all = served.len() == asked;
        self.given.entry(peer).or_default().extend(served.iter().map(|(index, _)| *index));
        self.symbols.extend(served);
        all
    }

    /// That the helpers which it was rebuilt from contradict it.
    fn verdict(&self, code: Code) -> Verdict {
        let helpers = self.symbols.iter().map(|(index, _)| *index as u8);
        let helpers = helpers.take(code.slivers_to_decode(self.axis.crossing()).into()).collect();
        Verdict { stripe: self.stripe, axis: self.axis, index: self.index, helpers }
    }

    fn request(&self, peer: MemberId) -> SymbolItem {
        SymbolItem {
            blob: Bytes::copy_from_slice(&self.blob.0),
            stripe: self.stripe,
            axis: self.axis as u32,
            index: u32::from(self.index),
            helpers: self.asked[&peer].iter().map(|index| u32::from(*index)).collect(),
        }
    }
}

/// Rebuilds what items lack, all that a batch has of one axis together.
pub(super) struct Rebuild<'r> {
    pub(super) member: &'r Member,
    pub(super) fleet: &'r Fleet,
    pub(super) evidence: &'r Evidence,
    pub(super) doubts: &'r mut Doubts,
}

impl Rebuild<'_> {
    /// Goes as far as helpers serve; what fails stays on the work list. Who gave less than it was asked for, or something
    /// wrong, is doubted from then on (R18). `attempt` tells how often an item failed.
    pub(super) async fn run(&mut self, items: &[Item], axis: Axis, attempt: impl Fn(&Item) -> usize) {
        let mut all = Vec::new();
        for item in items {
            for (stripe, _, index) in item.slivers().filter(|(_, of_axis, _)| *of_axis == axis) {
                all.extend(self.unit(item, stripe, (axis, index), attempt(item)).await);
            }
        }
        self.gather(&mut all).await;
        // Of each blob one is looked into: a liar is doubted for all of them.
        let mut wrong: BTreeMap<BlobId, Unit> = BTreeMap::new();
        for unit in all {
            if let Some(unit) = self.finish(unit).await {
                wrong.entry(unit.blob).or_insert(unit);
            }
        }
        for (blob, unit) in wrong {
            let liars = suspects::liars(self.member, &self.fleet.newest.view, &unit).await;
            // Where every helper told the truth it was the writer who didn't (R19).
            if liars.is_empty() {
                self.member.suspect(blob, unit.verdict(self.fleet.newest.view.code));
            }
            for peer in liars {
                tracing::warn!(%blob, %peer, "a peer's symbols are wrong, or it doesn't show what they are of");
                self.doubts.add(blob, peer);
            }
        }
    }

    /// A sliver that isn't there yet and has helpers enough.
    async fn unit(&self, item: &Item, stripe: u32, (axis, index): (Axis, u16), attempt: usize) -> Option<Unit> {
        let held = self.member.held_slivers(&item.blob, stripe).ok()?;
        if held.contains(&(axis, index)) {
            return None;
        }
        let (symbol_size, hashes) = self.member.stripe_hashes(&item.blob, stripe).ok()??;
        let mut unit = Unit {
            blob: item.blob,
            stripe,
            axis,
            index,
            symbol_size,
            expected: hashes.get(axis, index)?,
            attempt,
            asked: Helpers::new(),
            given: Helpers::new(),
            symbols: Vec::new(),
        };
        let code = self.fleet.newest.view.code;
        for (_, local) in held.into_iter().filter(|(held, _)| *held == axis.crossing()) {
            if !unit.is_complete(code) {
                unit.symbols.extend(self.local(&unit, local).await);
            }
        }
        unit.asked = self.helpers(&unit, &BTreeSet::new())?;
        Some(unit)
    }

    /// The symbol that a sliver held at home gives.
    async fn local(&self, unit: &Unit, index: u16) -> Option<(u16, Bytes)> {
        let crossing = unit.axis.crossing();
        let sliver = self.member.read_sliver(&unit.blob, unit.stripe, crossing, index).await.ok()??;
        let symbol = symbol(self.fleet.newest.view.code, crossing, &sliver, unit.symbol_size, unit.index).ok()?;
        Some((index, symbol.into()))
    }

    fn helpers(&self, unit: &Unit, silent: &BTreeSet<MemberId>) -> Option<Helpers> {
        let of = Circumstances {
            view: &self.fleet.newest.view,
            me: self.member.identity().member,
            moved: self.fleet.moved,
            reachable: &self.fleet.reachable,
            doubted: self.doubts.of(&unit.blob),
            silent,
            held: self.evidence.held(&unit.blob, unit.stripe),
        };
        let at_hand: Vec<u16> = unit.symbols.iter().map(|(index, _)| *index).collect();
        helpers(&of, unit.axis, &at_hand, unit.attempt)
    }

    /// Asks for symbols: one request a peer carries everything that this batch wants of it. What one doesn't give is
    /// asked of others, so that what came in isn't asked for again.
    async fn gather(&mut self, units: &mut [Unit]) {
        let code = self.fleet.newest.view.code;
        let mut silent: BTreeMap<BlobId, BTreeSet<MemberId>> = BTreeMap::new();
        loop {
            let mut asked: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
            for (at, unit) in units.iter().enumerate() {
                for peer in unit.asked.keys() {
                    asked.entry(*peer).or_default().push(at);
                }
            }
            if asked.is_empty() {
                break;
            }
            let requests = asked.iter().map(|(peer, asked)| {
                let items = asked.iter().map(|at| units[*at].request(*peer)).collect();
                symbols::ask(self.member, &self.fleet.newest.view, *peer, items)
            });
            let answers = join_all(requests).await;
            for ((peer, asked), answer) in asked.into_iter().zip(answers) {
                let mut answer = answer.into_iter();
                for at in asked {
                    if !units[at].take(peer, &mut answer) {
                        silent.entry(units[at].blob).or_default().insert(peer);
                    }
                }
            }
            for unit in units.iter_mut().filter(|unit| !unit.is_complete(code)) {
                unit.asked = silent.get(&unit.blob).and_then(|silent| self.helpers(unit, silent)).unwrap_or_default();
            }
        }
        for (blob, peers) in silent {
            for peer in peers {
                self.doubts.add(blob, peer);
            }
        }
    }

    /// Puts the symbols together, compares the sliver with its committed hash, and stores it. Gives it back when it has
    /// another.
    async fn finish(&self, unit: Unit) -> Option<Unit> {
        let Self { member, fleet, .. } = self;
        let inputs: Vec<(u16, &[u8])> = unit.symbols.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
        let sliver = rebuild_sliver(fleet.newest.view.code, unit.axis, unit.symbol_size, &inputs);
        let travelled = unit.given.values().map(Vec::len).sum::<usize>() * unit.symbol_size as usize;
        let Ok(sliver) = sliver else {
            member.metrics().symbols_discarded(travelled);
            return None;
        };
        if Hash::of(&sliver) != unit.expected {
            member.metrics().symbols_discarded(travelled);
            tracing::warn!(blob = %unit.blob, stripe = unit.stripe, axis = unit.axis.name(), index = unit.index,
                helpers = ?unit.given.keys(), "a rebuilt sliver has not its committed hash; other helpers are next");
            return Some(unit);
        }
        let (_, hashes) = member.stripe_hashes(&unit.blob, unit.stripe).ok().flatten()?;
        let length = sliver.len();
        let slivers = vec![(unit.axis, unit.index, Bytes::from(sliver))];
        match member.put_slivers(unit.blob, unit.stripe, &hashes, unit.symbol_size, slivers, Way::Rebuilt).await {
            Ok(()) => member.metrics().sliver_rebuilt(length),
            Err(error) => {
                member.metrics().symbols_discarded(travelled);
                tracing::warn!(blob = %unit.blob, %error, "a rebuilt sliver could not be stored");
            }
        }
        None
    }
}
