//! Rebuilding slivers from crossing symbols (DESIGN §2; the Walrus paper, section 4.3).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use weft_client::apart_unwinding;
use weft_proto::v1::SymbolItem;
use weft_protocol::MemberId;
use weft_redstuff::{Axis, BlobId, Code, StripeHashes, rebuild_sliver, symbol};
use weft_store::ReadTx;

use super::{
    batch::Place,
    evidence::Evidence,
    portion::Together,
    select::{Circumstances, Helpers, helpers},
    suspects::{self, Doubts},
    symbols::{self, Given},
    work::{Fleet, Item},
};
use crate::member::{Found, Member, MemberError, Reading, Verdict, Way, held};

/// Slivers that are put together in one go, while others are written.
const AT_ONCE: usize = 16;

/// Where a sliver to rebuild belongs.
struct Sought {
    blob: BlobId,
    stripe: u32,
    axis: Axis,
    index: u16,
    attempt: usize,
}

/// One sliver to rebuild.
pub(super) struct Unit {
    pub(super) blob: BlobId,
    pub(super) stripe: u32,
    pub(super) axis: Axis,
    pub(super) index: u16,
    pub(super) symbol_size: u32,
    hashes: StripeHashes,
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
    /// One that is to be rebuilt, with what there is of it at home: the stripe's hashes, and symbols of slivers that cross it.
    /// None where it is there already, or nothing is known of its stripe.
    fn find(reading: &mut Reading, code: Code, sought: &Sought) -> Result<Option<Self>, MemberError> {
        let Sought { blob, stripe, axis, index, attempt } = *sought;
        let (crossing, mut is_there) = (axis.crossing(), false);
        let wanted = |view: &ReadTx, upload| {
            let mut held = held(view, upload, stripe)?;
            is_there = held.contains(&(axis, index));
            held.retain(|(axis, _)| !is_there && *axis == crossing);
            held.truncate(code.slivers_to_decode(crossing).into());
            Ok(held)
        };
        let found = reading.slivers(&blob, stripe, wanted)?;
        let Some(Found { symbol_size, hashes, sound, .. }) = found.filter(|_| !is_there) else { return Ok(None) };
        let at_home = |(_, helper, sliver): (Axis, u16, Bytes)| {
            Some((helper, symbol(code, crossing, &sliver, symbol_size, index).ok()?.into()))
        };
        let symbols = sound.into_iter().filter_map(at_home).collect();
        let (asked, given) = (Helpers::new(), Helpers::new());
        Ok(Some(Self { blob, stripe, axis, index, symbol_size, hashes, attempt, asked, given, symbols }))
    }

    /// Puts its symbols together, and compares the sliver with its committed hash.
    fn assemble(mut self, code: Code) -> Assembled {
        let inputs: Vec<(u16, &[u8])> = self.symbols.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
        let Ok(sliver) = rebuild_sliver(code, self.axis, self.symbol_size, &inputs) else {
            return Assembled::Incomplete(self);
        };
        if !self.hashes.matches(self.axis, self.index, &sliver) {
            return Assembled::Wrong(self);
        }
        self.symbols.clear();
        Assembled::Sliver(self, sliver.into())
    }

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

    /// Bytes of symbols that came for it.
    fn travelled(&self) -> usize {
        self.given.values().map(Vec::len).sum::<usize>() * self.symbol_size as usize
    }

    /// That the helpers which it was rebuilt from contradict it.
    fn verdict(&self, code: Code) -> Verdict {
        let helpers = self.symbols.iter().map(|(index, _)| *index as u8);
        let helpers = helpers.take(code.slivers_to_decode(self.axis.crossing()).into()).collect();
        Verdict { stripe: self.stripe, axis: self.axis, index: self.index, helpers }
    }

    /// Bytes of the symbols that it wants of a peer.
    fn wants(&self, peer: MemberId) -> u64 {
        self.asked[&peer].len() as u64 * u64::from(self.symbol_size)
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

/// What a unit's symbols gave.
enum Assembled {
    Sliver(Unit, Bytes),
    /// Too few of them came.
    Incomplete(Unit),
    /// Another sliver than the committed one.
    Wrong(Unit),
}

/// Rebuilds what items lack, all slivers of a portion together.
pub(super) struct Rebuild<'r> {
    pub(super) member: &'r Member,
    pub(super) fleet: &'r Fleet,
    pub(super) evidence: &'r Evidence,
    pub(super) doubts: &'r mut Doubts,
    /// Who doesn't get to show slivers, because it was waited for in vain before.
    pub(super) shunned: BTreeSet<MemberId>,
}

impl Rebuild<'_> {
    /// Goes as far as helpers serve; what fails stays on the work list. Who gave less than it was asked for, or something
    /// wrong, is doubted from then on (R18). `attempt` tells how often an item failed. Gives the blobs whose writers lied (R19).
    pub(super) async fn run(&mut self, portion: &[Place], attempt: impl Fn(&Item) -> usize) -> BTreeSet<BlobId> {
        let code = self.fleet.newest.view.code;
        let seek = |Place { item, stripe, axis, index }: &Place| Sought {
            blob: item.blob,
            stripe: *stripe,
            axis: *axis,
            index: *index,
            attempt: attempt(item),
        };
        let sought: Vec<Sought> = portion.iter().map(seek).collect();
        let find = move |reading: &mut Reading| {
            let found = sought.iter().filter_map(|sought| Unit::find(reading, code, sought).ok().flatten());
            found.collect::<Vec<Unit>>()
        };
        let mut all = self.member.reading(find).await;
        all.retain_mut(|unit| {
            let helpers = self.helpers(unit, &BTreeSet::new());
            let can_be_had = helpers.is_some();
            unit.asked = helpers.unwrap_or_default();
            can_be_had
        });
        self.gather(&mut all).await;
        let mut bad = BTreeSet::new();
        for (blob, unit) in self.store(all).await {
            let liars = suspects::liars(self.member, &self.fleet.newest.view, &mut self.shunned, &unit).await;
            // Where every helper told the truth it was the writer who didn't (R19).
            if liars.is_empty() {
                self.member.suspect(blob, unit.verdict(self.fleet.newest.view.code));
                bad.insert(blob);
            }
            for peer in liars {
                tracing::warn!(%blob, %peer, "a peer's symbols are wrong, or it doesn't show what they are of");
                self.doubts.add(blob, peer);
            }
        }
        let now = self.member.env().clock.now();
        for peer in self.shunned.difference(&self.doubts.shunned(now)).copied().collect::<Vec<MemberId>>() {
            self.doubts.waited(peer, now);
        }
        bad
    }

    /// Puts some slivers together while those before them are written, many in a commit. Gives those that came out wrong, of each
    /// blob one: a liar is doubted for all of them.
    async fn store(&self, units: Vec<Unit>) -> BTreeMap<BlobId, Unit> {
        let (code, mut kept, mut left) = (self.fleet.newest.view.code, Together::new(), units);
        while !left.is_empty() {
            let some: Vec<Unit> = left.drain(..left.len().min(AT_ONCE)).collect();
            let assemble = move || some.into_iter().map(|unit| unit.assemble(code)).collect::<Vec<_>>();
            for assembled in apart_unwinding(assemble).await {
                kept.begin(self.keep(assembled)).await;
            }
        }
        let mut wrong = BTreeMap::new();
        for unit in kept.all().await.into_iter().flatten() {
            wrong.entry(unit.blob).or_insert(unit);
        }
        wrong
    }

    fn helpers(&self, unit: &Unit, silent: &BTreeSet<MemberId>) -> Option<Helpers> {
        let of = Circumstances {
            view: &self.fleet.newest.view,
            me: self.member.identity().member,
            moved: self.fleet.moved,
            reachable: &self.fleet.reachable,
            doubted: self.doubts.of(&unit.blob),
            shunned: &self.doubts.shunned(self.member.env().clock.now()),
            silent,
            held: self.evidence.held(&unit.blob, unit.stripe),
        };
        let at_hand: Vec<u16> = unit.symbols.iter().map(|(index, _)| *index).collect();
        helpers(&of, unit.axis, &at_hand, unit.attempt)
    }

    /// Asks for symbols: one request a peer carries everything that this portion wants of it. What one doesn't give is
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
                let bytes = asked.iter().map(|at| units[*at].wants(*peer)).sum();
                symbols::ask(self.member, &self.fleet.newest.view, *peer, items, bytes)
            });
            let answers = join_all(requests).await;
            for ((peer, asked), Given { symbols, in_vain }) in asked.into_iter().zip(answers) {
                if in_vain {
                    self.doubts.waited(peer, self.member.env().clock.now());
                }
                let mut answer = symbols.into_iter();
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

    /// Stores a sliver that is right. Gives back a unit of which it isn't.
    async fn keep(&self, assembled: Assembled) -> Option<Unit> {
        let member = self.member;
        let (unit, sliver) = match assembled {
            Assembled::Sliver(unit, sliver) => (unit, sliver),
            Assembled::Incomplete(unit) => {
                member.metrics().symbols_discarded(unit.travelled());
                return None;
            }
            Assembled::Wrong(unit) => {
                member.metrics().symbols_discarded(unit.travelled());
                tracing::warn!(blob = %unit.blob, stripe = unit.stripe, axis = unit.axis.name(), index = unit.index,
                    helpers = ?unit.given.keys(), "a rebuilt sliver has not its committed hash; other helpers are next");
                return Some(unit);
            }
        };
        let length = sliver.len();
        let slivers = vec![(unit.axis, unit.index, sliver)];
        match member.put_slivers(unit.blob, unit.stripe, &unit.hashes, unit.symbol_size, slivers, Way::Rebuilt).await {
            Ok(()) => member.metrics().sliver_rebuilt(length),
            Err(error) => {
                member.metrics().symbols_discarded(unit.travelled());
                tracing::warn!(blob = %unit.blob, %error, "a rebuilt sliver could not be stored");
            }
        }
        None
    }
}
