//! What clients were told, and what they may therefore be told later.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use weft_redstuff::BlobId;

pub(super) type Books = Rc<RefCell<Ledger>>;

/// Blobs whose put was answered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    blobs: BTreeMap<BlobId, Account>,
}

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) content: Bytes,
    /// When the put was answered.
    pub(super) stored: Duration,
    /// When it ends, in seconds since 1970, if it does (R15).
    pub(super) expiry: Option<u64>,
    pub(super) fate: Fate,
    /// Since when too little is left of it (R20).
    pub(super) lost: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    /// A delete was asked for and isn't answered, or failed: it may be there or not.
    Deleting,
    Deleted,
}

/// What a get came to.
#[derive(Debug)]
pub(super) enum Got {
    Bytes(Bytes),
    Gone,
    Refused,
}

impl Account {
    pub(super) fn has_expired(&self, time: u64) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= time)
    }
}

impl Ledger {
    pub(super) fn stored(&mut self, id: BlobId, content: Bytes, at: Duration, expiry: Option<u64>) {
        // A put that was tried again has its old account.
        self.blobs.entry(id).or_insert(Account { content, stored: at, expiry, fate: Fate::Stored, lost: None });
    }

    pub(super) fn set(&mut self, id: &BlobId, fate: Fate) {
        if let Some(account) = self.blobs.get_mut(id) {
            account.fate = fate;
        }
    }

    pub(super) fn get(&self, id: &BlobId) -> Option<&Account> {
        self.blobs.get(id)
    }

    pub(super) fn ids(&self) -> Vec<BlobId> {
        self.blobs.keys().copied().collect()
    }

    /// Notes that too little is left of a blob.
    pub(super) fn lose(&mut self, id: &BlobId, at: Duration) {
        if let Some(account) = self.blobs.get_mut(id) {
            account.lost = Some(at);
        }
    }

    /// Blobs of which too little is left, that nobody has deleted, and that haven't ended at that time.
    pub(super) fn lost(&self, time: u64) -> impl Iterator<Item = (&BlobId, &Account)> {
        let is_lost = move |account: &Account| {
            account.lost.is_some() && account.fate != Fate::Deleted && !account.has_expired(time)
        };
        self.blobs.iter().filter(move |(_, account)| is_lost(account))
    }

    /// Blobs that must be there whole at that time.
    pub(super) fn living(&self, time: u64) -> impl Iterator<Item = (&BlobId, &Account)> {
        let lives = move |account: &Account| {
            account.fate == Fate::Stored && account.lost.is_none() && !account.has_expired(time)
        };
        self.blobs.iter().filter(move |(_, account)| lives(account))
    }

    /// Blobs that had ended by then.
    pub(super) fn expired(&self, time: u64) -> impl Iterator<Item = &BlobId> {
        self.blobs.iter().filter(move |(_, account)| account.has_expired(time)).map(|(id, _)| id)
    }

    /// Blobs whose delete was answered.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &BlobId> {
        self.blobs.iter().filter(|(_, account)| account.fate == Fate::Deleted).map(|(id, _)| id)
    }

    /// Judges a get that has ended at that time: `before` is what was known when it began. Gives what is wrong with it.
    pub(super) fn judge(&self, id: &BlobId, before: Fate, got: &Got, time: u64) -> Option<String> {
        let account = self.blobs.get(id)?;
        match (got, before, account.fate) {
            (Got::Bytes(bytes), _, _) if *bytes != account.content => {
                Some(format!("blob {id} reads as {} other bytes than were put", bytes.len()))
            }
            (Got::Bytes(_), Fate::Deleted, _) => Some(format!("blob {id} reads after its delete was answered (R13)")),
            (Got::Gone, Fate::Stored, Fate::Stored) if account.has_expired(time) => None,
            (Got::Gone, Fate::Stored, Fate::Stored) if account.expiry.is_some() => {
                Some(format!("blob {id} was stored and is told to be gone before it expires (R8, R15)"))
            }
            (Got::Gone, Fate::Stored, Fate::Stored) => {
                Some(format!("blob {id} was stored and is told to be gone (R8, R10)"))
            }
            (Got::Bytes(_) | Got::Gone | Got::Refused, _, _) => None,
        }
    }
}
