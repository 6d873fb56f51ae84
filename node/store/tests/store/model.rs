//! The store's slow twin: plain maps.

use std::collections::{BTreeMap, BTreeSet};

use weft_store::{Axis, SliverKey, StoreError, Totals, Tx, UploadNumber, View, slot_of};

use crate::Random;

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) entries: BTreeMap<[u8; 32], Vec<u8>>,
    pub(crate) uploads: BTreeMap<[u8; 16], UploadNumber>,
    pub(crate) holdings: BTreeMap<[u8; 32], UploadNumber>,
    pub(crate) stripes: BTreeMap<(UploadNumber, u32), Vec<u8>>,
    pub(crate) slivers: BTreeMap<SliverKey, Vec<u8>>,
    pub(crate) missing: BTreeSet<([u8; 32], u8)>,
    next_upload: u64,
}

const STATES: [&str; 4] = ["identity", "term", "view", "peers"];
const KINDS: u64 = 5;

fn blob(random: &mut Random) -> [u8; 32] {
    [random.below(KINDS) as u8; 32]
}

fn session(random: &mut Random) -> [u8; 16] {
    [random.below(KINDS) as u8; 16]
}

impl Model {
    /// What `view` holds, read through every way of reading, which must agree.
    pub(crate) fn of(view: &impl View) -> Result<Self, StoreError> {
        let mut model = Self::default();
        for name in STATES {
            if let Some(record) = view.state(name)? {
                model.state.insert(name.to_owned(), record);
            }
        }
        // Pages of 2, to cross their borders.
        while let page = view.entries(model.entries.keys().next_back(), 2)?
            && !page.is_empty()
        {
            model.entries.extend(page);
        }
        for (session, upload) in view.uploads(None, usize::MAX)? {
            assert_eq!(view.upload(&session)?, Some(upload.clone()));
            model.uploads.insert(session, upload.number);
        }
        model.holdings.extend(view.holdings(None, usize::MAX)?);
        for number in model.uploads.values().chain(model.holdings.values()).copied().collect::<Vec<_>>() {
            model.read_upload(view, number)?;
        }
        while let page = view.missing(model.missing.last().as_ref().map(|(blob, shard)| (blob, *shard)), 3)?
            && !page.is_empty()
        {
            model.missing.extend(page);
        }
        let mut counts = BTreeMap::<(u8, u8), u64>::new();
        for (blob, shard) in &model.missing {
            *counts.entry((*shard, slot_of(blob))).or_default() += 1;
        }
        assert_eq!(view.missing_counts()?, counts.clone().into_iter().collect::<Vec<_>>());
        for ((shard, slot), count) in counts {
            assert!(view.lacks(shard)?);
            assert_eq!(view.missing_in_slot(shard, slot)?, count);
            let rows = model.missing.iter().filter(|(blob, _)| slot_of(blob) == slot).copied();
            assert_eq!(view.missing_in(slot, None, usize::MAX)?, rows.collect::<Vec<_>>());
        }
        assert_eq!(view.totals(), model.totals());
        Ok(model)
    }

    fn read_upload(&mut self, view: &impl View, number: UploadNumber) -> Result<(), StoreError> {
        for (stripe, description) in view.stripes(number, None, usize::MAX)? {
            self.stripes.insert((number, stripe), description);
        }
        let mut after = None;
        while let page = view.slivers(number, after.as_ref(), 3)?
            && !page.is_empty()
        {
            for (place, length) in page {
                let sliver = view.sliver(&place)?.expect("a listed sliver is there");
                assert_eq!(sliver.len(), length as usize);
                self.slivers.insert(place, sliver);
                after = Some(place);
            }
        }
        Ok(())
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            slivers: self.slivers.len() as u64,
            sliver_bytes: self.slivers.values().map(|sliver| sliver.len() as u64).sum(),
            entries: self.entries.len() as u64,
            missing: self.missing.len() as u64,
        }
    }

    /// The same, where the counter of uploads, which can't be read, isn't compared.
    pub(crate) fn same(&self, read: &Self) -> bool {
        Self { next_upload: 0, ..self.clone() } == Self { next_upload: 0, ..read.clone() }
    }

    /// The same one random step on the store and on the model.
    pub(crate) fn step(&mut self, tx: &mut Tx<'_>, random: &mut Random) -> Result<(), StoreError> {
        let (blob, session, shard) = (blob(random), session(random), random.below(3) as u8);
        match random.below(14) {
            0 => self.set_state(tx, random),
            1 | 2 => {
                let entry = random.bytes(40);
                assert_eq!(tx.put_entry(&blob, entry.clone())?, self.entries.insert(blob, entry).is_none());
            }
            3 => assert_eq!(tx.remove_entry(&blob)?, self.entries.remove(&blob).is_some()),
            4 | 5 => {
                let number = tx.open_upload(&session, 7, b"note")?.number;
                let open = self.uploads.get(&session).copied();
                self.take_number(open, number);
                self.uploads.insert(session, number);
            }
            6 => {
                let dropped = self.uploads.remove(&session);
                assert_eq!(tx.drop_upload(&session)?, dropped.is_some());
                self.release(dropped);
            }
            7 => self.finish(tx, &session, &blob),
            8 => {
                let number = tx.hold(&blob)?;
                let held = self.holdings.get(&blob).copied();
                self.take_number(held, number);
                self.holdings.insert(blob, number);
            }
            9 => {
                let released = self.holdings.remove(&blob);
                assert_eq!(tx.release_blob(&blob)?, released.is_some());
                self.release(released);
            }
            10 => assert_eq!(tx.add_missing(&blob, shard)?, self.missing.insert((blob, shard))),
            11 => assert_eq!(tx.remove_missing(&blob, shard)?, self.missing.remove(&(blob, shard))),
            _ => self.put_or_remove_sliver(tx, random)?,
        }
        Ok(())
    }

    /// A number is the one that was there, or one that never was: a write that was cut off may have used the next.
    fn take_number(&mut self, known: Option<UploadNumber>, number: UploadNumber) {
        if let Some(known) = known {
            assert_eq!(number, known);
        } else {
            assert!(number.0 >= self.next_upload, "{number} was used before");
            self.next_upload = number.0 + 1;
        }
    }

    fn set_state(&mut self, tx: &mut Tx<'_>, random: &mut Random) {
        let name = STATES[random.below(4) as usize];
        if random.below(4) == 0 {
            tx.remove_state(name);
            self.state.remove(name);
        } else {
            let record = random.bytes(random.0 as usize % 300);
            tx.put_state(name, record.clone());
            self.state.insert(name.to_owned(), record);
        }
    }

    fn finish(&mut self, tx: &mut Tx<'_>, session: &[u8; 16], blob: &[u8; 32]) {
        match (tx.finish_upload(session, blob), self.uploads.get(session), self.holdings.get(blob)) {
            (Err(StoreError::UnknownSession), None, _) => {}
            (Err(StoreError::AlreadyHeld { number }), Some(_), Some(held)) => assert_eq!(number, *held),
            (Ok(number), Some(open), None) => {
                assert_eq!(number, *open);
                self.uploads.remove(session);
                self.holdings.insert(*blob, number);
            }
            (outcome, open, held) => panic!("{outcome:?} for session {open:?} and holding {held:?}"),
        }
    }

    fn put_or_remove_sliver(&mut self, tx: &mut Tx<'_>, random: &mut Random) -> Result<(), StoreError> {
        let live: Vec<_> = self.uploads.values().chain(self.holdings.values()).copied().collect();
        let number = UploadNumber(random.below(self.next_upload.max(1)));
        let stripe = random.below(2) as u32;
        let axis = if random.below(2) == 0 { Axis::Primary } else { Axis::Secondary };
        let place = SliverKey { upload: number, stripe, axis, index: random.below(3) as u8 };
        if random.below(5) == 0 {
            assert_eq!(tx.remove_sliver(&place)?, self.slivers.remove(&place).is_some());
            return Ok(());
        }
        let most = [10, 3000, 70_000, 200_000][random.below(4) as usize];
        let length = random.below(most) as usize;
        let sliver = random.bytes(length);
        let description = random.bytes(20);
        let put =
            tx.put_stripe(number, stripe, description.clone()).and_then(|()| tx.put_sliver(&place, sliver.clone()));
        match put {
            Err(StoreError::UnknownUpload { .. }) => assert!(!live.contains(&number)),
            Err(error) => return Err(error),
            Ok(()) => {
                assert!(live.contains(&number));
                self.stripes.insert((number, stripe), description);
                self.slivers.insert(place, sliver);
            }
        }
        Ok(())
    }

    fn release(&mut self, number: Option<UploadNumber>) {
        self.stripes.retain(|(upload, _), _| Some(*upload) != number);
        self.slivers.retain(|place, _| Some(place.upload) != number);
    }
}
