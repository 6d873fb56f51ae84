//! What a write changes of the index: a blob's rows, all of them together.

use weft_protocol::Entry;
use weft_redstuff::BlobId;
use weft_store::Tx;

use super::{BLOB, LEFTOVER, expiry_key, expiry_of, key, newest, newest::created_of, row::Row, row_of};
use crate::member::{MemberError, rows::Kind};

/// When a live blob was made, and when it ends: what the index orders it by.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::member) struct Times {
    /// Milliseconds since 1970; 0 of one that doesn't say, and of what isn't live.
    pub(in crate::member) created: u64,
    /// Seconds since 1970, if it ends.
    pub(in crate::member) expiry: Option<u64>,
}

impl Times {
    pub(in crate::member) fn of(entry: &Entry) -> Self {
        Self { created: created_of(entry), expiry: expiry_of(entry) }
    }
}

/// What a write changes of the index, until all of it has succeeded.
#[derive(Debug, Default)]
pub(in crate::member) struct Changes(pub(super) Vec<Change>);

#[derive(Debug)]
pub(super) struct Change {
    pub(super) blob: BlobId,
    pub(super) from: Option<Row>,
    pub(super) to: Option<Row>,
}

impl Changes {
    /// Sets what the registry has of a blob, before its entry changes.
    pub(in crate::member) fn set(
        &mut self,
        tx: &mut Tx<'_>,
        blob: BlobId,
        kind: Kind,
        Times { created, expiry }: Times,
    ) -> Result<(), MemberError> {
        self.put(tx, blob, Some(Row { kind, expiry }))?;
        if kind.is_live() {
            newest::put(tx, created, &blob);
        }
        Ok(())
    }

    /// Removes what the registry has of a blob, before its entry goes.
    pub(in crate::member) fn remove(&mut self, tx: &mut Tx<'_>, blob: BlobId) -> Result<(), MemberError> {
        self.put(tx, blob, None)
    }

    fn put(&mut self, tx: &mut Tx<'_>, blob: BlobId, to: Option<Row>) -> Result<(), MemberError> {
        let from = row_of(tx, &blob)?;
        let is_live = |row: Option<Row>| row.is_some_and(|row| row.kind.is_live());
        if is_live(from) && !is_live(to) {
            newest::remove(tx, &blob)?;
        }
        match &to {
            Some(row) => tx.put_index(&key(BLOB, &blob), row.encode()),
            None => tx.remove_index(&key(BLOB, &blob)),
        }
        if to.is_some_and(|row| !row.kind.is_live()) {
            tx.put_index(&key(LEFTOVER, &blob), Vec::new());
        } else if from.is_some_and(|row| !row.kind.is_live()) {
            tx.remove_index(&key(LEFTOVER, &blob));
        }
        if let Some(expiry) = from.and_then(|row| row.expiry) {
            tx.remove_index(&expiry_key(expiry, &blob));
        }
        if let Some(expiry) = to.and_then(|row| row.expiry) {
            tx.put_index(&expiry_key(expiry, &blob), Vec::new());
        }
        self.0.push(Change { blob, from, to });
        Ok(())
    }
}
